"""``mlpot generate``: label structures with a classical force field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mlpot.cli.options import Json
from mlpot.cli.output import emit, line, progress_bar, working

EXAMPLE = "Example:  mlpot generate recipes/data/sw_si.yaml --out si.xyz"


def generate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Sampling plan (YAML).")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the frames go: .xyz, .extxyz or .db.")],
    json: Json = False,
) -> None:
    """Label frames from MD, strain and rattling with a classical force field.

    An existing file is replaced. Its provenance is noted next to it.
    """
    with working():
        from mlpot.data.files import write_frames
        from mlpot.recipe import load_recipe
        from mlpot.reference.generate import generate as carry_out
        from mlpot.reference.generate import provenance
        from mlpot.reference.sampling import SamplingPlan

        plan = load_recipe(SamplingPlan, recipe)
        with progress_bar() as update:
            frames = carry_out(plan, lambda part, done, total: update(done / total, part))
        write_frames(out, frames, provenance=provenance(plan))
    groups: dict[str, int] = {}
    for frame in frames:
        groups[frame.info["group"]] = groups.get(frame.info["group"], 0) + 1
    atoms = sum(map(len, frames))
    document = {"file": str(out), "calculator": plan.calculator, "frames": len(frames), "atoms": atoms}

    def show(console: Console) -> None:
        line(console, "file", str(out))
        line(console, "frames", f"{len(frames)}, {atoms} atoms, labelled by {plan.calculator}")
        line(console, "groups", ", ".join(f"{name} {number}" for name, number in groups.items()))

    emit(document | {"groups": groups}, json, show)
