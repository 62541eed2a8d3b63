"""``mlpot info``: what a model file says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mlpot.cli.options import Json, Model
from mlpot.cli.output import emit, line, new_table, working

EXAMPLE = "Example:  mlpot info runs/ge/model.safetensors"


def info(
    model: Model,
    card: Annotated[
        bool, typer.Option("--card", help="Print the model card, in Markdown: data, errors, domain, lineage.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the card to a file instead of printing it.")
    ] = None,
    json: Json = False,
) -> None:
    """Show elements, shape, scales, offsets and provenance of a model.

    Only the header is read and the checksum verified; the self-test is left to
    the commands that compute.
    """
    with working():
        from mlpot.atomic import replacing
        from mlpot.errors import RecipeError
        from mlpot.model.card import describe_model, model_card

        if out is not None and not card:
            raise RecipeError("--out is where the card goes; give --card too.")
        if card and json:
            raise RecipeError("--card is Markdown and --json is JSON; give one of them.")
        text = model_card(model) if card else ""
        document = {"command": "info", **describe_model(model)}
        if out is not None:
            with replacing(out) as partial:
                partial.write_text(text, encoding="utf-8")
    if not card:
        emit(document, json, lambda console: _show(console, document))
    elif out is None:
        print(text, end="")


def _show(console: Console, document: dict[str, Any]) -> None:
    line(
        console,
        "model",
        f"{document['model']} (format {document['format_version']}, {document['bytes']} bytes)",
    )
    network = dict(document["architecture"]["network"])
    reduced = network.pop("cutoff")
    shape = ", ".join(f"{name} {value}" for name, value in network.items())
    line(console, "network", f"{document['parameters']} parameters, {document['precision']}; {shape}")
    line(console, "cutoff", f"{reduced:g} Å in the network's units of length")
    line(console, "repulsion", "ZBL" if document["architecture"]["repulsion"] else "none")
    table = new_table("element", "offset eV", "length scale", "energy scale", "cutoff Å")
    columns = [document[name] for name in ("elements", "offsets", "length_scales", "energy_scales")]
    for symbol, offset, length, energy in zip(*columns, strict=True):
        table.add_row(symbol, f"{offset:.4f}", f"{length:.4f}", f"{energy:.4f}", f"{reduced / length:.3f}")
    console.print(table)
    written = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    line(console, "written by", written)
    _show_provenance(console, document["provenance"], "")


def _show_provenance(console: Console, provenance: dict[str, Any], indent: str) -> None:
    """Print how a model was made, then its parent in the same way."""
    if not provenance:
        line(console, f"{indent}made by", "not noted")
        return
    line(console, f"{indent}made by", str(provenance.get("kind", "not noted")))
    if transfer := provenance.get("transfer"):
        served = ", ".join(f"{target} from {donor}" for target, donor in transfer["donors"].items())
        scales = [f"{target} {own['origin']}" for target, own in transfer.get("element_scales", {}).items()]
        line(console, f"{indent}transfer", f"{served}; scales: {', '.join(scales) or 'not noted'}")
    if frames := provenance.get("frames"):
        line(console, f"{indent}frames", f"{frames['train']} train, {frames['validation']} validation")
    for record in provenance.get("errors", []):
        forces = record["errors"]["all"]["forces_mae"]
        text = f"{record['name']}: forces " + ("not labelled" if forces is None else f"{forces:.3g} meV/Å")
        line(console, f"{indent}errors", f"{text} (mean absolute; more with --card)")
    for path, digest in provenance.get("data", {}).items():
        line(console, f"{indent}data", f"{path} (SHA-256 {digest[:12]}…)")
    if parent := provenance.get("parent"):
        line(console, f"{indent}parent", ", ".join(parent["elements"]))
        _show_provenance(console, parent["provenance"], indent + "  ")
