"""Means over seeds with 95 % Student's intervals; from one seed there is no interval.

Of positive quantities that differ by factors logarithms are averaged: means are geometric.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit


def number(value: float | None) -> str:
    """Return a number as text of two or three digits, or a dash."""
    if value is None:
        return "–"
    size = math.floor(math.log10(abs(value))) if value else 2
    return f"{value:.{max(1 - size, 0) if size < 0 else max(2 - size, 0)}f}"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % interval, ``None`` if there is none."""

    value: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return number(self.value)
        return f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"


def geometric(values: Iterable[float]) -> Estimate:
    """Return the geometric mean of positive values, and Student's interval on their logarithms."""
    logs = np.log(list(values))
    mean, width = float(logs.mean()), _width(logs)
    if width is None:
        return Estimate(math.exp(mean), None, None, len(logs))
    return Estimate(math.exp(mean), math.exp(mean - width), math.exp(mean + width), len(logs))


def arithmetic(values: Iterable[float]) -> Estimate:
    """Return the mean of numbers, and Student's interval."""
    numbers = np.array(list(values), dtype=float)
    mean, width = float(numbers.mean()), _width(numbers)
    if width is None:
        return Estimate(mean, None, None, len(numbers))
    return Estimate(mean, mean - width, mean + width, len(numbers))


def _width(values: np.ndarray) -> float | None:
    n = len(values)
    if n < 2:
        return None
    return float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))


def p_of_no_mean(values: np.ndarray) -> float | None:
    """Return the two-sided p that the mean is zero."""
    n = len(values)
    if n < 2:
        return None
    mean, error = abs(values.mean()), values.std(ddof=1) / math.sqrt(n)
    if error == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return float(2.0 * stdtr(n - 1, -mean / error))
