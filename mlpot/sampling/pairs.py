"""Atoms closer than a bond length: what teaches a potential its repulsive wall."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mlpot.errors import RecipeError
from mlpot.sampling.base import Material, Part, Sampled, Start, frame
from mlpot.sampling.stage import Stage
from mlpot.sampling.static import Rattle, rattle


def _check_order(distances: tuple[float, float]) -> None:
    if not distances[0] < distances[1]:
        raise ValueError(f"expected a shorter and a longer distance, got {distances}")


class DimerStage(Stage):
    """Two atoms alone, at equally spaced distances.

    Their cell is a periodic cube, so that all frames of a file may have stress.

    Attributes
    ----------
    distances
        Å, shortest and longest.
    frames
        How many.
    box
        Å, side of the cube; at least the longest distance and 6 Å.
    """

    kind: Literal["dimer"]
    distances: tuple[PositiveFloat, PositiveFloat]
    frames: Annotated[int, Field(ge=2)]
    box: PositiveFloat = 12.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_order(self.distances)
        if self.structure is not None:
            raise ValueError("a dimer is a structure of its own: leave out structure")
        if self.box < self.distances[1] + 6:
            raise ValueError(
                f"in a box of {self.box:g} Å atoms {self.distances[1]:g} Å apart see their images; "
                f"give at least {self.distances[1] + 6:g}"
            )
        return self

    def parts(self, material: Material, start: Start, seed: np.random.SeedSequence) -> Iterator[Part]:
        """Yield one part."""
        yield "dimer", self.frames, self._sampled(material)

    def _sampled(self, material: Material) -> Sampled:
        for block, distance in enumerate(np.linspace(*self.distances, self.frames)):
            pair = [(0.0, 0.0, 0.0), (distance, 0.0, 0.0)]
            atoms = Atoms([material.element] * 2, positions=pair, cell=[self.box] * 3, pbc=True)
            atoms.center()
            yield frame(atoms, "dimer", block, distance=float(distance))


class ShortPairStage(Stage):
    """Two neighbours in the structure, pushed together along their bond.

    Attributes
    ----------
    distances
        Å, shortest and longest; uniform between them.
    frames
        How many, each with an atom and a nearest neighbour of it drawn at random.
    rattle
        Standard deviation (Å) of each Cartesian displacement of all atoms, before the push.
    """

    kind: Literal["short_pair"]
    distances: tuple[PositiveFloat, PositiveFloat]
    frames: PositiveInt
    rattle: Rattle = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _check_order(self.distances)
        return self

    def parts(self, material: Material, start: Start, seed: np.random.SeedSequence) -> Iterator[Part]:
        """Yield one part."""
        yield self.named("short_pair"), self.frames, self._sampled(start, np.random.default_rng(seed))

    def _sampled(self, start: Start, rng: np.random.Generator) -> Sampled:
        for block in range(self.frames):
            atoms = start()
            rattle(atoms, self.rattle, rng)
            centres, others, lengths, bonds = neighbor_list("ijdD", atoms, 4.0)
            chosen = int(rng.integers(len(atoms)))
            candidates = np.flatnonzero((centres == chosen) & (others != chosen))
            if not len(candidates):
                raise RecipeError(f"short_pair: atom {chosen} has no neighbour within 4 Å to be pushed to.")
            nearest = candidates[lengths[candidates] < 1.15 * lengths[candidates].min()]
            pair = int(rng.choice(nearest))
            distance = float(rng.uniform(*self.distances))
            push = 0.5 * bonds[pair] * (1 - distance / lengths[pair])
            atoms.positions[chosen] += push
            atoms.positions[others[pair]] -= push
            yield frame(atoms, self.named("short_pair"), block, distance=distance)
