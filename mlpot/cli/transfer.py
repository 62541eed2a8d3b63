"""``mlpot transfer``: carry a potential to other elements."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mlpot.cli.options import (
    EnergyKey,
    Epochs,
    ForcesKey,
    Frames,
    Json,
    MissingLabels,
    Resume,
    RunDirectory,
    Seed,
    StressKey,
    label_changes,
    override,
)
from mlpot.cli.output import (
    emit,
    error_table,
    is_watched,
    line,
    new_table,
    show_frames,
    show_notes,
    show_offsets,
    silence_lightning,
    working,
)

EXAMPLE = "Example:  mlpot transfer --from si --to Ge --data data/sw/ge.xyz --frames 10 --out runs/ge"


class ScaleChoice(StrEnum):
    """Where the two scalars of corresponding states come from."""

    fit = "fit"
    properties = "properties"
    none = "none"


def transfer(
    out: RunDirectory,
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="YAML; see recipes/README.md for its keys.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--from", metavar="MODEL", help="Model file to start from, or a shipped model."),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="ELEMENT", help="Element of the new potential; may be repeated."),
    ] = None,
    donor: Annotated[
        list[str] | None,
        typer.Option(metavar="Ge=Si", help="Which element of the model serves one of --to; may be repeated."),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Labelled frames; may be repeated.")
    ] = None,
    validation: Annotated[
        str | None, typer.Option(metavar="FILE", help="Validation frames, instead of holding some out.")
    ] = None,
    frames: Frames = None,
    epochs: Epochs = None,
    seed: Seed = None,
    scales: Annotated[
        ScaleChoice | None,
        typer.Option(
            help="Length and energy scale: fitted to forces and stresses, from properties, or both 1. "
            "\\[fit; without data: properties]"
        ),
    ] = None,
    lattice_constants: Annotated[
        tuple[float, float] | None, typer.Option(metavar="A_DONOR A_TARGET", help="Å; for scales.")
    ] = None,
    cohesive_energies: Annotated[
        tuple[float, float] | None, typer.Option(metavar="E_DONOR E_TARGET", help="eV/atom; for scales.")
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN", help="Weights that stay the donor's (network.layers.0.*); may be repeated."
        ),
    ] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    missing: MissingLabels = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Carry a potential to other elements; flags override the recipe.

    With data, the two scales of corresponding states are fitted to forces and stresses,
    offsets are re-estimated, and everything is fine-tuned (--epochs 0: not).
    Without data the scales come from lattice constants and cohesive energies,
    and nothing is fine-tuned.
    """
    with working():
        from mlpot.errors import RecipeError
        from mlpot.recipe import parse_recipe, read_yaml
        from mlpot.transfer.run import TransferRecipe
        from mlpot.transfer.run import transfer as carry_out

        silence_lightning()
        if recipe is None and resume and model is None:
            recipe = out / "recipe.yaml"
        content = read_yaml(recipe) if recipe else {}
        if model is None and "model" not in content:
            raise RecipeError("no model to start from: give --from MODEL, or `model` in the recipe.")
        if not to and "targets" not in content:
            raise RecipeError("no element to transfer to: give --to ELEMENT, or `targets` in the recipe.")
        in_data = {
            "train": data or None,
            "validation": validation,
            "frames": frames,
            **{
                f"labels.{name}": value
                for name, value in label_changes(energy_key, forces_key, stress_key, missing).items()
            },
        }
        if not data and "data" not in content and any(value is not None for value in in_data.values()):
            raise RecipeError("--validation, --frames and names of labels need --data FILE.")
        if data or "data" in content:
            in_data["seed"] = seed
        changes = {
            "model": model,
            "targets": to or None,
            "donors": _pairs(donor) if donor else None,
            "scales": scales.value if scales else None,
            "freeze": freeze or None,
            "properties.lattice_constants": lattice_constants,
            "properties.cohesive_energies": cohesive_energies,
            "fit.seed": seed if "seed" in in_data else None,
            "fit.epochs": epochs,
            **{f"data.{name}": value for name, value in in_data.items()},
        }
        plan = parse_recipe(TransferRecipe, override(content, changes), str(recipe or "options"))
        summary = carry_out(plan, out, resume, is_watched())

    if plan.hardware.leads():
        emit({"command": "transfer", **summary}, json, lambda console: _show(console, summary))


def _pairs(donors: list[str]) -> dict[str, str]:
    """Return target and donor of each ``Ge=Si``."""
    from mlpot.errors import RecipeError

    pairs = {}
    for text in donors:
        target, _, own = text.partition("=")
        if not (target and own):
            raise RecipeError(f"--donor {text}: expected TARGET=DONOR, e.g. --donor Ge=Si.")
        pairs[target] = own
    return pairs


def _show(console: Console, summary: dict[str, Any]) -> None:
    from mlpot.transfer.run import tensor_rows

    served = ", ".join(f"{target} from {donor}" for target, donor in summary["donors"].items())
    line(console, "donors", f"{served} of {summary['from']}")
    for target, scales in summary["scales"].items():
        left = "" if scales["force_rmse"] is None else f", force RMSE {1e3 * scales['force_rmse']:.0f} meV/Å"
        text = f"length {scales['length']:.4f}, energy {scales['energy']:.4f} ({scales['origin']}{left})"
        line(console, f"scales {target}", text)
    show_offsets(console, summary["offsets"])
    if summary["frames"]:
        show_frames(console, summary["frames"])
    show_notes(console, summary["notes"])
    table = new_table("tensors", "number", "values", title="What became of the donor's tensors")
    table.add_column("detail", overflow="fold")
    for row in tensor_rows(summary["report"]):
        table.add_row(*row)
    console.print(table)
    if summary["errors"]:
        console.print(error_table(summary["errors"], "Errors on the validation frames"))
        if len(summary["errors_by_group"]) > 1:
            console.print(error_table(summary["errors_by_group"], "Errors of the new potential, by group"))
    if summary["epochs"]:
        line(console, "fine-tuning", f"{summary['epochs']} epochs in {summary['seconds']:.0f} s")
    line(console, "model", f"{summary['model']} (every tensor: {summary['run']}/transfer.json)")
