"""Random structures: atoms dropped into a cell, none closer than a given distance."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses, atomic_numbers
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mlpot.errors import RecipeError
from mlpot.sampling.base import Material, Structure

#: Fraction of space that spheres dropped at random fill when no further one fits (Feder,
#: J. Theor. Biol. 87, 237 (1980)); towards it the last ones take forever.
JAMMED = 0.38
#: Cells to begin anew with, places to try for each atom, and how many of them at a time.
_CELLS, _PLACES, _BATCH = 10, 2000, 50


def grams_per_cm3(atoms: Atoms) -> float:
    """Return the density of a structure."""
    return float(atoms.get_masses().sum() / atoms.get_volume() * units._amu * 1e27)


class RandomStructure(Structure):
    """Atoms at random in a random cell; each frame draws a new one.

    Attributes
    ----------
    atoms
        How many.
    density
        g/cm³, or lowest and highest: uniform between them.
    min_distance
        Å, between any two atoms, periodic images included.
    shape
        The cell is a cube whose six strain components are uniform in ±shape.
    """

    kind: Literal["random"]
    atoms: PositiveInt
    density: PositiveFloat | tuple[PositiveFloat, PositiveFloat]
    min_distance: PositiveFloat
    shape: Annotated[float, Field(ge=0, le=0.2)] = 0.1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self._densities
        if low > high:
            raise ValueError(f"density goes from {low:g} to {high:g}; give the lower one first")
        return self

    @property
    def _densities(self) -> tuple[float, float]:
        return self.density if isinstance(self.density, tuple) else (self.density, self.density)

    @property
    def name(self) -> str:
        """``random``."""
        return "random"

    def build(self, material: Material, rng: np.random.Generator) -> Atoms:
        """Return a new structure.

        Raises
        ------
        RecipeError
            If atoms of that size do not fit into cells of that density.
        """
        grams = self.atoms * atomic_masses[atomic_numbers[material.element]] * units._amu * 1e3
        densest = grams / self._densities[1] * 1e24
        filled = self.atoms * np.pi / 6 * self.min_distance**3 / densest
        if filled > JAMMED:
            raise RecipeError(
                f"random: atoms of {material.element} at least min_distance = {self.min_distance:g} Å apart "
                f"fill {filled:.0%} of space at {self._densities[1]:g} g/cm³, but dropped at random they "
                f"jam at {JAMMED:.0%}; lower the density or min_distance."
            )
        for _ in range(_CELLS):
            strain = np.zeros((3, 3))
            strain[np.triu_indices(3)] = rng.uniform(-self.shape, self.shape, 6)
            cell = np.eye(3) + strain + np.triu(strain, 1).T
            volume = grams / rng.uniform(*self._densities) * 1e24
            cell *= (volume / np.linalg.det(cell)) ** (1 / 3)
            positions = self._drop(cell, rng)
            if positions is not None:
                symbols = [material.element] * self.atoms
                return Atoms(symbols, positions=positions, cell=cell, pbc=True)
        raise RecipeError(
            f"random: no place was found for {self.atoms} atoms at least {self.min_distance:g} Å apart in "
            f"{_CELLS} cells with {_PLACES} places tried for each atom; lower the density or min_distance."
        )

    def _drop(self, cell: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        """Return positions, or nothing if the atoms do not fit."""
        faces = np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]])
        heights = abs(np.linalg.det(cell)) / np.linalg.norm(faces, axis=1)
        if heights.min() < self.min_distance:
            return None  # an atom might be too close to its own image
        # In a cell so thick no image but the 26 next to it can be too close.
        shifts = np.array([(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]) @ cell
        placed = np.empty((0, 3))
        images = np.empty((0, 3))
        while len(placed) < self.atoms:
            for _ in range(_PLACES // _BATCH):
                places = rng.uniform(size=(_BATCH, 3)) @ cell
                gaps = np.linalg.norm(places[:, None] - images, axis=2).min(axis=1, initial=np.inf)
                free = np.flatnonzero(gaps >= self.min_distance)
                if len(free):
                    placed = np.vstack([placed, places[free[0]]])
                    images = np.vstack([images, places[free[0]] + shifts])
                    break
            else:
                return None
        return placed
