"""``mlpot info``: what a model file says about itself."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from mlpot.cli.options import Json, Model
from mlpot.cli.output import emit, line, new_table, working

EXAMPLE = "Example:  mlpot info runs/ge/model.safetensors"


def info(model: Model, json: Json = False) -> None:
    """Show elements, shape, scales, offsets and provenance of a model.

    Only the header is read and the checksum verified; the self-test is left to
    the commands that compute.
    """
    with working():
        from mlpot.model.file import find_model, read_header
        from mlpot.model.network import NetworkConfig
        from mlpot.model.potential import Potential

        header = read_header(model)
        architecture = header["architecture"]
        potential = Potential(
            header["elements"], NetworkConfig(**architecture["network"]), architecture["repulsion"]
        )
        document = {
            "command": "info",
            "model": str(find_model(model)),
            "parameters": sum(parameter.numel() for parameter in potential.parameters()),
            **{key: value for key, value in header.items() if key != "self_test"},
            "self_test": [f"{len(entry['numbers'])} atoms" for entry in header["self_test"]],
        }
    emit(document, json, lambda console: _show(console, document))


def _show(console: Console, document: dict[str, Any]) -> None:
    line(console, "model", f"{document['model']} (format {document['format_version']})")
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
        line(console, f"{indent}transfer", f"{served}; scales: {transfer['scales']['origin']}")
    if frames := provenance.get("frames"):
        line(console, f"{indent}frames", f"{frames['train']} train, {frames['validation']} validation")
    for path, digest in provenance.get("data", {}).items():
        line(console, f"{indent}data", f"{path} (SHA-256 {digest[:12]}…)")
    if parent := provenance.get("parent"):
        line(console, f"{indent}parent", ", ".join(parent["elements"]))
        _show_provenance(console, parent["provenance"], indent + "  ")
