r"""Screened nuclear repulsion (ZBL), switched off smoothly before bonds begin.

.. math::
    V(r) = \frac{Z_1 Z_2 e^2}{4 \pi \varepsilon_0 r}\, \phi(r / a)\, f(r / r_{12}), \qquad
    a = \frac{0.46850}{Z_1^{0.23} + Z_2^{0.23}} \text{ Å}

with the universal screening function of Ziegler, Biersack & Littmark (1985). The switch
:math:`f(x) = 1 - 10x^3 + 15x^4 - 6x^5` ends at :math:`r_{12}`, a fraction of the sum of the
covalent radii: the repulsion keeps atoms apart where no training data are, and leaves bonds
to the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import torch
from ase.data import covalent_radii
from ase.units import _e, _eps0, m
from torch import Tensor

from mlpot.model.base import LocalEnergyModel
from mlpot.model.environment import Bonds, Environments

#: e²/(4 pi eps0), eV Å.
COULOMB = _e / (4.0 * pi * _eps0) * m
#: The switch ends at this fraction of the summed covalent radii (1.78 Å for Si-Si).
RANGE = 0.8
_COEFFICIENTS = (0.18175, 0.50986, 0.28022, 0.02817)
_EXPONENTS = (3.19980, 0.94229, 0.40290, 0.20162)


class ZBL(LocalEnergyModel):
    """ZBL repulsion between the elements of a model; no parameters to learn."""

    def __init__(self, elements: Sequence[int]) -> None:
        super().__init__(elements)
        # Float64 constants, cast where they are used, so that no change of precision rounds them.
        numbers = torch.tensor(self.elements)
        self.charges = numbers.double()
        self.radii = torch.as_tensor(covalent_radii)[numbers] * RANGE

    @property
    def cutoff(self) -> float:
        """Where the longest-ranged pair is switched off, Å."""
        return 2.0 * float(self.radii.max())

    def local_energies(self, environments: Environments) -> Tensor:
        """Return half of each pair's repulsion for each of its atoms, (N,), eV."""
        own, other = environments.species[:, None], environments.species[environments.neighbour]
        return self._halves(environments.distances, own, other).sum(1)

    def local_energies_and_slopes(self, bonds: Bonds) -> tuple[Tensor, Tensor]:
        """Return the same (N,) and the slopes by bond vectors (E, 3), from the few bonds within reach."""
        distances = torch.linalg.vector_norm(bonds.vectors, dim=1)
        energies, slopes = distances.new_zeros(len(bonds.species)), torch.zeros_like(bonds.vectors)
        near = torch.nonzero(distances < self.cutoff)[:, 0]
        if len(near):
            centre, neighbour = bonds.centre[near], bonds.neighbour[near]
            with torch.enable_grad():
                r = distances[near].requires_grad_()
                halves = self._halves(r, bonds.species[centre], bonds.species[neighbour])
                (by_distance,) = torch.autograd.grad(halves.sum(), r)
            energies.index_add_(0, centre, halves.detach())
            slopes[near] = (by_distance / distances[near])[:, None] * bonds.vectors[near]
        return energies, slopes

    def _halves(self, distances: Tensor, own: Tensor, other: Tensor) -> Tensor:
        """Return half the energies of pairs of species at distances."""
        charges, radii = self.charges.to(distances), self.radii.to(distances)
        za, zb = charges[own], charges[other]
        x = (distances / (radii[own] + radii[other])).clamp(max=1.0)
        switch = 1.0 - x.pow(3) * (10.0 - 15.0 * x + 6.0 * x.square())
        reduced = distances * (za.pow(0.23) + zb.pow(0.23)) / 0.46850
        screening = sum(c * torch.exp(-b * reduced) for c, b in zip(_COEFFICIENTS, _EXPONENTS, strict=True))
        return 0.5 * (COULOMB * za * zb / distances * screening * switch)
