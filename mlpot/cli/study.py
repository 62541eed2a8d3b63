"""``mlpot study`` and ``mlpot demo``: scratch against transfer, from recipe to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpot.cli.options import Json, RunDirectory
from mlpot.cli.output import emit, is_watched, line, new_table, silence_lightning, working

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE = "Example:  mlpot study recipes/mlearn_si_to_ge/study.yaml --out runs/mlearn_si_to_ge"
DEMO_EXAMPLE = "Example:  mlpot demo --out runs/demo    (from the root of the repository)"


def study(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe of a study (YAML).")],
    out: RunDirectory,
    json: Json = False,
) -> None:
    """Train from scratch and by transfer on the same few frames, and report who wins where.

    Stopped or killed, the same command goes on where it was.
    """
    with working():
        import sys
        import time

        from mlpot.recipe import load_recipe
        from mlpot.studies.recipe import StudyRecipe
        from mlpot.studies.report import dynamics_table, error_table
        from mlpot.studies.run import run_study

        silence_lightning()
        started = time.monotonic()

        def say(text: str) -> None:
            print(f"[{time.monotonic() - started:6.0f} s] {text}", file=sys.stderr, flush=True)

        results = run_study(load_recipe(StudyRecipe, recipe), out, say, is_watched())
    document = {"command": "study", "out": str(out)} | results

    def show(console: Console) -> None:
        tables = [("Errors on the hold-out", error_table(results["seeds"]))]
        if results.get("dynamics"):
            tables.append(("Molecular dynamics", dynamics_table(results["dynamics"])))
        for title, (header, rows) in tables:
            table = new_table(*header, title=title)
            for row in rows:
                table.add_row(*row)
            console.print(table)
        for sentence in results["verdict"]:
            console.print("•", sentence, markup=False)
        line(console, "report", str(Path(out) / "report.html"))

    emit(document, json, show)


def demo(
    recipe: Annotated[
        str, typer.Option(metavar="FILE", help="Recipe of the study to show.")
    ] = "recipes/demo.yaml",
    out: RunDirectory = Path("runs/demo"),
    json: Json = False,
) -> None:
    """Watch a potential learn silicon and carry what it learned to germanium, in five minutes."""
    study(recipe, out, json)
