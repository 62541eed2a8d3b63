"""The critical temperature from where Binder's cumulants of two lattices cross.

K. Binder, Z. Phys. B 43, 119 (1981): at a continuous transition the cumulants of large lattices all
have the same value, so their curves over T cross there, up to corrections that fall with size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.thermodynamics import Estimate

_REDRAWN = 400
#: Standard errors count as at least this, of numbers between 0 and 2/3.
_SMALLEST_ERROR = 1e-6
#: The curves must differ by so many standard errors on both sides of the crossing.
_CLEAR = 3.0
#: More standard errors than these say no more.
_DECIDES = 5.0


def binder_crossing(
    temperatures: Sequence[float],
    small: Sequence[tuple[float, float]],
    large: Sequence[tuple[float, float]],
    seed: int = 0,
) -> Estimate:
    """Return where the cumulant of the larger lattice falls below that of the smaller one.

    Far from the transition both cumulants agree within their noise, so that their difference changes
    sign many times; the crossing is the interval at which a single change of sign, from above to
    below, explains the differences at all temperatures best. In it the difference is interpolated
    linearly: take temperatures close together there.

    Parameters
    ----------
    temperatures : (T,)
        Ascending, distinct.
    small, large : (T, 2)
        Cumulants of the smaller and the larger lattice and their standard errors.
    seed
        Of the resampling by which the error is found: cumulants are drawn from normal
        distributions, independently.

    Returns
    -------
    Estimate
        The temperature and its standard error. Corrections to scaling and the interpolation are
        not in the error.

    Raises
    ------
    LatticeError
        If the temperatures do not ascend, or no crossing lies clearly between them.
    """
    t = np.asarray(temperatures, dtype=np.float64)
    one, other = np.asarray(small, dtype=np.float64), np.asarray(large, dtype=np.float64)
    if t.ndim != 1 or len(t) < 2 or (np.diff(t) <= 0).any() or not one.shape == other.shape == (len(t), 2):
        raise LatticeError(
            f"Binder crossing: {len(t)} temperatures, cumulants {one.shape} and {other.shape}; at least two "
            "temperatures in ascending order are needed, and a value and an error at each."
        )
    difference = other[:, 0] - one[:, 0]
    errors = np.maximum(np.hypot(one[:, 1], other[:, 1]), _SMALLEST_ERROR)
    z = difference / errors
    if not (np.isfinite(z).all() and _clearly(z, _place(z))):
        raise LatticeError(
            f"Binder crossing: none between T = {t[0]:g} and {t[-1]:g}; take temperatures on both sides of "
            "the transition, and lattices large enough to differ there."
        )
    drawn = difference + errors * np.random.default_rng(seed).standard_normal((_REDRAWN, len(t)))
    found = [_zero(t, own, _place(own / errors)) for own in drawn]
    return Estimate(_zero(t, difference, _place(z)), float(np.std(found, ddof=1)))


def _place(z: np.ndarray) -> int:
    """Return after which point the differences (T,), in standard errors, turn from above to below."""
    # Clipped: no single point may decide alone.
    cumulative = np.cumsum(np.clip(z, -_DECIDES, _DECIDES))[:-1]
    # Only where the two points of the interval differ in sign does it hold a zero.
    crosses = (z[:-1] >= 0) & (z[1:] < 0)
    return int(np.argmax(np.where(crosses, cumulative, -np.inf))) if crosses.any() else -1


def _clearly(z: np.ndarray, place: int) -> bool:
    return place >= 0 and bool(z[: place + 1].max() >= _CLEAR and z[place + 1 :].min() <= -_CLEAR)


def _zero(t: np.ndarray, difference: np.ndarray, place: int) -> float:
    """Return the zero of the difference in an interval; beyond the temperatures, their end."""
    if place < 0:
        return float(t[0] if difference.sum() < 0 else t[-1])
    share = difference[place] / (difference[place] - difference[place + 1])
    return float(t[place] + share * (t[place + 1] - t[place]))
