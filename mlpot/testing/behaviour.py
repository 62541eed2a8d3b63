"""Whether a calculator behaves: repeats itself, leaves its input alone, keeps its results up to date."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.model.base import LocalEnergyModel
from mlpot.testing.evaluation import (
    CheckResult,
    Evaluate,
    Evaluation,
    Tolerances,
    disagreement,
    evaluator,
    worse,
)

#: Å between points closer than anything can change, their number, and the order of differences.
_NOISE_STEP, _NOISE_POINTS, _NOISE_ORDER = 1e-5, 12, 4
_REPEATS = 3
#: Evaluations of each thread.
_ROUNDS = 10


def noise_level(evaluate: Evaluate, atoms: Atoms, rng: np.random.Generator) -> tuple[float, float]:
    """Return the scatter of the energy (eV) and of force components (eV/Å) by rounding or chance.

    From fourth differences of values at even steps of 1e-5 Å: what is smooth drops out (J. J. Moré
    & S. M. Wild, SIAM J. Sci. Comput. 33, 1292, 2011).
    """
    direction = rng.normal(size=(len(atoms), 3))
    found = []
    for k in range(_NOISE_POINTS):
        moved = atoms.copy()
        moved.positions += k * _NOISE_STEP * direction
        found.append(evaluate(moved))

    def scatter(values: np.ndarray) -> float:
        differences = np.diff(values, _NOISE_ORDER, axis=0)
        factor = math.comb(2 * _NOISE_ORDER, _NOISE_ORDER)
        return float(np.sqrt(np.mean(differences**2) / factor))

    return scatter(np.array([one.energy for one in found])), scatter(np.array([o.forces for o in found]))


def relative_noise(noise: tuple[float, float], here: Evaluation) -> tuple[float, str]:
    """Return the larger noise relative to typical forces (energies: per atom, over 1 Å), and whose."""
    energy = noise[0] / (len(here.forces) * here.force_scale)
    return worse(
        (energy, f"of energies, {1e3 * noise[0]:.2g} meV"),
        (noise[1] / here.force_scale, f"of forces, {1e3 * noise[1]:.2g} meV/Å"),
    )


def check_noise(noise: tuple[float, float], here: Evaluation, tolerances: Tolerances) -> CheckResult:
    """Check that energies and forces scatter no more than the number format makes them."""
    worst, where = relative_noise(noise, here)
    return CheckResult.judge("numerical noise", worst, tolerances.noise, where)


def check_determinism(
    evaluate: Evaluate, atoms: Atoms, others: Sequence[Atoms], tolerances: Tolerances
) -> CheckResult:
    """Check that a structure has the same results again after each of other structures.

    The same one at once would be answered from ASE's cache.
    """
    first, worst = evaluate(atoms), (0.0, "")
    for index, other in enumerate([*others] * _REPEATS):
        evaluate(other)
        deviation, where = disagreement(evaluate(atoms), first, atoms.get_volume())
        worst = worse(worst, (deviation, f"after structure {index % len(others)}: {where}"))
    return CheckResult.judge("determinism", worst[0], tolerances.repeat, worst[1])


def check_no_mutation(evaluate: Evaluate, structures: Sequence[Atoms]) -> CheckResult:
    """Check that evaluating structures leaves them as they were, atoms outside of the cell included.

    The number of attributes that change counts.
    """
    changes, count = [], 0
    for structure in structures:
        given = structure.copy()
        given.positions[0] -= given.cell.array[0]
        given.positions[-1] += given.cell.array.sum(0)
        given.set_velocities(np.full((len(given), 3), 0.01))
        given.set_constraint(FixAtoms([0]))
        given.info["note"] = "kept"
        before = given.copy()
        evaluate(given)
        changed = _changed(before, given)
        if changed:
            kind = "crystal" if structure.pbc.any() else "cluster"
            changes.append(f"{', '.join(changed)} of the {kind}")
            count += len(changed)
    detail = f"changed: {'; '.join(changes)}" if changes else "count of changed attributes"
    return CheckResult.judge("no mutation of the input", float(count), 0.0, detail)


def _changed(before: Atoms, after: Atoms) -> list[str]:
    """Return the names of what differs between two structures."""
    names = [
        name for name, values in before.arrays.items() if not np.array_equal(values, after.arrays.get(name))
    ]
    names += [name for name in after.arrays if name not in before.arrays]
    names += [
        name for name in ("cell", "pbc") if not np.array_equal(getattr(before, name), getattr(after, name))
    ]
    if before.info != after.info:
        names.append("info")
    if [one.todict() for one in before.constraints] != [one.todict() for one in after.constraints]:
        names.append("constraints")
    return names


def check_up_to_date(
    evaluate: Evaluate, atoms: Atoms, other: Atoms, tolerances: Tolerances, rng: np.random.Generator
) -> CheckResult:
    """Check that results follow atoms that are moved, strained, exchanged and wrapped in place.

    They are compared with those of copies, each evaluated after ``other``, which must have another
    number of atoms.
    """
    moving = atoms.copy()
    recorded: list[tuple[str, Atoms, Evaluation]] = []

    def record(change: str) -> None:
        recorded.append((change, moving.copy(), evaluate(moving)))

    record("as it was")
    for _ in range(4):
        moving.positions[0] += rng.normal(scale=0.1, size=3)
        record("one atom moved in place")
    for _ in range(4):
        moving.positions[:] += rng.normal(scale=0.05, size=(len(atoms), 3))
        record("all atoms moved in place")
    moving.positions[0] += 1e-3
    record("one atom moved by 0.001 Å in place")
    moving.set_cell(moving.cell.array @ (np.eye(3) + rng.normal(scale=0.01, size=(3, 3))))
    record("cell strained around atoms at rest")
    for _ in range(2):
        moving.set_cell(
            moving.cell.array @ (np.eye(3) + rng.normal(scale=0.01, size=(3, 3))), scale_atoms=True
        )
        record("cell strained")
    moving.positions[-1] += moving.cell.array[2]
    record("one atom moved by a lattice vector")
    if len(set(atoms.numbers)) > 1:
        moving.numbers[:] = np.roll(moving.numbers, 1)
        record("elements exchanged in place")
    worst = (0.0, "")
    for change, structure, found in recorded:
        evaluate(other)
        deviation, where = disagreement(found, evaluate(structure), structure.get_volume())
        worst = worse(worst, (deviation, f"{change}: {where}"))
    return CheckResult.judge("results follow the atoms", worst[0], tolerances.invariance, worst[1])


def check_threads(
    make: Callable[[], Calculator], one: Atoms, other: Atoms, tolerances: Tolerances
) -> CheckResult:
    """Check that two calculators, each in a thread of its own, do not disturb each other.

    One calculator keeps its results in itself and is never for two threads, by ASE's design.
    """
    structures = (one, other)
    expected = [evaluator(make())(atoms.copy()) for atoms in structures]
    evaluates = [evaluator(make()) for _ in structures]
    barrier = threading.Barrier(len(structures))

    def work(index: int) -> tuple[float, str]:
        worst, rng = (0.0, ""), np.random.default_rng(index)
        try:
            for _ in range(_ROUNDS):
                barrier.wait(timeout=600.0)
                # In between another structure, so that there is something to calculate.
                moved = structures[index].copy()
                moved.positions += rng.normal(scale=0.01, size=moved.positions.shape)
                evaluates[index](moved)
                found = evaluates[index](structures[index].copy())
                deviation, where = disagreement(found, expected[index], moved.get_volume())
                worst = worse(worst, (deviation, f"two threads, structure {index}: {where}"))
        except BaseException:
            barrier.abort()
            raise
        return worst

    with ThreadPoolExecutor(len(structures)) as pool:
        futures = [pool.submit(work, index) for index in range(len(structures))]
        errors = [error for future in futures if (error := future.exception()) is not None]
    own = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    if errors:
        raise (own or errors)[0]
    worst = worse(*(future.result() for future in futures))
    return CheckResult.judge("threads", worst[0], tolerances.invariance, worst[1])


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
