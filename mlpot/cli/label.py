"""``mlpot label``: compute labels of frames with any method, here or on a cluster."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from mlpot.cli.options import Json
from mlpot.cli.output import emit, line, new_table, progress_bar, show_notes, working

EXAMPLE = "Example:  mlpot label frames.xyz --recipe recipes/label/sw_si.yaml --out labelled.xyz"

#: Exit status when some frames have no labels; mistakes of the user give 2.
SOME_UNLABELLED = 1
#: Formats of labelled frames, by suffix; checked before anything is computed.
_OUTPUTS = (".xyz", ".extxyz", ".db", ".lmdb")
#: Frames without labels that are shown; failed.json has all.
_SHOWN = 20


def label(
    frames: Annotated[
        Path, typer.Argument(metavar="FRAMES", help="Structures: .xyz, .extxyz, .db or .lmdb.")
    ],
    recipe: Annotated[Path, typer.Option(metavar="RECIPE", help="Method and engine (YAML).")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where labelled frames go: .xyz, .extxyz, .db or .lmdb.")
    ],
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run directory. \\[FILE with the suffix .run]")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what did not converge before.")] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Compute nothing; write what is finished.")
    ] = False,
    json: Json = False,
) -> None:
    """Label frames with a force field, an ab initio code or any ASE calculator.

    A frame is labelled once: the same command continues where it was stopped or killed, and
    tries again what failed. Frames without labels are not in FILE but in failed.json of the
    run directory, with their reasons; the exit status is then 1.
    """
    with working():
        from mlpot.data.files import read_frames
        from mlpot.errors import RecipeError
        from mlpot.labelling.recipe import LabelRecipe
        from mlpot.labelling.run import label as carry_out
        from mlpot.labelling.run import write_labelled
        from mlpot.recipe import load_recipe

        plan = load_recipe(LabelRecipe, recipe)
        if out.suffix.lower() not in _OUTPUTS:
            raise RecipeError(f"--out {out}: unknown suffix {out.suffix!r}; expected {', '.join(_OUTPUTS)}.")
        if out.resolve() == frames.resolve():
            raise RecipeError(f"--out {out} would replace the input; choose another name.")
        run = run or out.with_suffix(".run")
        structures = read_frames(frames, None)
        with progress_bar() as update:
            total = 0

            def show_progress(labelled: int, failed: int, left: int) -> None:
                nonlocal total
                total = total or left  # of this run, so that what was finished before does not flatter it
                update(1 - left / total, f"{labelled} labelled, {failed} failed, {left} to do")

            result = carry_out(plan, structures, run, retry, partial, show_progress)
        if result.frames:
            write_labelled(out, result, run, frames)
    document = {
        "command": "label",
        "file": str(out) if result.frames else None,
        "run": str(run),
        "method": result.provenance["method"],
        "frames": len(structures),
        "structures": result.structures,
        "reused": result.reused,
        "labelled": len(result.frames),
        "unlabelled": [asdict(entry) for entry in result.unlabelled],
        "notes": result.notes,
    }

    def show(console: Console) -> None:
        line(console, "file", str(out) if result.frames else "none: no frame has labels")
        line(console, "run", str(run))
        text = f"{len(result.frames)} of {len(structures)} labelled"
        if result.structures < len(structures):
            text += f"; {result.structures} different structures"
        line(console, "frames", text + (f"; {result.reused} from before" if result.reused else ""))
        show_notes(console, result.notes)
        if result.unlabelled:
            kinds = Counter(entry.kind for entry in result.unlabelled)
            title = f"without labels: {', '.join(f'{number} {kind}' for kind, number in kinds.items())}"
            table = new_table("frame", "attempts", title=title)
            table.add_column("reason", overflow="fold")
            for entry in result.unlabelled[:_SHOWN]:
                table.add_row(str(entry.index), str(entry.attempts), Text(entry.reason))
            console.print(table)
            line(console, "all", f"{run / 'failed.json'}, with the folders of inputs and outputs")

    emit(document, json, show)
    if result.unlabelled:
        raise typer.Exit(SOME_UNLABELLED)
