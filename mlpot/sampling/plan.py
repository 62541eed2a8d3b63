"""Sampling plans: which structures a reference calculator is to label, as a recipe."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from ase.data import chemical_symbols
from pydantic import Field, PositiveFloat, PositiveInt, StrictBool, field_validator, model_validator

from mlpot.recipe import Recipe
from mlpot.reference.calculators import CalculatorChoice
from mlpot.sampling.dynamics import MDStage
from mlpot.sampling.existing import FileStage
from mlpot.sampling.pairs import DimerStage, ShortPairStage
from mlpot.sampling.quench import QuenchStage
from mlpot.sampling.select import Selection
from mlpot.sampling.static import (
    EquationOfStateStage,
    RattleStage,
    StaticStage,
    StrainModesStage,
    StrainStage,
)

AnyStage = Annotated[
    MDStage
    | QuenchStage
    | StaticStage
    | RattleStage
    | StrainStage
    | StrainModesStage
    | EquationOfStateStage
    | DimerStage
    | ShortPairStage
    | FileStage,
    Field(discriminator="kind"),
]


class SamplingPlan(Recipe):
    """What to sample, with which calculator, from which seed.

    Attributes
    ----------
    calculator
        What moves the atoms, and labels the frames unless ``labels`` says otherwise; see
        :mod:`mlpot.reference.calculators`. Only plans of nothing but files without labels can
        do without.
    element
        Chemical symbol; needed where the calculator knows several.
    labels
        ``true``: by ``calculator``. ``false``: none, structures only. Or another calculator.
    seed
        Same plan, same machine, same engine of the calculator: same frames, bit for bit. Each
        stage has its own random numbers: other stages may change without changing its frames.
    supercell
        Repeats of the conventional diamond cell of 8 atoms.
    lattice_constant
        Å, of diamond; by default the calculator's own at 0 K without pressure.
    stages
        At least one.
    select
        Keep the most diverse frames of all stages only.
    max_force
        eV/Å: no atom of a labelled frame may feel more.
    above_max_force
        ``refuse``: such a frame is an error; ``drop``: it is left out, and counted.
    """

    calculator: CalculatorChoice | None = None
    element: str | None = None
    labels: StrictBool | CalculatorChoice = True
    seed: Annotated[int, Field(ge=0)]
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 2, 2)
    lattice_constant: PositiveFloat | None = None
    stages: Annotated[list[AnyStage], Field(min_length=1)]
    select: Selection | None = None
    max_force: PositiveFloat | None = None
    above_max_force: Literal["refuse", "drop"] = "refuse"

    @field_validator("element")
    @classmethod
    def _symbol(cls, element: str | None) -> str | None:
        if element is not None and element not in chemical_symbols[1:]:
            raise ValueError(f"{element!r} is no chemical symbol")
        return element

    @model_validator(mode="after")
    def _sane(self) -> Self:
        made = [stage.kind for stage in self.stages if stage.kind != "file"]
        if self.calculator is None and (made or self.labels is True):
            raise ValueError(f"{f'stage {made[0]}' if made else 'labels'} needs a calculator (such as sw-si)")
        if self.max_force is None and self.above_max_force != "refuse":
            raise ValueError("above_max_force says what to do above max_force (eV/Å), which is not given")
        if self.max_force is not None and self.labels is False:
            raise ValueError("max_force judges labels, but labels is false")
        return self
