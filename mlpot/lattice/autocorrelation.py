"""Integrated autocorrelation times of Monte Carlo series."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: A time is called resolved when the series of each chain is at least so many times as long.
RESOLVED = 20
#: Correlation of values that count as decorrelated.
QUIET = 0.02


@dataclass(frozen=True)
class AutocorrelationTime:
    r"""The integrated autocorrelation time of a series.

    Attributes
    ----------
    tau
        :math:`\tau = \frac12 + \sum_{t \ge 1} \rho(t)` in units of the spacing of the series: 1/2 where
        it is white; the mean of n values has the variance :math:`2 \tau \sigma^2 / n`.
    error
        Standard error of ``tau``.
    window
        Where the sum was cut.
    times
        Length of the series, of each chain.
    quiet
        The first lag at which the measured correlation is 2 % or less, or below its own noise.
    """

    tau: float
    error: float
    window: int
    times: int
    quiet: int = 1

    @property
    def is_resolved(self) -> bool:
        """Whether the series was long enough to see this time, and its correlation came to an end.

        A chain that is stuck keeps all of them correlated: their common mean is not its own.
        """
        return self.times >= max(RESOLVED * self.tau, 4 * self.quiet)

    def scaled(self, steps: int) -> AutocorrelationTime:
        """Return the time in steps, for a series that has a value every ``steps`` steps."""
        return AutocorrelationTime(
            self.tau * steps,
            self.error * steps,
            self.window * steps,
            self.times * steps,
            self.quiet * steps,
        )

    @property
    def spacing(self) -> int:
        """How far apart values correlate by 2 % or less: as measured, and were the series AR(1)."""
        correlation = (2 * self.tau - 1) / (2 * self.tau + 1)
        if correlation <= QUIET:
            return self.quiet
        return max(self.quiet, math.ceil(math.log(QUIET) / math.log(correlation)))


def integrated_time(series: np.ndarray, factor: float = 5.0) -> AutocorrelationTime:
    r"""Return the integrated autocorrelation time, with Sokal's automatic window.

    The sum is cut at the smallest W with :math:`W \ge c \tau(W)`; A. Sokal, in Functional Integration:
    Basics and Applications (1997). Chains share their mean and are averaged in
    the autocovariance. A series without any variance has the time 1/2.

    Parameters
    ----------
    series
        (times,), or (times, chains).
    factor
        c.
    """
    values = np.asarray(series, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    times, chains = values.shape
    values = values - values.mean()
    size = 1 << (2 * times - 1).bit_length()
    spectrum = np.fft.rfft(values, n=size, axis=0)
    covariance = np.fft.irfft((np.abs(spectrum) ** 2).sum(axis=1), n=size)[:times]
    covariance /= chains * np.arange(times, 0, -1)
    if covariance[0] <= 1e-15 * max(1.0, float(np.abs(series).max())) ** 2:
        return AutocorrelationTime(0.5, 0.0, 0, times)
    correlation = covariance[1:] / covariance[0]
    taus = 0.5 + np.cumsum(correlation)
    lags = np.arange(1, times)
    enough = np.nonzero(lags >= factor * np.maximum(taus, 0.5))[0]
    window = int(enough[0]) if len(enough) else times - 2
    tau = max(float(taus[window]), 1e-3) if times > 1 else 0.5
    error = tau * math.sqrt(2 * (2 * (window + 1) + 1) / (times * chains))
    noise = math.sqrt(2 * tau / (times * chains))
    below = np.nonzero(correlation <= max(QUIET, noise))[0]
    return AutocorrelationTime(tau, error, window + 1, times, int(below[0]) + 1 if len(below) else times)
