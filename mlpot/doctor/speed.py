"""How long an evaluation takes per atom."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.calculators.calculator import Calculator

from mlpot.testing.structures import ideal_crystal

#: Repeats of the ideal crystal's cell of two atoms (more than two elements: eight).
SIZES = (64, 512)
_REPEATS = 5
#: A size that would take longer than this (s), by the time of the smaller one, is left out.
_LONGEST = 120.0


@dataclass(frozen=True)
class Speed:
    """Time of energy and forces of one size: the median of calls at new positions.

    Attributes
    ----------
    atoms : int
        Their number.
    calls : int
        How many were timed.
    milliseconds, microseconds_per_atom : float or None
        ``None``: not measured, for ``reason``.
    reason : str
        Why not; empty if measured.
    """

    atoms: int
    calls: int
    milliseconds: float | None
    microseconds_per_atom: float | None
    reason: str = ""


def measure_speed(calculator: Calculator, symbols: Sequence[str], spacing: float) -> list[Speed]:
    """Time a calculator on crystals of 64 and 512 atoms; ``spacing`` in Å.

    Whatever it raises there is a reason in the result.
    """
    found: list[Speed] = []
    per_atom = 0.0
    for size in SIZES:
        cell = ideal_crystal(symbols, spacing)
        repeats = round((size / len(cell)) ** (1 / 3))
        atoms = cell.repeat(_factors(size // len(cell), repeats))
        if (_REPEATS + 1) * per_atom * len(atoms) > _LONGEST:
            reason = f"would take more than {_LONGEST:g} s"
            found.append(Speed(len(atoms), 0, None, None, reason))
            continue
        rng, times = np.random.default_rng(0), []
        try:
            for _ in range(_REPEATS + 1):
                moved = atoms.copy()
                moved.positions += rng.normal(scale=0.02, size=moved.positions.shape)
                start = time.perf_counter()
                calculator.get_property("energy", moved)
                calculator.get_property("forces", moved)
                times.append(time.perf_counter() - start)
        except Exception as error:  # whatever a potential raises
            found.append(Speed(len(atoms), 0, None, None, f"{type(error).__name__}: {error}"))
            continue
        # The first call warms caches and compilers.
        median = statistics.median(times[1:])
        per_atom = median / len(atoms)
        found.append(Speed(len(atoms), _REPEATS, 1e3 * median, 1e6 * per_atom))
    return found


def _factors(cells: int, side: int) -> tuple[int, int, int]:
    """Return three factors of a number of cells, as even as they get, near ``side``."""
    first = max(d for d in range(1, side + 1) if cells % d == 0)
    rest = cells // first
    second = max(d for d in range(1, round(rest**0.5) + 1) if rest % d == 0)
    return first, second, rest // second
