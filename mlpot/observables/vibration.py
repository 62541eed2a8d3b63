"""Velocity autocorrelation and the vibrational density of states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import welch

from mlpot.errors import DataError, RecipeError
from mlpot.observables.correlation import autocorrelation
from mlpot.observables.trajectory import Motion

#: Fewest samples in a window of the spectrum.
_FEWEST = 16


@dataclass(frozen=True)
class Spectrum:
    """A vibrational density of states.

    Attributes
    ----------
    frequency : (M,)
        THz.
    density : (M,)
        States per THz and atom; its integral is 3.
    resolution
        THz, full width at half maximum of a sharp line.
    notes
        What a reader must know.
    """

    frequency: np.ndarray
    density: np.ndarray
    resolution: float
    notes: list[str]


def velocity_autocorrelation(motion: Motion, time_ps: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    r"""Return :math:`\langle v_i(0) \cdot v_i(t) \rangle`, mean over atoms and all time origins.

    Parameters
    ----------
    motion
        The trajectory; the centre of mass rests. Without velocities those between frames are used.
    time_ps
        Longest time; by default a quarter of the trajectory.

    Returns
    -------
    times, values : (L,)
        ps and (Å/ps)²; not normalised: at 0 it is 3 k T / m.

    Raises
    ------
    DataError
        If the trajectory is shorter.
    """
    velocities = motion.moving
    lags = len(velocities) // 4 if time_ps is None else round(time_ps / motion.interval) + 1
    if not 2 <= lags <= len(velocities):
        raise DataError(
            f"a velocity autocorrelation over {lags} frames needs more than the {len(motion)} there are."
        )
    return np.arange(lags) * motion.interval, autocorrelation(velocities, lags)


def vibrational_density(
    motion: Motion, resolution: float | None = None, atoms: np.ndarray | None = None
) -> Spectrum:
    r"""Return the density of vibrational states of a trajectory.

    .. math::
        g(\nu) \propto \sum_i m_i \int \langle v_i(0) \cdot v_i(t) \rangle\, e^{2 \pi i \nu t}\, dt,
        \quad \int_0^\infty g(\nu)\, d\nu = 3

    per atom, of harmonic vibrations the density of states. By Welch's method: the mean of the
    periodograms of half overlapping parts of the trajectory under Hann's window, the transform of
    the autocorrelation by the theorem of Wiener and Khinchin, and positive everywhere. Velocities
    that are differences of positions are corrected for their damping.

    Parameters
    ----------
    motion
        The trajectory; the centre of mass rests.
    resolution
        THz; by default 0.3, or what the trajectory has if that is less fine.
    atoms
        Mask or indices of the atoms that count; by default all.

    Raises
    ------
    DataError
        If there are too few frames for the resolution, or for any.
    RecipeError
        For a resolution that is not positive.
    """
    chosen = slice(None) if atoms is None else atoms
    velocities = motion.moving[:, chosen]
    masses = motion.masses[chosen]
    rate = 1.0 / motion.interval
    if resolution is not None and not resolution > 0:
        raise RecipeError(f"the resolution is {resolution:g} THz; it must be above zero.")
    # A line under Hann's window is 1.44 bins wide at half its height.
    wanted = round(1.44 * rate / (resolution or 0.3))
    if len(velocities) < _FEWEST or (resolution is not None and wanted > len(velocities)):
        raise DataError(
            f"a spectrum with a resolution of {resolution or 0.3:g} THz needs {max(wanted, _FEWEST)} frames "
            f"every {1000 * motion.interval:g} fs; there are {len(velocities)}; run longer, or ask for less."
        )
    size = max(min(wanted, len(velocities)), _FEWEST)
    frequency, power = welch(velocities, rate, "hann", size, axis=0, detrend=False)
    total = np.einsum("fia,i->f", power, masses)
    # Negative frequencies are folded onto positive ones, by Welch's method all but the ends.
    total[0] *= 2.0
    if size % 2 == 0:
        total[-1] *= 2.0
    notes = []
    if motion.velocities is None:
        total = total / np.sinc(frequency * motion.interval) ** 2
        notes.append("velocities are differences of positions between frames")
    area = np.trapezoid(total, frequency)
    if not area > 0:
        raise DataError("nothing moves; there is no spectrum.")
    density = 3.0 * total / area
    last = frequency > 0.9 * frequency[-1]
    if np.trapezoid(density[last], frequency[last]) > 0.02 * 3:
        notes.append(
            f"the spectrum has not ended at {frequency[-1]:.3g} THz, the fastest that frames every "
            f"{1000 * motion.interval:g} fs show: faster vibrations appear as slower ones; record more often"
        )
    return Spectrum(frequency, density, 1.44 * rate / size, notes)
