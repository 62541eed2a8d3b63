"""``mlpot active``: let a potential find what it does not know, label that, and learn it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlpot.cli.options import Json, RunDirectory
from mlpot.cli.output import emit, is_watched, line, new_table, show_notes, silence_lightning, working

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE = "Example:  mlpot active recipes/active/sw_ge.yaml --out runs/active"

#: Exit status when some chosen frames could not be labelled; mistakes of the user give 2.
SOME_UNLABELLED = 1


def active(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="What to learn, where, and how (YAML).")],
    out: RunDirectory,
    choose: Annotated[
        str | None,
        typer.Option(metavar="RULE", help="uncertainty or random, instead of the recipe's selection.choose."),
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of all random numbers.", min=0)] = None,
    json: Json = False,
) -> None:
    """Train, run dynamics, label the frames that are least known, and again.

    Stopped or killed, the same command continues. Chosen frames that could
    not be labelled are listed with their reasons; the exit status is then 1.
    """
    with working():
        import sys
        import time

        from mlpot.active.recipe import ActiveRecipe
        from mlpot.active.run import run_active
        from mlpot.cli.options import override
        from mlpot.recipe import parse_recipe, read_yaml

        silence_lightning()
        started = time.monotonic()

        def say(text: str) -> None:
            print(f"[{time.monotonic() - started:6.0f} s] {text}", file=sys.stderr, flush=True)

        changed = override(read_yaml(recipe), {"selection.choose": choose, "seed": seed})
        results = run_active(parse_recipe(ActiveRecipe, changed, recipe), out, say, is_watched())
    document = {"command": "active", "out": str(out)} | results
    unlabelled = [entry for one in results["rounds"] for entry in one.get("unlabelled", [])]

    def show(console: Console) -> None:
        table = new_table(
            "round", "labels", "test meV/Å", "median eV/Å", "largest eV/Å", "survived ps", "chosen",
            "labelled", title=f"{results['title']}: chosen by {results['choose']}",
        )  # fmt: skip
        for entry in results["rounds"]:
            dynamics = entry["dynamics"]
            errors, chosen = entry["test"], entry.get("chosen")
            table.add_row(
                str(entry["round"]),
                str(entry["labels"]),
                _number(errors["forces_mae"] if errors else None, ".1f"),
                _number(dynamics["median_forces_std"], ".3f"),
                _number(dynamics["largest_forces_std"], ".3f"),
                f"{dynamics['survived_ps']:.2f} of {dynamics['time_ps']:g}",
                str(len(chosen["frames"])) if chosen else "–",
                str(entry.get("labelled", "–")),
            )
        table.caption = (
            "test: mean absolute error of force components; eV/Å: predicted deviations of the candidates"
        )
        console.print(table)
        line(console, "stopped", results["stopped"])
        for entry in unlabelled:
            line(console, "unlabelled", f"{entry['source']}: {entry['reason']} ({entry['folder']})")
        show_notes(console, results["notes"])
        line(console, "models", " ".join(results["models"]))
        line(console, "frames", str(Path(out) / "labelled.xyz"))

    emit(document, json, show)
    if unlabelled:
        raise typer.Exit(SOME_UNLABELLED)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"
