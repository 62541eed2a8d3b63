"""The card of a model: what its file says of itself, written for people.

Nothing is known here but the header of the file. What its maker did not note is said to be
missing (:data:`MISSING`), never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpot.model.file import SELF_TEST_TOLERANCE, find_model, read_header
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential

#: What a card says where the file says nothing.
MISSING = "*not stated*"


def describe_model(path_or_name: str | Path) -> dict[str, Any]:
    """Return the header of a model file with its path, size and number of parameters, as plain values.

    The structures of the self-test are reduced to their sizes.

    Raises
    ------
    ModelFileError
        See :func:`~mlpot.model.file.read_header`.
    """
    path = find_model(path_or_name)
    header = read_header(path)
    architecture = header["architecture"]
    potential = Potential(
        header["elements"], NetworkConfig(**architecture["network"]), architecture["repulsion"]
    )
    return {
        "model": str(path),
        "bytes": path.stat().st_size,
        "parameters": sum(parameter.numel() for parameter in potential.parameters()),
        **{key: value for key, value in header.items() if key != "self_test"},
        "self_test": [f"{len(entry['numbers'])} atoms" for entry in header["self_test"]],
    }


def lineage(header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the stages that led to a model, oldest first.

    Each has ``elements``, ``provenance``, and, if a later stage noted them, the ``file`` it was
    and its ``checksum``.
    """
    stage: dict[str, Any] = {"elements": header["elements"], "provenance": header["provenance"]}
    stages = [stage]
    while parent := stage["provenance"].get("parent"):
        stage = parent
        stages.append(stage)
    return stages[::-1]


def model_card(path_or_name: str | Path) -> str:
    """Return the card of a model in Markdown.

    Raises
    ------
    ModelFileError
        See :func:`~mlpot.model.file.read_header`.
    """
    document = describe_model(path_or_name)
    stages = lineage(document)
    said = _said(document["provenance"])
    sections = {
        "The model": _model(document),
        "Corresponding states": _scalars(document),
        "Domain of validity": [said.get("domain") or MISSING, "", *_coverage(stages)],
        "Errors": list(_errors(document["provenance"].get("errors", []))),
        "Training data": list(_data(stages)),
        "Lineage": list(_lineage(stages)),
        "Self-test": _self_test(document),
    }
    lines = [f"# {said.get('title') or Path(document['model']).stem}", "", said.get("description") or MISSING]
    for title, content in sections.items():
        lines += ["", f"## {title}", "", *content]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _said(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the recipe of a stage says for the card."""
    return provenance.get("recipe", {}).get("card", {})


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _all_first(groups: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return groups with all frames first (the header sorts its keys)."""
    return sorted(groups.items(), key=lambda item: item[0] != "all")


def _model(document: Mapping[str, Any]) -> list[str]:
    network = dict(document["architecture"]["network"])
    cutoff = network.pop("cutoff")
    shape = ", ".join(f"{name} {value}" for name, value in network.items())
    rows = [
        ("elements", ", ".join(document["elements"])),
        ("network", shape),
        ("parameters", str(document["parameters"])),
        ("precision", document["precision"]),
        ("cutoff", f"{cutoff:g} Å in the network's units of length"),
        ("repulsion", "ZBL" if document["architecture"]["repulsion"] else "none"),
        ("file", f"{document['bytes'] / 1e6:.2f} MB, format {document['format_version']}"),
        ("checksum", f"`{document['checksum']}`"),
        ("written by", ", ".join(f"{name} {number}" for name, number in document["versions"].items())),
    ]
    return _table(["", ""], rows)


def _scalars(document: Mapping[str, Any]) -> list[str]:
    cutoff = document["architecture"]["network"]["cutoff"]
    columns = [document[name] for name in ("elements", "offsets", "length_scales", "energy_scales")]
    rows = [
        (symbol, f"{offset:.4f}", f"{length:.4f}", f"{energy:.4f}", f"{cutoff / length:.3f}")
        for symbol, offset, length, energy in zip(*columns, strict=True)
    ]
    return _table(["element", "offset (eV)", "length scale", "energy scale", "cutoff (Å)"], rows)


def _coverage(stages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what the frames of every stage cover; a model has seen them all."""
    for stage in stages:
        yield f"Trained on ({_name(stage)}):"
        yield ""
        covered = stage["provenance"].get("domain")
        if not covered:
            yield MISSING
        else:
            rows = []
            for name, entry in _all_first(covered):
                volume, shortest = entry["volume_per_atom"], entry["shortest_distance"]
                rows.append(
                    (
                        name,
                        str(entry["frames"]),
                        str(entry["atoms"]),
                        f"{volume[0]:.1f} to {volume[1]:.1f}" if volume else "–",
                        f"{shortest:.2f}" if shortest is not None else "–",
                    )
                )
            columns = ["frames of", "frames", "atoms", "cell volume per atom (Å³)", "shortest distance (Å)"]
            yield from _table(columns, rows)
        yield ""
    yield "Cell volumes include vacuum. Nothing is known of the model beyond these ranges."


def _errors(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not records:
        yield MISSING
        return
    yield "Mean absolute / root mean square; forces and stress by component."
    for record in records:
        files = ", ".join(f"`{path}` (SHA-256 `{digest[:12]}…`)" for path, digest in record["files"].items())
        yield ""
        yield f"**{record['name']}**: {files}; {record['use']}; {record['date']}, mlpot {record['mlpot']}."
        yield ""
        rows = []
        for group, errors in _all_first(record["errors"]):
            pairs = [
                _pair(errors[f"{label}_mae"], errors[f"{label}_rmse"])
                for label in ("energy", "forces", "stress")
            ]
            rows.append((group, str(errors["frames"]), *pairs))
        columns = ["frames of", "frames", "energy (meV/atom)", "forces (meV/Å)", "stress (GPa)"]
        yield from _table(columns, rows)


def _pair(mean_absolute: float | None, root_mean_square: float | None) -> str:
    if mean_absolute is None or root_mean_square is None:
        return "–"
    return f"{mean_absolute:.3g} / {root_mean_square:.3g}"


def _data(stages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for stage in stages:
        provenance = stage["provenance"]
        said = _said(provenance)
        frames = provenance.get("frames")
        counts = (
            f"{frames['train']} frames trained on, {frames['validation']} held out" if frames else MISSING
        )
        yield f"**{_name(stage)}**: {counts}."
        yield ""
        files = provenance.get("data") or {}
        yield from (f"- `{path}`, SHA-256 `{digest}`" for path, digest in files.items())
        if not files:
            yield f"- files: {MISSING}"
        yield f"- licence: {said.get('licence') or MISSING}"
        yield f"- citation: {'; '.join(said.get('citations') or []) or MISSING}"
        yield ""


def _lineage(stages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for number, stage in enumerate(stages, 1):
        provenance = stage["provenance"]
        text = f"{number}. {_name(stage)}"
        if settings := provenance.get("recipe", {}).get("fit"):
            text += f"; {settings['epochs']} epochs, seed {settings['seed']}"
        if transfer := provenance.get("transfer"):
            scales = transfer.get("element_scales", {})
            for target, donor in transfer["donors"].items():
                text += f"; {target} from {donor}"
                if own := scales.get(target):
                    text += f" (length × {own['length']:.4f}, energy × {own['energy']:.4f}, {own['origin']})"
        if "file" in stage:
            text += f"; `{stage['file']}`, checksum `{stage['checksum'][:12]}…`"
        yield text + "."


def _name(stage: Mapping[str, Any]) -> str:
    kind = stage["provenance"].get("kind") or MISSING
    title = _said(stage["provenance"]).get("title")
    return f"{kind} on {', '.join(stage['elements'])}" + (f", {title}" if title else "")


def _self_test(document: Mapping[str, Any]) -> list[str]:
    absolute, relative = SELF_TEST_TOLERANCE[document["precision"]]
    structures = f"{len(document['self_test'])} structures ({', '.join(document['self_test'])})"
    return [
        f"The file holds {structures} with the energy, forces and stress of the saved model; they are "
        f"computed again whenever it is loaded and must agree within {absolute:g} (eV, eV/Å, eV/Å³) or "
        f"{relative:g} of the largest value, whichever is more."
    ]
