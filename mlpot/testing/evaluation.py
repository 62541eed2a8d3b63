"""One face for all potentials under test, and the record of a check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlpot.conventions import voigt_to_matrix
from mlpot.model.base import LocalEnergyModel

Precision = Literal["float64", "float32"]
#: Forces below this (eV/Å) are not taken as a scale to measure deviations by.
_SMALLEST_FORCE = 1e-3


@dataclass(frozen=True)
class Evaluation:
    """Energy (eV), forces (N, 3) in eV/Å and stress (3, 3) in eV/Å³ (``None``: not defined)."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None

    @property
    def force_scale(self) -> float:
        """Root mean square of the force components, eV/Å, but at least 0.001."""
        return max(float(np.sqrt(np.mean(self.forces**2))), _SMALLEST_FORCE)

    def stress_scale(self, volume: float) -> float:
        """Return the largest component of the stress plus that of a typical force over 1 Å."""
        largest = 0.0 if self.stress is None else float(np.abs(self.stress).max())
        return largest + len(self.forces) * self.force_scale / volume


Evaluate = Callable[[Atoms], Evaluation]


@dataclass(frozen=True)
class Tolerances:
    """What the number format allows, relative to the forces and stresses of a structure.

    Attributes
    ----------
    invariance : float
        Between evaluations that must agree.
    derivative : float
        Between a derivative and finite differences.
    conservation : float
        Of the energy in dynamics, relative to the kinetic energy.
    displacement, strain : float
        Steps of finite differences, Å and 1. Differences of fourth order leave an error of
        about step⁴; random directions stretch a pair by several steps.
    width : float
        Å to which a jump is pinned down.
    noise : float
        Scatter between evaluations at points closer to each other than anything can change.
    repeat : float
        Between evaluations of one structure; a parallel sum may be added up in another order.
    """

    invariance: float
    derivative: float
    conservation: float
    displacement: float
    strain: float
    width: float
    noise: float
    repeat: float

    @classmethod
    def of(cls, precision: Precision) -> Tolerances:
        """Return what float64 or float32 allows."""
        if precision == "float64":
            return cls(1e-9, 1e-6, 1e-4, 4e-4, 4e-4, 1e-9, 1e-9, 1e-11)
        return cls(1e-3, 5e-3, 1e-3, 8e-3, 5e-3, 1e-5, 1e-4, 1e-5)


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    Attributes
    ----------
    name : str
        What was checked.
    deviation : float
        The worst, in the unit that ``detail`` names.
    tolerance : float
        The largest allowed.
    passed : bool or None
        ``None``: the check does not apply, for the reason in ``detail``.
    detail : str
        What was compared, and where the worst deviation is.
    """

    name: str
    deviation: float
    tolerance: float
    passed: bool | None
    detail: str

    @classmethod
    def judge(cls, name: str, deviation: float, tolerance: float, detail: str) -> CheckResult:
        """Return a result; a deviation that is not a number fails."""
        deviation = float(deviation) if np.isfinite(deviation) else float("inf")
        return cls(name, deviation, tolerance, deviation <= tolerance, detail)

    @classmethod
    def not_applicable(cls, name: str, reason: str) -> CheckResult:
        """Return the result of a check that does not apply."""
        return cls(name, 0.0, 0.0, None, reason)

    def asdict(self) -> dict[str, Any]:
        """Return plain values for JSON; a deviation that is not finite is ``None``."""
        verdict = {True: "pass", False: "fail", None: "not applicable"}[self.passed]
        deviation = self.deviation if np.isfinite(self.deviation) and self.passed is not None else None
        return {
            "check": self.name,
            "verdict": verdict,
            "deviation": deviation,
            "tolerance": None if self.passed is None else self.tolerance,
            "detail": self.detail,
        }


def evaluator(potential: LocalEnergyModel | Calculator) -> Evaluate:
    """Return the function from atoms to energy, forces and stress of a model or calculator.

    The stress is ``None`` where the cell has no volume or the calculator has none.
    """
    if isinstance(potential, LocalEnergyModel):

        def evaluate_model(atoms: Atoms) -> Evaluation:
            prediction = potential.predict([atoms])[0]
            stress = prediction.stress if atoms.cell.rank == 3 else None
            return Evaluation(prediction.energy, prediction.forces, stress)

        return evaluate_model

    def evaluate_calculator(atoms: Atoms) -> Evaluation:
        energy = float(potential.get_property("energy", atoms))
        forces = np.array(potential.get_property("forces", atoms))
        stress = None
        if atoms.cell.rank == 3:
            try:
                stress = np.asarray(potential.get_property("stress", atoms))
            except NotImplementedError:
                pass
            else:
                stress = voigt_to_matrix(stress) if stress.shape == (6,) else stress.reshape(3, 3)
        return Evaluation(energy, forces, stress)

    return evaluate_calculator


def model_of(potential: LocalEnergyModel | Calculator) -> LocalEnergyModel | None:
    """Return the model of mlpot that a potential is or calculates with; ``None``: another's."""
    model = getattr(potential, "model", potential)
    return model if isinstance(model, LocalEnergyModel) else None


def disagreement(found: Evaluation, expected: Evaluation, volume: float) -> tuple[float, str]:
    """Return the worst relative deviation between two evaluations, and where it is.

    Forces are measured by the root mean square force f of the expected ones, energies per
    atom by f times 1 Å, stresses by :meth:`Evaluation.stress_scale`.
    """
    if found.forces.shape != expected.forces.shape:
        return np.inf, f"forces of shape {found.forces.shape}, expected {expected.forces.shape}"
    scale = expected.force_scale
    deviations = {
        "energy": abs(found.energy - expected.energy) / (len(expected.forces) * scale),
        "forces": float(np.abs(found.forces - expected.forces).max()) / scale,
    }
    if found.stress is not None and expected.stress is not None:
        difference = np.abs(found.stress - expected.stress).max()
        deviations["stress"] = float(difference) / expected.stress_scale(volume)
    worst = (0.0, "")
    for name, deviation in deviations.items():
        worst = worse(worst, (deviation, f"largest in {name}"))
    return worst


def worse(one: tuple[float, str], other: tuple[float, str]) -> tuple[float, str]:
    """Return the larger of two deviations with its detail; one that is not a number is infinite."""
    first, second = (value if value == value else np.inf for value, _ in (one, other))
    return (float(first), one[1]) if first >= second and one[1] else (float(second), other[1])
