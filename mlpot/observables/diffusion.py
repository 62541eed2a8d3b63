"""Mean squared displacement, and self-diffusion by Einstein's and by Green and Kubo's relation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.integrate import cumulative_trapezoid

from mlpot.errors import DataError, RecipeError
from mlpot.observables.blocks import error_of_blocks
from mlpot.observables.correlation import autocorrelation
from mlpot.observables.trajectory import Motion

#: Parts a trajectory is cut into for the error; the default fit ends within half of one.
BLOCKS = 4
#: Fewest lags in a fit.
_POINTS = 4
#: cm²/s per Å²/ps.
CM2_PER_S = 1e-4


@dataclass(frozen=True)
class Diffusion:
    """Self-diffusion.

    Attributes
    ----------
    coefficient, error
        Å²/ps (1 Å²/ps = 1e-4 cm²/s): slope of the mean squared displacement over six; the error is
        that of the mean over ``BLOCKS`` consecutive parts of the trajectory.
    green_kubo, green_kubo_error
        Å²/ps, a third of the integral of the velocity autocorrelation, its mean over the fit's
        window; ``None`` without velocities.
    window
        ps, lags that are fitted.
    exponent
        Of displacement against time in the window: 1 for diffusion, 0 in a solid, 2 without
        collisions.
    notes
        What a reader must know.
    """

    coefficient: float
    error: float
    green_kubo: float | None
    green_kubo_error: float | None
    window: tuple[float, float]
    exponent: float
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def mean_squared_displacement(positions: np.ndarray, lags: int | None = None) -> np.ndarray:
    r"""Return :math:`\langle |r_i(t + k) - r_i(t)|^2 \rangle_{i, t}`, (lags,), Å².

    Over all time origins in F log F operations: the square is multiplied out, and the product is
    an autocorrelation.

    Parameters
    ----------
    positions : (F, N, 3)
        Å, not wrapped.
    lags
        By default F.
    """
    count = len(positions)
    lags = count if lags is None else min(lags, count)
    # Numbers stay small: the mean of an atom's places is no matter.
    centred = positions - positions.mean(axis=0)
    squares = (centred**2).sum(axis=(1, 2)) / positions.shape[1]
    sums = np.concatenate([[0.0], np.cumsum(squares)])
    k = np.arange(lags)
    ends = (sums[count - k] - sums[0]) + (sums[count] - sums[k])
    product = autocorrelation(centred, lags)
    result = ends / (count - k) - 2 * product
    result[0] = 0.0
    return np.asarray(np.maximum(result, 0.0))


def diffusion(
    motion: Motion, window: tuple[float, float] | None = None, atoms: np.ndarray | None = None
) -> Diffusion:
    r"""Return the self-diffusion coefficient.

    .. math::
        D = \frac{1}{6} \frac{d}{dt} \langle |r(t) - r(0)|^2 \rangle
          = \frac{1}{3} \int_0^\infty \langle v(0) \cdot v(t) \rangle\, dt

    The slope is a least-squares fit of a line with an intercept. Not corrected for the size of the
    cell (Yeh and Hummer, J. Phys. Chem. B 108, 15873 (2004)).

    Parameters
    ----------
    motion
        The trajectory; the centre of mass is taken to rest.
    window
        ps, first and last lag of the fit; by default a tenth to a half of a quarter of the
        trajectory.
    atoms
        Mask or indices of the atoms that count; by default all.

    Raises
    ------
    DataError
        If the trajectory is too short for the window, or for any.
    RecipeError
        For a window that is none.
    """
    chosen = slice(None) if atoms is None else atoms
    positions = motion.at_rest[:, chosen]
    part = len(motion) // BLOCKS
    length = part * motion.interval
    if window is None:
        window = (0.1 * length, 0.5 * length)
    if not 0 <= window[0] < window[1]:
        raise RecipeError(f"the fit goes from {window[0]:g} to {window[1]:g} ps; give it a rising window.")
    first, last = (round(time / motion.interval) for time in window)
    first = max(first, 1)
    if last >= part or last - first + 1 < _POINTS:
        raise DataError(
            f"a fit of the displacement from {window[0]:.3g} to {window[1]:.3g} ps needs {_POINTS} frames "
            f"in between and a trajectory {BLOCKS} times as long as its end: {len(motion)} frames every "
            f"{motion.interval:.3g} ps are too few; run longer or choose an earlier window (--fit)."
        )
    k = np.arange(first, last + 1)
    times = k * motion.interval

    def slope(places: np.ndarray) -> float:
        return float(np.polyfit(times, mean_squared_displacement(places, last + 1)[k], 1)[0] / 6)

    pieces = [positions[n * part : (n + 1) * part] for n in range(BLOCKS)]
    squared = mean_squared_displacement(positions, last + 1)[k]
    exponent = float(np.polyfit(np.log(times), np.log(np.maximum(squared, 1e-300)), 1)[0])
    notes = []
    if not 0.8 < exponent < 1.2:
        notes.append(
            f"the squared displacement grows with the power {exponent:.2f} of time in the window, not 1: "
            "no diffusion, or a window too early"
        )
    green = _green_kubo(motion.velocities is not None, motion.moving[:, chosen], motion.interval, first, last)
    return Diffusion(
        coefficient=slope(positions),
        error=float(error_of_blocks([slope(piece) for piece in pieces])),
        green_kubo=green[0] if green else None,
        green_kubo_error=green[1] if green else None,
        window=(float(times[0]), float(times[-1])),
        exponent=exponent,
        notes=notes,
    )


def _green_kubo(
    known: bool, velocities: np.ndarray, interval: float, first: int, last: int
) -> tuple[float, float] | None:
    """Return the coefficient by the integral of the velocity autocorrelation, and its error."""
    if not known:
        return None

    def integral(values: np.ndarray) -> float:
        running = cumulative_trapezoid(autocorrelation(values, last + 1), dx=interval, initial=0.0)
        return float(running[first:].mean() / 3)

    part = len(velocities) // BLOCKS
    pieces = [integral(velocities[n * part : (n + 1) * part]) for n in range(BLOCKS)]
    return integral(velocities), float(error_of_blocks(pieces))
