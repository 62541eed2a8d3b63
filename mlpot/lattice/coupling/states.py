"""States on which a sequence model and an energy are made to agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mlpot.errors import LatticeError
from mlpot.lattice.learned_mc import AnyEnergy, local_energy, scan_temperatures
from mlpot.lattice.samples import Samples

#: Rungs of the ladder, and energy levels among which targeted states are spread.
_RUNGS = 17
_LEVELS = 32
#: Sweeps before the first targeted states, and between recordings.
_BURN_IN = 100
_EVERY = 5
SOURCES = ("samples", "random", "model", "targeted")


class Probabilities(Protocol):
    """What is needed of a sequence model (:class:`mlpot.lattice.sequence.model.SequenceModel`)."""

    q: int

    def log_prob(self, states: Tensor) -> Tensor:
        r"""Return ln p, (B,) float64, of states (B, \*shape)."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> np.ndarray:
        r"""Return states drawn from p, (n, \*shape)."""


@dataclass(frozen=True)
class StateMix:
    """Shares of the states by where they come from; only their ratios count.

    Parameters
    ----------
    samples
        The samples to learn from.
    random
        Uniformly random: what infinite temperature looks like.
    model
        Drawn from the sequence model.
    targeted
        Spread uniformly over all energies by tempering with the learned energy itself, from its
        lowest to its highest (:func:`targeted_states`).

    Raises
    ------
    LatticeError
        For negative shares or none at all.
    """

    samples: float = 1.0
    random: float = 1.0
    model: float = 0.0
    targeted: float = 1.0

    def __post_init__(self) -> None:
        shares = [getattr(self, name) for name in SOURCES]
        if min(shares) < 0 or not sum(shares) > 0:
            raise LatticeError(
                f"states: shares {dict(zip(SOURCES, shares, strict=True))}; at least 0, and not all 0."
            )

    def counts(self, total: int) -> dict[str, int]:
        """Return how many states of each source make up a total (rounded, none left out)."""
        shares = np.array([getattr(self, name) for name in SOURCES])
        ends = np.round(np.cumsum(shares) / shares.sum() * total).astype(int)
        return dict(zip(SOURCES, np.diff(ends, prepend=0).tolist(), strict=True))


@dataclass(frozen=True, eq=False)
class Pool:
    r"""States with their sources.

    Attributes
    ----------
    states : (n, \*shape) int8
        All of them.
    sources : (n,) int64
        Index into ``SOURCES``.
    """

    states: np.ndarray
    sources: np.ndarray


def targeted_states(energy: AnyEnergy, count: int, coldest: float | None = None, seed: int = 0) -> np.ndarray:
    r"""Return states spread uniformly over the range of a learned energy, (count, \*shape) int8.

    Parallel tempering along inverse temperatures from -1/coldest to 1/coldest, with the learned
    energy; of what it visits, as many states from each of 32 levels of energy as there are.

    Parameters
    ----------
    energy
        The learned energy.
    count
        States.
    coldest
        Lowest absolute temperature; by default a quarter of the standard deviation of the energy
        of random states per square root of sites (0.35 for the Ising model on a square lattice).
    seed
        Of the random numbers.

    Raises
    ------
    LatticeError
        If the energy is constant.
    """
    local = local_energy(energy)
    walks, choice = np.random.SeedSequence(seed).spawn(2)
    generator = np.random.default_rng(choice)
    if coldest is None:
        energies = local.energy(generator.integers(0, local.q, (1000, *local.shape), dtype=np.int8))
        coldest = float(energies.std() / np.sqrt(np.prod(local.shape)) / 4)
        if coldest == 0:
            raise LatticeError("targeted states: the energy is the same for all states; train it first.")
    # Denser towards infinite temperature, where the energy changes fastest with 1/T.
    grid = np.linspace(-1, 1, _RUNGS)
    beta = np.sign(grid) * np.abs(grid) ** 1.5 / coldest
    beta[_RUNGS // 2] = 0.0
    chains = max(1, min(8, count // _RUNGS))
    steps = max(8, -(-3 * count // (_RUNGS * chains)))
    with np.errstate(divide="ignore"):
        temperatures = 1 / beta
    scan = scan_temperatures(
        local,
        temperatures,
        chains=chains,
        steps=steps,
        burn_in=_BURN_IN,
        every=_EVERY,
        seed=walks,
        keep_states=True,
    )
    assert scan.states is not None
    energies = scan.energies.ravel()
    states = scan.states.reshape(len(energies), *scan.states.shape[3:])
    edges = np.linspace(energies.min(), energies.max(), _LEVELS + 1)[1:-1]
    level = np.searchsorted(edges, energies)
    population = np.bincount(level, minlength=_LEVELS)
    weights = 1 / population[level]
    chosen = generator.choice(len(states), count, replace=True, p=weights / weights.sum())
    return states[chosen]


def make_pool(
    mix: StateMix,
    total: int,
    samples: Samples,
    sequence: Probabilities,
    energy: AnyEnergy,
    seed: int,
) -> Pool:
    """Return states from all sources.

    Parameters
    ----------
    mix
        Shares.
    total
        States in all.
    samples, sequence, energy
        The sources.
    seed
        Of the random numbers.
    """
    counts = mix.counts(total)
    numbers = np.random.default_rng(seed)
    size = samples.states.shape[1:]
    parts = {
        "samples": lambda n: samples.states[numbers.integers(0, len(samples), n)],
        "random": lambda n: numbers.integers(0, samples.q, (n, *size), dtype=np.int8),
        "model": lambda n: sequence.sample(n, torch.Generator().manual_seed(seed)),
        "targeted": lambda n: targeted_states(energy, n, seed=seed),
    }
    drawn = [np.asarray(parts[name](counts[name]), dtype=np.int8) for name in SOURCES if counts[name]]
    sources = np.repeat(np.arange(len(SOURCES)), [counts[name] for name in SOURCES])
    return Pool(np.concatenate(drawn), sources)


def disagreement(residuals: np.ndarray, sources: Sequence[int] | np.ndarray) -> dict[str, float]:
    """Return the root mean square of E + T0 ln p about its mean over all states, per source, units of J."""
    centred = residuals - residuals.mean()
    sources = np.asarray(sources)
    return {
        name: float(np.sqrt((centred[sources == index] ** 2).mean()))
        for index, name in enumerate(SOURCES)
        if (sources == index).any()
    }
