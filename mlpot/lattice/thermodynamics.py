r"""Thermodynamics from samples, with errors that respect autocorrelation.

Per site, k_B = J = 1: energy E/N; heat capacity
:math:`C = (\langle E^2\rangle - \langle E\rangle^2)/(N T^2)`;
order parameter |M| (:func:`~mlpot.lattice.alphabet.order_parameter`); susceptibility
:math:`\chi = N(\langle M^2\rangle - \langle|M|\rangle^2)/T`; Binder's cumulant
:math:`U = 1 - \langle M^4\rangle/(3\langle M^2\rangle^2)` (K. Binder, Z. Phys. B 43, 119 (1981)); and the
second-moment correlation length
:math:`\xi = \sqrt{S(0)/S(k) - 1}\,/\,(2\sin(k/2))`, :math:`k = 2\pi/L` along the longest axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import order_parameter, populations
from mlpot.lattice.autocorrelation import integrated_time
from mlpot.lattice.hamiltonian import Hamiltonian
from mlpot.lattice.samples import Samples

#: Blocks are at least so many autocorrelation times long.
_BLOCK_TIMES = 10
#: Fewer blocks give no error worth the name; more give nothing.
_FEWEST, _MOST = 8, 100


@dataclass(frozen=True)
class CanonicalPoint:
    """Exact thermodynamics at one temperature, per site; ``None`` where it is not known.

    Attributes
    ----------
    temperature, energy, heat_capacity, free_energy, entropy, magnetisation, susceptibility, binder
        As the module defines them.
    """

    temperature: float
    energy: float
    heat_capacity: float
    free_energy: float
    entropy: float
    magnetisation: float | None = None
    susceptibility: float | None = None
    binder: float | None = None


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error."""

    value: float
    error: float

    def z(self, exact: float) -> float:
        """Return how many standard errors the value is above an exact one."""
        return (
            (self.value - exact) / self.error if self.error else math.copysign(math.inf, self.value - exact)
        )


@dataclass(frozen=True)
class Thermodynamics:
    """Estimates at one temperature, per site.

    Attributes
    ----------
    temperature
        In J/k_B.
    samples, blocks
        How many configurations, and independent blocks for errors.
    energy, heat_capacity, magnetisation, susceptibility, binder, correlation_length
        As the module defines them; the correlation length in lattice spacings.
    """

    temperature: float
    samples: int
    blocks: int
    energy: Estimate
    heat_capacity: Estimate
    magnetisation: Estimate
    susceptibility: Estimate
    binder: Estimate
    correlation_length: Estimate

    def to_dict(self) -> dict[str, float | int | dict[str, float]]:
        """Return plain JSON; estimates as ``{"value": ..., "error": ...}``."""
        return asdict(self)


def measure(samples: Samples, energies: np.ndarray | None = None, form: str | None = None) -> Thermodynamics:
    """Return thermodynamics of equilibrium samples.

    Parameters
    ----------
    samples
        With their temperature and number of chains.
    energies : (samples,) float64, optional
        Of configurations, units of J; those of the Hamiltonian by default, where it is known.
    form
        Of the order parameter; by default that of the Hamiltonian, otherwise ``"standard"``.

    Raises
    ------
    LatticeError
        If no energies can be had, or there are fewer than 8 independent blocks.
    """
    model = samples.model
    if energies is None:
        if model is None:
            raise LatticeError(f"{samples.source}: knows no Hamiltonian; give the energies.")
        energies = model.energy(samples.states)
    energies = np.asarray(energies, dtype=np.float64)
    if energies.shape != (len(samples),):
        raise LatticeError(f"energies: shape {energies.shape}, expected ({len(samples)},).")
    form = form or default_form(model)
    n = samples.lattice.sites
    m = order_parameter(samples.states, samples.q, form)
    blocks = block_numbers(np.stack([energies, m], axis=1), samples.chains)
    zero, smallest, k = _structure(samples.states, samples.q, form)
    e = energies / n
    # About the mean: the heat capacity of a large lattice is a small difference otherwise.
    centre = e.mean()
    moments = np.stack([e - centre, (e - centre) ** 2, m, m**2, m**4, zero, smallest], axis=1)
    temperature = samples.temperature

    def derived(mean: np.ndarray) -> np.ndarray:
        e1, e2, m1, m2, m4, s0, sk = np.moveaxis(mean, -1, 0)
        return np.stack(
            [
                e1 + centre,
                n * (e2 - e1**2) / temperature**2,
                m1,
                n * (m2 - m1**2) / temperature,
                1 - m4 / (3 * m2**2),
                np.sqrt(np.maximum(s0 / sk - 1, 0)) / (2 * math.sin(k / 2)),
            ],
            axis=-1,
        )

    estimates = jackknife(moments, blocks, derived)
    return Thermodynamics(temperature, len(samples), int(blocks.max()) + 1, *estimates)


def default_form(model: Hamiltonian | None) -> str:
    """Return which order parameter belongs to a model: ``clock`` for clocks, otherwise ``standard``."""
    return "clock" if model is not None and model.form == "clock" else "standard"


def jackknife(
    values: np.ndarray, blocks: np.ndarray, function: Callable[[np.ndarray], np.ndarray]
) -> list[Estimate]:
    """Return functions of means with jackknife errors and without their first-order bias.

    B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans (1982).

    Parameters
    ----------
    values : (samples, k)
        Whose means enter.
    blocks : (samples,) int
        Number of the block of each sample, from 0.
    function
        Of means (..., k), returning (..., results).
    """
    count = int(blocks.max()) + 1
    sizes = np.bincount(blocks, minlength=count)[:, None]
    sums = np.stack([np.bincount(blocks, column, count) for column in values.T], axis=1)
    whole = function(sums.sum(axis=0) / len(values))
    left_out = function((sums.sum(axis=0) - sums) / (len(values) - sizes))
    middle = left_out.mean(axis=0)
    errors = np.sqrt((count - 1) / count * ((left_out - middle) ** 2).sum(axis=0))
    corrected = count * whole - (count - 1) * middle
    return [Estimate(float(v), float(error)) for v, error in zip(corrected, errors, strict=True)]


def block_numbers(series: np.ndarray, chains: int = 1) -> np.ndarray:
    """Return blocks for error estimates: contiguous in time, 10 autocorrelation times long, by chain.

    Parameters
    ----------
    series : (samples, k)
        Quantities whose slowest autocorrelation time counts, in the order of :class:`Samples`.
    chains
        Among which the samples alternate.

    Returns
    -------
    (samples,) int64
        Number of the block of each sample, from 0; at most about 100 blocks.

    Raises
    ------
    LatticeError
        For fewer than 8 blocks: the samples are too few, or too correlated.
    """
    times = len(series) // chains
    slowest = (
        max(integrated_time(column.reshape(times, chains)).tau for column in series.T) if times > 1 else 0.5
    )
    # White series need no blocks of ten; a chain counts as independent however short.
    length = _BLOCK_TIMES * slowest if slowest > 1 else 1
    segments = max(1, int(min(times / length, math.ceil(_MOST / chains))))
    merged = max(1, chains // _MOST)
    time = np.arange(times) * segments // times
    chain = np.arange(chains) // merged
    numbers = chain[None, :] * segments + time[:, None]
    count = int(numbers.max()) + 1
    if count < _FEWEST:
        raise LatticeError(
            f"samples: {len(series)} with an autocorrelation time of {slowest:.1f} make {count} independent "
            f"blocks; errors need {_FEWEST}: sample for longer."
        )
    return numbers.ravel()


def _structure(states: np.ndarray, q: int, form: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Return S(0) and S at the smallest wave vector, averaged over the longest axes, and that vector."""
    length = max(states.shape[1:])
    axes = [axis for axis in range(1, states.ndim) if states.shape[axis] == length]
    wave = np.exp(2j * np.pi * np.arange(length) / length)
    at_k = np.zeros(len(states))
    for axis in axes:
        rows = np.moveaxis(states, axis, 1).reshape(len(states), length, -1)
        share = np.stack([(rows == state).sum(axis=2) for state in range(q)], axis=-1) / states[0].size
        amplitude = np.einsum("sxa,x->sa", share, wave)
        at_k += _squared(amplitude, q, form)
    return _squared(populations(states, q), q, form), at_k / len(axes), 2 * math.pi / length


def _squared(amplitude: np.ndarray, q: int, form: str) -> np.ndarray:
    """Return the squared order parameter of populations (samples, q), or of their Fourier components."""
    if form == "clock":
        return np.abs(amplitude @ np.exp(2j * np.pi * np.arange(q) / q)) ** 2
    total = np.abs(amplitude.sum(axis=1)) ** 2
    return (q * (np.abs(amplitude) ** 2).sum(axis=1) - total) / (q - 1)
