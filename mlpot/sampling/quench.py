"""Melt and quench: liquids cooled at a rate until they are amorphous solids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import numpy as np
from ase import Atoms, units
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from mlpot.errors import RecipeError
from mlpot.sampling.base import Material, Part, Sampled, Start, frame
from mlpot.sampling.integrate import Places, Thermostat, bond_length, melted, thermalise
from mlpot.sampling.stage import Stage

#: eV/atom above the crystal of the same density that an amorphous solid has at least; that of
#: silicon has 0.1 to 0.2 (Roorda et al., Phys. Rev. B 44, 3702 (1991): heat of crystallisation
#: 0.14), and a crystal with a point defect in 64 atoms 0.06 at most.
EXCESS = 0.07


class QuenchStage(Stage, Thermostat):
    """A liquid, cooled at constant volume until it is an amorphous solid.

    Attributes
    ----------
    density
        g/cm³; by default that of the structure.
    melt_temperature, melt_ps
        How the structure is melted, K and ps.
    start_temperature, end_temperature
        K: the liquid is cooled from one to the other.
    rate
        K/ps.
    samples
        Independent meltings and quenches.
    liquid_frames, cooling_frames
        How many per sample are kept of the liquid at ``start_temperature`` and, equally spaced,
        of the cooling.
    frames
        How many per sample are kept of the amorphous solid at ``end_temperature``.
    equilibration_ps
        Before the first frame at either temperature.
    interval_fs
        Between frames at either temperature.
    block
        Consecutive frames that share an info value ``block``.
    """

    kind: Literal["quench"]
    density: PositiveFloat | None = None
    melt_temperature: PositiveFloat
    melt_ps: PositiveFloat = 2.0
    start_temperature: PositiveFloat
    end_temperature: PositiveFloat = 300.0
    rate: PositiveFloat
    samples: PositiveInt = 1
    liquid_frames: NonNegativeInt = 0
    cooling_frames: NonNegativeInt = 0
    frames: PositiveInt
    equilibration_ps: PositiveFloat = 1.0
    interval_fs: PositiveFloat = 50.0
    block: Annotated[int, Field(ge=1)] = 5

    @model_validator(mode="after")
    def _cools(self) -> Self:
        if not self.melt_temperature >= self.start_temperature > self.end_temperature:
            raise ValueError(
                "expected melt_temperature, start_temperature and end_temperature in falling order, got "
                f"{self.melt_temperature:g}, {self.start_temperature:g} and {self.end_temperature:g} K"
            )
        if self.interval_fs < self.timestep_fs:
            raise ValueError(
                f"interval_fs ({self.interval_fs}) is shorter than timestep_fs ({self.timestep_fs})"
            )
        return self

    def parts(self, material: Material, start: Start, seed: np.random.SeedSequence) -> Iterator[Part]:
        """Yield the parts of one sample after the other: liquid, cooling, amorphous."""
        for sample, own in enumerate(seed.spawn(self.samples)):
            rng = np.random.default_rng(own)
            solid = start()
            atoms = melted(
                self, solid, self.density, self.melt_temperature, self.melt_ps, material.calculator, rng
            )
            thermalise(atoms, self.start_temperature, rng)
            hot = self._at(atoms, self.start_temperature, "liquid", self.liquid_frames, sample, rng)
            yield "quench-liquid", self.liquid_frames, hot
            yield "quench-cooling", self.cooling_frames, self._cooling(atoms, sample, rng)
            cold = self._amorphous(atoms, solid, sample, material, rng)
            yield "quench-amorphous", self.frames, cold

    def _at(
        self, atoms: Atoms, temperature: float, what: str, frames: int, sample: int, rng: np.random.Generator
    ) -> Sampled:
        dynamics = self.langevin(atoms, temperature, rng)
        dynamics.run(self.steps(1000 * self.equilibration_ps))
        for number in range(frames):
            if number:
                dynamics.run(self.steps(self.interval_fs))
            block = f"{sample}.{number // self.block}"
            yield frame(atoms, f"quench-{what}", block, temperature)

    def _cooling(self, atoms: Atoms, sample: int, rng: np.random.Generator) -> Sampled:
        """Cool step by step; yield frames at the middles of equal parts of the way."""
        span = self.start_temperature - self.end_temperature
        total = self.steps(1000 * span / self.rate)
        keep = {int((number + 0.5) * total / self.cooling_frames) for number in range(self.cooling_frames)}
        dynamics = self.langevin(atoms, self.start_temperature, rng)
        number = 0
        for step in range(total):
            temperature = self.start_temperature - span * (step + 1) / total
            dynamics.set_temperature(temperature_K=temperature)
            dynamics.run(1)
            if step in keep:
                yield frame(atoms, "quench-cooling", f"{sample}.{number}", temperature)
                number += 1

    def _amorphous(
        self, atoms: Atoms, crystal: Atoms, sample: int, material: Material, rng: np.random.Generator
    ) -> Sampled:
        """Yield the frames of the cold sample; check that it is solid, and no crystal."""
        places = Places(atoms)
        temperature = self.end_temperature
        energies = []
        for kept in self._at(atoms, temperature, "amorphous", self.frames, sample, rng):
            energies.append(atoms.get_potential_energy() / len(atoms))
            yield kept
        if places.left(atoms, bond_length(atoms)):
            raise RecipeError(
                f"the quenched sample still flows at end_temperature = {temperature:g} K; lower it."
            )
        reference = crystal.copy()
        reference.set_cell(atoms.cell, scale_atoms=True)
        reference.calc = material.calculator
        thermal = 1.5 * units.kB * temperature
        excess = np.mean(energies) - thermal - reference.get_potential_energy() / len(reference)
        if excess < EXCESS:
            raise RecipeError(
                f"the quenched sample is {excess:.3f} eV/atom above the crystal, less than the {EXCESS:g} of "
                "an amorphous solid: it crystallised; raise the rate or the number of atoms."
            )
