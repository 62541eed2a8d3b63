"""``mlpot report``: one page on runs, models and what came of their tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mlpot.cli.options import Json
from mlpot.cli.output import emit, line, progress_bar, working

EXAMPLE = "Example:  mlpot report runs/ge runs/ge/stability runs/ge/properties --out ge.html"


def report(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Run, model, study, test folder, or JSON; several in order."),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the page goes, FILE.html.")],
    time: Annotated[bool, typer.Option("--time", help="Also measure the speed of models.")] = False,
    json: Json = False,
) -> None:
    """Render one HTML page, complete in itself, of what each RUN is by its files.

    Training and transfer runs, model files, studies, folders of mlpot stability, properties,
    observe and melt, JSON of mlpot doctor and mlpot evaluate. What is missing is said in its
    section.
    """
    with working():
        from mlpot.atomic import replacing
        from mlpot.reporting.page import report as render
        from mlpot.reporting.recognise import require_page

        require_page(out)
        with progress_bar() as update:
            text, found = render(sources, time, update)
        with replacing(out) as partial:
            partial.write_text(text, encoding="utf-8")
        document = {"command": "report", "out": str(out), "bytes": out.stat().st_size, **found}
    emit(document, json, lambda console: _show(console, document))


def _show(console: Console, document: dict[str, Any]) -> None:
    for section in document["sections"]:
        line(console, section["kind"], f"{section['title']} ({section['path']})")
        if section["figures"]:
            line(console, "  figures", ", ".join(section["figures"]))
        for what, why in section["missing"].items():
            line(console, "  missing", f"{what}: {why}")
    line(console, "written", f"{document['out']} ({document['bytes'] / 1e6:.1f} MB)")
