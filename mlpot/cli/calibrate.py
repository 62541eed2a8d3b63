"""``mlpot calibrate``: give a potential an uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mlpot.cli.options import (
    EnergyKey,
    ForcesKey,
    Json,
    Missing,
    MissingLabels,
    Model,
    StressKey,
    label_changes,
)
from mlpot.cli.output import emit, line, progress_bar, working

EXAMPLE = (
    "Example:  mlpot calibrate runs/ge/model.safetensors --data data/train.xyz --validation data/holdout.xyz "
    "--out runs/ge/calibrated.safetensors"
)


def calibrate(
    model: Model,
    data: Annotated[str, typer.Option(metavar="FILE", help="Labelled frames that MODEL was trained on.")],
    validation: Annotated[
        str, typer.Option(metavar="FILE", help="Labelled frames that it was not trained on.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Model file with uncertainty, not yet existing.")],
    heads: Annotated[
        int, typer.Option(metavar="N", help="Samples of the posterior, each one more evaluation.", min=2)
    ] = 16,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the samples.", min=0)] = 0,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    missing: MissingLabels = None,
    json: Json = False,
) -> None:
    """Add the posterior of the last linear maps to a potential, scaled on held-out frames.

    What it predicts stays the same; predicted standard deviations of energies
    and forces come with it, in the calculator, mlpot md and mlpot evaluate.
    """
    with working():
        from mlpot.data.files import read_frames
        from mlpot.data.section import LabelSection, file_sha256
        from mlpot.errors import RecipeError
        from mlpot.model.file import load_model, save_model
        from mlpot.model.uncertainty import add_uncertainty
        from mlpot.transfer.ridge import SquaredLoss, label_scales

        if out.exists():
            raise RecipeError(
                f"{out}: there is a file of this name already; choose another --out or remove it."
            )
        named = label_changes(energy_key, forces_key, stress_key, missing or Missing.error)
        labels = LabelSection(**{name: value for name, value in named.items() if value is not None})
        potential = load_model(model)
        frames, held_out = read_frames(data, labels.keys()), read_frames(validation, labels.keys())
        with progress_bar() as update:
            fit = add_uncertainty(
                potential,
                frames,
                held_out,
                label_scales(SquaredLoss()),
                heads,
                seed,
                lambda done, total: update(done / total, f"frame {done} of {total}"),
            )
        files = {str(data): file_sha256(data), str(validation): file_sha256(validation)}
        potential.provenance["uncertainty"] = {**fit.asdict(), "seed": seed, "files": files}
        save_model(potential, out)
    document = {"command": "calibrate", "model": model, "out": str(out), **fit.asdict(), "files": files}

    def show(console: Console) -> None:
        line(console, "covariance", f"{fit.frames} frames of {data}, penalty {fit.strength:.2g}")
        line(console, "scale", f"{fit.scale:.3g}, from {fit.values} errors on {fit.held_out} frames")
        line(console, "written", f"{out} ({fit.heads} heads); mlpot evaluate {out} shows the calibration")

    emit(document, json, show)
