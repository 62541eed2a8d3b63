"""Point defects of diamond as structures of a sampling plan."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from ase import Atom, Atoms
from pydantic import Field, PositiveInt, model_validator

from mlpot.sampling.base import Material, Structure
from mlpot.sampling.relax import relax_positions

#: Interstitial sites in the cubic cell with atoms at (0, 0, 0) and (1/4, 1/4, 1/4).
_SITES = {"tetrahedral": (0.5, 0.5, 0.5), "hexagonal": (0.625, 0.625, 0.625)}


class Defect(Structure):
    """Base of defects in diamond.

    Attributes
    ----------
    supercell
        Repeats of the conventional cell of 8 atoms; by default that of the plan.
    relax
        Whether atoms move, in their cell, until forces are below 0.01 eV/Å. If not, they sit
        where the perfect crystal has them.
    """

    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    relax: bool = False

    def _finish(self, atoms: Atoms, material: Material) -> Atoms:
        if self.relax:
            relax_positions(atoms, material.calculator, self.name)
        return atoms


class Vacancy(Defect):
    """Diamond without an atom, or without two.

    Attributes
    ----------
    missing
        Atoms that are missing: 1, or 2 neighbours (a divacancy).
    """

    kind: Literal["vacancy"]
    missing: Literal[1, 2] = 1

    @property
    def name(self) -> str:
        """``vacancy`` or ``divacancy``."""
        return {1: "vacancy", 2: "divacancy"}[self.missing]

    def build(self, material: Material, rng: np.random.Generator) -> Atoms:
        """Return the crystal with the hole; all places are equivalent."""
        atoms = material.diamond(self.supercell)
        # The conventional cell lists (0, 0, 0) and (1/4, 1/4, 1/4), neighbours, first.
        del atoms[list(range(self.missing))]
        return self._finish(atoms, material)


class Interstitial(Defect):
    """Diamond with an atom too many.

    Attributes
    ----------
    site
        ``tetrahedral``: four nearest neighbours at a bond length. ``hexagonal``: six, in the
        middle of a ring of the crystal. ``dumbbell``: two atoms share a site, along [110].
    separation
        Of the two atoms of the dumbbell, in bond lengths.
    """

    kind: Literal["interstitial"]
    site: Literal["tetrahedral", "hexagonal", "dumbbell"]
    separation: float = Field(default=1.0, gt=0, lt=1.6)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.separation != 1.0 and self.site != "dumbbell":
            raise ValueError(f"separation belongs to site dumbbell, but site is {self.site}")
        return self

    @property
    def name(self) -> str:
        """``interstitial-`` and the site."""
        return f"interstitial-{self.site}"

    def build(self, material: Material, rng: np.random.Generator) -> Atoms:
        """Return the crystal with the additional atom as its last; all places are equivalent."""
        atoms = material.diamond(self.supercell)
        a = material.lattice_constant
        if self.site == "dumbbell":
            half = self.separation * np.sqrt(3) / 8 * a * np.array([1.0, 1.0, 0.0]) / np.sqrt(2)
            place = atoms.positions[0].copy()
            atoms.positions[0] = place - half
            atoms.append(Atom(material.element, place + half))
        else:
            atoms.append(Atom(material.element, a * np.array(_SITES[self.site])))
        return self._finish(atoms, material)
