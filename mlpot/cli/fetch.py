"""``mlpot fetch``: public data sets by name."""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlpot.cli.options import Json
from mlpot.cli.output import Update, emit, line, progress_bar, working
from mlpot.errors import RecipeError

if TYPE_CHECKING:
    from mlpot.data.download import Received
    from mlpot.data.fetch import DataFile, PublicSet

EXAMPLE = "Example:  mlpot fetch mlearn --element Si --out data/mlearn"


class Split(StrEnum):
    """The division that a set brings along."""

    train = "train"
    test = "test"


def fetch(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Of the set; see --list.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show what there is, and download nothing.")] = False,
    element: Annotated[
        list[str] | None, typer.Option(metavar="SYMBOL", help="Only files with this element (repeatable).")
    ] = None,
    split: Annotated[
        list[Split] | None, typer.Option(help="Only this part (repeatable).", show_choices=True)
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where it goes. \\[NAME]")] = None,
    sources: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another catalogue (YAML) than mlpot's own.")
    ] = None,
    json: Json = False,
) -> None:
    """Download a public data set, verify it, and write its frames as extended XYZ.

    A download that was broken off goes on where it stopped when the command
    is run again. What proves to be another file than the catalogue's is
    removed. Mind the licence, and cite the source.
    """
    with working():
        from mlpot.data.fetch import catalogue, choose
        from mlpot.data.fetch import fetch as get

        sets = catalogue(sources)
        if listed == (name is not None):
            raise RecipeError("give the NAME of a set or --list, one of them; e.g. `mlpot fetch mlearn`.")
        if name is None:
            shown = {key: _about(value, value.files) for key, value in sets.items()}
        else:
            wanted, held = choose(name, sets, element or (), [part.value for part in split or ()])
            about, out = sets[name], out or Path(name)
            told = Console(file=sys.stderr, highlight=False)
            _show_terms(told, _about(about, wanted))
            with progress_bar() as update:
                made = [get(name, about, file, out, _bar(update, file)) for file in wanted]
    if name is None:
        emit({"command": "fetch", "sets": shown}, json, lambda console: _show_list(console, shown))
        return
    left_out = {file.name: str(file.on_request) for file in held}
    results = [{**asdict(one), "path": str(one.path)} for one in made]
    document = {"command": "fetch", "set": name, **_about(about, wanted), "left_out": left_out}
    document["files"] = results

    def show(console: Console) -> None:
        for one in results:
            labels = ", ".join(f"{number} {label}" for label, number in one["labels"].items())
            line(console, "file", f"{one['path']}: {one['frames']} frames, {one['atoms']} atoms; {labels}")
            for source in one["sources"]:
                came = "downloaded" if source["downloaded"] else "was there"
                _more(console, f"{source['name']} {came}, {source['bytes'] / 1e6:.1f} MB")
                _more(console, f"sha256 {source['sha256']}, verified by {source['verified_by']}")
        for file, reason in left_out.items():
            line(console, "left out", f"{file}: {reason}")
        for trap in about.traps:
            line(console, "beware", trap)
        line(console, "cite", about.citation)

    emit(document, json, show)


def _bar(update: Update, file: DataFile) -> Received:
    def received(have: int, total: int | None) -> None:
        share = have / total if total else 0.0
        update(min(share, 1.0), f"{file.name}: {have / 1e6:.1f} MB")

    return received


def _about(about: PublicSet, files: list[DataFile]) -> dict[str, Any]:
    """Return what a set is, as JSON values."""
    return {
        "title": about.title,
        "home": about.home,
        "licence": about.licence,
        "citation": about.citation,
        "traps": about.traps,
        "files": [file.model_dump(mode="json", exclude_none=True) for file in files],
    }


def _show_terms(console: Console, about: dict[str, Any]) -> None:
    line(console, "set", about["title"])
    line(console, "home", about["home"])
    line(console, "licence", about["licence"])
    line(console, "cite", about["citation"])


def _show_list(console: Console, sets: dict[str, dict[str, Any]]) -> None:
    for name, about in sets.items():
        line(console, "name", name)
        _show_terms(console, about)
        for file in about["files"]:
            count = f"{file['frames']} frames" if "frames" in file else "number of frames not recorded"
            line(console, "file", f"{file['name']}: {', '.join(file['elements'])}, {count}")
            for source in file["sources"]:
                size = source.get("size", 0) / 1e6 or source.get("megabytes")
                _more(console, f"{source['url']}" + (f" ({size:.1f} MB)" if size else ""))
                if "checksum" in source:
                    _more(console, f"checksum {source['checksum']}")
                elif "listing" in source:
                    _more(console, "checksum as GitHub lists it")
            if "frames_sha256" in file:
                _more(console, f"frames_sha256:{file['frames_sha256']}")
            if "on_request" in file:
                _more(console, file["on_request"])
        for trap in about["traps"]:
            line(console, "beware", trap)
        console.print()


def _more(console: Console, text: str) -> None:
    """Print more on the fact above."""
    console.print(" " * 12, text, markup=False, soft_wrap=True)
