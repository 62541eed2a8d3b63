"""Energies of pairs with couplings of their own for every kind of pair: what the pairwise baselines learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import check_q, check_states
from mlpot.lattice.geometry import Lattice

#: Values gathered at once.
_CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class PairwiseEnergy:
    r"""A sum over pairs, :math:`E = \sum_{\mathrm{bonds}} V_k[s_i, s_j] + \sum_i u[s_i]`.

    Parameters
    ----------
    lattice
        Its geometry.
    q
        States of a site.
    neighbours, kinds : (N, K) int
        The other end of each bond and the number of its matrix; bonds are listed from both ends,
        -1 where a site has fewer (after all others).
    matrices : (kinds, q, q) float64
        V, by the state of the site that lists the bond and that of the other; units of J.
    fields : (N, q) float64
        u, of each site.
    displacements : (K, d) int or None
        Where the bonds of every site lead, if all sites are alike; such an energy has other sizes.
    """

    lattice: Lattice
    q: int
    neighbours: np.ndarray
    kinds: np.ndarray
    matrices: np.ndarray
    fields: np.ndarray
    displacements: np.ndarray | None = field(default=None)

    def __post_init__(self) -> None:
        check_q(self.q)
        n = self.lattice.sites
        if self.neighbours.shape != self.kinds.shape or len(self.neighbours) != n:
            raise LatticeError(
                f"neighbours {self.neighbours.shape}, kinds {self.kinds.shape}: expected ({n}, K)."
            )
        if self.matrices.shape[1:] != (self.q, self.q) or self.fields.shape != (n, self.q):
            raise LatticeError(
                f"matrices {self.matrices.shape}, fields {self.fields.shape}: expected (kinds, {self.q}, "
                f"{self.q}) and ({n}, {self.q})."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the lattice."""
        return self.lattice.shape

    def energy(self, states: np.ndarray) -> np.ndarray:
        r"""Return the energy of states (samples, \*shape): (samples,) float64, units of J.

        Raises
        ------
        DataError
            For another shape or alphabet.
        """
        states = check_states(states, self.q, self.lattice.shape)
        flat = states.reshape(len(states), -1)
        site, slot = np.nonzero(self.neighbours > np.arange(self.lattice.sites)[:, None])
        other, kind = self.neighbours[site, slot], self.kinds[site, slot]
        everywhere = np.arange(flat.shape[1])
        step = max(1, _CHUNK // max(1, len(site)))
        parts = []
        for start in range(0, len(flat), step):
            part = flat[start : start + step]
            pairs = self.matrices[kind, part[:, site], part[:, other]].sum(1)
            parts.append(pairs + self.fields[everywhere, part].sum(1))
        return np.concatenate(parts)

    def resized(self, shape: Sequence[int]) -> PairwiseEnergy:
        """Return the same couplings on another lattice; :class:`LatticeError` if they are its sites' own."""
        if self.displacements is None:
            raise LatticeError("energy: its couplings belong to their sites; it has no other size.")
        lattice = Lattice(tuple(shape))
        if lattice.dimensions != self.lattice.dimensions:
            raise LatticeError(f"shape: {tuple(shape)} has another number of axes than {self.lattice.shape}.")
        neighbours = np.stack([lattice.shift(vector) for vector in self.displacements], axis=-1)
        if (neighbours == np.arange(lattice.sites)[:, None]).any():
            raise LatticeError(f"shape: a coupling reaches around {tuple(shape)} to the site itself.")
        kinds = np.tile(self.kinds[0], (lattice.sites, 1))
        fields = np.tile(self.fields[0], (lattice.sites, 1))
        return replace(self, lattice=lattice, neighbours=neighbours, kinds=kinds, fields=fields)

    @cached_property
    def interactions(self) -> np.ndarray:
        """The pair energy between all sites, (N, q, N, q) float64, zero where there is none."""
        n = self.lattice.sites
        dense = np.zeros((n, n, self.q, self.q))
        site, slot = np.nonzero(self.neighbours >= 0)
        np.add.at(dense, (site, self.neighbours[site, slot]), self.matrices[self.kinds[site, slot]])
        return dense.transpose(0, 2, 1, 3)
