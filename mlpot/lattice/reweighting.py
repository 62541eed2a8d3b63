r"""Free energies and averages at all temperatures from samples at some.

:class:`MultiHistogram` combines samples of several temperatures optimally (A. M. Ferrenberg and R. H.
Swendsen, Phys. Rev. Lett. 63, 1195 (1989), without bins: M. R. Shirts and J. D. Chodera, J. Chem. Phys.
129, 124105 (2008)). :func:`integrate_energy` needs mean energies only:
:math:`\ln Z(\beta) = \ln Z(\beta_0) - \int_{\beta_0}^{\beta} \langle E\rangle\,d\beta'`. Both turn
ln Z at one temperature into free energy and entropy at all; infinite temperature, where
:math:`Z = q^N`, will do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicHermiteSpline, PchipInterpolator
from scipy.special import logsumexp

from mlpot.errors import LatticeError
from mlpot.lattice.thermodynamics import Estimate, block_numbers

#: Averages need samples that count as so many equal ones.
_EFFECTIVE = 50
_RESAMPLED = 50


@dataclass(frozen=True)
class Anchor:
    """ln Z at one temperature.

    Parameters
    ----------
    temperature
        In J/k_B; ``math.inf`` for :func:`infinite`.
    log_z
        Of the whole lattice.
    error
        Its standard error; 0 if it is exact.
    """

    temperature: float
    log_z: float
    error: float = 0.0

    @property
    def beta(self) -> float:
        """1/T."""
        return 1 / self.temperature


def infinite(sites: int, q: int) -> Anchor:
    """Return the anchor at infinite temperature, Z = q^N."""
    return Anchor(math.inf, sites * math.log(q))


def log_z_from_probabilities(log_p: np.ndarray, energies: np.ndarray, temperature: float) -> Anchor:
    r"""Return ln Z from a normalised model of the distribution, by importance sampling.

    :math:`Z = \langle e^{-E/T - \ln p}\rangle_p` over states drawn from the model itself: unbiased in Z
    however wrong the model is. (Averages of :math:`-E/T - \ln p` over the data instead are too high by the
    Kullback-Leibler divergence.)

    Parameters
    ----------
    log_p : (samples,)
        ln p of states sampled from p.
    energies : (samples,)
        Of the same states, units of J.
    temperature
        In J/k_B.

    Raises
    ------
    LatticeError
        If fewer than 50 samples count: p and the energies do not belong together.
    """
    weights = -np.asarray(energies) / temperature - np.asarray(log_p)
    log_z = float(logsumexp(weights) - math.log(len(weights)))
    relative = np.exp(weights - log_z)
    _require(float(relative.sum() ** 2 / (relative**2).sum()), temperature)
    return Anchor(temperature, log_z, float(relative.std(ddof=1) / math.sqrt(len(relative))))


@dataclass(frozen=True)
class Curve:
    """Thermodynamics over temperature, per site.

    Attributes
    ----------
    temperatures : (T,)
        In J/k_B.
    energy, heat_capacity, free_energy, entropy : list of Estimate
        At each of them.
    """

    temperatures: list[float]
    energy: list[Estimate]
    heat_capacity: list[Estimate]
    free_energy: list[Estimate]
    entropy: list[Estimate]


class MultiHistogram:
    """Samples of one model at several temperatures as one.

    Parameters
    ----------
    temperatures : (K,)
        Of the sets of samples; ``math.inf`` is allowed.
    energies
        K arrays (samples_k,): total energies, in the order of :class:`~mlpot.lattice.samples.Samples`.
    sites
        N.
    chains
        Among which the samples of each set alternate.

    Raises
    ------
    LatticeError
        If nothing is given, or the sets are too correlated for errors (:func:`block_numbers`).
    """

    def __init__(
        self, temperatures: Sequence[float], energies: Sequence[np.ndarray], sites: int, chains: int = 1
    ) -> None:
        if not len(temperatures) or len(temperatures) != len(energies):
            raise LatticeError(
                f"{len(temperatures)} temperatures, but energies of {len(energies)} sets of samples."
            )
        if any(not temperature > 0 for temperature in temperatures):
            raise LatticeError("temperatures: one is not positive.")
        self.betas = 1 / np.asarray(temperatures, dtype=np.float64)
        self.sites = sites
        self._sets = [np.asarray(energy, dtype=np.float64) for energy in energies]
        self._blocks = [block_numbers(energy[:, None], chains) for energy in self._sets]
        self._log_z = self._solve(self._sets, np.zeros(len(self.betas)))

    def _solve(self, sets: list[np.ndarray], start: np.ndarray) -> np.ndarray:
        """Return ln Z at the given temperatures up to a constant, by Newton's method on a convex function."""
        counts = np.array([len(energies) for energies in sets], dtype=np.float64)
        # Few energies occur many times in models with equal couplings.
        values, times = np.unique(np.round(np.concatenate(sets), 9), return_counts=True)
        exponents = -np.outer(values, self.betas) + np.log(counts)
        log_z = start - start[0]
        for _ in range(200):
            terms = exponents - log_z
            shares = np.exp(terms - logsumexp(terms, axis=1, keepdims=True))
            expected = times @ shares
            gradient = expected - counts
            if np.abs(gradient).max() < 1e-9 * counts.sum():
                return log_z
            hessian = np.diag(expected) - (shares * times[:, None]).T @ shares
            # The constant is free: hold the first, and damp while far away.
            step = np.zeros_like(log_z)
            step[1:] = np.linalg.lstsq(hessian[1:, 1:], gradient[1:], rcond=1e-14)[0]
            largest = np.abs(step).max()
            if largest < 2:
                log_z = log_z + step
            else:  # the self-consistent iteration converges from anywhere
                log_z = log_z + np.log(expected / counts)
                log_z -= log_z[0]
        raise LatticeError(
            "temperatures: their energies do not overlap, so their free energies cannot be related; "
            "sample at temperatures in between."
        )

    def _moments(self, sets: list[np.ndarray], log_z: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Return ln Z up to a constant, <E>, var E and effective samples, (4, len(betas))."""
        counts = np.array([len(energies) for energies in sets], dtype=np.float64)
        values, times = np.unique(np.round(np.concatenate(sets), 9), return_counts=True)
        mixture = logsumexp(-np.outer(values, self.betas) + np.log(counts) - log_z, axis=1)
        results = []
        for beta in betas:
            exponents = -beta * values - mixture
            total = float(logsumexp(exponents, b=times))
            weights = np.exp(exponents - total)
            energy = float((times * weights) @ values)
            variance = float((times * weights) @ (values - energy) ** 2)
            results.append((total, energy, variance, 1 / float((times * weights**2).sum())))
        return np.array(results).T

    def curve(self, temperatures: Sequence[float], anchor: Anchor, seed: int = 0) -> Curve:
        """Return thermodynamics at temperatures, with errors from resampled blocks.

        Parameters
        ----------
        temperatures
            In J/k_B, within reach of those sampled.
        anchor
            ln Z at one temperature, within reach as well.
        seed
            Of the resampling (bootstrap, 50 times).

        Raises
        ------
        LatticeError
            Where fewer than 50 effective samples remain.
        """
        betas = np.append(1 / np.asarray(temperatures, dtype=np.float64), anchor.beta)
        whole = self._moments(self._sets, self._log_z, betas)
        for beta, effective in zip(betas, whole[3], strict=True):
            _require(effective, 1 / beta if beta else math.inf)
        random = np.random.default_rng(seed)
        resampled = []
        for _ in range(_RESAMPLED):
            sets = [_resample(e, blocks, random) for e, blocks in zip(self._sets, self._blocks, strict=True)]
            resampled.append(
                self._derived(self._moments(sets, self._solve(sets, self._log_z), betas), betas, anchor)
            )
        values = self._derived(whole, betas, anchor)
        errors = np.std(resampled, axis=0, ddof=1)
        shift = anchor.error / betas[:-1] / self.sites
        errors[2] = np.hypot(errors[2], shift)
        errors[3] = np.hypot(errors[3], anchor.error / self.sites)
        columns = [
            [Estimate(float(v), float(e)) for v, e in zip(value, error, strict=True)]
            for value, error in zip(values, errors, strict=True)
        ]
        return Curve([float(t) for t in temperatures], *columns)

    def _derived(self, moments: np.ndarray, betas: np.ndarray, anchor: Anchor) -> np.ndarray:
        log_z, energy, variance, _ = moments
        log_z = log_z[:-1] - log_z[-1] + anchor.log_z
        beta, energy, variance = betas[:-1], energy[:-1], variance[:-1]
        per_site = 1 / self.sites
        return np.stack(
            [
                energy * per_site,
                variance * beta**2 * per_site,
                -log_z / beta * per_site,
                (log_z + beta * energy) * per_site,
            ]
        )


def integrate_energy(
    temperatures: Sequence[float],
    energy: Sequence[Estimate],
    anchor: Anchor,
    sites: int,
    heat_capacity: Sequence[Estimate] | None = None,
) -> tuple[list[Estimate], list[Estimate]]:
    r"""Return free energy and entropy per site at temperatures whose mean energies are known.

    The energy is interpolated over :math:`\beta`, by cubic Hermite pieces with the slopes
    :math:`dE/d\beta = -T^2 C` where heat capacities are given, otherwise monotonically (PCHIP). Errors of
    the energies enter linearly; the one of the interpolation is not included: take temperatures
    close enough that halving them changes nothing.

    Parameters
    ----------
    temperatures : (T,)
        In J/k_B, distinct; ``math.inf`` is allowed if its energy is given.
    energy, heat_capacity
        Per site, at each of them.
    anchor
        ln Z at one of the temperatures or between them.
    sites
        N.

    Returns
    -------
    free energy, entropy
        Per site, in the order of ``temperatures``; NaN at an infinite one for the free energy.

    Raises
    ------
    LatticeError
        For an anchor outside the temperatures, or fewer than two of them.
    """
    beta = 1 / np.asarray(temperatures, dtype=np.float64)
    if len(beta) < 2 or len(np.unique(beta)) < len(beta):
        raise LatticeError("temperatures: at least two, and no two alike, are needed to integrate over.")
    if not beta.min() - 1e-12 <= anchor.beta <= beta.max() + 1e-12:
        raise LatticeError(
            f"anchor: T = {anchor.temperature:g} is outside the temperatures to integrate over."
        )
    order = np.argsort(beta)
    values = np.array([estimate.value for estimate in energy])
    errors = np.array([estimate.error for estimate in energy])

    slopes = None
    if heat_capacity is not None:
        c = np.array([estimate.value for estimate in heat_capacity])
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = np.where(beta > 0, -c / beta**2, np.nan)
        if not np.isfinite(slopes).all():
            raise LatticeError("heat_capacity: its slope at infinite temperature is unknown; leave one out.")

    def integrals(e: np.ndarray) -> np.ndarray:
        if slopes is None:
            spline = PchipInterpolator(beta[order], e[order])
        else:
            spline = CubicHermiteSpline(beta[order], e[order], slopes[order])
        primitive = spline.antiderivative()
        return primitive(beta) - primitive(np.clip(anchor.beta, beta.min(), beta.max()))

    base = integrals(values)
    # Column j: what a standard error of the energy at temperature j does.
    changes = np.stack(
        [integrals(values + errors * (np.arange(len(beta)) == j)) - base for j in range(len(beta))], axis=1
    )
    log_z = anchor.log_z / sites - base
    log_z_error = np.sqrt((changes**2).sum(axis=1) + (anchor.error / sites) ** 2)
    entropy_changes = np.diag(beta * errors) - changes
    entropy_error = np.sqrt((entropy_changes**2).sum(axis=1) + (anchor.error / sites) ** 2)
    free = [
        Estimate(-float(v / b), float(error / b)) if b else Estimate(math.nan, math.nan)
        for v, error, b in zip(log_z, log_z_error, beta, strict=True)
    ]
    entropy = [
        Estimate(float(s), float(error))
        for s, error in zip(log_z + beta * values, entropy_error, strict=True)
    ]
    return free, entropy


def _resample(energies: np.ndarray, blocks: np.ndarray, random: np.random.Generator) -> np.ndarray:
    order = np.argsort(blocks, kind="stable")
    parts = np.split(energies[order], np.cumsum(np.bincount(blocks))[:-1])
    return np.concatenate([parts[index] for index in random.integers(0, len(parts), len(parts))])


def _require(effective: float, temperature: float) -> None:
    if effective < _EFFECTIVE:
        raise LatticeError(
            f"T = {temperature:g}: only {effective:.1f} effective samples reach there, of {_EFFECTIVE} that "
            "are needed; sample closer to it."
        )
