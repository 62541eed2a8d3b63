"""``mlpot check``: what is wrong with a data set."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlpot.cli.options import EnergyKey, ForcesKey, Json, StressKey, label_changes
from mlpot.cli.output import emit, new_table, progress_bar, working

if TYPE_CHECKING:
    from mlpot.checking.report import Report

EXAMPLE = "Example:  mlpot check si_test.xyz --against si_train.xyz --html check.html"
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Frames to check.")],
    against: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Another set: copies in both, what it covers, its energy zero."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Compare labels with a model file or a shipped model, too."),
    ] = None,
    group_by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY", help="Info key that makes groups; may be repeated. \\[config_type or group]"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the findings as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with plots.")] = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    json: Json = False,
) -> None:
    """Look for mistakes in a data set before training on it.

    Units and signs, labels that contradict each other or their names, copies and leaks, distances,
    outliers, cells, energy zeros. Exit status 1 if there are findings of severity error, else 0.
    """
    with working():
        from mlpot.atomic import replacing
        from mlpot.checking.run import check as carry_out
        from mlpot.data.files import read_usable
        from mlpot.data.section import LabelSection
        from mlpot.errors import DataError

        named = label_changes(energy_key, forces_key, stress_key, None)
        labels = LabelSection(**{key: value for key, value in named.items() if value is not None}).keys()
        with progress_bar() as update:
            update(0.0, f"reading {data}")
            frames, refused, constrained = read_usable(data, labels)
            if not frames:
                raise DataError(f"{data}: no frame can be used; the first: {next(iter(refused.values()))}")
            other = None
            if against is not None:
                update(0.0, f"reading {against}")
                other, refused_there, _ = read_usable(against, labels)
                refused |= refused_there
                if not other:
                    raise DataError(f"{against}: no frame can be used; {next(iter(refused_there.values()))}")
            report = carry_out(
                frames,
                other,
                model,
                group_by,
                name=data,
                against_name=against or "",
                constrained=constrained,
                refused=refused,
                progress=update,
            )
        document: dict[str, Any] = {"command": "check", **report.asdict()}
        if out is not None:
            with replacing(out) as partial:
                partial.write_text(json_module.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
        if html is not None:
            report.write_html(html)
    emit(document, json, lambda console: _show(console, report))
    if report.tally["error"]:
        raise typer.Exit(1)


def _show(console: Console, report: Report) -> None:
    for name, counted in report.counts.items():
        title = f"{name}: {counted['frames']} frames, {counted['atoms']} atoms, " + ", ".join(
            f"{number} {symbol}" for symbol, number in counted["elements"].items()
        )
        table = new_table("group", "frames", "atoms", "energy", "forces", "stress", "eV/atom", title=title)
        for group, own in counted["groups"].items():
            span = own["energy_eV_per_atom"]
            energies = "–" if span is None else f"{span[0]:.3f} … {span[2]:.3f}"
            labels = [str(number) for number in own["labels"].values()]
            table.add_row(group, str(own["frames"]), str(own["atoms"]), *labels, energies)
        console.print(table)
    for finding in report.findings:
        console.print(f"[{_COLOURS[finding.severity]}]{finding.severity}[/] [bold]{finding.check}[/]")
        for text in (finding.message, finding.action):
            console.print("  " + text, markup=False, soft_wrap=True)
    tally = ", ".join(f"{number} {severity}s" for severity, number in report.tally.items())
    console.print(f"{tally}; {report.seconds:.1f} s", markup=False)
