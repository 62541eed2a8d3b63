"""``mlpot evaluate``: errors of a potential on labelled frames."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mlpot.cli.options import (
    Committee,
    EnergyKey,
    ForcesKey,
    Json,
    Missing,
    MissingLabels,
    Model,
    StressKey,
    label_changes,
)
from mlpot.cli.output import emit, error_table, line, new_table, progress_bar, working

EXAMPLE = "Example:  mlpot evaluate runs/si/model.safetensors --data data/sw/si.xyz --group-by config_type"


def evaluate(
    model: Model,
    data: Annotated[str, typer.Option(metavar="FILE", help="Labelled frames.")],
    group_by: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Also for each value of this info key; may be repeated."),
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Keep the errors under this name in the model file, for its card."),
    ] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    missing: MissingLabels = None,
    committee: Committee = None,
    json: Json = False,
) -> None:
    """Compare a potential with labels: mean absolute and root mean square errors.

    Where it has an uncertainty (mlpot calibrate, --committee), also the errors
    against the predicted standard deviations.
    """
    with working():
        from mlpot.data.files import read_frames
        from mlpot.data.section import LabelSection, file_sha256
        from mlpot.errors import NativeError, RecipeError
        from mlpot.model.committee import Committee as Mean
        from mlpot.model.file import load_model
        from mlpot.testing.calibration import calibrate_labels
        from mlpot.training.errors import check_keys, errors_by_group
        from mlpot.training.record import error_record, record_errors, relation

        if record is not None and not Path(model).is_file():
            raise RecipeError(f"--record writes into the model file; give its path, not the name {model}.")
        if record is not None and committee:
            raise RecipeError("--record keeps the errors of one model in its file; leave --committee out.")
        named = label_changes(energy_key, forces_key, stress_key, missing or Missing.error)
        labels = LabelSection(**{name: value for name, value in named.items() if value is not None})
        members = [load_model(name) for name in [model, *(committee or [])]]
        potential = members[0] if len(members) == 1 else Mean(members)
        frames = read_frames(data, labels.keys())
        keys = group_by or []
        check_keys(frames, keys, data)
        with progress_bar() as update:
            summaries = errors_by_group(
                potential, frames, keys, lambda done, total: update(done / total, f"frame {done}")
            )
        calibrations: dict[str, Any] = {}
        if potential.has_deviation:
            with suppress(NativeError):  # many evaluations; PyTorch takes several times longer
                potential.use_native()
            with progress_bar() as update:
                predictions = []
                for done, frame in enumerate(frames, start=1):
                    predictions += potential.predict(frame, uncertainty=True)
                    update(done / len(frames), f"frame {done}")
            found = calibrate_labels(frames, predictions)
            calibrations = {name: own.asdict() for name, own in found.items() if own is not None}
        if record is not None:
            digest = file_sha256(data)
            use = relation(members[0].provenance, digest)
            record_errors(model, error_record(record, use, frames, {data: digest}, keys, summaries))
    errors = {group: summary.asdict() for group, summary in summaries.items()}
    document = {
        "command": "evaluate",
        "model": model,
        "data": data,
        "group_by": keys,
        "recorded": record,
        "errors": errors,
        "committee": committee or [],
        "calibration": calibrations,
    }

    def show(console: Console) -> None:
        console.print(error_table(errors, f"{model} on {data}"))
        for name, unit in (("energy", "meV/atom"), ("forces", "meV/Å")):
            if name in calibrations:
                _show_calibration(console, name, unit, calibrations[name])

    emit(document, json, show)


def _show_calibration(console: Console, name: str, unit: str, found: dict[str, Any]) -> None:
    table = new_table("", "values", f"predicted {unit}", f"error {unit}", title=f"uncertainty of {name}")
    table.caption = "root mean squares, values in the order of their predicted deviation"
    rows = [*((str(i), own) for i, own in enumerate(found["bins"], start=1)), ("all", found)]
    for title, own in rows:
        table.add_row(title, str(own["count"]), f"{own['predicted']:.3g}", f"{own['observed']:.3g}")
    console.print(table)
    correlation = found["correlation"]
    ranked = "" if correlation is None else f"; rank correlation {correlation:.2f}"
    line(
        console, "z²", f"{found['mean_z2']:.2f} on average (1 if calibrated){ranked}; NLL {found['nll']:.3f}"
    )
    if found["fixed"]:
        error = f"errors of {found['fixed_error']:.3g} {unit} (RMS)"
        line(console, "left out", f"{found['fixed']} values that symmetry fixes, {error}")
