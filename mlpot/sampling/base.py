"""What structures and stages of a sampling plan share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlpot.data.frame import Frame
from mlpot.recipe import Recipe
from mlpot.reference.lattice import lattice_constant
from mlpot.sampling.prototypes import Phase, diamond
from mlpot.sampling.relax import relaxed_volume


@dataclass(frozen=True)
class Material:
    """The element of a plan, the calculator that moves it, and the size of its crystals.

    Attributes
    ----------
    element
        Chemical symbol.
    calculator
        An ASE calculator: forces of the dynamics, volumes and positions at rest. ``None`` where
        nothing but files is read.
    given
        Lattice constant of diamond (Å), or ``None``: that of the calculator without pressure.
    supercell
        Repeats of the conventional cell of diamond where a structure does not say its own.
    """

    element: str
    calculator: Calculator | None
    given: float | None
    supercell: tuple[int, int, int]

    @cached_property
    def relaxed(self) -> float:
        """Lattice constant (Å) of the calculator's diamond without pressure."""
        return lattice_constant(self.element, self.calculator)

    @property
    def lattice_constant(self) -> float:
        """Lattice constant (Å) of diamond."""
        return self.given if self.given is not None else self.relaxed

    def volume(self, phase: Phase) -> float:
        """Return the volume per atom (Å³) of a phase.

        Other phases than diamond have the volume of lowest energy; a lattice constant that is
        given stretches them as it stretches diamond.
        """
        if phase == "diamond":
            return self.lattice_constant**3 / 8
        stretch = self.lattice_constant / self.relaxed
        return stretch**3 * relaxed_volume(self.element, phase, self.calculator, self.relaxed)

    def diamond(self, supercell: tuple[int, int, int] | None = None) -> Atoms:
        """Return diamond, repeated."""
        return diamond(self.element, self.lattice_constant).repeat(supercell or self.supercell)


class Structure(Recipe, ABC):
    """Base of the structures that a stage may start from."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the structure is called in ``group`` and ``config_type``."""

    @abstractmethod
    def build(self, material: Material, rng: np.random.Generator) -> Atoms:
        """Return the structure, without calculator; only disordered ones draw random numbers."""


#: Returns the structure that a stage starts from: the same each time, unless it is a random one.
Start = Callable[[], Atoms]
#: The frames of a part, unlabelled (those of files keep what labels they have).
Sampled = Iterator[Frame]
#: Name of a part of a stage, how many frames it has, and the frames.
Part = tuple[str, int, Sampled]


def frame(atoms: Atoms, config_type: str, block: int | str, temperature: float = 0.0, **info: Any) -> Frame:
    """Return the structure as it is now, unlabelled, with its ``info``.

    Parameters
    ----------
    atoms
        It may move on afterwards.
    config_type
        What kind of frame it is.
    block
        Frames of a part with the same block, and only those, are correlated.
    temperature
        K; 0: a static structure.
    info
        Further info values.
    """
    known = {"config_type": config_type, "temperature_K": float(temperature), "block": block}
    return Frame(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.get_positions(),
        cell=np.array(atoms.cell.array),
        pbc=np.array(atoms.pbc),
        info=known | info,
    )
