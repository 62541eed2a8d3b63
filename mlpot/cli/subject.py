"""What commands on any potential share: a model or another calculator, and ``--setting KEY=VALUE``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

    from mlpot.recipe import Recipe

    R = TypeVar("R", bound=Recipe)

Element = Annotated[str, typer.Option(metavar="SYMBOL", help="Chemical element, such as Si.")]
OptionalModel = Annotated[
    str | None, typer.Argument(metavar="[MODEL]", help="Model file, or the name of a shipped model.")
]
CalculatorName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Instead: a force field such as sw-si, or package.module:factory of any ASE calculator.",
    ),
]


def parse_settings(kind: type[R], changes: list[str]) -> R:
    """Return settings with ``KEY=VALUE`` changes, values as YAML.

    Raises
    ------
    RecipeError
        For what is no such change, or a key or value that makes no sense.
    """
    import yaml

    from mlpot.errors import RecipeError
    from mlpot.recipe import parse_recipe

    values = {}
    for change in changes:
        key, sign, text = change.partition("=")
        try:
            values[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            sign = ""
        if not sign:
            raise RecipeError(f"--setting {change}: expected KEY=VALUE, such as seed=1.")
    return parse_recipe(kind, values, "--setting")


def chosen_calculator(
    model: str | None, calculator: str | None, element: str
) -> tuple[str, dict[str, Any], BaseCalculator]:
    """Return name, description and calculator of what is studied; models in float64.

    Raises
    ------
    RecipeError
        Unless one of ``model`` and ``calculator`` is given, and known.
    ElementError
        If the element is none, or unknown to it.
    """
    from ase.data import chemical_symbols

    from mlpot.errors import ElementError, RecipeError
    from mlpot.reference.calculators import build, choose, describe, elements

    if (model is None) == (calculator is None):
        raise RecipeError("give either a MODEL or --calculator NAME.")
    if element not in chemical_symbols[1:]:
        raise ElementError(f"--element {element}: no chemical element; write its symbol, such as Si.")
    if model is not None:
        choice = choose({"potential": model})
    else:
        text = str(calculator)
        try:
            choice = choose({"import": text} if ":" in text else {"name": text})
        except ValueError as error:
            raise RecipeError(f"--calculator: {error}") from None
    known = elements(choice)
    if known is not None and element not in known:
        raise ElementError(f"{choice} knows {', '.join(sorted(known))}, not {element}.")
    if model is None:
        return str(choice), describe(choice), build(choice)

    import torch

    from mlpot.model.file import load_model
    from mlpot.simulation.calculator import MLPotCalculator

    # Small strains and displacements need all digits.
    return model, describe(choice), MLPotCalculator(load_model(model, dtype=torch.float64))
