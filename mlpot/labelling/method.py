"""What a method of labelling is: settings in a recipe, an identity, and labels or a reason why not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlpot.data.frame import Frame
from mlpot.errors import MLPotError
from mlpot.recipe import Recipe


class NotConverged(MLPotError):
    """The method ended without reaching its convergence criteria; the message says which.

    Tried again only when asked for, because the same settings would end the same way.
    """


class LabelFailed(MLPotError):
    """The method gave no complete label; the message says why (crash, truncated output, ...)."""


@dataclass(frozen=True)
class Labels:
    """The labels of one structure of N atoms.

    Attributes
    ----------
    energy : float
        eV, of the whole structure.
    forces : (N, 3) float64
        eV/Å.
    stress : (3, 3) float64 or None
        eV/Å³, tensile positive; ``None`` where the structure has no volume or it was not asked for.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None = None

    def frame(self, atoms: Atoms) -> Frame:
        """Return the labelled frame of a structure.

        Raises
        ------
        DataError
            For labels of wrong shape, that are not finite, or a stress that is not symmetric.
        """
        return Frame(
            numbers=atoms.numbers.astype(np.int64),
            positions=np.array(atoms.positions, dtype=float),
            cell=np.array(atoms.cell.array, dtype=float),
            pbc=np.array(atoms.pbc, dtype=bool),
            energy=float(self.energy),
            forces=np.asarray(self.forces, dtype=float),
            stress=None if self.stress is None else np.asarray(self.stress, dtype=float),
            source="labels",
        )


class Method(Recipe, ABC):
    """Base of all methods: a section of the label recipe, told apart by its key ``kind``.

    A subclass declares ``kind: Literal["..."] = "..."`` and is added to the union in
    :mod:`mlpot.labelling.recipe`. It is made anew from the recipe in every worker process, so
    it must hold nothing but its settings.

    ``stress``: whether stress is computed where the structure has a volume.
    """

    stress: bool = True

    @abstractmethod
    def check(self, elements: set[str]) -> None:
        """Refuse, before any computing starts, what cannot work: called once in the main process.

        Parameters
        ----------
        elements
            Chemical symbols of all structures.

        Raises
        ------
        MLPotError
            For a missing executable, pseudopotential or parameter, an element the method does
            not know, settings without sense; each with its remedy.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return plain JSON values that decide the labels, and nothing else.

        Settings, hashes of pseudopotentials and parameter files, version of the code. Part of
        the hash by which a label is found again, and of the provenance; must be the same in
        every worker process.
        """

    @abstractmethod
    def compute(self, atoms: Atoms, folder: Path) -> Labels:
        """Return the labels of one structure; called in a worker process.

        Parameters
        ----------
        atoms
            Structure without calculator, constraints and magnetic moments; the method's own.
        folder
            Exists, is empty, and belongs to this attempt alone: inputs and outputs are kept
            here. The working directory of the process is another one, and must stay so. What
            is printed goes to ``log.txt`` there.

        Raises
        ------
        NotConverged
            If the convergence criteria were not reached.
        LabelFailed
            If there is no complete label: the code crashed, its output is truncated, energies
            but no forces, ... Never is a part of a label returned.
        """
