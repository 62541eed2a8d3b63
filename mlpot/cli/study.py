"""``mlpot study`` and ``mlpot demo``: ways to a potential compared, from recipe to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpot.cli.options import Json, RunDirectory
from mlpot.cli.output import emit, is_watched, line, new_table, silence_lightning, working

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE = "Example:  mlpot study recipes/studies/sw_si_to_ge.yaml --profile quick --out runs/quick"
DEMO_EXAMPLE = "Example:  mlpot demo --out runs/demo    (from the root of the repository)"


def study(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Recipe of a study (YAML).")],
    out: RunDirectory,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of the recipe's profiles, such as quick.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes side by side, instead of the recipe's engine.")
    ] = None,
    json: Json = False,
) -> None:
    """Train by several strategies on the same frames, and report with intervals who wins where.

    Stopped or killed, the same command goes on where it was; of a changed recipe only what is
    new is computed.
    """
    with working():
        import sys
        import time

        from mlpot.engine.settings import LocalEngine
        from mlpot.studies.recipe import load_study
        from mlpot.studies.report import dynamics_table, error_table, properties_table
        from mlpot.studies.run import run_study

        silence_lightning()
        started = time.monotonic()

        def say(text: str) -> None:
            print(f"[{time.monotonic() - started:6.0f} s] {text}", file=sys.stderr, flush=True)

        plan = load_study(recipe, profile)
        if workers is not None:
            plan = plan.model_copy(update={"engine": LocalEngine(workers=workers)})
        results = run_study(plan, out, say, is_watched())
    document = {"command": "study", "out": str(out)} | results

    def show(console: Console) -> None:
        tables = [
            ("Force error on the hold-out, MAE in meV/Å", error_table(results)),
            ("Energy error on the hold-out, MAE in meV/atom", error_table(results, "energy_mae")),
            ("Molecular dynamics", dynamics_table(results)),
            ("The liquid, against labelled frames", dynamics_table(results, "liquid")),
            ("Properties of the crystal", properties_table(results)),
        ]
        for title, (header, rows) in tables:
            if rows:
                table = new_table(*header, title=title)
                for row in rows:
                    table.add_row(*row)
                console.print(table)
        for entry in results["failed"]:
            console.print(f"FAILED {entry['task']}: {entry['reason']}", markup=False, style="red")
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
    study(recipe, out, json=json)
