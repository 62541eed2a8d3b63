"""Physics that every potential must obey, as checks of any model or ASE calculator.

Each function takes ``evaluate`` (see :func:`~mlpot.testing.evaluation.evaluator`), a structure
and :class:`~mlpot.testing.evaluation.Tolerances`, and returns a
:class:`~mlpot.testing.evaluation.CheckResult`. Deviations are relative to the forces and
stresses of the structure, unless the detail says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.model.base import LocalEnergyModel
from mlpot.simulation.dynamics import run_nve
from mlpot.simulation.stopping import StopCriteria
from mlpot.testing.evaluation import CheckResult, Evaluate, Evaluation, Tolerances, disagreement, worse
from mlpot.testing.structures import skewed

#: Random directions along which derivatives are compared.
_DIRECTIONS = 8


def check_rotation_inversion(
    evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances, rng: np.random.Generator
) -> CheckResult:
    """Check that energy is kept under rotation and inversion, and forces and stress turn along."""
    here = evaluate(atoms)
    worst = (0.0, "")
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for matrix in (rotation, -rotation):
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ matrix.T)
        turned.positions = atoms.positions @ matrix.T
        stress = None if here.stress is None else matrix @ here.stress @ matrix.T
        expected = Evaluation(here.energy, here.forces @ matrix.T, stress)
        worst = worse(worst, disagreement(evaluate(turned), expected, atoms.get_volume()))
    return CheckResult.judge("rotation and inversion", worst[0], tolerances.invariance, worst[1])


def check_translation(
    evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances, rng: np.random.Generator
) -> CheckResult:
    """Check that a common translation changes nothing."""
    moved = atoms.copy()
    moved.positions += rng.uniform(-5.0, 5.0, 3)
    worst, where = disagreement(evaluate(moved), evaluate(atoms), atoms.get_volume())
    return CheckResult.judge("translation", worst, tolerances.invariance, where)


def check_permutation(
    evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances, rng: np.random.Generator
) -> CheckResult:
    """Check that the order of the atoms does not matter, and forces follow it."""
    order = rng.permutation(len(atoms))
    here = evaluate(atoms)
    expected = Evaluation(here.energy, here.forces[order], here.stress)
    worst, where = disagreement(evaluate(atoms[order]), expected, atoms.get_volume())
    return CheckResult.judge("permutation", worst, tolerances.invariance, where)


def check_wrapped(
    evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances, rng: np.random.Generator
) -> CheckResult:
    """Check that atoms moved by lattice vectors, each by others, are the same crystal."""
    moved = atoms.copy()
    moved.positions += rng.integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    worst, where = disagreement(evaluate(moved), evaluate(atoms), atoms.get_volume())
    return CheckResult.judge("wrapped equals unwrapped", worst, tolerances.invariance, where)


def check_extensivity(evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances) -> CheckResult:
    """Check that a supercell has a multiple of the energy, and the same forces and stress."""
    worst, where = _against_supercell(evaluate, atoms, (2, 1, 2))
    return CheckResult.judge("extensivity", worst, tolerances.invariance, where)


def check_small_and_skewed_cells(evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances) -> CheckResult:
    """Check that a cell smaller than the cutoff, and skewed vectors of it, equal the supercell.

    ``atoms``: a small cell, best primitive.
    """
    worst, where = _against_supercell(evaluate, atoms, (3, 3, 3))
    other, place = disagreement(evaluate(skewed(atoms)), evaluate(atoms), atoms.get_volume())
    result = worse((worst, f"supercell: {where}"), (other, f"skewed vectors: {place}"))
    return CheckResult.judge("small and skewed cells", result[0], tolerances.invariance, result[1])


def check_mixed_boundaries(
    evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances, reach: float
) -> CheckResult:
    """Check that behind vacuum wider than ``reach`` (Å) open equals periodic."""
    slab = atoms.copy()
    slab.center(vacuum=reach, axis=2)
    cluster = atoms.copy()
    cluster.center(vacuum=reach)
    worst = (0.0, "")
    for structure, pbc in (
        (slab, [True, True, False]),
        (cluster, [False, True, False]),
        (cluster, [False] * 3),
    ):
        expected = evaluate(structure)
        opened = structure.copy()
        opened.pbc = pbc
        found, where = disagreement(evaluate(opened), expected, structure.get_volume())
        worst = worse(worst, (found, f"pbc {pbc}: {where}"))
        # Along an open direction atoms need not lie in the cell.
        opened.positions -= np.where(pbc, 0.0, 1.7) @ structure.cell.array
        found, where = disagreement(evaluate(opened), expected, structure.get_volume())
        worst = worse(worst, (found, f"pbc {pbc}, outside of the cell: {where}"))
    return CheckResult.judge("mixed boundary conditions", worst[0], tolerances.invariance, worst[1])


def check_isolated_atom(
    evaluate: Evaluate, symbols: Sequence[str], tolerances: Tolerances, reach: float
) -> CheckResult:
    """Check that a lone atom has an energy and no force, and two far apart have their sum."""
    worst = (0.0, "")
    lone = {symbol: evaluate(Atoms(symbol)) for symbol in dict.fromkeys(symbols)}
    for symbol, expected in lone.items():
        boxed = evaluate(Atoms(symbol, cell=[2.0 * reach] * 3, pbc=True))
        force = float(np.abs(np.concatenate([expected.forces, boxed.forces])).max())
        worst = worse(worst, (force, f"force on a lone {symbol}, eV/Å"))
        worst = worse(worst, (abs(boxed.energy - expected.energy), f"lone {symbol} in a box, eV"))
        for other, partner in lone.items():
            pair = evaluate(Atoms([symbol, other], positions=[[0, 0, 0], [0, 0, reach]]))
            difference = abs(pair.energy - expected.energy - partner.energy)
            worst = worse(worst, (difference, f"{symbol} and {other} {reach:g} Å apart, eV"))
    return CheckResult.judge("isolated atom", worst[0], tolerances.invariance, worst[1])


def check_forces_finite_difference(
    evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances, rng: np.random.Generator
) -> CheckResult:
    """Check that forces are minus the gradient of the energy, along random directions."""
    forces = evaluate(atoms).forces
    norm = max(float(np.linalg.norm(forces)), 1e-3)
    worst = (0.0, "")
    for index in range(_DIRECTIONS):
        direction = rng.normal(size=forces.shape)

        def energy(x: float, direction: np.ndarray = direction) -> np.ndarray:
            return np.asarray(evaluate(_displaced(atoms, x * direction)).energy)

        slope = _derivative(energy, tolerances.displacement)
        difference = abs(float(slope) + float((forces * direction).sum())) / norm
        worst = worse(
            worst, (difference, f"direction {index} of {_DIRECTIONS}, relative to the norm of all forces")
        )
    return CheckResult.judge("forces", worst[0], tolerances.derivative, worst[1])


def check_stress_finite_difference(evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances) -> CheckResult:
    """Check that stress is the derivative of energy by strain over the volume, tensile positive."""
    here = evaluate(atoms)
    if here.stress is None:
        return CheckResult("stress", 0.0, tolerances.derivative, None, "the calculator gives no stress")
    volume, worst = atoms.get_volume(), (0.0, "")
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        shape = np.zeros((3, 3))
        shape[a, b] += 0.5
        shape[b, a] += 0.5

        def energy(x: float, shape: np.ndarray = shape) -> np.ndarray:
            return np.asarray(evaluate(_strained(atoms, x * shape)).energy)

        slope = _derivative(energy, tolerances.strain)
        difference = abs(float(slope) / volume - here.stress[a, b]) / here.stress_scale(volume)
        worst = worse(worst, (float(difference), f"component {'xyz'[a]}{'xyz'[b]}"))
    return CheckResult.judge("stress", worst[0], tolerances.derivative, worst[1])


def check_second_derivatives(
    evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances, rng: np.random.Generator
) -> CheckResult:
    """Check that the matrix of second derivatives, from differences of forces, is symmetric."""
    first, second = rng.normal(size=(2, len(atoms), 3))

    def product(direction: np.ndarray) -> np.ndarray:
        return _derivative(
            lambda x: evaluate(_displaced(atoms, x * direction)).forces, tolerances.displacement
        )

    one, two = product(first), product(second)
    scale = np.linalg.norm(one) * np.linalg.norm(second) + np.linalg.norm(two) * np.linalg.norm(first)
    difference = abs(float((one * second).sum() - (two * first).sum())) / max(float(scale), 1e-3)
    return CheckResult.judge(
        "second derivatives", difference, tolerances.derivative, "symmetry of the Hessian"
    )


def check_smooth_cutoff(
    evaluate: Evaluate, symbols: Sequence[str], tolerances: Tolerances, spacing: float, reach: float
) -> CheckResult:
    """Check that a dimer from ``0.8 spacing`` to ``reach`` (Å) shows no jump of energy or force.

    A scan finds the intervals in which a step is likeliest, and the one where the interaction
    ends; closing in then tells a steep slope, which shrinks with the interval, from a jump,
    which does not. A jump at the end of the interaction is always found; one on a steep
    repulsive wall may hide if it is below a percent of the force there.
    """
    worst = (0.0, "no jump")
    kinds = list(dict.fromkeys(symbols))
    for pair in [(a, b) for i, a in enumerate(kinds) for b in kinds[i:]]:

        def dimer(distance: float, pair: tuple[str, str] = pair) -> np.ndarray:
            found = evaluate(Atoms(pair, positions=[[0.0, 0.0, 0.0], [0.0, 0.0, distance]]))
            return np.array([found.energy, found.forces[1, 2]])

        grid = np.linspace(0.8 * spacing, reach, 128)
        values = np.array([dimer(r) for r in grid])
        scale = max(float(np.abs(values[grid >= spacing, 1]).max()), 1e-3)
        for column, name in ((0, "energy"), (1, "force")):

            def curve(r: float, column: int = column, dimer: Callable[[float], np.ndarray] = dimer) -> float:
                return float(dimer(r)[column])

            for k in _suspects(values[:, column]):
                distance, jump = _close_in(curve, grid[k], grid[k + 1], tolerances.width)
                worst = worse(worst, (jump / scale, f"{name} of {'-'.join(pair)} at {distance:.4f} Å"))
    return CheckResult.judge("smooth cutoff", worst[0], tolerances.derivative, worst[1])


def check_no_mutation(potential: LocalEnergyModel | Calculator, atoms: Atoms) -> CheckResult:
    """Check that evaluating a structure leaves it as it was."""
    given = atoms.copy()
    given.info["note"] = "kept"
    before = given.copy()
    if isinstance(potential, LocalEnergyModel):
        potential.predict(given)
    else:
        given.calc = potential
        given.get_potential_energy()
        given.get_forces()
        given.calc = None
    changed = [
        name for name, values in before.arrays.items() if not np.array_equal(values, given.arrays.get(name))
    ]
    changed += [name for name in given.arrays if name not in before.arrays]
    for name in ("cell", "pbc"):
        if not np.array_equal(getattr(before, name), getattr(given, name)):
            changed.append(name)
    if before.info != given.info:
        changed.append("info")
    detail = f"changed: {', '.join(changed)}" if changed else "count of changed attributes"
    return CheckResult.judge("no mutation of the input", float(len(changed)), 0.0, detail)


def check_batch_equals_singles(
    model: LocalEnergyModel, structures: Sequence[Atoms], tolerances: Tolerances
) -> CheckResult:
    """Check that structures evaluated together give what they give one by one."""
    device = next((buffer.device for buffer in model.buffers()), torch.device("cpu"))
    graphs = [frame_graph(Frame.from_atoms(atoms), model.cutoff) for atoms in structures]
    output = model(batch_graphs(graphs).to(device))
    forces = np.split(output.forces.cpu().numpy(), np.cumsum([len(atoms) for atoms in structures])[:-1])
    worst = (0.0, "")
    for index, (atoms, single) in enumerate(zip(structures, model.predict(structures), strict=True)):
        stress = output.stress[index].cpu().numpy()
        found = Evaluation(float(output.energy[index]), forces[index], stress)
        expected = Evaluation(single.energy, single.forces, single.stress)
        deviation, where = disagreement(found, expected, atoms.get_volume())
        worst = worse(worst, (deviation, f"structure {index}, {where}"))
    return CheckResult.judge("batch equals singles", worst[0], tolerances.invariance, worst[1])


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


def _against_supercell(evaluate: Evaluate, atoms: Atoms, repeats: tuple[int, int, int]) -> tuple[float, str]:
    here, copies = evaluate(atoms), int(np.prod(repeats))
    expected = Evaluation(copies * here.energy, np.tile(here.forces, (copies, 1)), here.stress)
    return disagreement(evaluate(atoms.repeat(repeats)), expected, copies * atoms.get_volume())


def _displaced(atoms: Atoms, displacement: np.ndarray) -> Atoms:
    copy = atoms.copy()
    copy.positions += displacement
    return copy


def _strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return copy


def _derivative(function: Callable[[float], np.ndarray], step: float) -> np.ndarray:
    """Return the derivative at 0 by central differences of fourth order."""
    near, far = function(step) - function(-step), function(2.0 * step) - function(-2.0 * step)
    return (8.0 * near - far) / (12.0 * step)


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


def _suspects(values: np.ndarray) -> set[int]:
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
    return found | {int(alive[-1])} if len(alive) else found


def _close_in(
    function: Callable[[float], float], low: float, high: float, width: float
) -> tuple[float, float]:
    """Follow a step down to an interval of ``width``; return its place, and the change across it."""
    below, above = function(low), function(high)
    while high - low > width:
        points = np.linspace(low, high, _POINTS)
        values = np.array([below, *(function(float(r)) for r in points[1:-1]), above])
        k = int(np.abs(_STEPS @ values).argmax())
        low, high, below, above = float(points[k]), float(points[k + 1]), values[k], values[k + 1]
    return 0.5 * (low + high), abs(above - below)
