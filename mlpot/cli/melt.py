"""``mlpot melt``: the melting temperature under a potential."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mlpot.cli.options import Json
from mlpot.cli.output import emit, line, new_table, progress_bar, working
from mlpot.cli.subject import CalculatorName, Element, OptionalModel, chosen_calculator, parse_settings

EXAMPLE = "Example:  mlpot melt --calculator sw-si --element Si --out runs/sw/melting"


def melt(
    element: Element,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where melting.json, series, figure and the runs' states go.")
    ],
    model: OptionalModel = None,
    calculator: CalculatorName = None,
    time: Annotated[
        float | None, typer.Option(metavar="PS", help="Length of each run. \\[200]", min=1)
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Runs from either side. \\[2]", min=2)
    ] = None,
    guess: Annotated[
        float | None,
        typer.Option(metavar="K", help="Where to begin. \\[0.65 of what the crystal bears, heated fast]"),
    ] = None,
    set_to: Annotated[
        list[str] | None,
        typer.Option(
            "--setting",
            metavar="KEY=VALUE",
            help="A setting, such as supercell=[4,4,10] or timestep_fs=1; may be repeated.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compute the melting temperature of diamond from coexisting crystal and liquid.

    At constant enthalpy the two find their temperature; runs from below and above it
    give its bracket. Stopped or killed, the same command goes on where it was; with a larger
    --time or more --seeds it makes the error smaller.
    """
    with working():
        from mlpot.engine.guards import alone_in, interruptible
        from mlpot.melting.report import write_melting
        from mlpot.melting.run import melting
        from mlpot.melting.settings import MeltingSettings
        from mlpot.recipe import parse_recipe

        asked = {"time_ps": time, "seeds": seeds, "guess": guess}
        changes = parse_settings(MeltingSettings, set_to or []).model_dump(exclude_unset=True)
        changes |= {key: value for key, value in asked.items() if value is not None}
        settings = parse_recipe(MeltingSettings, changes, "options")
        name, described, built = chosen_calculator(model, calculator, element)
        given = [model] if model is not None else ["--calculator", str(calculator)]
        flags = {"--time": time, "--seeds": seeds, "--guess": guess}
        flagged = [
            word for flag, value in flags.items() if value is not None for word in (flag, f"{value:g}")
        ]
        changed = [word for one in set_to or [] for word in ("--setting", one)]
        command = ["mlpot", "melt", *given, "--element", element, *flagged, *changed, "--out", str(out)]
        notes: list[str] = []
        message = f"stopped; go on with: {shlex.join(command)}"
        with alone_in(out, "mlpot melt", "--out", notes), interruptible(message), progress_bar() as update:
            found, prepared, states = melting(built, element, out / "stages", settings, described, update)
            about = {
                "command": shlex.join(command),
                "element": element,
                "name": name,
                "calculator": described,
                "settings": settings.model_dump(mode="json"),
                "notes": notes,
            }
            document = write_melting(found, prepared, states, settings, about, out)
    emit(document, json, lambda console: _show(console, document))


def _show(console: Console, document: dict[str, Any]) -> None:
    found = document["melting"]
    table = new_table("run", "from K", "K", "error", "crystal", "independent", title="runs")
    for run in found["runs"]:
        shares = f"{run['fraction_start']:.0%} to {run['fraction_end']:.0%}"
        mean = f"{run['mean']:.0f}" if run["coexisted"] else "–"
        table.add_row(
            run["side"],
            f"{run['start']:.0f}",
            mean,
            f"{run['error']:.0f}",
            shares,
            f"{run['independent']:.0f}",
        )
    console.print(table)
    low, high = found["bracket"]
    line(console, "melting", f"{found['temperature']:.0f} ± {found['error']:.0f} K")
    line(console, "bracket", f"{low:.0f} to {high:.0f} K")
    for note in [*found["notes"], *document["notes"]]:
        line(console, "note", note)
    for file in document["files"]:
        line(console, "written", file)
