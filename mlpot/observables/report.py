"""Files of observables: one JSON document, a table and a figure of each."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mlpot.atomic import replacing, write_json
from mlpot.evidence.drawing import PALETTE
from mlpot.observables.survey import Curves
from mlpot.page import png

#: Of the axes of each figure, and the columns that are not drawn as curves.
_AXES = {
    "rdf": ("r (Å)", "g(r)"),
    "adf": ("angle (degrees)", "density (1/degree)"),
    "coordination": ("neighbours", "share of atoms"),
    "msd": ("time (ps)", "mean squared displacement (Å²)"),
    "vacf": ("time (ps)", "velocity autocorrelation, normalised"),
    "vdos": ("frequency (THz)", "states per THz and atom"),
    "sq": ("q (1/Å)", "S(q)"),
    "steinhardt": ("order parameter", "density"),
}
_NOT_DRAWN = {"vectors", "vacf_angstrom2_per_ps2"}


def write_observables(
    found: Mapping[str, Curves], missing: Mapping[str, str], about: Mapping[str, Any], out: Path
) -> dict[str, Any]:
    """Write ``observables.json``, and ``<name>.csv`` and ``<name>.png`` of each; return the document.

    Parameters
    ----------
    found, missing
        As :meth:`~mlpot.observables.survey.Survey.observe` returns them.
    about
        What was observed, as plain JSON.
    out
        Folder; made if need be.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for name, curves in found.items():
        with replacing(out / f"{name}.csv") as path, path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(curves.columns)
            writer.writerows(zip(*(column.tolist() for column in curves.columns.values()), strict=True))
        with replacing(out / f"{name}.png") as path:
            path.write_bytes(png(draw(name, curves)))
        files += [str(out / f"{name}.csv"), str(out / f"{name}.png")]
    document = {
        **about,
        "observables": {name: {**one.values, "notes": one.notes} for name, one in found.items()},
        "missing": dict(missing),
        "files": [str(out / "observables.json"), *files],
    }
    write_json(out / "observables.json", document, allow_nan=False)
    return document


def draw(name: str, curves: Curves) -> Figure:
    """Return the figure of an observable."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    (_, x), *others = curves.columns.items()
    errors = {column.removesuffix("_error"): values for column, values in others if column.endswith("_error")}
    drawn = [
        (column, values)
        for column, values in others
        if not column.endswith("_error") and column not in _NOT_DRAWN
    ]
    for number, (column, values) in enumerate(drawn):
        colour = PALETTE[number % len(PALETTE)]
        if name == "coordination":
            axes.bar(x, values, color=colour, width=0.8)
            continue
        dashed = "reference" in column or "from_g" in column
        axes.plot(x, values, "--" if dashed else "-", color=colour, lw=1.3, label=_label(column))
        error = errors.get(column.partition("_")[0])
        if error is not None and number == 0:
            axes.fill_between(x, values - 2 * error, values + 2 * error, color=colour, alpha=0.25, lw=0)
    axes.set(xlabel=_AXES[name][0], ylabel=_AXES[name][1])
    if name == "msd":
        window = curves.values["diffusion_angstrom2_per_ps"]["window"]
        axes.axvspan(*window, color="#eeeeee", zorder=0, label="fit")
    if name != "coordination" and len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(frameon=False, fontsize=8)
    return figure


def _label(column: str) -> str:
    return column.replace("_per_degree", "").replace("_angstrom2", "").replace("_", " ")


def words(values: dict[str, Any]) -> list[str]:
    """Return the numbers of an observable as people read them."""
    said = []
    for key, value in values.items():
        if key == "mean" or key == "error" or key == "converged" or key == "notes":
            continue
        if isinstance(value, dict) and "mean" in value:
            said.append(f"{key} {_with_error(value['mean'], value['error'])}")
        elif isinstance(value, dict):
            text = f"D {_with_error(value['coefficient'], value['error'])} Å²/ps"
            if value["green_kubo"] is not None:
                text += f", Green-Kubo {_with_error(value['green_kubo'], value['green_kubo_error'])}"
            said.append(f"{text}, fit {value['window'][0]:.3g} to {value['window'][1]:.3g} ps")
        else:
            said.append(f"{key} {value:.4g}")
    if "mean" in values:
        said.append(f"mean {_with_error(values['mean'], values['error'])}")
    return said


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"
