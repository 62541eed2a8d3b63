"""How long runs last, when some outlive the observation: Kaplan-Meier and exact intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtri

from mlpot.errors import DataError


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a proportion (Clopper & Pearson, Biometrika 26, 404, 1934).

    Raises
    ------
    DataError
        Unless ``0 <= successes <= trials`` and ``trials > 0``.
    """
    if not (trials > 0 and 0 <= successes <= trials):
        raise DataError(f"{successes} successes in {trials} trials is no proportion.")
    tail = 0.5 * (1.0 - confidence)
    failures = trials - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1.0 - tail)) if failures else 1.0
    return low, high


@dataclass(frozen=True)
class SurvivalCurve:
    """Kaplan-Meier estimate: a step function that changes at the event times.

    Attributes
    ----------
    durations, observed : (n,)
        The data: how long each was followed, and whether it then failed (else: censored).
    times : (k,)
        Distinct times of failure, ascending.
    at_risk, events : (k,) int
        Still followed just before each time; failing at it.
    survival : (k,)
        Probability of living beyond each time.
    standard_error : (k,)
        Greenwood's formula; 0 where nothing is left.
    confidence : float
        Of the intervals.
    """

    durations: np.ndarray
    observed: np.ndarray
    times: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray
    survival: np.ndarray
    standard_error: np.ndarray
    confidence: float

    def at(self, time: float) -> tuple[float, float, float]:
        """Return survival beyond ``time`` and its interval.

        The interval is Greenwood's on the scale of log(-log S) (Kalbfleisch & Prentice). Where
        S is 1 or 0 that has no width, which would be false comfort, and the exact interval of
        Clopper and Pearson takes its place: before the first failure that of n survivors out
        of the n followed beyond ``time``, after the last that of no survivor out of the runs
        that failed (exact when none was censored).

        Raises
        ------
        DataError
            Where nobody was followed beyond ``time`` and the last did not fail: no estimate.
        """
        last = self.durations.max()
        survival = float(self.survival[self.times <= time][-1]) if (self.times <= time).any() else 1.0
        if time > last and survival > 0.0:
            raise DataError(f"no survival estimate at {time:g}: the longest was followed for {last:g}.")
        if survival == 1.0:
            followed = int((self.durations >= time).sum())
            return 1.0, clopper_pearson(followed, followed, self.confidence)[0], 1.0
        if survival == 0.0:
            failed = int(self.events[self.times <= time].sum())
            return 0.0, 0.0, clopper_pearson(0, failed, self.confidence)[1]
        error = float(self.standard_error[self.times <= time][-1])
        width = ndtri(0.5 + 0.5 * self.confidence) * error / (survival * np.log(survival))
        return survival, float(survival ** np.exp(-width)), float(survival ** np.exp(width))

    @property
    def median(self) -> float | None:
        """The first time by which at least half have failed; ``None`` if they have not."""
        reached = self.survival <= 0.5 + 1e-12
        return float(self.times[reached][0]) if reached.any() else None


def kaplan_meier(
    durations: npt.ArrayLike, observed: npt.ArrayLike, confidence: float = 0.95
) -> SurvivalCurve:
    """Estimate survival from durations, some of them censored.

    Kaplan & Meier, J. Am. Stat. Assoc. 53, 457 (1958). Those censored at the time of a failure
    count as at risk at it.

    Parameters
    ----------
    durations : (n,)
        How long each was followed.
    observed : (n,) bool
        Whether it failed then; ``False``: it was alive when the observation ended (censored).
    confidence
        Of the intervals.

    Raises
    ------
    DataError
        For no data, unequal lengths, or durations that are negative or not finite.
    """
    durations, observed = np.asarray(durations, dtype=float), np.asarray(observed, dtype=bool)
    if durations.ndim != 1 or durations.shape != observed.shape or not len(durations):
        raise DataError(
            f"survival needs as many durations as outcomes, at least one; got shapes "
            f"{durations.shape} and {observed.shape}."
        )
    if not (np.isfinite(durations).all() and (durations >= 0.0).all()):
        raise DataError(f"durations must be finite and not negative, got {durations.tolist()}.")
    times, events = np.unique(durations[observed], return_counts=True)
    at_risk = (durations[:, None] >= times).sum(0)
    survival = np.cumprod(1.0 - events / at_risk)
    remaining = at_risk - events
    terms = np.divide(events, at_risk * remaining, out=np.zeros(len(times)), where=remaining > 0)
    return SurvivalCurve(
        durations=durations,
        observed=observed,
        times=times,
        at_risk=at_risk,
        events=events,
        survival=survival,
        standard_error=survival * np.sqrt(np.cumsum(terms)),
        confidence=confidence,
    )
