"""``mlpot converge``: which settings of an ab initio code are fine enough."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mlpot.cli.options import Json, RunDirectory
from mlpot.cli.output import emit, line, new_table, progress_bar, working

EXAMPLE = "Example:  mlpot converge recipes/dft/convergence_si.yaml --out runs/convergence_si"


def converge(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="What to vary, on which structures (YAML).")
    ],
    out: RunDirectory,
    json: Json = False,
) -> None:
    """Vary cutoff, k-points and smearing of an ab initio code one at a time.

    Prints what each value changes in forces, energy differences and stress
    against the finest one. What is finished in --out is not computed again.
    """
    with working():
        from mlpot.labelling.dft.convergence import ConvergenceRecipe
        from mlpot.labelling.dft.convergence import converge as carry_out
        from mlpot.recipe import dump_recipe, load_recipe

        plan = load_recipe(ConvergenceRecipe, recipe)
        out.mkdir(parents=True, exist_ok=True)
        dump_recipe(plan, out / "recipe.yaml")
        with progress_bar() as update:
            document = carry_out(plan, out, lambda what, done, total: update(done / total, what))
    emit({"command": "converge", **document}, json, lambda console: _show(console, document, out))


def _show(console: Console, document: dict[str, Any], out: Path) -> None:
    table = new_table(
        "setting", "value", "seconds", "forces meV/Å", "largest", "energy meV/atom", "stress GPa", "within"
    )
    for step in document["steps"]:
        table.add_row(
            step["setting"],
            f"{step['value']:g}",
            f"{step['seconds']:.0f}",
            f"{step['forces_rms']:.1f}",
            f"{step['forces_max']:.1f}",
            f"{step['energy']:.2f}",
            "" if step["stress"] is None else f"{step['stress']:.3f}",
            "yes" if step["converged"] else "no",
        )
    console.print(table)
    for setting, value in document["chosen"].items():
        line(
            console,
            setting,
            f"{value:g} is enough" if value is not None else "go on: only the finest is left",
        )
    for symbol, energy in document["isolated_atoms"].items():
        line(console, "isolated", f"{symbol} {energy:.4f} eV")
    line(console, "written", str(out / "convergence.json"))
