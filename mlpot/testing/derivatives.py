"""Whether forces and stress are the derivatives of the energy, as checks of any potential.

Each check takes ``evaluate`` (see :func:`~mlpot.testing.evaluation.evaluator`), a structure and
:class:`~mlpot.testing.evaluation.Tolerances`. Deviations are relative to the forces and stresses
of the structure, unless the detail says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlpot.conventions import GPA, KBAR, matrix_to_voigt, voigt_to_matrix
from mlpot.simulation.dynamics import run_nve
from mlpot.simulation.stopping import StopCriteria
from mlpot.testing.evaluation import CheckResult, Evaluate, Tolerances, worse

#: Random directions along which derivatives are compared.
_DIRECTIONS = 8
#: Steps tried in turn, over the usual one, while the difference is too large.
_STEPS = (1.0, 4.0, 0.25, 0.0625)
#: Amplitude (Å) of each component on a closed loop, and points on it.
_LOOP, _LOOP_POINTS = 0.05, 32


def check_forces_finite_difference(
    evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances, rng: np.random.Generator
) -> CheckResult:
    """Check that forces are minus the gradient of the energy, along random directions.

    Differences are of fourth order. Where they disagree, other steps tell what it is: noise
    falls with a longer step, a kink or a steep energy with a shorter one, and what stays the
    same is a force that is not the gradient. The best step counts.
    """
    forces = evaluate(atoms).forces
    norm = max(float(np.linalg.norm(forces)), 1e-3)
    worst, slopes, works = (0.0, ""), [], []
    for index in range(_DIRECTIONS):
        direction = rng.normal(size=forces.shape)
        work = float((forces * direction).sum())

        def energy(x: float, direction: np.ndarray = direction) -> np.ndarray:
            return np.asarray(evaluate(displaced(atoms, x * direction)).energy)

        slope, difference, cause = compare_slope(energy, -work, norm, tolerances.displacement, tolerances)
        slopes.append(slope)
        works.append(-work)
        where = f"direction {index} of {_DIRECTIONS}, relative to the norm of all forces{cause}"
        worst = worse(worst, (difference, where))
    detail = worst[1]
    if not worst[0] <= tolerances.derivative:
        detail += _proportion(np.array(works), np.array(slopes))
    return CheckResult.judge("forces", worst[0], tolerances.derivative, detail)


def check_stress_finite_difference(evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances) -> CheckResult:
    """Check that stress is the derivative of energy by strain over the volume, tensile positive.

    A wrong sign, unit or order of components is named where it explains the difference.
    """
    here = evaluate(atoms)
    if here.stress is None:
        return CheckResult.not_applicable("stress", "the calculator gives no stress")
    volume, worst, numeric = atoms.get_volume(), (0.0, ""), np.zeros((3, 3))
    scale = here.stress_scale(volume)
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        shape = np.zeros((3, 3))
        shape[a, b] += 0.5
        shape[b, a] += 0.5

        def energy(x: float, shape: np.ndarray = shape) -> np.ndarray:
            return np.asarray(evaluate(strained(atoms, x * shape)).energy / volume)

        slope, difference, cause = compare_slope(
            energy, here.stress[a, b], scale, tolerances.strain, tolerances
        )
        numeric[a, b] = numeric[b, a] = slope
        worst = worse(worst, (difference, f"component {'xyz'[a]}{'xyz'[b]}{cause}"))
    detail = worst[1]
    if not worst[0] <= tolerances.derivative:
        detail += explain_stress(here.stress, numeric, volume)
    return CheckResult.judge("stress", worst[0], tolerances.derivative, detail)


def explain_stress(reported: np.ndarray, right: np.ndarray, volume: float) -> str:
    """Return which sign, unit or order makes the right stress the reported one; empty if none.

    Parameters
    ----------
    reported, right
        (3, 3), eV/Å³ if right.
    volume
        Å³.
    """
    units = {"": 1.0, "in GPa": 1.0 / GPA, "in kbar": 1.0 / KBAR, "not divided by the volume": volume}
    names = ("yz", "xz", "xy")
    components = matrix_to_voigt(right)
    for order, sign, (unit, factor) in product(permutations(range(3)), (1.0, -1.0), units.items()):
        candidate = sign * factor * voigt_to_matrix([*components[:3], *components[3:][list(order)]])
        if np.abs(reported - candidate).max() <= 0.01 * np.abs(candidate).max():
            faults = ["of the opposite sign"] if sign < 0 else []
            faults += [unit] if unit else []
            if order != (0, 1, 2):
                faults.append(f"in the order xx yy zz {' '.join(names[i] for i in order)}")
            return f"; explained by a stress {' and '.join(faults)}" if faults else ""
    return ""


def check_second_derivatives(
    evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances, rng: np.random.Generator
) -> CheckResult:
    """Check that the matrix of second derivatives, from differences of forces, is symmetric."""
    first, second = rng.normal(size=(2, len(atoms), 3))

    def product(direction: np.ndarray) -> np.ndarray:
        return _derivative(
            lambda x: evaluate(displaced(atoms, x * direction)).forces, tolerances.displacement
        )

    one, two = product(first), product(second)
    scale = np.linalg.norm(one) * np.linalg.norm(second) + np.linalg.norm(two) * np.linalg.norm(first)
    difference = abs(float((one * second).sum() - (two * first).sum())) / max(float(scale), 1e-3)
    return CheckResult.judge(
        "second derivatives", difference, tolerances.derivative, "symmetry of the Hessian"
    )


def check_closed_loop(
    evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances, rng: np.random.Generator
) -> CheckResult:
    """Check that forces do no work around an ellipse in the space of all positions.

    The trapezoidal rule converges faster than any power for a smooth force; what halving the
    number of points, once or twice, changes is not counted. Relative to the path integral of the
    force's size.
    """
    one, two = rng.normal(scale=_LOOP, size=(2, len(atoms), 3))
    angles = 2.0 * np.pi * np.arange(_LOOP_POINTS) / _LOOP_POINTS
    works, sizes = [], []
    for angle in angles:
        forces = evaluate(displaced(atoms, np.cos(angle) * one + np.sin(angle) * two)).forces
        tangent = np.cos(angle) * two - np.sin(angle) * one
        works.append(float((forces * tangent).sum()))
        sizes.append(float(np.linalg.norm(forces) * np.linalg.norm(tangent)))
    work, coarse, coarser = (float(np.mean(works[::every])) for every in (1, 2, 4))
    unsure = max(abs(work - coarse), abs(coarse - coarser))
    excess = np.maximum(abs(work) - unsure, 0.0) / max(float(np.mean(sizes)), 1e-6)
    detail = f"work around a loop of {2e3 * np.pi * work:.2g} meV, relative to the path integral of |F|"
    return CheckResult.judge("closed loop", float(excess), tolerances.derivative, detail)


def check_net_force_and_torque(
    evaluate: Evaluate, evaluate_cluster: Evaluate, atoms: Atoms, cluster: Atoms, tolerances: Tolerances
) -> CheckResult:
    """Check that forces add up to zero in a crystal, and forces and torques in a cluster."""
    crystal, molecule = evaluate(atoms), evaluate_cluster(cluster)
    arms = cluster.positions - cluster.positions.mean(0)
    radius = float(np.linalg.norm(arms, axis=1).max())
    worst = (0.0, "")
    for name, found, total in (
        ("force on the crystal", crystal, crystal.forces.sum(0)),
        ("force on the cluster", molecule, molecule.forces.sum(0)),
        ("torque on the cluster", molecule, np.cross(arms, molecule.forces).sum(0) / radius),
    ):
        deviation = float(np.abs(total).max()) / (len(found.forces) * found.force_scale)
        worst = worse(worst, (deviation, f"{name}, per atom"))
    return CheckResult.judge("net force and torque", worst[0], tolerances.invariance, worst[1])


def check_energy_conservation(calculator: Calculator, atoms: Atoms, tolerances: Tolerances) -> CheckResult:
    """Check that the total energy in NVE dynamics errs by the square of the time step alone.

    Velocity Verlet over 20 fs with steps of 0.5 and 0.25 fs; the error is extrapolated to no
    step (Richardson), and given relative to the largest kinetic energy.
    """
    free = StopCriteria(min_distance=None, max_force=None, runaway_factor=None)
    errors, kinetic = [], 0.0
    for timestep, interval in ((0.5, 1), (0.25, 2)):
        run = run_nve(
            atoms, calculator, 0.02, temperature=300.0, timestep_fs=timestep, log_interval=interval, stop=free
        )
        if run.reason:
            return CheckResult.judge("energy conservation", np.inf, tolerances.conservation, run.reason)
        errors.append(run.total_energies - run.total_energies[0])
        kinetic = max(kinetic, max(sample.kinetic_energy for sample in run.samples))
    drift = float(np.abs(4.0 * errors[1] - errors[0]).max()) / 3.0
    detail = "20 fs of NVE, relative to the kinetic energy"
    return CheckResult.judge("energy conservation", drift / kinetic, tolerances.conservation, detail)


def compare_slope(
    energy: Callable[[float], np.ndarray], expected: float, scale: float, step: float, tolerances: Tolerances
) -> tuple[float, float, str]:
    """Return the slope of an energy at 0, its difference from the expected one over ``scale``, and the cause.

    Of the step and, where that is not enough, of longer and shorter ones the one that agrees best.
    """
    slopes, differences = [], []
    for factor in _STEPS:
        slopes.append(float(_derivative(energy, factor * step)))
        differences.append(abs(slopes[-1] - expected) / scale)
        if differences[-1] <= tolerances.derivative:
            return slopes[-1], differences[-1], ""
    if not np.isfinite(differences).all():
        return slopes[0], np.inf, ""
    best = int(np.argmin(differences))
    usual, long, short, _ = differences
    if max(usual, long, short) < 1.5 * min(usual, long, short):
        cause = "; the same at all steps: not the derivative"
    elif long < usual < short:
        cause = "; falls with the step: noise"
    else:
        cause = "; falls with a shorter step: a kink or a jump nearby"
    return slopes[best], differences[best], cause


def displaced(atoms: Atoms, displacement: np.ndarray) -> Atoms:
    """Return a copy with its atoms moved by (N, 3) Å."""
    copy = atoms.copy()
    copy.positions += displacement
    return copy


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """Return a copy under a strain (3, 3)."""
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return copy


def _proportion(works: np.ndarray, slopes: np.ndarray) -> str:
    """Return by which factor all forces differ from the gradient; empty if by none."""
    factor = float(works @ slopes / max(float(slopes @ slopes), 1e-30))
    # The factor must explain most of the difference, and be one that its digits show.
    if not np.linalg.norm(works - factor * slopes) <= 0.1 * np.linalg.norm(works - slopes):
        return ""
    if abs(factor - 1.0) < 1e-3:
        return ""
    return f"; explained by forces {factor:.4g} times too large"


def _derivative(function: Callable[[float], np.ndarray], step: float) -> np.ndarray:
    """Return the derivative at 0 by central differences of fourth order."""
    near, far = function(step) - function(-step), function(2.0 * step) - function(-2.0 * step)
    return (8.0 * near - far) / (12.0 * step)
