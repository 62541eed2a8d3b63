"""Pairs of atoms from close to far: what a potential says where it has seen little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.signal import find_peaks

from mlpot.testing.derivatives import compare_slope
from mlpot.testing.evaluation import CheckResult, Evaluate, Tolerances, worse
from mlpot.testing.structures import default_spacing, pairs_of

#: Closest distance over the sum of the covalent radii, and that below which atoms must repel:
#: short of every bond, also of the triple bond of nitrogen.
CLOSEST, REPULSIVE = 0.4, 0.7
_POINTS = 161
#: Differences of energy (eV) that count: a step down inwards, the depth of a minimum.
_DROP, _DEPTH = 1e-3, 1e-2
#: Slopes are compared at every so many points, with forces so many points away as their scale.
_EVERY, _NEARBY = 5, 2


@dataclass(frozen=True)
class Diatomic:
    """The curve of a pair of elements: distances (Å), energies (eV), forces (eV/Å, positive: apart).

    Energies are relative to that at the largest distance; ``radii`` is the sum of the covalent radii.
    """

    pair: tuple[str, str]
    radii: float
    distances: np.ndarray
    energies: np.ndarray
    forces: np.ndarray

    @property
    def name(self) -> str:
        """Both symbols."""
        return "-".join(self.pair)


def diatomic_curves(evaluate: Evaluate, symbols: Sequence[str], reach: float) -> list[Diatomic]:
    """Return the curves of all pairs, from 0.4 of the sum of the covalent radii to ``reach`` (Å)."""
    found = []
    for pair in pairs_of(symbols):
        radii = default_spacing(pair)
        distances = np.linspace(CLOSEST * radii, max(reach, 2.0 * radii), _POINTS)
        values = np.array([_dimer(evaluate, pair, r) for r in distances])
        found.append(Diatomic(pair, radii, distances, values[:, 0] - values[-1, 0], values[:, 1]))
    return found


def check_diatomic_repulsion(curves: Sequence[Diatomic]) -> CheckResult:
    """Check that the energy of close atoms only grows as they come closer.

    From 0.7 to 0.4 of the sum of their covalent radii; what it drops by on the way counts, eV.
    """
    worst = (0.0, "eV by which the energy of close atoms drops on the way inwards")
    for curve in curves:
        close = curve.distances <= REPULSIVE * curve.radii
        inwards = curve.energies[close][::-1]
        drop = np.maximum.accumulate(inwards) - inwards
        place = curve.distances[close][::-1][int(np.argmax(drop))]
        worst = worse(worst, (float(drop.max()), f"eV by which {curve.name} drops inwards, to {place:.3f} Å"))
    return CheckResult.judge("diatomic repulsion", worst[0], _DROP, worst[1])


def check_diatomic_minimum(curves: Sequence[Diatomic]) -> CheckResult:
    """Check that no pair has a second minimum; the depth (eV) of the second deepest counts.

    None at all is allowed, as in a purely repulsive potential. The depth is the lower of the
    barriers on both sides.
    """
    worst = (0.0, "no second minimum")
    for curve in curves:
        places, shape = find_peaks(-curve.energies, prominence=_DEPTH)
        order = np.argsort(shape["prominences"])[::-1]
        if len(order) > 1:
            where = ", ".join(f"{r:.2f}" for r in curve.distances[places[order]])
            depth = float(shape["prominences"][order[1]])
            worst = worse(worst, (depth, f"depth (eV) of the second minimum of {curve.name}; at {where} Å"))
    return CheckResult.judge("diatomic minimum", worst[0], _DEPTH, worst[1])


def check_diatomic_force(
    evaluate: Evaluate, curves: Sequence[Diatomic], tolerances: Tolerances
) -> CheckResult:
    """Check that the force is the slope of the energy all along the curves.

    Relative to the largest force nearby on the curve and a typical one beyond the sum of the radii.
    """
    worst = (0.0, "")
    for curve in curves:
        sizes = np.abs(curve.forces)
        typical = max(float(np.sqrt(np.mean(sizes[curve.distances >= curve.radii] ** 2))), 1e-3)
        for k in range(0, len(sizes), _EVERY):
            distance = float(curve.distances[k])

            def energy(x: float, pair: tuple[str, str] = curve.pair, r: float = distance) -> np.ndarray:
                return np.asarray(_dimer(evaluate, pair, r + x)[0])

            scale = typical + float(sizes[max(k - _NEARBY, 0) : k + _NEARBY + 1].max())
            _, difference, cause = compare_slope(
                energy, -float(curve.forces[k]), scale, tolerances.displacement, tolerances
            )
            worst = worse(worst, (difference, f"{curve.name} at {distance:.3f} Å{cause}"))
    return CheckResult.judge("diatomic force", worst[0], tolerances.derivative, worst[1])


def _dimer(evaluate: Evaluate, pair: tuple[str, str], distance: float) -> tuple[float, float]:
    found = evaluate(Atoms(pair, positions=[[0.0, 0.0, 0.0], [0.0, 0.0, distance]]))
    return found.energy, float(found.forces[1, 2])
