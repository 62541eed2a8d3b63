"""Stages of molecular dynamics: solids, liquids, anything else, at temperatures and pressures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import numpy as np
from ase import Atoms
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mlpot.errors import RecipeError
from mlpot.sampling.base import Material, Part, Sampled, Start, frame
from mlpot.sampling.integrate import Places, Thermostat, bond_length, melted, thermalise
from mlpot.sampling.stage import Stage


class MDStage(Stage, Thermostat):
    """Langevin dynamics, one trajectory per temperature and pressure.

    Attributes
    ----------
    phase
        ``solid``: starts from the structure and must not melt. ``liquid``: the structure is
        brought to ``density``, melted at ``melt_temperature``, then cooled to each temperature;
        it must stay liquid. ``any``: starts from the structure and may become what it likes.
    temperatures
        K.
    pressures
        GPa; by default the volume is constant.
    cell
        What changes under pressure: ``isotropic``, the volume alone; ``full``, all of the cell.
    pressure_period_fs
        Over which the barostat acts.
    frames
        How many per temperature and pressure.
    equilibration_ps
        Before the first frame of each trajectory.
    interval_fs
        Between frames.
    block
        Consecutive frames of a trajectory that share an info value ``block``, so that a split
        can keep them together.
    melt_temperature, melt_ps
        How the crystal is melted (liquid only).
    density
        g/cm³ (liquid only); by default that of the structure.
    """

    kind: Literal["md"]
    phase: Literal["solid", "liquid", "any"]
    temperatures: Annotated[list[PositiveFloat], Field(min_length=1)]
    pressures: Annotated[list[float], Field(min_length=1)] | None = None
    cell: Literal["isotropic", "full"] = "isotropic"
    pressure_period_fs: PositiveFloat = 500.0
    frames: PositiveInt
    equilibration_ps: PositiveFloat = 1.0
    interval_fs: PositiveFloat = 50.0
    block: PositiveInt = 5
    melt_temperature: PositiveFloat | None = None
    melt_ps: PositiveFloat = 2.0
    density: PositiveFloat | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, values in (("temperatures", self.temperatures), ("pressures", self.pressures or [])):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} hold the same value twice: {values}")
        if self.interval_fs < self.timestep_fs:
            raise ValueError(
                f"interval_fs ({self.interval_fs}) is shorter than timestep_fs ({self.timestep_fs})"
            )
        if self.phase != "liquid":
            given = [key for key in ("melt_temperature", "density") if getattr(self, key) is not None]
            if given:
                raise ValueError(f"{' and '.join(given)} belong to phase liquid, but phase is {self.phase}")
        elif self.melt_temperature is None:
            raise ValueError(
                "phase liquid needs melt_temperature (K): at which temperature the crystal is melted"
            )
        if self.pressures is None:
            fields = type(self).model_fields
            given = [
                key for key in ("cell", "pressure_period_fs") if getattr(self, key) != fields[key].default
            ]
            if given:
                raise ValueError(f"{' and '.join(given)} belong to pressures, which are not given")
        elif self.phase == "liquid" and self.cell == "full":
            raise ValueError("a liquid does not keep the shape of its cell: cell full is for solids")
        return self

    def parts(self, material: Material, start: Start, seed: np.random.SeedSequence) -> Iterator[Part]:
        """Yield a part per temperature and pressure."""
        pressures = self.pressures if self.pressures is not None else [None]
        conditions = [(temperature, pressure) for temperature in self.temperatures for pressure in pressures]
        seeds = seed.spawn(len(conditions) + 1)
        if self.phase == "liquid":
            assert self.melt_temperature is not None  # it was validated
            rng = np.random.default_rng(seeds[-1])
            start = melted(
                self, start(), self.density, self.melt_temperature, self.melt_ps, material.calculator, rng
            ).copy
        for (temperature, pressure), own in zip(conditions, seeds, strict=False):
            under = "" if pressure is None else f"{pressure:g}GPa-"
            sampled = self._trajectory(temperature, pressure, start(), material, np.random.default_rng(own))
            yield self._called(f"md-{temperature:g}K-{under}{self.phase}"), self.frames, sampled

    def _called(self, name: str) -> str:
        """Return a name with that of the structure, which a liquid has forgotten."""
        return name if self.phase == "liquid" else self.named(name)

    def _trajectory(
        self,
        temperature: float,
        pressure: float | None,
        atoms: Atoms,
        material: Material,
        rng: np.random.Generator,
    ) -> Sampled:
        """Yield the structure along a trajectory; then check its phase."""
        bond = bond_length(atoms)
        places = Places(atoms)
        atoms.calc = material.calculator
        thermalise(atoms, temperature, rng)
        if pressure is None:
            dynamics = self.langevin(atoms, temperature, rng)
        else:
            isotropic = self.cell == "isotropic"
            dynamics = self.langevin_hoover(
                atoms, temperature, pressure, self.pressure_period_fs, isotropic, rng
            )
        dynamics.run(self.steps(1000 * self.equilibration_ps))
        under = {} if pressure is None else {"pressure_GPa": float(pressure)}
        for number in range(self.frames):
            if number:
                dynamics.run(self.steps(self.interval_fs))
            yield frame(atoms, self._called(f"md-{self.phase}"), number // self.block, temperature, **under)
        if self.phase == "solid" and places.left(atoms, bond):
            raise RecipeError(
                f"the solid melted at {temperature:g} K, so its frames are not those of a solid; "
                "lower the temperature, or ask for phase: liquid (or any)."
            )
        if self.phase == "liquid" and not places.left(atoms, bond):
            raise RecipeError(
                f"the liquid hardly moved at {temperature:g} K: frozen, or too short a run to tell; "
                "raise the temperature or equilibration_ps."
            )
