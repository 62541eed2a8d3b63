"""Several potentials as one: their mean, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from torch import Tensor

from mlpot.data.frame import Frame
from mlpot.model.base import LocalEnergyModel, SumModel
from mlpot.model.environment import Bonds, Environments


@dataclass(frozen=True)
class Spread:
    """Standard deviations over the members: energy (eV/atom) and forces (N, 3), eV/Å."""

    energy: float
    forces: np.ndarray


class Committee(SumModel):
    """The mean of potentials trained alike but for their seeds.

    What is random in the errors of the members partly cancels in the mean (Lakshminarayanan
    et al., NeurIPS 2017), at the cost of all members.

    Parameters
    ----------
    members
        Two or more models that know the same elements in the same order.

    Raises
    ------
    ElementError
        If the members differ in their elements.
    ValueError
        If there are fewer than two.
    """

    def __init__(self, members: Sequence[LocalEnergyModel]) -> None:
        if len(members) < 2:
            raise ValueError(f"a committee has two or more members, got {len(members)}.")
        super().__init__(members)

    def local_energies(self, environments: Environments) -> Tensor:
        """Return the mean local energies, (N,)."""
        return super().local_energies(environments) / len(self.terms)

    def local_energies_and_slopes(self, bonds: Bonds) -> tuple[Tensor, Tensor]:
        """Return the means of the local energies (N,) and of the slopes (E, 3)."""
        energies, slopes = super().local_energies_and_slopes(bonds)
        return energies / len(self.terms), slopes / len(self.terms)

    def spread(self, structures: Atoms | Frame | Sequence[Atoms | Frame]) -> list[Spread]:
        """Return how far the members are apart on each structure (sample standard deviation)."""
        several = [structures] if isinstance(structures, Atoms | Frame) else list(structures)
        spreads = []
        for structure in several:
            single = [term.predict(structure)[0] for term in self._terms()]
            energies = [prediction.energy / len(structure) for prediction in single]
            forces = np.stack([prediction.forces for prediction in single])
            spreads.append(Spread(float(np.std(energies, ddof=1)), forces.std(axis=0, ddof=1)))
        return spreads
