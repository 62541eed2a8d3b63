"""``mlpot evaluate``: errors of a potential on labelled frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
from mlpot.cli.output import emit, error_table, progress_bar, working

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
    json: Json = False,
) -> None:
    """Compare a potential with labels: mean absolute and root mean square errors."""
    with working():
        from mlpot.data.files import read_frames
        from mlpot.data.section import LabelSection, file_sha256
        from mlpot.errors import RecipeError
        from mlpot.model.file import load_model
        from mlpot.training.errors import check_keys, errors_by_group
        from mlpot.training.record import error_record, record_errors, relation

        if record is not None and not Path(model).is_file():
            raise RecipeError(f"--record writes into the model file; give its path, not the name {model}.")
        named = label_changes(energy_key, forces_key, stress_key, missing or Missing.error)
        labels = LabelSection(**{name: value for name, value in named.items() if value is not None})
        potential = load_model(model)
        frames = read_frames(data, labels.keys())
        keys = group_by or []
        check_keys(frames, keys, data)
        with progress_bar() as update:
            summaries = errors_by_group(
                potential, frames, keys, lambda done, total: update(done / total, f"frame {done}")
            )
        if record is not None:
            digest = file_sha256(data)
            use = relation(potential.provenance, digest)
            record_errors(model, error_record(record, use, frames, {data: digest}, keys, summaries))
    errors = {group: summary.asdict() for group, summary in summaries.items()}
    document = {
        "command": "evaluate",
        "model": model,
        "data": data,
        "group_by": keys,
        "recorded": record,
        "errors": errors,
    }
    emit(document, json, lambda console: console.print(error_table(errors, f"{model} on {data}")))
