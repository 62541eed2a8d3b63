"""Equilibrium samples by parallel tempering, for glasses and wherever barriers are high."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

import mlpot
from mlpot.errors import LatticeError
from mlpot.lattice import kernels
from mlpot.lattice.autocorrelation import integrated_time
from mlpot.lattice.compiled import generator_states
from mlpot.lattice.hamiltonian import Hamiltonian
from mlpot.lattice.moves import shuffle_symmetrically, symmetries
from mlpot.lattice.pilot import (
    Progress,
    autocorrelation_facts,
    check_temperature,
    pilot,
    temperatures_of,
)
from mlpot.lattice.samples import Samples

#: Relative step of the ladder times sqrt(N): neighbours exchange about 4 times of 10 at a heat
#: capacity of 1/2 per site, the most that Ising glasses reach.
_STEP = 1.6


def ladder(model: Hamiltonian, temperatures: Sequence[float], hottest: float | None = None) -> np.ndarray:
    """Return a ladder of temperatures (R,), rising, that contains the given ones.

    Gaps are filled geometrically, close enough for neighbours to exchange. ``hottest`` is 1.5 times
    the scale of local fields, sqrt(sum of J^2 of a site), unless given: there nothing is slow.

    Raises
    ------
    LatticeError
        For temperatures that are not positive, or above ``hottest``.
    """
    wanted = sorted(set(temperatures_of(temperatures)))
    if hottest is None:
        spread = model.kernel.max() - model.kernel.min()
        scale = spread / 2 * math.sqrt((model.couplings**2).sum(axis=1).mean())
        hottest = max(1.5 * scale, wanted[-1])
    if check_temperature(hottest) < wanted[-1]:
        raise LatticeError(f"hottest: {hottest} is below a temperature asked for, {wanted[-1]}.")
    corners = wanted + ([hottest] if hottest > wanted[-1] else [])
    steps = [corners[0]]
    for low, high in pairwise(corners):
        parts = math.ceil(math.log(high / low) / math.log1p(_STEP / math.sqrt(model.lattice.sites)))
        steps += (low * (high / low) ** (np.arange(1, parts + 1) / parts)).tolist()
        steps[-1] = high
    return np.array(steps)


class Tempering:
    """Replicas of a model on a ladder of temperatures, several independent sets of them.

    Parameters
    ----------
    model
        The Hamiltonian.
    temperatures
        To record.
    hottest
        See :func:`ladder`.
    chains
        Sets.
    seed
        Of starts and moves.
    """

    def __init__(
        self,
        model: Hamiltonian,
        temperatures: Sequence[float],
        hottest: float | None = None,
        chains: int = 4,
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        if chains < 1:
            raise LatticeError(f"chains: {chains}; at least one runs.")
        self.model, self.chains, self.steps = model, chains, 0
        self.ladder = ladder(model, temperatures, hottest)
        self.recorded = np.searchsorted(self.ladder, temperatures)
        self._generators = generator_states(seed, chains)
        starts = np.random.default_rng(self._generators[:, 0])
        self.states = starts.integers(
            0, model.q, (chains, len(self.ladder), model.lattice.sites), dtype=np.int8
        )
        self._swaps = np.zeros(len(self.ladder) - 1, dtype=np.int64)

    def run(self, records: int, spacing: int = 1) -> tuple[np.ndarray, np.ndarray]:
        r"""Advance; return configurations and the energies of the whole ladder.

        Returns
        -------
        states : (temperatures, records, chains, \*shape) int8
            At the temperatures to record, in the order in which they were given.
        energies : (records, R, chains) float64
            At all temperatures of the ladder.
        """
        model = self.model
        recorded = len(self.recorded)
        out = np.empty((records, recorded, self.chains, model.lattice.sites), dtype=np.int8)
        energies = np.empty((records, len(self.ladder), self.chains))
        kernels.tempering(
            self.states, self._generators, out, energies, spacing, 1 / self.ladder, self.recorded,
            self._swaps,
            model.neighbours, model.couplings, model.kernel, model.field,
        )  # fmt: skip
        self.steps += records * spacing
        states = np.moveaxis(out, 1, 0).reshape(recorded, records, self.chains, *model.lattice.shape)
        return states, energies

    @property
    def exchange(self) -> np.ndarray:
        """Fraction of exchanges that neighbours on the ladder accepted, (R - 1,)."""
        return self._swaps / max(1.0, self.steps * self.chains / 2)


def overlaps(states: np.ndarray, q: int) -> np.ndarray:
    r"""Return the overlap of each chain with the next one, (times, chains) float64.

    :math:`(q\,n - 1)/(q - 1)` with the fraction n of sites in the same state; its absolute value for
    q = 2. Independent chains in equilibrium share nothing but the Hamiltonian: the order parameter
    of a glass. States (times, chains, \*shape), at least two chains.
    """
    flat = states.reshape(*states.shape[:2], -1)
    same = (flat == np.roll(flat, 1, axis=1)).mean(axis=2)
    overlap = (q * same - 1) / (q - 1)
    return np.abs(overlap) if q == 2 else overlap


def sample_tempered(
    model: Hamiltonian,
    temperatures: Sequence[float],
    count: int,
    seed: int = 0,
    hottest: float | None = None,
    stream: int | None = None,
    chains: int | None = None,
    burn_in: int | None = None,
    progress: Progress | None = None,
) -> list[Samples]:
    """Return equilibrium samples at several temperatures from one parallel tempering run.

    As :func:`mlpot.lattice.sampling.sample`, except that the pilot resolves energy and
    :func:`overlaps` at every temperature asked for, and that ``chains`` are independent ladders,
    four by default.

    Raises
    ------
    LatticeError
        For settings that make no sense, and if the chains decorrelate too slowly to be measured.
    """
    temperatures = temperatures_of(temperatures)
    if chains is None:
        chains = next(some for some in (4, 3, 2, 1) if count % some == 0)
    root = np.random.SeedSequence(seed)
    # Overlaps need two sets; a single one is asked for at the price of a companion.
    runner = Tempering(model, temperatures, hottest, max(2, chains), root)

    def observed(records: int, stride: int) -> dict[str, np.ndarray]:
        states, energies = runner.run(records, stride)
        series = {}
        for index, temperature in enumerate(temperatures):
            at = f"{temperature:g}"
            series[f"energy {at}"] = energies[:, runner.recorded[index]]
            series[f"overlap {at}"] = overlaps(states[index], model.q)
        return series

    spacing, times = stream or 1, {}
    if stream is None:
        times = pilot(
            observed,
            flips=runner.chains * len(runner.ladder) * model.lattice.sites,
            subject=f"{model.name} down to T = {min(temperatures):g} by tempering",
            remedy="a higher temperature, or the correlated stream with a long burn-in",
        )
        spacing = max(time.spacing for time in times.values())
        slowest = max(time.tau for time in times.values())
        wait = math.ceil(20 * slowest) if burn_in is None else burn_in
    else:
        wait = 1000 if burn_in is None else burn_in
    if wait > runner.steps:
        runner.run(1, wait - runner.steps)
    burned = runner.steps

    records = math.ceil(count / chains)
    states = np.empty((len(temperatures), records, chains, *model.lattice.shape), dtype=np.int8)
    portion = max(1, (1 << 24) // (runner.states.size * spacing))
    for start in range(0, records, portion):
        part, _ = runner.run(min(portion, records - start), spacing)
        states[:, start : start + part.shape[1]] = part[:, :, :chains]
        if progress is not None:
            progress(min(count, (start + part.shape[1]) * chains), count)

    generators = symmetries(model)
    symmetrised = stream is None and len(generators) > 0
    results = []
    for index, temperature in enumerate(temperatures):
        delivered = np.ascontiguousarray(states[index].reshape(-1, *model.lattice.shape)[:count])
        if symmetrised:
            shuffle_symmetrically(delivered, generators, root.spawn(1)[0])
        own = {name.split()[0]: time for name, time in times.items() if name.split()[1] == f"{temperature:g}"}
        facts = autocorrelation_facts(model, delivered, chains, spacing, own)
        if chains >= 2 and count % chains == 0 and count // chains >= 2:
            time = integrated_time(overlaps(states[index], model.q))
            facts["samples"]["overlap"] = {
                "tau": time.tau, "error": time.error, "resolved": time.is_resolved
            }  # fmt: skip
        provenance = {
            "method": "tempering", "seed": seed, "chains": chains if count % chains == 0 else 1,
            "burn_in": burned, "stream": stream, "symmetrised": symmetrised,
            "ladder": runner.ladder.tolist(), "exchange": runner.exchange.tolist(),
            "mlpot": mlpot.__version__,
        }  # fmt: skip
        results.append(Samples(delivered, temperature, model.q, model.to_dict(), facts, provenance))
    return results
