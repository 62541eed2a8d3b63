"""The recipe of ``mlpot label``: a method, told apart by its ``kind``, and an engine that runs it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mlpot.engine.settings import Engine, LocalEngine
from mlpot.labelling.calculator import CalculatorMethod
from mlpot.labelling.dft.cp2k import CP2KMethod
from mlpot.labelling.dft.espresso import EspressoMethod
from mlpot.labelling.dft.gpaw import GPAWMethod
from mlpot.labelling.dft.vasp import VaspMethod
from mlpot.labelling.method import Method
from mlpot.recipe import Recipe, parse_recipe

#: All methods; further ones are added here.
AnyMethod = Annotated[
    CalculatorMethod | GPAWMethod | EspressoMethod | VaspMethod | CP2KMethod, Field(discriminator="kind")
]


class LabelRecipe(Recipe):
    """Everything that ``mlpot label`` needs to know.

    ``method``: what computes the labels. ``engine``: where and how many at a time; nothing
    there changes a label.
    """

    method: AnyMethod
    engine: Engine = LocalEngine()


class _MethodFile(Recipe):
    method: AnyMethod


def parse_method(settings: dict[str, Any], where: str) -> Method:
    """Return a method from plain data.

    Raises
    ------
    RecipeError
        As :func:`~mlpot.recipe.parse_recipe`.
    """
    return parse_recipe(_MethodFile, {"method": settings}, where).method
