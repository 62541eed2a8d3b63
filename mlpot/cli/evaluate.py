"""``mlpot evaluate``: errors of a potential on labelled frames."""

from __future__ import annotations

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
        str | None, typer.Option(metavar="KEY", help="Also for each value of this info key.")
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
        from mlpot.data.section import LabelSection
        from mlpot.errors import DataError
        from mlpot.model.file import load_model
        from mlpot.training.errors import errors_by_group

        named = label_changes(energy_key, forces_key, stress_key, missing or Missing.error)
        labels = LabelSection(**{name: value for name, value in named.items() if value is not None})
        potential = load_model(model)
        frames = read_frames(data, labels.keys())
        if group_by is not None and not any(group_by in frame.info for frame in frames):
            known = sorted({key for frame in frames for key in frame.info})
            raise DataError(f"{data}: no frame has the info key {group_by!r}; there are: {', '.join(known)}.")
        with progress_bar() as update:
            summaries = errors_by_group(
                potential, frames, group_by, lambda done, total: update(done / total, f"frame {done}")
            )
    errors = {group: summary.asdict() for group, summary in summaries.items()}
    document = {"command": "evaluate", "model": model, "data": data, "group_by": group_by, "errors": errors}
    emit(document, json, lambda console: console.print(error_table(errors, f"{model} on {data}")))
