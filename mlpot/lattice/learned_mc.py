"""Monte Carlo with a learned energy, at any temperature, on any lattice it can be resized to.

Turning a site re-evaluates only the tiles that contain it: the cost does not depend on the size
of the lattice. Where a tile has at most 2^24 configurations (``EDNN.frozen``) they are tabulated
and a turn costs a few look-ups, like a turn with the true energy. Single turns need some L^2.2 sweeps
to forget at a critical point; clusters (:mod:`mlpot.lattice.clusters`) a few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import check_states
from mlpot.lattice.clusters import fit_lattice, fit_pairs, has_clusters, require_clusters
from mlpot.lattice.compiled import generator_states
from mlpot.lattice.ednn import EDNN
from mlpot.lattice.ensemble import Ensemble
from mlpot.lattice.forms import LocalEnergy, cluster_form, form_of
from mlpot.lattice.geometry import Lattice
from mlpot.lattice.learned_kernels import walk
from mlpot.lattice.pairwise import PairwiseEnergy

Order = Literal["random", "checkerboard", "sequential"]
Moves = Literal["single", "clusters", "auto"]
AnyEnergy = EDNN | Ensemble[Any] | LocalEnergy

#: Temperatures, and states of each of eight chains, to which effective couplings are fitted.
_FITTED_AT, _FITTED_TO = 7, 25


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
    clusters
        Pair couplings by displacement on the same lattice, see :func:`effective_pairs`: after every
        sweep of single turns all sites are joined to clusters, which are offered a reflection. The
        distribution stays that of ``energy``. By default single turns alone.

    Attributes
    ----------
    states : (chains, \*shape) int8
        Where the chains are.
    energies : (chains,) float64
        Their energies, kept up to date turn by turn.
    evaluations
        Tiles (or pairs) evaluated for turns so far.
    offered, turned : (chains,) int64
        Sites in clusters that were offered a reflection, and in those that took it, so far.

    Raises
    ------
    LatticeError
        For an energy without local form, another order, or clusters of another lattice.
    DataError
        For states of another lattice or alphabet.
    """

    def __init__(
        self,
        energy: AnyEnergy,
        start: int | np.ndarray,
        seed: int | np.random.SeedSequence = 0,
        order: Order = "random",
        clusters: PairwiseEnergy | None = None,
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
        if clusters is not None and (clusters.shape, clusters.q) != (self.shape, self.q):
            raise LatticeError(
                f"clusters: couplings on {clusters.shape} with q = {clusters.q}, the energy is on "
                f"{self.shape} with q = {self.q}; resized() returns them for another lattice."
            )
        self._form = form_of(self.energy)
        self.clusters = clusters
        self._cluster_form = cluster_form(clusters, self.q)
        self.offered, self.turned = (np.zeros(self.chains, dtype=np.int64) for _ in range(2))

    @property
    def chains(self) -> int:
        """Number of chains."""
        return len(self.states)

    def run(self, beta: float | np.ndarray, sweeps: int, single: bool = True) -> np.ndarray:
        """Visit each site ``sweeps`` times on average, each time followed by clusters, if there are.

        Parameters
        ----------
        beta
            Inverse temperature 1/T, one or (chains,), units 1/J; negative ones favour high energies.
        sweeps
            N visits each.
        single
            ``False``: clusters alone, as many times.

        Returns
        -------
        numpy.ndarray
            (chains,) fraction of single turns accepted.
        """
        if self.clusters is None and not single:
            raise LatticeError("run: without single turns nothing moves, the walk has no clusters.")
        flat = self.states.reshape(self.chains, -1)
        beta = np.ascontiguousarray(np.broadcast_to(np.asarray(beta, dtype=np.float64), self.chains))
        counts = np.zeros((self.chains, 3), dtype=np.int64)
        self.evaluations += walk(
            flat, self.energies, self._random, beta, sweeps, self._visits, self.q,
            flat.shape[1] if single else 0, self._form,
            0 if self.clusters is None else 1, self._cluster_form, counts,
        )  # fmt: skip
        self.offered += counts[:, 1]
        self.turned += counts[:, 2]
        return counts[:, 0] / max(1, sweeps * flat.shape[1])

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
        Fraction of single turns accepted.
    turned : (R,) or None
        Share of the sites in clusters offered a reflection whose cluster took it; ``None`` without
        clusters, NaN where nothing was offered.
    exchanged : (R - 1,) or None
        Fraction of exchanges between neighbouring temperatures that were accepted.
    """

    temperatures: np.ndarray
    energies: np.ndarray
    observed: np.ndarray | None
    states: np.ndarray | None
    acceptance: np.ndarray
    turned: np.ndarray | None
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
    moves: Moves = "single",
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
    moves
        ``"single"`` turns, or also ``"clusters"`` after every sweep, grown with
        :func:`effective_pairs`; ``"auto"``: these where the energy has them.
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
        For a temperature of zero or none at all, no steps, other moves, or clusters of an energy
        whose sites have couplings of their own.
    """
    if moves not in ("single", "clusters", "auto"):
        raise LatticeError(f"moves: {moves!r} is unknown; known: single, clusters, auto.")
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
    local = local_energy(energy)
    joined = moves == "clusters" or (moves == "auto" and has_clusters(local))
    walk = LearnedMonteCarlo(
        local, rungs * chains if start is None else np.concatenate([start] * rungs), seed, order,
        effective_pairs(local, given) if joined else None,
    )  # fmt: skip
    chains = walk.chains // rungs
    each = np.repeat(beta, chains)
    done = 0
    while done < burn_in:
        part = min(every, burn_in - done) if exchange else burn_in
        walk.run(each, part)
        if exchange:
            walk.exchange(beta)
        done += part
    walk.offered[:] = walk.turned[:] = 0
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
        turned=_ratio(walk.turned, walk.offered, rungs)[back] if joined else None,
        exchanged=swapped / np.maximum(offered, 1) if exchange else None,
    )


def _ratio(part: np.ndarray, whole: np.ndarray, rungs: int) -> np.ndarray:
    part, whole = part.reshape(rungs, -1).sum(1), whole.reshape(rungs, -1).sum(1)
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def effective_pairs(energy: AnyEnergy, temperatures: Sequence[float] | np.ndarray) -> PairwiseEnergy:
    """Return pair couplings that grow good clusters for an energy, on its lattice.

    Fitted to states of short runs with single turns, on a small lattice, at up to seven of the
    temperatures: :func:`~mlpot.lattice.clusters.fit_pairs`.

    Parameters
    ----------
    energy
        Learned, on the lattice to be run.
    temperatures
        At which it is to be run.

    Raises
    ------
    LatticeError
        If the energy has no local form, or its sites have couplings of their own.
    """
    local = local_energy(energy)
    require_clusters(local)
    small = fit_lattice(local)
    pilot = local if small == local.shape else local.resized(small)
    ordered = np.unique(temperatures)
    chosen = ordered[np.unique(np.linspace(0, len(ordered) - 1, _FITTED_AT).round().astype(int))]
    scan = scan_temperatures(
        pilot, chosen, chains=8, steps=_FITTED_TO, burn_in=60, every=4, seed=0, keep_states=True
    )
    assert scan.states is not None
    states = scan.states.reshape(len(chosen), -1, *small)
    return fit_pairs(pilot, list(states), 1 / chosen, int(np.prod(local.shape))).resized(local.shape)
