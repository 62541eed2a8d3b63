"""Sampling plans: which structures a reference calculator is to label, as a recipe."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from mlpot.recipe import Recipe
from mlpot.reference.classical import force_field


class MDStage(Recipe):
    """Langevin dynamics at constant volume, one trajectory per temperature.

    Attributes
    ----------
    phase
        ``solid``: starts from the crystal and must not melt. ``liquid``: the crystal is brought
        to ``density``, melted at ``melt_temperature``, then cooled to each temperature; it must
        stay liquid.
    temperatures
        K.
    frames
        How many per temperature.
    timestep_fs, friction_per_fs
        Of the Langevin integrator.
    equilibration_ps
        Before the first frame, at each temperature.
    interval_fs
        Between frames.
    block
        Consecutive frames of a trajectory that share an info value ``block``, so that a split
        can keep them together.
    melt_temperature, melt_ps
        How the crystal is melted (liquid only).
    density
        g/cm³ (liquid only); by default that of the crystal.
    """

    kind: Literal["md"]
    phase: Literal["solid", "liquid"]
    temperatures: Annotated[list[PositiveFloat], Field(min_length=1)]
    frames: PositiveInt
    timestep_fs: PositiveFloat = 2.0
    friction_per_fs: PositiveFloat = 0.005
    equilibration_ps: PositiveFloat = 1.0
    interval_fs: PositiveFloat = 50.0
    block: PositiveInt = 5
    melt_temperature: PositiveFloat | None = None
    melt_ps: PositiveFloat = 2.0
    density: PositiveFloat | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.temperatures)) != len(self.temperatures):
            raise ValueError(f"temperatures hold the same value twice: {self.temperatures}")
        if self.interval_fs < self.timestep_fs:
            raise ValueError(
                f"interval_fs ({self.interval_fs}) is shorter than timestep_fs ({self.timestep_fs})"
            )
        if self.phase == "solid":
            given = [key for key in ("melt_temperature", "density") if getattr(self, key) is not None]
            if given:
                raise ValueError(f"{' and '.join(given)} belong to phase liquid, but phase is solid")
        elif self.melt_temperature is None:
            raise ValueError(
                "phase liquid needs melt_temperature (K): at which temperature the crystal is melted"
            )
        return self


class StrainStage(Recipe):
    """Random symmetric strains of the crystal, each with rattled atoms.

    Attributes
    ----------
    frames
        How many.
    amplitude
        The six strain components are uniform in ±amplitude.
    rattle
        Standard deviation (Å) of each Cartesian displacement.
    """

    kind: Literal["strain"]
    frames: PositiveInt
    amplitude: Annotated[float, Field(gt=0, lt=0.5)]
    rattle: Annotated[float, Field(ge=0)] = 0.0


class RattleStage(Recipe):
    """The crystal with normally distributed displacements.

    Attributes
    ----------
    standard_deviations
        Å, of each Cartesian displacement.
    frames
        How many per standard deviation.
    """

    kind: Literal["rattle"]
    standard_deviations: Annotated[list[PositiveFloat], Field(min_length=1)]
    frames: PositiveInt


Stage = Annotated[MDStage | StrainStage | RattleStage, Field(discriminator="kind")]


class SamplingPlan(Recipe):
    """What to sample, with which calculator, from which seed.

    Attributes
    ----------
    calculator
        Name of a classical force field; see :mod:`mlpot.reference.classical`.
    seed
        Same plan, same machine: same frames, bit for bit. Each stage has its own random
        numbers: stages after it may change without changing its frames.
    supercell
        Repeats of the conventional diamond cell of 8 atoms.
    lattice_constant
        Å; by default the calculator's own at 0 K without pressure.
    stages
        At least one.
    """

    calculator: str
    seed: Annotated[int, Field(ge=0)]
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 2, 2)
    lattice_constant: PositiveFloat | None = None
    stages: Annotated[list[Stage], Field(min_length=1)]

    @field_validator("calculator")
    @classmethod
    def _known(cls, name: str) -> str:
        force_field(name)
        return name
