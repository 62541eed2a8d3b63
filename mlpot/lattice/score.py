"""How good a learned energy is, judged by the true one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.hamiltonian import Hamiltonian
from mlpot.lattice.spread import Spread, spread_states
from mlpot.lattice.tile_energy import LearnedEnergy
from mlpot.lattice.tiles import simplex

#: Random states by whose mean the offset is fixed.
RANDOM_STATES = 20_000


@dataclass(frozen=True)
class Score:
    """Errors of total energies, units of J.

    Attributes
    ----------
    shape
        Of the lattice.
    rmse
        Over configurations spread uniformly over all energies, with the offset below removed: the
        score.
    mae, largest
        Mean and largest absolute error over the same configurations.
    offset
        Mean of learned minus true energy over uniformly random states.
    slope
        Of learned against true energies (least squares): 1 where the scale is right.
    random_rmse
        Root mean square error over the random states.
    configurations, random_states
        How many of each.
    """

    shape: tuple[int, ...]
    rmse: float
    mae: float
    largest: float
    offset: float
    slope: float
    random_rmse: float
    configurations: int
    random_states: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self) | {"shape": list(self.shape)}


class Judge:
    """The configurations by which learned energies of one model on one lattice are judged.

    Making them takes longer than judging by them; they are made once, from the true energies.

    Parameters
    ----------
    model
        The true Hamiltonian.
    count
        Configurations, spread uniformly over all energies (:func:`~mlpot.lattice.spread.spread_states`).
    random_states
        Uniformly random states that fix the offset.
    seed
        Of both.
    """

    def __init__(
        self, model: Hamiltonian, count: int = 5000, random_states: int = RANDOM_STATES, seed: int = 0
    ) -> None:
        if random_states < 1:
            raise LatticeError(f"random_states: {random_states} is not positive.")
        self.model = model
        self.spread: Spread = spread_states(model, count, seed)
        size = (random_states, *model.lattice.shape)
        generator = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
        self.random = generator.integers(0, model.q, size, dtype=np.int8)
        self.random_energies = model.energy(self.random)

    def score(self, energy: LearnedEnergy) -> Score:
        """Return the errors of a learned energy, which is of this lattice (resize it first).

        Raises
        ------
        DataError
            If it is of another lattice or alphabet.
        """
        difference = energy.energy(self.random) - self.random_energies
        offset = float(difference.mean())
        learned = energy.energy(self.spread.states)
        errors = learned - self.spread.energies - offset
        return Score(
            shape=self.model.lattice.shape,
            rmse=float(np.sqrt((errors**2).mean())),
            mae=float(np.abs(errors).mean()),
            largest=float(np.abs(errors).max()),
            offset=offset,
            slope=float(np.polyfit(self.spread.energies, learned, 1)[0]),
            random_rmse=float(difference.std()),
            configurations=len(errors),
            random_states=len(difference),
        )


def interactions(
    energy: LearnedEnergy, shape: tuple[int, ...], pairs: np.ndarray, backgrounds: int = 64, seed: int = 0
) -> np.ndarray:
    r"""Return how strongly a learned energy couples pairs of sites, for any kind of energy.

    The coefficient of :math:`-\phi(s_i)\cdot\phi(s_j)` (:func:`~mlpot.lattice.tiles.simplex`) in the
    energy, averaged over random states of all other sites: for Ising spins the J of the pair, exactly
    so where the energy is a sum of pairs; the J of a standard Potts model times (q - 1)/q.

    Parameters
    ----------
    energy, shape
        The energy and its lattice.
    pairs : (M, 2)
        Sites.
    backgrounds
        Random states of the other sites.
    seed
        Of them.

    Returns
    -------
    numpy.ndarray
        (M,), units of J.
    """
    q, sites = energy.q, int(np.prod(shape))
    phi = simplex(q)
    r = q - 1
    others = np.random.default_rng(seed).integers(0, q, (backgrounds, sites), dtype=np.int8)
    weights = (phi @ phi.T).ravel()
    a, b = (grid.ravel() for grid in np.meshgrid(np.arange(q), np.arange(q), indexing="ij"))
    result = np.empty(len(pairs))
    for index, (i, j) in enumerate(np.asarray(pairs)):
        trial = np.repeat(others, q * q, axis=0)
        trial[:, i], trial[:, j] = np.tile(a, backgrounds), np.tile(b, backgrounds)
        energies = energy.energy(trial.reshape(-1, *shape)).reshape(backgrounds, q * q).mean(0)
        # sum over states of (phi . phi)^2 is q^2 / r.
        result[index] = -(energies @ weights) * r / q**2
    return result


@dataclass(frozen=True)
class Recovery:
    """True couplings against learned ones.

    Attributes
    ----------
    correlation
        Pearson's, over all pairs judged; NaN where all true couplings are the same number.
    rmse
        Root mean square error of couplings, units of J.
    pairs
        How many.
    """

    correlation: float
    rmse: float
    pairs: int


def recover_couplings(
    energy: LearnedEnergy, model: Hamiltonian, bonded_only: bool = True, backgrounds: int = 64, seed: int = 0
) -> Recovery:
    """Compare the couplings in a learned energy with the true ones.

    Parameters
    ----------
    energy
        Of the model's lattice.
    model
        The true Hamiltonian.
    bonded_only
        Judge pairs that are bonded in the model; ``False``: all pairs, most of them zero in models
        of short range.
    backgrounds, seed
        See :func:`interactions`.
    """
    n = model.lattice.sites
    phi = simplex(model.q)
    # The part of the kernel along phi . phi, so that both sides mean the same.
    share = float((model.kernel * (phi @ phi.T)).sum() * (model.q - 1) / model.q**2)
    true = np.zeros((n, n))
    site, slot = np.nonzero(model.neighbours >= 0)
    np.add.at(true, (site, model.neighbours[site, slot]), model.couplings[site, slot] * share)
    bonded = np.zeros((n, n), dtype=bool)
    bonded[site, model.neighbours[site, slot]] = True
    i, j = np.nonzero(np.triu(bonded if bonded_only else np.ones((n, n), dtype=bool), 1))
    learned = interactions(energy, model.lattice.shape, np.stack([i, j], 1), backgrounds, seed)
    expected = true[i, j]
    # Equal couplings differ by rounding at most; a correlation with that would mean nothing.
    differ = np.ptp(expected) > 1e-9 * np.abs(expected).max()
    correlation = float(np.corrcoef(expected, learned)[0, 1]) if differ else float("nan")
    return Recovery(correlation, float(np.sqrt(((learned - expected) ** 2).mean())), len(i))
