"""The document of a run, its table, and the page that shows it."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpot.atomic import replacing
from mlpot.page import page, picture, png, table
from mlpot.properties.figures import FIGURES
from mlpot.properties.record import Record
from mlpot.properties.references import compare, references

Document = Mapping[str, Any]
_READING = (
    "Deviations are (value - reference) / |reference|. Values are static ones at 0 K, without zero-point "
    "motion, unless their name says otherwise; experiments are mostly at room temperature."
)
STYLE = ".failed td{background:#fbeadf}"


def document(records: Sequence[Record], element: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain JSON: what was studied (``about``), the records, and the comparison with references."""
    plain = [record.to_dict() for record in records]
    return {
        "element": element,
        **about,
        "records": plain,
        "comparison": [one.to_dict() for one in compare(plain, element)],
        "without_value": [record["name"] for record in plain if record["value"] is None],
    }


def value_table(found: Document) -> tuple[list[str], list[list[str]], list[str]]:
    """Return header, rows and row classes: each quantity beside its references, deviations in percent."""
    there = {row["kind"] for row in found["comparison"]}
    kinds = [kind for kind in references(found["element"]) if kind in there]
    beside = {(row["name"], row["kind"]): row for row in found["comparison"]}
    header = ["quantity", "value", "unit", *kinds]
    rows, classes = [], []
    for record in found["records"]:
        value = "–" if record["value"] is None else number(record["value"])
        cells = [_beside(beside.get((record["name"], kind))) for kind in kinds]
        rows.append([record["name"], value, record["unit"], *cells])
        classes.append("failed" if record["value"] is None else "")
    return header, rows, classes


def _beside(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    reference = number(row["reference"])
    if row["uncertainty"] is not None:
        reference += f" ± {row['uncertainty']:g}"
    return reference if row["deviation"] is None else f"{reference} ({row['deviation']:+.1f} %)"


def number(value: float) -> str:
    """Return a value as people read it: four significant figures, of small ones two."""
    if abs(value) < 5e-5:
        return "0"
    if abs(value) < 0.1:
        return f"{value:.2g}"
    return f"{value:.4g}" if abs(value) < 100 else f"{value:.1f}"


def write(found: Document, out: Path) -> list[str]:
    """Write ``properties.json``, the figures and ``properties.html``; return their paths."""
    written = [out / "properties.json"]
    with replacing(written[0]) as path:
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    pictures = images(found)
    for name, (_, image) in pictures.items():
        written.append(out / f"{name}.png")
        with replacing(written[-1]) as path:
            path.write_bytes(image)
    written.append(out / "properties.html")
    title = f"Properties of {found['element']}: {found['name']}"
    with replacing(written[-1]) as path:
        path.write_text(page(title, body(found, pictures), STYLE), encoding="utf-8")
    return [str(path) for path in written]


def images(found: Document) -> dict[str, tuple[str, bytes]]:
    """Return caption and PNG by name of the figures for which there is something to draw."""
    drawn = {name: (caption, draw(found)) for name, (draw, caption) in FIGURES.items()}
    return {name: (caption, png(figure)) for name, (caption, figure) in drawn.items() if figure is not None}


def body(found: Document, pictures: Mapping[str, tuple[str, bytes]]) -> list[str]:
    """Return the parts of the page: values beside references, ``pictures`` (see :func:`images`), notes."""
    header, rows, classes = value_table(found)
    both = list(zip(rows, classes, strict=True))
    compared = [one for one in both if any(one[0][3:])]
    others = [one for one in both if not any(one[0][3:])]
    notes = [
        f"<li><b>{html.escape(record['name'])}</b>: {html.escape(text)}</li>"
        for record in found["records"]
        for text in ([f"no value: {record['reason']}"] if record["reason"] else record["notes"])
    ]
    sources = dict.fromkeys(f"{row['kind']}: {row['source']}" for row in found["comparison"])
    seconds = {record["property"]: record["seconds"] for record in found["records"]}
    meanings = [[record["name"], record["meaning"], record["unit"]] for record in found["records"]]
    computed_with = {key: found[key] for key in ("calculator", "settings")}
    how = json.dumps(computed_with, indent=1, ensure_ascii=False)
    return [
        f"<p class='remark'>{html.escape(_READING)}</p>",
        *([table(header, *map(list, zip(*compared, strict=True)))] if compared else []),
        *(picture(caption, image) for caption, image in pictures.values()),
        *(["<h2>Without a reference</h2>"] if others else []),
        *(
            [table(header[:3], [row[:3] for row, _ in others], [name for _, name in others])]
            if others
            else []
        ),
        *(["<h2>Notes</h2><ul>", *notes, "</ul>"] if notes else []),
        "<h2>What the quantities are</h2>",
        table(["quantity", "meaning", "unit"], meanings),
        "<h2>Sources of the references</h2><ul>",
        *(f"<li>{html.escape(source)}</li>" for source in sources),
        "</ul><h2>How it was computed</h2>",
        table(["property", "seconds"], [[name, f"{value:.1f}"] for name, value in seconds.items()]),
        f"<pre>{html.escape(found['command'])}\n{html.escape(how)}</pre>",
    ]
