"""Several learned energies as one: their mean, and how far they disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.ednn import EDNN
from mlpot.lattice.tile_energy import LearnedEnergy, NetworkEnergy, TableEnergy

Member = TypeVar("Member", bound=LearnedEnergy)


@dataclass(frozen=True, eq=False)
class Ensemble(Generic[Member]):
    """The mean of energies that were learned from the same samples with different seeds.

    Energies that differ by a constant disagree by it: give the members one zero first
    (``EDNN.centre``; training does).

    Raises
    ------
    LatticeError
        Without members, or with members of different alphabets.
    """

    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        if not self.members:
            raise LatticeError("ensemble: has no members.")
        if len({member.q for member in self.members}) > 1:
            raise LatticeError("ensemble: members have different numbers of states q.")

    @property
    def q(self) -> int:
        """States of a site."""
        return self.members[0].q

    def energies(self, states: np.ndarray) -> np.ndarray:
        r"""Return the energy by each member, (members, samples) float64; states (samples, \*shape)."""
        return np.stack([member.energy(states) for member in self.members])

    def energy(self, states: np.ndarray) -> np.ndarray:
        """Return the mean energy, (samples,) float64, units of J."""
        return self.energies(states).mean(0)

    def deviation(self, states: np.ndarray) -> np.ndarray:
        """Return the standard deviation over members, (samples,); :class:`LatticeError` for one."""
        if len(self.members) < 2:
            raise LatticeError("ensemble: one member disagrees with nobody; train at least two seeds.")
        return self.energies(states).std(0, ddof=1)

    def resized(self, shape: Sequence[int]) -> Ensemble[LearnedEnergy]:
        """Return the ensemble on another lattice; :class:`LatticeError` if a member has no other size."""
        return Ensemble(tuple(member.resized(shape) for member in self.members))

    def merged(self, largest_table: int = 1 << 24) -> TableEnergy | NetworkEnergy:
        """Return the mean energy as one sum over tiles, for Monte Carlo.

        Tables of equal tiles are averaged: the ensemble is then as fast as one member.

        Parameters
        ----------
        largest_table
            See :meth:`~mlpot.lattice.ednn.EDNN.frozen`.

        Raises
        ------
        LatticeError
            Unless all members are networks or tables on equal tiles.
        """
        frozen = [m.frozen(largest_table) if isinstance(m, EDNN) else m for m in self.members]
        tables = [m for m in frozen if isinstance(m, TableEnergy)]
        if len(tables) == len(frozen) and len({(m.tiling, m.networks) for m in tables}) == 1:
            return replace(tables[0], table=np.mean([m.table for m in tables], axis=0))
        nets = [m for m in frozen if isinstance(m, NetworkEnergy)]
        if len(nets) == len(frozen) and len({(m.tiling, m.widths, m.first.shape) for m in nets}) == 1:
            first = nets[0]
            sets = np.arange(len(nets)) * first.layers.shape[1]
            return replace(
                first,
                first=np.concatenate([m.first for m in nets], axis=1),
                stack=np.repeat(sets, len(first.stack)) + np.tile(first.stack, len(nets)),
                layers=np.concatenate([m.layers for m in nets], axis=1),
                biases=np.concatenate([m.biases for m in nets], axis=1),
                pairs=np.mean([m.pairs for m in nets], axis=0),
                constant=np.mean([m.constant for m in nets], axis=0),
            )
        raise LatticeError(
            "ensemble: only networks or tables of the same architecture on equal tiles can be merged."
        )
