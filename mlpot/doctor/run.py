"""The examination of a potential."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import numpy as np

from mlpot.doctor.examination import Examination, VolumeCurve
from mlpot.doctor.speed import measure_speed
from mlpot.testing.diatomics import Diatomic
from mlpot.testing.evaluation import Precision
from mlpot.testing.smoothness import VOLUME_POINTS, VOLUMES, energy_pressure
from mlpot.testing.structures import ideal_crystal
from mlpot.testing.subject import Potential, Subject, examine
from mlpot.testing.suite import Progress, check_subject


def diagnose(
    potential: Potential,
    symbols: Sequence[str],
    *,
    name: str = "",
    spacing: float | None = None,
    reach: float | None = None,
    precision: Precision | None = None,
    skip: Collection[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> Examination:
    """Put a potential through all checks, and record its curves and speed.

    Parameters
    ----------
    potential, symbols, spacing, reach, precision
        As for :func:`~mlpot.testing.subject.examine`; only from a function that makes calculators
        can it be told whether two of them disturb each other.
    name
        For the report.
    skip
        Names of checks that are not carried out.
    seed
        Of structures and directions.
    progress
        Told the fraction done, and what is going on.

    Raises
    ------
    RecipeError
        For no elements, lengths that are not positive, or unknown names in ``skip``.
    Exception
        Whatever the potential raises on an ordinary crystal.
    """
    start = time.perf_counter()
    tell = progress or (lambda fraction, text: None)
    tell(0.0, "cutoff and noise")
    subject = examine(potential, symbols, spacing=spacing, reach=reach, precision=precision, seed=seed)
    results = check_subject(
        subject, skip=skip, seed=seed, progress=lambda fraction, text: tell(0.9 * fraction, text)
    )
    tell(0.9, "curves")
    diatomics, volumes, missing = _curves(subject)
    tell(0.95, "speed")
    speed = measure_speed(subject.calculator, subject.symbols, subject.spacing)
    return Examination(
        name, subject.symbols, subject.precision, subject.spacing, subject.cutoff, subject.reach,
        subject.noise, results, diatomics, volumes, missing, speed, tuple(skip), seed,
        time.perf_counter() - start,
    )  # fmt: skip


def _curves(subject: Subject) -> tuple[list[Diatomic], VolumeCurve | None, list[str]]:
    """Return both kinds of curves, and the errors of the potential on them."""
    missing, diatomics, volumes = [], [], None
    # Whatever it raises there says something of the potential, not of the examination.
    try:
        diatomics = subject.diatomics
    except Exception as error:
        missing.append(f"two atoms: {type(error).__name__}: {error}")
    try:
        volumes = _volumes(subject)
    except Exception as error:
        missing.append(f"energy by volume: {type(error).__name__}: {error}")
    return diatomics, volumes, missing


def _volumes(subject: Subject) -> VolumeCurve:
    crystals = [
        ideal_crystal(subject.symbols, subject.spacing_at_rest * v ** (1 / 3))
        for v in np.linspace(*VOLUMES, VOLUME_POINTS)
    ]
    values = np.array([energy_pressure(subject.evaluate, crystal) for crystal in crystals])
    pressures = None if np.isnan(values[:, 1]).all() else values[:, 1].tolist()
    volumes = [crystal.get_volume() / len(crystal) for crystal in crystals]
    return VolumeCurve(volumes, values[:, 0].tolist(), pressures)
