"""Crystals as structures of a sampling plan."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from ase import Atoms
from pydantic import PositiveFloat, PositiveInt, model_validator

from mlpot.sampling.base import Material, Structure
from mlpot.sampling.prototypes import Phase, prototype, repeated


class Crystal(Structure):
    """A perfect crystal.

    Attributes
    ----------
    phase
        See :mod:`mlpot.sampling.prototypes`.
    supercell
        Repeats of the conventional cell; by default that of the plan for diamond, and one cell
        for the other phases.
    min_atoms
        Instead of ``supercell``: the most compact repetition with at least so many atoms.
    volume
        Å³ per atom; by default that of lowest energy, stretched as ``lattice_constant``
        stretches diamond.
    """

    kind: Literal["crystal"]
    phase: Phase
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    min_atoms: PositiveInt | None = None
    volume: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.supercell is not None and self.min_atoms is not None:
            raise ValueError("supercell and min_atoms both say how large the cell is; give one of them")
        return self

    @property
    def name(self) -> str:
        """The phase."""
        return self.phase

    def build(self, material: Material, rng: np.random.Generator) -> Atoms:
        """Return the crystal."""
        volume = self.volume if self.volume is not None else material.volume(self.phase)
        cell = prototype(material.element, self.phase, volume)
        if self.min_atoms is not None:
            return repeated(cell, self.min_atoms)
        if self.supercell is not None:
            return cell.repeat(self.supercell)
        return cell.repeat(material.supercell) if self.phase == "diamond" else cell
