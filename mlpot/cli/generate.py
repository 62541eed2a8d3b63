"""``mlpot generate``: sample structures and label them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mlpot.cli.options import Json
from mlpot.cli.output import emit, line, progress_bar, working
from mlpot.errors import RecipeError

EXAMPLE = "Example:  mlpot generate recipes/data/sw_si.yaml --out si.xyz"


def generate(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Sampling plan (YAML).")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the frames go: .xyz, .extxyz or .db.")],
    json: Json = False,
) -> None:
    """Sample structures (crystals, strain, MD, defects, surfaces, ...) and label them by a sampling plan.

    An existing file is replaced. Its provenance is noted next to it.
    """
    with working():
        from mlpot.data.files import write_frames
        from mlpot.recipe import load_recipe
        from mlpot.sampling.generate import generate as carry_out
        from mlpot.sampling.generate import provenance
        from mlpot.sampling.plan import SamplingPlan

        plan = load_recipe(SamplingPlan, recipe)
        with progress_bar() as update:
            generated = carry_out(plan, lambda part, done, total: update(done / max(total, 1), part))
        if not generated.frames:
            raise RecipeError(f"{recipe}: every frame was dropped, so {out} is not written; see max_force.")
        write_frames(out, generated.frames, provenance=provenance(plan, generated))
    frames = generated.frames
    document = {
        "file": str(out),
        "calculator": None if plan.calculator is None else str(plan.calculator),
        "frames": len(frames),
        "atoms": sum(map(len, frames)),
        "groups": generated.groups,
        "sampled": generated.sampled,
        "dropped": generated.dropped,
    }

    def show(console: Console) -> None:
        by = {True: f"labelled by {plan.calculator}", False: "not labelled"}
        labelled = by[plan.labels] if isinstance(plan.labels, bool) else f"labelled by {plan.labels}"
        line(console, "file", str(out))
        line(console, "frames", f"{len(frames)}, {document['atoms']} atoms, {labelled}")
        line(console, "groups", _listed(generated.groups))
        sampled = sum(generated.sampled.values())
        if sampled > len(frames) + sum(generated.dropped.values()):
            line(console, "selected", f"the most diverse of {sampled} frames")
        if generated.dropped:
            line(console, "dropped", f"forces above {plan.max_force:g} eV/Å: {_listed(generated.dropped)}")

    emit(document, json, show)


def _listed(groups: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in groups.items())
