"""Clusters for Monte Carlo with a learned energy: which pair couplings grow them.

Self-learning Monte Carlo (J. Liu, Y. Qi, Z. Y. Meng and L. Fu, Phys. Rev. B 95, 041101, 2017): an
effective pair energy is fitted to the learned one, and clusters grown with it are turned with the
Metropolis probability of what the learned energy changes beyond it. The distribution is exactly
that of the learned energy, whatever the fit; a poor fit costs acceptance alone.

All sites are joined to clusters (R. H. Swendsen and J.-S. Wang, Phys. Rev. Lett. 58, 86, 1987), and
each is offered its turn by itself. Given the bonds, the joint distribution of bonds and states
(R. G. Edwards and A. D. Sokal, Phys. Rev. D 38, 2009, 1988) depends on the states through the
difference of the two energies alone, so each offer obeys detailed balance; and only the largest
clusters, on whose rims the difference adds up, are refused: none needs to be kept small.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.baselines.pair_basis import by_displacement
from mlpot.lattice.geometry import Lattice
from mlpot.lattice.moves import reflections_of
from mlpot.lattice.pairwise import PairwiseEnergy
from mlpot.lattice.tile_energy import NetworkEnergy, TableEnergy

LocalEnergy = TableEnergy | NetworkEnergy | PairwiseEnergy

#: Length to which the lattice is cut for the fit: of large ones every energy is nearly the mean.
_FIT_LENGTH = 16
#: Shells of neighbours with an effective coupling, at most.
_SHELLS = 6
#: Standard deviation, over the lattice and in units of T, of what the effective energy leaves out,
#: at which further couplings stop to pay: three clusters of four are still turned.
_GOOD_ENOUGH = 1.0


def has_clusters(energy: LocalEnergy) -> bool:
    """Say whether clusters can be grown for an energy: whether all its sites are alike."""
    if isinstance(energy, PairwiseEnergy):
        return energy.displacements is not None
    return energy.networks == 1


def require_clusters(energy: LocalEnergy) -> None:
    """Refuse energies without clusters (:func:`has_clusters`); :class:`LatticeError`."""
    if not has_clusters(energy):
        what = "couplings of their own" if isinstance(energy, PairwiseEnergy) else "a network for each tile"
        raise LatticeError(
            f"clusters: the energy is that of a glass, it has {what}: no effective coupling stands for all "
            "sites, and clusters that join across frustrated bonds fill the lattice. Take moves: single."
        )


def mirrors_of(pairs: PairwiseEnergy) -> np.ndarray:
    """Return the reflections of the states that leave all couplings alone, (R, q) int8."""
    return reflections_of(pairs.matrices)


def fit_lattice(energy: LocalEnergy) -> tuple[int, ...]:
    """Return the lattice on which effective couplings are fitted: that of the energy, cut to 16 sites."""
    focus = 1 if isinstance(energy, PairwiseEnergy) else energy.tiling.focus
    least = 2 * _reach(energy) if isinstance(energy, PairwiseEnergy) else energy.tiling.width
    cut = max(_FIT_LENGTH // focus, -(-least // focus)) * focus
    return tuple(min(length, cut) for length in energy.shape)


def _reach(energy: LocalEnergy) -> int:
    if isinstance(energy, PairwiseEnergy):
        return 1 if energy.displacements is None else int(np.abs(energy.displacements).max())
    return max(1, energy.tiling.width - 1)


def fit_pairs(
    energy: LocalEnergy, states: Sequence[np.ndarray], beta: Sequence[float], sites: int
) -> PairwiseEnergy:
    r"""Return pair couplings that stand for an energy in clusters, by least squares.

    Energies are fitted up to a constant for each temperature, in units of T, which is what acceptance
    depends on. Nearest neighbours alone, if that will do on the lattice to be run; otherwise as many
    shells as it takes.

    Parameters
    ----------
    energy
        To be approximated; its sites are alike.
    states
        For each temperature (samples, \*shape of the energy).
    beta
        Inverse temperatures.
    sites
        Of the lattice to be run.
    """
    target = np.concatenate([_about(energy.energy(s)) * b for s, b in zip(states, beta, strict=True)])
    lattice = Lattice(energy.shape)
    symmetry = "full" if energy.q <= 3 else "cyclic"
    best: tuple[float, PairwiseEnergy] | None = None
    for shells in range(1, _SHELLS + 1):
        reach = np.abs(lattice.displacements(shells)).max(0)
        if shells > 1 and (reach.max() > _reach(energy) or (2 * reach > np.array(lattice.shape)).any()):
            break
        basis = by_displacement(energy.shape, energy.q, shells, states=symmetry)  # type: ignore[arg-type]
        parts = [basis.energy(unit, 1.0) for unit in np.eye(len(basis.names))]
        design = np.stack(
            [
                np.concatenate([_about(part.energy(s)) * b for s, b in zip(states, beta, strict=True)])
                for part in parts
            ],
            axis=-1,
        )
        found, *_ = np.linalg.lstsq(design, target, rcond=None)
        # At the temperature where it is worst.
        left = np.split(target - design @ found, np.cumsum([len(s) for s in states])[:-1])
        missed = max(float(part.std()) for part in left) * (sites / lattice.sites) ** 0.5
        if best is None or missed < best[0]:
            best = missed, basis.energy(found, 1.0)
        if missed <= _GOOD_ENOUGH:
            break
    assert best is not None
    return best[1]


def _about(values: np.ndarray) -> np.ndarray:
    return values - values.mean()
