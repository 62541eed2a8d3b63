"""Learned energies as the kernels of Monte Carlo take them: tuples of arrays, with room to work in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.clusters import mirrors_of
from mlpot.lattice.learned_kernels import ClusterForm, NetworkForm, PairForm, TableForm
from mlpot.lattice.pairwise import PairwiseEnergy
from mlpot.lattice.tile_energy import NetworkEnergy, TableEnergy

LocalEnergy = TableEnergy | NetworkEnergy | PairwiseEnergy


def form_of(energy: LocalEnergy) -> TableForm | NetworkForm | PairForm:
    """Return an energy as the kernels take it; each call makes new room to work in."""
    if isinstance(energy, PairwiseEnergy):
        return _pair_form(energy)
    tiling = energy.tiling
    tiles = (tiling.sites, *tiling.of_site, float(tiling.weight))
    if isinstance(energy, TableEnergy):
        powers = energy.q ** np.arange(tiling.slots, dtype=np.int64)
        return TableForm(*tiles, energy.table, powers, np.empty(tiling.count, dtype=np.int64))
    width = energy.first.shape[4]
    return NetworkForm(
        *tiles, energy.first, energy.stack, energy.layers, energy.biases, np.array(energy.widths),
        energy.pairs, energy.constant,
        np.empty(tiling.count), np.empty(tiling.of_site[0].shape[1]),
        np.empty(tiling.slots, dtype=np.int64), np.zeros(width), np.zeros(width),
    )  # fmt: skip


def cluster_form(pairs: PairwiseEnergy | None, q: int) -> ClusterForm:
    """Return what clusters are grown with; for ``None`` something empty, which is never used.

    ``pairs``: couplings by displacement, with reflections; its fields are left out. Others have no
    clusters: :class:`LatticeError`.
    """
    if pairs is None:
        nothing = np.empty((0, 0), dtype=np.int64)
        none = PairForm(nothing, nothing, np.empty((0, q, q)), np.empty((0, q)))
        room = [np.empty(0, dtype=np.int64) for _ in range(3)]
        return ClusterForm(none, room[0], np.empty((0, q), np.int8), none.matrices, *room)
    steps, mirrors = pairs.displacements, mirrors_of(pairs)
    if steps is None or not len(mirrors):
        raise LatticeError(
            "clusters: these couplings have no clusters: they belong to their sites, or no reflection of the "
            "states leaves them alone."
        )
    # Of a displacement and its opposite, the one whose first step along an axis is forward.
    once = np.flatnonzero(steps[np.arange(len(steps)), (steps != 0).argmax(1)] > 0)
    form = _pair_form(replace(pairs, fields=np.zeros_like(pairs.fields)))
    room = [np.empty(pairs.lattice.sites, dtype=np.int64) for _ in range(3)]
    return ClusterForm(form, once, mirrors, np.empty((len(once), q, q)), *room)


def _pair_form(energy: PairwiseEnergy) -> PairForm:
    return PairForm(
        np.ascontiguousarray(energy.neighbours, dtype=np.int64),
        np.ascontiguousarray(energy.kinds, dtype=np.int64),
        np.ascontiguousarray(energy.matrices, dtype=np.float64),
        np.ascontiguousarray(energy.fields, dtype=np.float64),
    )
