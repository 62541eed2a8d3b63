"""``mlpot doctor``: the physics of any potential, checked."""

from __future__ import annotations

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlpot.cli.options import Json
from mlpot.cli.output import emit, line, new_table, progress_bar, working

if TYPE_CHECKING:
    from mlpot.doctor.examination import Examination
    from mlpot.testing.subject import Potential

EXAMPLE = "Example:  mlpot doctor --calculator package.module:factory --element Si --html doctor.html"


class Format(StrEnum):
    """Number format that a potential is held to."""

    float32 = "float32"
    float64 = "float64"


def doctor(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="Model file, or the name of a shipped model.")
    ] = None,
    calculator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Instead of a model any ASE calculator: package.module:factory, which is called without "
            "arguments, or a force field such as sw-si.",
        ),
    ] = None,
    element: Annotated[
        list[str] | None,
        typer.Option(metavar="SYMBOL", help="Check with this element; may be repeated. \\[all it names]"),
    ] = None,
    precision: Annotated[
        Format | None,
        typer.Option(help="Number format: a model is loaded in it, a calculator held to it. \\[measured]"),
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(metavar="A", help="Distance of neighbours in test crystals, Å. \\[covalent radii]"),
    ] = None,
    reach: Annotated[
        float | None,
        typer.Option(metavar="A", help="Distance beyond which atoms do not interact, Å. \\[measured]"),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="CHECK", help="Leave a check out; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of structures and directions.")] = 0,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the result as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with plots.")] = None,
    json: Json = False,
) -> None:
    """Examine the physics of a potential, mlpot's or any ASE calculator's.

    Derivatives, symmetries, periodic images, reach, smoothness, curves of pairs and volumes, and
    how a calculator behaves; each check with the size of its violation. Speed is reported.
    Exit status 1 if a check fails, else 0.
    """
    with working():
        from mlpot.atomic import write_json
        from mlpot.doctor.page import write_page
        from mlpot.doctor.run import diagnose
        from mlpot.errors import MLPotError, RecipeError

        if (model is None) == (calculator is None):
            raise RecipeError("name either a MODEL or a --calculator, not both or none.")
        potential: Potential
        known: tuple[str, ...] | None
        if model is not None:
            potential, known = _model(model, precision)
        else:
            assert calculator is not None
            potential, known = _calculator(calculator)
        symbols = _symbols(element, known, model or calculator or "")
        with progress_bar() as update:
            try:
                found = diagnose(
                    potential,
                    symbols,
                    name=model or calculator or "",
                    spacing=spacing,
                    reach=reach,
                    precision=None if precision is None else precision.value,
                    skip=skip or (),
                    seed=seed,
                    progress=update,
                )
            except MLPotError:
                raise
            except Exception as error:  # other people's code, on an ordinary crystal
                raise RecipeError(
                    f"{model or calculator}: cannot be evaluated on a crystal of {', '.join(symbols)}: "
                    f"{type(error).__name__}: {error}; other elements (--element) or another "
                    "--spacing may do."
                ) from error
        document: dict[str, Any] = {"command": "doctor", **found.asdict()}
        if out is not None:
            write_json(out, document, allow_nan=False)
        if html is not None:
            write_page(html, found, shlex.join(["mlpot", *sys.argv[1:]]))
    emit(document, json, lambda console: _show(console, found))
    if not found.healthy:
        raise typer.Exit(1)


def _model(name: str, precision: Format | None) -> tuple[Potential, tuple[str, ...]]:
    import torch

    from mlpot.model.file import load_model
    from mlpot.simulation.calculator import MLPotCalculator

    dtype = torch.float64 if precision is Format.float64 else torch.float32
    model = load_model(name, dtype=dtype)
    return (lambda: MLPotCalculator(model)), model.symbols


def _calculator(name: str) -> tuple[Potential, tuple[str, ...] | None]:
    from mlpot.errors import RecipeError
    from mlpot.reference.calculators import build, choose, elements

    if ":" in name:
        # As in python -m: what lies in the working directory can be named.
        sys.path.insert(0, str(Path.cwd()))
    try:
        choice = choose({"import": name} if ":" in name else name)
    except ValueError as error:
        raise RecipeError(f"--calculator {name}: {error}") from None
    known = elements(choice)
    build(choice)  # a mistake is reported before the examination
    return (lambda: build(choice)), None if known is None else tuple(sorted(known))


def _symbols(asked: list[str] | None, known: tuple[str, ...] | None, name: str) -> list[str]:
    from ase.data import chemical_symbols

    from mlpot.errors import ElementError, RecipeError

    for symbol in asked or ():
        if symbol not in chemical_symbols[1:]:
            raise RecipeError(f"--element {symbol}: no chemical symbol.")
        if known is not None and symbol not in known:
            raise ElementError(f"--element {symbol}: {name} knows {', '.join(known)}.")
    if asked:
        return asked
    if known is None:
        raise RecipeError(f"{name} does not say which elements it knows; name one or more: --element Si")
    return list(known)


def _show(console: Console, found: Examination) -> None:
    from mlpot.doctor.page import facts, texts

    table = new_table("check", "violation", "allowed", "verdict")
    colours = {True: "green", False: "bold red", None: "dim"}
    for result in found.results:
        size, tolerance, verdict = texts(result)
        colour = colours[result.passed]
        table.add_row(result.name, size, tolerance, f"[{colour}]{verdict}[/]")
    console.print(table)
    for result in found.results:
        if result.passed is not True:
            line(console, result.name, result.detail)
    console.print()
    for name, text in facts(found):
        line(console, name, text)
    tally = ", ".join(f"{number} {verdict}" for verdict, number in found.tally.items())
    line(console, "checks", f"{tally}; {found.seconds:.1f} s")
