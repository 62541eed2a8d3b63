"""Errors of means over correlated samples, by blocks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpot.errors import DataError

#: Blocks that a standard error needs at least: with fewer it is hardly more than a guess.
FEWEST = 4
#: Share of a series that may be given up as equilibration, and how many starts are tried.
_MOST, _STARTS = 0.5, 21


@dataclass(frozen=True)
class BlockAverage:
    """The mean of a time series and its standard error.

    Attributes
    ----------
    mean, error
        In the unit of the series.
    inefficiency
        Samples that count as one independent sample.
    block
        Samples per block at which the error was taken.
    converged
        Whether blocks were long enough; if not, the error is the largest found, and too small.
    """

    mean: float
    error: float
    inefficiency: float
    block: int
    converged: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def block_levels(series: npt.ArrayLike) -> list[tuple[int, int, float, float]]:
    r"""Return what each halving of the number of blocks makes of the error of the mean.

    .. math:: \sigma_B = \sqrt{\frac{c_0}{n - 1}} \left(1 \pm \frac{1}{\sqrt{2 (n - 1)}} \right)

    with :math:`c_0` the variance of the n block means (Flyvbjerg and Petersen, J. Chem. Phys. 91,
    461 (1989), eqs. 24-27).

    Parameters
    ----------
    series : (F,)
        Samples at equal intervals.

    Returns
    -------
    list of (samples per block, blocks, error, error of the error)

    Raises
    ------
    DataError
        For fewer than 4 samples, or values that are not finite.
    """
    values = np.asarray(series, dtype=float)
    if values.ndim != 1 or len(values) < FEWEST:
        raise DataError(f"an error by blocks needs {FEWEST} samples in a row or more; got {values.shape}.")
    if not np.isfinite(values).all():
        raise DataError("an error by blocks needs finite samples; the series holds NaN or infinity.")
    levels = []
    size = 1
    while (count := len(values)) >= FEWEST:
        error = float(np.sqrt(values.var() / (count - 1)))
        levels.append((size, count, error, error / np.sqrt(2 * (count - 1))))
        # Of an odd number the last one is given up: a start that has not relaxed must show.
        values = values[: count - count % 2].reshape(-1, 2).mean(axis=1)
        size *= 2
    return levels


def block_average(series: npt.ArrayLike) -> BlockAverage:
    r"""Return the mean of a series and its standard error, correlation included.

    The block length B is the smallest of 1, 2, 4, ... with :math:`B^3 > 2 F (\sigma_B /
    \sigma_1)^4`, at which systematic and statistical error of the error balance (Lee et al., Phys.
    Rev. E 83, 066706 (2011), after Wolff, Comput. Phys. Commun. 156, 143 (2004)).

    Parameters
    ----------
    series : (F,)
        Samples at equal intervals.

    Raises
    ------
    DataError
        As :func:`block_levels`.
    """
    values = np.asarray(series, dtype=float)
    levels = block_levels(values)
    first = levels[0][2]
    mean = float(values.mean())
    if first == 0.0:
        return BlockAverage(mean, 0.0, 1.0, 1, True)
    for size, _, error, _ in levels:
        inefficiency = (error / first) ** 2
        if size**3 > 2 * len(values) * inefficiency**2:
            return BlockAverage(mean, error, max(inefficiency, 1.0), size, True)
    size, _, error, _ = max(levels, key=lambda level: level[2])
    return BlockAverage(mean, error, max((error / first) ** 2, 1.0), size, False)


def equilibrated(series: npt.ArrayLike, least: float = 0.0) -> int:
    """Return the index from which on a series is best taken as stationary.

    It is the start, within the first half, that leaves most independent samples (Chodera, J. Chem.
    Theory Comput. 12, 1799 (2016)).

    Parameters
    ----------
    series : (F,)
        Samples at equal intervals.
    least
        Share of the series that is given up in any case.

    Raises
    ------
    DataError
        As :func:`block_levels`.
    """
    values = np.asarray(series, dtype=float)
    starts = np.unique((np.linspace(least, max(_MOST, least), _STARTS) * len(values)).astype(int))

    def independent(start: int) -> float:
        rest = values[start:]
        return float(len(rest) / block_average(rest).inefficiency)

    return int(max(starts, key=independent))


def error_of_blocks(curves: npt.ArrayLike) -> np.ndarray:
    """Return the standard error (...) of the mean of curves (blocks, ...), independent of each other."""
    values = np.asarray(curves, dtype=float)
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))
