"""How a melting temperature is computed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from mlpot.errors import MLPotError
from mlpot.recipe import Recipe


class MeltingError(MLPotError):
    """A melting temperature that cannot be had: no melting, no coexistence, a run that broke."""


class MeltingSettings(Recipe):
    """How a melting temperature is computed.

    Attributes
    ----------
    supercell
        Repeats of the cubic cell of 8 atoms; the last, along the length, is the largest and even.
    pressure
        GPa.
    guess
        K, where the search begins; by default 0.65 of the temperature to which the crystal can be
        heated.
    offset
        How far below and above the guess, as a share of it, the runs start.
    seeds
        Runs per side.
    time_ps
        Of each run.
    pilot_ps
        Of the run that improves the guess.
    settle
        Share of a run that is left out at least, before its mean is taken.
    heating_rate
        K/ps, for how far the crystal can be heated.
    prepare_ps
        Of each step that prepares: solid and liquid alone, melting, cooling of the melt.
    timestep_fs, interval_fs
        Of the integrator, and between recorded temperatures.
    segment_ps
        Between states from which a killed run goes on.
    seed
        Of the random numbers.
    """

    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] = (3, 3, 8)
    pressure: float = 0.0
    guess: PositiveFloat | None = None
    offset: Annotated[float, Field(gt=0, le=0.3)] = 0.08
    seeds: Annotated[int, Field(ge=2)] = 2
    time_ps: PositiveFloat = 200.0
    pilot_ps: PositiveFloat = 40.0
    settle: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    heating_rate: PositiveFloat = 100.0
    prepare_ps: PositiveFloat = 4.0
    timestep_fs: Annotated[float, Field(gt=0, le=5)] = 2.0
    interval_fs: PositiveFloat = 20.0
    segment_ps: PositiveFloat = 5.0
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("supercell")
    @classmethod
    def _long(cls, supercell: tuple[int, int, int]) -> tuple[int, int, int]:
        if supercell[2] % 2 or supercell[2] <= max(supercell[:2]) or min(supercell[:2]) < 2:
            raise ValueError(
                f"{supercell}: the first two must be 2 or more, the last even and the largest, such as 3 3 8"
            )
        return supercell

    def steps(self, time_ps: float) -> int:
        """Return the number of steps in a time, one at least."""
        return max(1, round(1000 * time_ps / self.timestep_fs))

    @property
    def stride(self) -> int:
        """Steps between recorded temperatures."""
        return max(1, round(self.interval_fs / self.timestep_fs))

    def records(self, time_ps: float) -> int:
        """Return how many temperatures are recorded in a time, ten at least."""
        return max(10, self.steps(time_ps) // self.stride)
