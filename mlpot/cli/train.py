"""``mlpot train``: learn a potential from labelled frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    show_frames,
    show_notes,
    show_offsets,
    silence_lightning,
    working,
)

EXAMPLE = "Example:  mlpot train --data data/sw/si.xyz --out runs/si"


def train(
    out: RunDirectory,
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="YAML; see recipes/README.md for its keys.")
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
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    missing: MissingLabels = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Train a new potential; flags override the recipe.

    Without a recipe the elements are those of the data, and a tenth of the
    frames is held out. The run directory holds model.safetensors, recipe.yaml,
    split.json, metrics.csv, log.txt and checkpoints. Ctrl-C leaves a run that
    --resume continues exactly.
    """
    with working():
        from mlpot.errors import RecipeError
        from mlpot.recipe import parse_recipe, read_yaml
        from mlpot.training.run import TrainRecipe
        from mlpot.training.run import train as carry_out

        silence_lightning()
        if recipe is None and resume and not data:
            recipe = out / "recipe.yaml"
        if recipe is None and not data:
            raise RecipeError("nothing to train on: give a recipe, or --data FILE.")
        labels = label_changes(energy_key, forces_key, stress_key, missing)
        changes = {
            "data.train": data or None,
            "data.validation": validation,
            "data.frames": frames,
            "data.seed": seed,
            "fit.seed": seed,
            "fit.epochs": epochs,
            **{f"data.labels.{name}": value for name, value in labels.items()},
        }
        content = override(read_yaml(recipe) if recipe else {}, changes)
        plan = parse_recipe(TrainRecipe, content, str(recipe or "options"))
        summary = carry_out(plan, out, resume, is_watched())

    def show(console: Console) -> None:
        line(console, "elements", ", ".join(summary["elements"]))
        show_frames(console, summary["frames"])
        if any((own["length"], own["energy"]) != (1.0, 1.0) for own in summary["scales"].values()):
            for symbol, own in summary["scales"].items():
                line(console, f"scales {symbol}", f"length {own['length']:.4f}, energy {own['energy']:.4f}")
        show_offsets(console, summary["offsets"])
        show_notes(console, summary["notes"])
        if summary["errors_by_group"]:
            console.print(error_table(summary["errors_by_group"], "Errors on the validation frames"))
        spent = f"{summary['epochs']} in {summary['seconds']:.0f} s"
        line(console, "epochs", f"{spent}, see {out / 'metrics.csv'}")
        line(console, "model", f"{summary['model']} ({summary['parameters']} parameters)")

    if plan.hardware.leads():
        emit({"command": "train", **summary}, json, show)
