"""Whether energies and forces are continuous where they must be, as checks of any potential.

A scan finds the intervals in which a step is likeliest, and the one where an interaction ends;
closing in then tells a steep slope, which shrinks with the interval, from a jump, which does not.
A kink of the energy is a jump of the force.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from ase import Atoms

from mlpot.testing.evaluation import CheckResult, Evaluate, Tolerances, worse
from mlpot.testing.structures import ideal_crystal, pairs_of

#: Volumes over that of the crystal at rest, and points of the scan.
VOLUMES, VOLUME_POINTS = (0.7, 1.3), 61
#: Where the third atom comes from: at this angle to the bond of the two others.
_ANGLE = np.deg2rad(110.0)
_DISTANCES = 128


def check_smooth_cutoff(
    evaluate: Evaluate, symbols: Sequence[str], tolerances: Tolerances, spacing: float, reach: float
) -> CheckResult:
    """Check that an atom that approaches sees no jump of energy or force, up to ``reach`` (Å).

    It comes from there to ``0.8 spacing``: of one other atom, and of one that has a partner, so
    that terms of three bodies are seen, too. A jump at the end of the interaction is always
    found; one on a steep repulsive wall may hide if it is below a percent of the force there.
    """
    worst = (0.0, "no jump")
    grid = np.linspace(0.8 * spacing, reach, _DISTANCES)
    for pair in pairs_of(symbols):
        for partner in (False, True):

            @cache
            def approach(
                distance: float, pair: tuple[str, str] = pair, partner: bool = partner
            ) -> tuple[float, float]:
                return _approach(evaluate, pair, distance, spacing if partner else None)

            values = np.array([approach(r) for r in grid])
            scale = max(float(np.abs(values[grid >= spacing, 1]).max()), 1e-3)
            label = "-".join(pair) + (" beside another atom" if partner else "")
            for column, name in ((0, "energy"), (1, "force")):
                place, jump = _largest_jump(approach, column, grid, values, scale, tolerances)
                where = f"{name} of {label} at {place:.4f} Å"
                if partner:
                    third = np.sqrt(place**2 + spacing**2 - 2.0 * place * spacing * np.cos(_ANGLE))
                    where += f", {third:.4f} Å from that"
                worst = worse(worst, (jump, where))
    return CheckResult.judge("smooth cutoff", worst[0], tolerances.derivative, worst[1])


def check_energy_volume(
    evaluate: Evaluate, symbols: Sequence[str], tolerances: Tolerances, spacing: float
) -> CheckResult:
    """Check that energy and pressure of a crystal do not jump between 0.7 and 1.3 of its volume.

    The crystal is diamond without distortion, so that many neighbours pass the cutoff at once;
    ``spacing`` (Å) is that of its volume 1. Jumps are relative to the span of the whole curve.
    """

    @cache
    def curve(volume: float) -> tuple[float, float]:
        return energy_pressure(evaluate, ideal_crystal(symbols, spacing * volume ** (1 / 3)))

    grid = np.linspace(*VOLUMES, VOLUME_POINTS)
    values = np.array([curve(v) for v in grid])
    worst = (0.0, "no jump")
    for column, name in ((0, "energy"), (1, "pressure")):
        if np.isnan(values[:, column]).all():  # no stress
            continue
        span = max(float(np.ptp(values[:, column])), 1e-3)
        place, jump = _largest_jump(curve, column, grid, values, span, tolerances)
        worst = worse(worst, (jump, f"{name} at {place:.4f} of the volume"))
    return CheckResult.judge("energy-volume curve", worst[0], tolerances.derivative, worst[1])


def energy_pressure(evaluate: Evaluate, atoms: Atoms) -> tuple[float, float]:
    """Return the energy (eV/atom) and the pressure (eV/Å³; NaN without a stress) of a crystal."""
    found = evaluate(atoms)
    pressure = np.nan if found.stress is None else -float(np.trace(found.stress)) / 3.0
    return found.energy / len(atoms), pressure


def _approach(
    evaluate: Evaluate, pair: tuple[str, str], distance: float, partner: float | None
) -> tuple[float, float]:
    """Return energy and outward force on the first atom, so far from the second; eV, eV/Å.

    ``partner``: the distance (Å) of a third atom, of the second's element, from the second.
    """
    way = np.array([np.sin(_ANGLE), 0.0, np.cos(_ANGLE)])
    symbols, positions = [*pair], [distance * way, np.zeros(3)]
    if partner is not None:
        symbols.append(pair[1])
        positions.append(np.array([0.0, 0.0, partner]))
    found = evaluate(Atoms(symbols, positions=positions))
    return found.energy, float(found.forces[0] @ way)


def _largest_jump(
    curve: Callable[[float], tuple[float, float]],
    column: int,
    grid: np.ndarray,
    values: np.ndarray,
    scale: float,
    tolerances: Tolerances,
) -> tuple[float, float]:
    """Return where one column of a curve jumps most, and by how much over its scale."""
    found = []
    for k in _suspects(values[:, column]):
        place, jump = _close_in(
            lambda x: curve(x)[column], grid[k], grid[k + 1], tolerances.width, tolerances.derivative * scale
        )
        found.append((place, jump / scale))
    return max(found, key=lambda one: one[1] if one[1] == one[1] else np.inf)


def _step_estimators() -> tuple[np.ndarray, np.ndarray]:
    """Return what reads off a step in each interval between nine even points, and what is no cubic.

    Least squares of a cubic with a step, in units in which the square of the step is what it
    explains of the residual: a steep slope is not mistaken for a jump.
    """
    x = np.linspace(-1.0, 1.0, _POINTS)
    cubic = np.vander(x, 4)
    rows = [np.linalg.pinv(np.column_stack([cubic, x > x[k]]))[-1] for k in range(_POINTS - 1)]
    steps = np.array([row / np.linalg.norm(row) for row in rows])
    return steps, np.eye(_POINTS) - cubic @ np.linalg.pinv(cubic)


_POINTS, _SUSPECTS = 9, 2
_STEPS, _RESIDUAL = _step_estimators()


def _suspects(values: np.ndarray) -> list[int]:
    """Return the intervals of a scan in which a jump may hide: the likeliest few, and the last alive."""
    middle = (_POINTS - 1) // 2
    windows = np.lib.stride_tricks.sliding_window_view(values, _POINTS)
    explained = (windows @ _STEPS[middle]) ** 2
    left = np.square(windows @ _RESIDUAL).sum(1) - explained
    rounding = (1e-12 * np.abs(values).max()) ** 2
    score = explained / (left.clip(0.0) + rounding + 1e-300)
    found = set()
    for _ in range(_SUSPECTS):
        best = int(score.argmax())
        found.add(best + middle)
        score[max(best - 2, 0) : best + 3] = 0.0
    alive = np.flatnonzero(values != values[-1])
    return sorted(found | ({int(alive[-1])} if len(alive) else set()))


def _close_in(
    function: Callable[[float], float], low: float, high: float, width: float, negligible: float
) -> tuple[float, float]:
    """Follow a step down to an interval of ``width``; return its place, and the change across it.

    Sooner where all that changes in the interval is negligible.
    """
    below, above = function(low), function(high)
    while high - low > width:
        points = np.linspace(low, high, _POINTS)
        values = np.array([below, *(function(float(r)) for r in points[1:-1]), above])
        k = int(np.abs(_STEPS @ values).argmax())
        low, high, below, above = float(points[k]), float(points[k + 1]), values[k], values[k + 1]
        if np.ptp(values) < 0.5 * negligible:
            break
    return 0.5 * (low + high), abs(above - below)
