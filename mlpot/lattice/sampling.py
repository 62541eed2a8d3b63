"""Equilibrium samples of a Hamiltonian: decorrelated, or the correlated stream as it comes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

import mlpot
from mlpot.errors import LatticeError
from mlpot.lattice import kernels
from mlpot.lattice.autocorrelation import AutocorrelationTime
from mlpot.lattice.compiled import generator_states
from mlpot.lattice.hamiltonian import Hamiltonian
from mlpot.lattice.moves import (
    colouring,
    flip_table,
    is_ferromagnetic,
    is_potts_like,
    reflections,
    shuffle_symmetrically,
    symmetries,
)
from mlpot.lattice.pilot import (
    PORTION,
    Progress,
    autocorrelation_facts,
    check_temperature,
    observe,
    pilot,
)
from mlpot.lattice.samples import Samples

Method = Literal["auto", "metropolis", "heat_bath", "wolff", "swendsen_wang", "tempering"]
Order = Literal["random", "sequential", "checkerboard"]

METHODS = ("auto", "metropolis", "heat_bath", "wolff", "swendsen_wang", "tempering")
ORDERS = ("random", "sequential", "checkerboard")


@dataclass
class Chains:
    """Markov chains at one temperature, all of them with a generator of their own.

    Parameters
    ----------
    model
        The Hamiltonian.
    temperature
        In J/k_B.
    method
        Any but ``"auto"`` and ``"tempering"``.
    order
        Of the sites, for Metropolis and the heat bath: ``"random"`` with replacement, as
        published; ``"sequential"``; ``"checkerboard"``, colour after colour (:func:`colouring`).
        In a fixed order Metropolis leaves out one of 16 flips, see :func:`kernels.metropolis`.
    chains
        How many.
    seed
        Of starts and moves.

    Raises
    ------
    LatticeError
        For unknown methods or orders, a temperature that is not positive, and cluster methods
        for models with a field or without reflections.
    """

    model: Hamiltonian
    temperature: float
    method: str
    order: str = "random"
    chains: int = 1
    seed: int | np.random.SeedSequence = 0
    states: np.ndarray = field(init=False)
    steps: int = field(init=False, default=0)
    flipped: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.method not in METHODS[1:5]:
            raise LatticeError(f"method: {self.method!r} is unknown here; known: {', '.join(METHODS[1:5])}.")
        if self.order not in ORDERS:
            raise LatticeError(f"order: {self.order!r} is unknown; known: {', '.join(ORDERS)}.")
        if self.chains < 1:
            raise LatticeError(f"chains: {self.chains}; at least one runs.")
        n, q = self.model.lattice.sites, self.model.q
        self._beta = 1 / self.temperature
        self._generators = generator_states(self.seed, self.chains)
        self._reflections = reflections(self.model)
        if self.method in ("wolff", "swendsen_wang"):
            if self.model.field.any():
                raise LatticeError(f"method: {self.method} needs a model without field; take heat_bath.")
            if not len(self._reflections):
                raise LatticeError(
                    f"method: {self.method} finds no reflection of the states that {self.model.name} allows; "
                    "take heat_bath."
                )
            states = np.arange(q)[:, None]
            moves = states != self._reflections.T
            self._moving = np.stack([np.flatnonzero(row) for row in moves])
        self._sites = np.empty(0, dtype=np.int64)
        if self.order == "sequential":
            self._sites = np.arange(n)
        elif self.order == "checkerboard":
            self._sites = np.argsort(colouring(self.model), kind="stable")
        self._table = flip_table(
            self.model, self.temperature, self.method, fixed_order=self.order != "random"
        )
        # Hot starts: the words of a generator of their own.
        starts = np.random.default_rng(self._generators[:, 0])
        self.states = starts.integers(0, q, (self.chains, n), dtype=np.int8)

    def run(self, records: int, spacing: int = 1) -> np.ndarray:
        r"""Advance and return configurations, (records, chains, \*shape) int8, ``spacing`` steps apart."""
        model = self.model
        out = np.empty((records, *self.states.shape), dtype=np.int8)
        tables = (model.neighbours, model.couplings, model.kernel)
        head = (self.states, self._generators, out, spacing, self._beta)
        if self.method == "wolff":
            self.flipped += kernels.wolff(*head, self._reflections, self._moving, *tables)
        elif self.method == "swendsen_wang":
            recolour = is_potts_like(model.kernel) and is_ferromagnetic(model)
            kernels.swendsen_wang(*head, self._reflections, recolour, *tables)
        elif self._table is not None:
            kernels.tabled_flips(*head[:4], self._sites, model.neighbours, *self._table)
        else:
            kernel = kernels.metropolis if self.method == "metropolis" else kernels.heat_bath
            kernel(*head, self._sites, *tables, model.field)
        self.steps += records * spacing
        return out.reshape(records, self.chains, *model.lattice.shape)

    def skip(self, steps: int) -> None:
        """Advance without recording."""
        if steps > 0:
            self.run(1, steps)


def choose_method(model: Hamiltonian) -> str:
    """Return what ``"auto"`` stands for.

    Swendsen-Wang where clusters work (ferromagnetic, no field), parallel tempering where couplings
    of both signs may frustrate each other, otherwise the heat bath.
    """
    if is_ferromagnetic(model):
        return "swendsen_wang" if not model.field.any() and len(reflections(model)) else "heat_bath"
    return "tempering"


def sample(
    model: Hamiltonian,
    temperature: float,
    count: int,
    method: Method = "auto",
    order: Order = "random",
    seed: int = 0,
    stream: int | None = None,
    chains: int | None = None,
    burn_in: int | None = None,
    hottest: float | None = None,
    progress: Progress | None = None,
) -> Samples:
    """Return equilibrium samples, with what was measured about their correlations.

    By default they are decorrelated. A pilot run measures the integrated autocorrelation times of
    energy and order parameter, growing until both are resolved; samples are then taken so far apart
    that both correlate by 2 % or less, after a burn-in of 20 times the larger one, and global
    symmetries of the states (spin flip, colour permutations, mirrors) are applied at random: an
    exact move, without which local flips would keep the sign of the magnetisation for ages at low
    temperature.

    Parameters
    ----------
    model
        The Hamiltonian.
    temperature
        In J/k_B.
    count
        Samples.
    method
        ``"metropolis"``, ``"heat_bath"``, ``"wolff"``, ``"swendsen_wang"``, ``"tempering"``, or
        ``"auto"`` (:func:`choose_method`). Steps are N attempted flips, or one cluster for Wolff.
    order
        Of sites for Metropolis and the heat bath, see :class:`Chains`.
    seed
        The same seed gives the same samples.
    stream
        The correlated stream instead: every ``stream``-th step of each chain whatever the
        autocorrelation, no symmetries applied. Its autocorrelation times are measured as well.
    chains
        Independent chains; by default 1 for a stream, otherwise up to 64.
    burn_in
        Steps to discard; by default as above (streams: 1000).
    hottest
        For tempering: the highest temperature of the ladder, see
        :func:`mlpot.lattice.tempering.ladder`.
    progress
        Called with samples done and samples in all.

    Raises
    ------
    LatticeError
        For settings that make no sense, and if the chains decorrelate too slowly to be measured.
    """
    check_temperature(temperature)
    if method not in METHODS:
        raise LatticeError(f"method: {method!r} is unknown; known: {', '.join(METHODS)}.")
    for name, value in {"count": count, "stream": stream, "chains": chains}.items():
        if value is not None and value < 1:
            raise LatticeError(f"{name}: {value} is not positive.")
    chosen = choose_method(model) if method == "auto" else method
    if chosen == "tempering":
        # Here, not above: that module builds on this one.
        from mlpot.lattice.tempering import sample_tempered

        return sample_tempered(
            model, [temperature], count, seed, hottest=hottest, stream=stream, chains=chains,
            burn_in=burn_in, progress=progress,
        )[0]  # fmt: skip
    if hottest is not None:
        raise LatticeError("hottest: is the top of the ladder of tempering; leave it out for other methods.")
    root = np.random.SeedSequence(seed)
    if chains is None:
        chains = 1 if stream else default_chains(count)
    runner = Chains(model, temperature, chosen, order, chains, root)
    times: dict[str, AutocorrelationTime] = {}
    if stream is None:
        times = pilot(
            lambda records, stride: observe(model, runner.run(records, stride)),
            flips=chains * model.lattice.sites,
            subject=f"{model.name} at T = {temperature:g} by {chosen}",
            remedy=f"{choose_method(model)} or tempering, or the correlated stream",
        )
        slowest = max(time.tau for time in times.values())
        spacing = max(time.spacing for time in times.values())
        runner.skip((math.ceil(20 * slowest) if burn_in is None else burn_in) - runner.steps)
    else:
        spacing = stream
        runner.skip(1000 if burn_in is None else burn_in)

    burned = runner.steps
    states = _collect(runner, count, spacing, progress)
    generators = symmetries(model)
    if stream is None and len(generators):
        shuffle_symmetrically(states, generators, root.spawn(1)[0])
    facts = autocorrelation_facts(model, states, chains, spacing, times)
    provenance = {
        "method": chosen, "order": order if chosen in ("metropolis", "heat_bath") else None,
        "seed": seed, "chains": chains if count % chains == 0 else 1, "burn_in": burned,
        "stream": stream, "symmetrised": stream is None and len(generators) > 0, "mlpot": mlpot.__version__,
    }  # fmt: skip
    return Samples(states, temperature, model.q, model.to_dict(), facts, provenance)


def default_chains(count: int) -> int:
    """Return how many chains share the work by default: up to 64, each of 100 samples or more.

    A divisor of the count, so that each chain has as many.
    """
    most = max(1, min(64, count // 100))
    return next(chains for chains in range(most, 0, -1) if count % chains == 0)


def _collect(runner: Chains, count: int, spacing: int, progress: Progress | None) -> np.ndarray:
    shape, chains = runner.model.lattice.shape, runner.chains
    records = math.ceil(count / chains)
    states = np.empty((records * chains, *shape), dtype=np.int8)
    portion = max(1, PORTION // (runner.model.lattice.sites * chains * spacing))
    for start in range(0, records, portion):
        part = runner.run(min(portion, records - start), spacing)
        states[start * chains : start * chains + part.shape[0] * chains] = part.reshape(-1, *shape)
        if progress is not None:
            progress(min(count, (start + part.shape[0]) * chains), count)
    return states[:count]
