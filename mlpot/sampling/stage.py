"""The base of all stages of a sampling plan."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import cache

import numpy as np
from ase import Atoms

from mlpot.recipe import Recipe
from mlpot.sampling.base import Material, Part, Start
from mlpot.sampling.disorder import RandomStructure
from mlpot.sampling.select import Selection
from mlpot.sampling.structures import AnyStructure


class Stage(Recipe):
    """Base of the stages.

    Attributes
    ----------
    structure
        What the stage starts from; by default diamond with the plan's ``supercell``.
    select
        Keep the most diverse frames of the stage only; see
        :class:`~mlpot.sampling.select.Selection`.
    """

    structure: AnyStructure | None = None
    select: Selection | None = None

    def start(self, material: Material, seed: np.random.SeedSequence) -> Start:
        """Return what gives the structure that the stage starts from.

        It has random numbers of its own, so that what is done to a structure does not change
        what it is.
        """
        structure = self.structure
        if isinstance(structure, RandomStructure):
            rng = np.random.default_rng(seed)
            return lambda: structure.build(material, rng)

        @cache
        def built() -> Atoms:
            if structure is None:
                return material.diamond()
            return structure.build(material, np.random.default_rng(seed))

        return lambda: built().copy()

    def named(self, name: str) -> str:
        """Return a name with that of the structure, where the recipe gives one."""
        return name if self.structure is None else f"{name}-{self.structure.name}"

    @abstractmethod
    def parts(self, material: Material, start: Start, seed: np.random.SeedSequence) -> Iterator[Part]:
        """Yield the parts of the stage, each with its frames in their order."""
