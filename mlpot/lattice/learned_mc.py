"""Monte Carlo with a learned energy, at any temperature, on any lattice it can be resized to.

Turning a site re-evaluates only the tiles that contain it: the cost does not depend on the size
of the lattice. Where a tile has at most 2^24 configurations (``EDNN.frozen``) they are tabulated
and a turn costs a few look-ups, like a turn with the true energy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import check_states
from mlpot.lattice.compiled import generator_states
from mlpot.lattice.ednn import EDNN
from mlpot.lattice.ensemble import Ensemble
from mlpot.lattice.geometry import Lattice
from mlpot.lattice.learned_kernels import (
    metropolis_network,
    metropolis_pairs,
    metropolis_table,
)
from mlpot.lattice.pairwise import PairwiseEnergy
from mlpot.lattice.tile_energy import NetworkEnergy, TableEnergy

Order = Literal["random", "checkerboard", "sequential"]
LocalEnergy = TableEnergy | NetworkEnergy | PairwiseEnergy
AnyEnergy = EDNN | Ensemble[Any] | LocalEnergy


def local_energy(energy: AnyEnergy) -> LocalEnergy:
    """Return the form of an energy that the kernels understand; :class:`LatticeError` if it has none."""
    if isinstance(energy, EDNN):
        return energy.frozen()
    if isinstance(energy, Ensemble):
        return energy.merged()
    if not isinstance(energy, LocalEnergy):
        raise LatticeError(
            f"Monte Carlo: {type(energy).__name__} has no local form; it takes an EDNN, a table of tiles, "
            "or pair couplings."
        )
    return energy


def _visits(shape: tuple[int, ...], order: Order) -> np.ndarray:
    lattice = Lattice(shape)
    if order == "random":
        return np.empty(0, dtype=np.int64)
    if order == "sequential":
        return np.arange(lattice.sites)
    if order == "checkerboard":
        # One colour after the other. Sites of a colour may share a tile, so turns stay one by one.
        return np.argsort(lattice.coordinates().sum(1) % 2, kind="stable")
    raise LatticeError(f"order: {order!r} is unknown; known: random, checkerboard, sequential.")


class LearnedMonteCarlo:
    r"""Independent Metropolis chains in a learned energy.

    Parameters
    ----------
    energy
        An :class:`~mlpot.lattice.ednn.EDNN` (as it is now), its frozen form, an ensemble of them, or
        a :class:`~mlpot.lattice.pairwise.PairwiseEnergy`.
    start
        (chains, \*shape) states to start from, or the number of chains to start from random states.
    seed
        Of the random numbers.
    order
        In which sites are visited: ``"random"`` (default), ``"checkerboard"`` (one colour, then
        the other) or ``"sequential"``.

    Attributes
    ----------
    states : (chains, \*shape) int8
        Where the chains are.
    energies : (chains,) float64
        Their energies, kept up to date turn by turn.
    evaluations
        Tiles (or pairs) evaluated for turns so far.

    Raises
    ------
    LatticeError
        For an energy without local form, or another order.
    DataError
        For states of another lattice or alphabet.
    """

    def __init__(
        self,
        energy: AnyEnergy,
        start: int | np.ndarray,
        seed: int | np.random.SeedSequence = 0,
        order: Order = "random",
    ) -> None:
        self.energy = local_energy(energy)
        self.q = self.energy.q
        self.shape = self.energy.shape
        sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
        starts, streams, self._exchanges = sequence.spawn(3)
        if isinstance(start, int | np.integer):
            if start < 1:
                raise LatticeError(f"chains: {start}; at least one is needed.")
            size = (int(start), *self.shape)
            start = np.random.default_rng(starts).integers(0, self.q, size, dtype=np.int8)
        self.states = check_states(start, self.q, self.shape).copy()
        self.energies = self.energy.energy(self.states)
        self.evaluations = 0
        self._random = generator_states(streams, len(self.states))
        self._swaps = np.random.default_rng(self._exchanges)
        self._visits = _visits(self.shape, order)
        if not isinstance(self.energy, PairwiseEnergy):
            tiles, slots = self.energy.tiling.of_site
            self._tiles = (self.energy.tiling.sites, tiles, slots)

    @property
    def chains(self) -> int:
        """Number of chains."""
        return len(self.states)

    def run(self, beta: float | np.ndarray, sweeps: int) -> np.ndarray:
        """Visit each site ``sweeps`` times on average.

        Parameters
        ----------
        beta
            Inverse temperature 1/T, one or (chains,), units 1/J; negative ones favour high energies.
        sweeps
            N visits each.

        Returns
        -------
        numpy.ndarray
            (chains,) fraction of proposals accepted.
        """
        flat = self.states.reshape(self.chains, -1)
        beta = np.ascontiguousarray(np.broadcast_to(np.asarray(beta, dtype=np.float64), self.chains))
        common = (flat, self.energies, self._random, beta, sweeps, self._visits, self.q)
        match self.energy:
            case TableEnergy() as e:
                accepted, evaluated = metropolis_table(*common, *self._tiles, e.table, e.tiling.weight)
            case NetworkEnergy() as e:
                accepted, evaluated = metropolis_network(
                    *common, *self._tiles, e.first, e.stack, e.layers, e.biases, np.array(e.widths), e.pairs,
                    e.constant, e.tiling.weight,
                )  # fmt: skip
            case PairwiseEnergy() as e:
                accepted, evaluated = metropolis_pairs(*common, e.neighbours, e.kinds, e.matrices, e.fields)
        self.evaluations += evaluated
        return accepted / max(1, sweeps * flat.shape[1])

    def exchange(self, beta: np.ndarray) -> np.ndarray:
        """Offer the states of neighbouring temperatures to each other (parallel tempering).

        K. Hukushima and K. Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996). The chains are ladders one
        after the other: chain r * ladders + l is at ``beta[r]``. Even and odd pairs of rungs take
        turns at random.

        Parameters
        ----------
        beta
            (rungs,) inverse temperatures, sorted.

        Returns
        -------
        numpy.ndarray
            (rungs - 1,) fraction of ladders in which each pair swapped, NaN for pairs not offered.
        """
        rungs = len(beta)
        ladders = self.chains // rungs
        if ladders * rungs != self.chains:
            raise LatticeError(
                f"exchange: {self.chains} chains are no whole number of ladders of {rungs} rungs."
            )
        result = np.full(max(0, rungs - 1), np.nan)
        numbers = np.arange(self.chains).reshape(rungs, ladders)
        for rung in range(int(self._swaps.integers(2)), rungs - 1, 2):
            low, high = numbers[rung], numbers[rung + 1]
            exponent = (beta[rung] - beta[rung + 1]) * (self.energies[low] - self.energies[high])
            swapped = np.log(self._swaps.random(ladders)) < exponent
            a, b = low[swapped], high[swapped]
            self.states[a], self.states[b] = self.states[b], self.states[a]
            self.energies[a], self.energies[b] = self.energies[b], self.energies[a]
            result[rung] = swapped.mean()
        return result

    def drift(self) -> float:
        """Return the largest difference of running and full energy over the chains; rounding only."""
        return float(np.abs(self.energies - self.energy.energy(self.states)).max())


@dataclass(frozen=True, eq=False)
class TemperatureScan:
    r"""What was recorded at each temperature.

    Attributes
    ----------
    temperatures : (R,)
        In units of J.
    energies : (R, steps, chains) float64
        Learned energies over time.
    observed : (R, steps, chains) float64 or None
        What ``observe`` returned.
    states : (R, steps, chains, \*shape) int8 or None
        Configurations, if they were kept.
    acceptance : (R,)
        Fraction of turns accepted.
    exchanged : (R - 1,) or None
        Fraction of exchanges between neighbouring temperatures that were accepted.
    """

    temperatures: np.ndarray
    energies: np.ndarray
    observed: np.ndarray | None
    states: np.ndarray | None
    acceptance: np.ndarray
    exchanged: np.ndarray | None


def scan_temperatures(
    energy: AnyEnergy,
    temperatures: Sequence[float] | np.ndarray,
    *,
    chains: int,
    steps: int,
    burn_in: int,
    every: int = 1,
    exchange: bool = True,
    seed: int | np.random.SeedSequence = 0,
    order: Order = "random",
    observe: Callable[[np.ndarray], np.ndarray] | None = None,
    keep_states: bool = False,
    start: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TemperatureScan:
    r"""Run Monte Carlo with a learned energy at many temperatures at once.

    Parameters
    ----------
    energy
        See :class:`LearnedMonteCarlo`; resize it first for another lattice.
    temperatures
        Any order; negative ones favour high energies, and infinity is allowed.
    chains
        At each temperature.
    steps, every
        Configurations recorded per chain, and sweeps between them.
    burn_in
        Sweeps before.
    exchange
        Parallel tempering: after every recording interval neighbouring temperatures offer to swap.
    seed, order
        See :class:`LearnedMonteCarlo`.
    observe
        Function of states (n, \*shape) that returns (n,), recorded beside the energy.
    keep_states
        Record configurations too.
    start
        (chains, \*shape) states at every temperature, random by default.
    progress
        Called with (recordings done, all of them).

    Returns
    -------
    TemperatureScan
        In the order of ``temperatures``.

    Raises
    ------
    LatticeError
        For a temperature of zero or none at all, or no steps.
    """
    given = np.asarray(temperatures, dtype=np.float64)
    if given.ndim != 1 or not len(given) or not (given != 0).all() or np.isnan(given).any():
        raise LatticeError(
            f"temperatures: {temperatures}; a list of one or more numbers other than 0 is needed."
        )
    if min(chains, steps, every) < 1 or burn_in < 0:
        raise LatticeError(
            f"chains {chains}, steps {steps}, every {every}, burn_in {burn_in}: at least 1, 1, 1 and 0."
        )
    order_of = np.argsort(1 / given, kind="stable")
    beta = 1 / given[order_of]
    rungs = len(beta)
    walk = LearnedMonteCarlo(
        energy, rungs * chains if start is None else np.concatenate([start] * rungs), seed, order
    )
    chains = walk.chains // rungs
    each = np.repeat(beta, chains)
    done = 0
    while done < burn_in:
        part = min(every, burn_in - done) if exchange else burn_in
        walk.run(each, part)
        if exchange:
            walk.exchange(beta)
        done += part
    energies = np.empty((steps, rungs, chains))
    observed = None if observe is None else np.empty((steps, rungs, chains))
    states = np.empty((steps, rungs, chains, *walk.shape), dtype=np.int8) if keep_states else None
    acceptance = np.zeros(rungs * chains)
    offered, swapped = np.zeros(rungs - 1), np.zeros(rungs - 1)
    for step in range(steps):
        acceptance += walk.run(each, every) / steps
        if exchange:
            rates = walk.exchange(beta)
            offered += np.isfinite(rates)
            swapped += np.nan_to_num(rates)
        energies[step] = walk.energies.reshape(rungs, chains)
        if observe is not None and observed is not None:
            observed[step] = observe(walk.states).reshape(rungs, chains)
        if states is not None:
            states[step] = walk.states.reshape(rungs, chains, *walk.shape)
        if progress is not None:
            progress(step + 1, steps)
    back = np.argsort(order_of)
    return TemperatureScan(
        temperatures=given,
        energies=energies.swapaxes(0, 1)[back],
        observed=None if observed is None else observed.swapaxes(0, 1)[back],
        states=None if states is None else states.swapaxes(0, 1)[back],
        acceptance=acceptance.reshape(rungs, chains).mean(1)[back],
        exchanged=swapped / np.maximum(offered, 1) if exchange else None,
    )
