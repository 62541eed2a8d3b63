"""Several potentials as one: their mean, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from mlpot.model.base import Deviation, LocalEnergyModel, Output, SumModel
from mlpot.model.environment import Bonds, Environments


class Committee(SumModel):
    """The mean of potentials trained alike but for their seeds.

    What is random in the errors of the members partly cancels in the mean (Lakshminarayanan
    et al., NeurIPS 2017), at the cost of all members. How far they are apart says how far the
    mean may be off (``predict(..., uncertainty=True)``), at no further cost.

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

    @property
    def has_deviation(self) -> bool:
        """Whether the model says how far it may be off; always."""
        return True

    def forward_with_deviation(self, graph: Data) -> tuple[Output, Deviation]:
        """Return the means over the members and their sample standard deviations."""
        outputs = [term(graph) for term in self._terms()]

        def over_members(name: str) -> Tensor:
            return torch.stack([getattr(output, name) for output in outputs])

        names = ("energy", "local_energies", "forces", "stress")
        mean = Output(**{name: over_members(name).mean(0) for name in names})
        return mean, Deviation(over_members("energy").std(0), over_members("forces").std(0))
