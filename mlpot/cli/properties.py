"""``mlpot properties``: what a crystal is like under a potential, beside experiment and theory."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlpot.cli.options import Json
from mlpot.cli.output import emit, line, new_table, progress_bar, working
from mlpot.cli.subject import CalculatorName, Element, OptionalModel, chosen_calculator, parse_settings

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE = "Example:  mlpot properties si --element Si --set standard --out runs/si/properties"


def properties(
    element: Element,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where properties.json, properties.html and figures go.")
    ],
    model: OptionalModel = None,
    calculator: CalculatorName = None,
    level: Annotated[
        str, typer.Option("--set", metavar="NAME", help="quick, standard or full; see the documentation.")
    ] = "standard",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Instead of a set: a property, or phase_*; may be repeated."),
    ] = None,
    set_to: Annotated[
        list[str] | None,
        typer.Option(
            "--setting",
            metavar="KEY=VALUE",
            help="A setting, such as defect_supercells=[2] or seed=1; may be repeated.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compute lattice, elasticity, phonons, phases, defects and surfaces, beside references.

    The crystal is diamond. What cannot be computed is listed with its reason;
    the rest goes on. Stopped or killed, the same command goes on where it was.
    """
    with working():
        from mlpot.errors import RecipeError
        from mlpot.properties.compute import compute
        from mlpot.properties.record import Record
        from mlpot.properties.report import document, write
        from mlpot.properties.subject import PropertySettings
        from mlpot.properties.unfinished import discard, keep, take_over

        if (out / "properties.json").exists():
            raise RecipeError(f"{out}: holds properties already; choose another --out or remove it.")
        settings = parse_settings(PropertySettings, set_to or [])
        name, described, built = chosen_calculator(model, calculator, element)
        given = [model] if model is not None else ["--calculator", str(calculator)]
        chosen = [word for one in only for word in ("--only", one)] if only else ["--set", level]
        changed = [word for one in set_to or [] for word in ("--setting", one)]
        command = ["mlpot", "properties", *given, "--element", element, *chosen, *changed, "--out", str(out)]
        subject = {"element": element, "calculator": described, "settings": settings.model_dump(mode="json")}
        known = take_over(out, subject)
        about = {
            "command": shlex.join(command),
            "name": name,
            **subject,
            "set": None if only else level,
            "only": only,
        }
        with progress_bar() as update:

            def progress(records: list[Record], fraction: float, name: str) -> None:
                keep(out, subject, records)
                update(fraction, name)

            records = compute(built, element, only or level, settings, progress, known)  # type: ignore[arg-type]
        found = document(records, element, about)
        found["files"] = write(found, out)
        discard(out)
    emit(found, json, lambda console: _show(console, found))


def _show(console: Console, found: dict[str, Any]) -> None:
    from mlpot.properties.report import number

    apart: dict[tuple[str, str], float | None] = {}
    for row in found["comparison"]:  # PBE comes before PW91
        theory = "DFT" if row["kind"] in ("PBE", "PW91") else row["kind"]
        apart.setdefault((row["name"], theory), row["deviation"])
    table = new_table("", "", "unit", "exp.", "DFT", title=f"{found['element']} by {found['name']}")
    table.columns[0].no_wrap = True
    for record in found["records"]:
        value = "–" if record["value"] is None else number(record["value"])
        beside = [apart.get((record["name"], kind)) for kind in ("experiment", "DFT")]
        cells = [
            "" if one is None else f"{one:+.1f} %" if abs(one) < 10 else f"{one:+.0f} %" for one in beside
        ]
        table.add_row(record["name"], value, record["unit"], *cells)
    table.caption = "deviations from experiment and DFT (PBE, else PW91)"
    console.print(table)
    for record in found["records"]:
        if record["reason"]:
            line(console, "no value", f"{record['name']}: {record['reason']}")
        for note in record["notes"]:
            line(console, "note", f"{record['name']}: {note}")
    for file in found["files"]:
        line(console, "written", file)
