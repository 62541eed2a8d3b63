"""Symmetries, boundaries and reach that every potential must respect, as checks of any of them.

Each function takes ``evaluate`` (see :func:`~mlpot.testing.evaluation.evaluator`), a structure
and :class:`~mlpot.testing.evaluation.Tolerances`, and returns a
:class:`~mlpot.testing.evaluation.CheckResult`. Deviations are relative to the forces and
stresses of the structure, unless the detail says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mlpot.testing.evaluation import CheckResult, Evaluate, Evaluation, Tolerances, disagreement, worse
from mlpot.testing.structures import skewed


def check_rotation_inversion(
    evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances, rng: np.random.Generator
) -> CheckResult:
    """Check that energy is kept under rotation and inversion, and forces and stress turn along."""
    here = evaluate(atoms)
    worst = (0.0, "")
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    for matrix, kind in ((rotation, "rotation"), (-rotation, "rotation with inversion")):
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ matrix.T)
        turned.positions = atoms.positions @ matrix.T
        stress = None if here.stress is None else matrix @ here.stress @ matrix.T
        expected = Evaluation(here.energy, here.forces @ matrix.T, stress)
        deviation, where = disagreement(evaluate(turned), expected, atoms.get_volume())
        worst = worse(worst, (deviation, f"{kind}: {where}"))
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


def check_order_of_elements(evaluate: Evaluate, atoms: Atoms, tolerances: Tolerances) -> CheckResult:
    """Check that it does not matter which element comes first."""
    if len(set(atoms.numbers)) == 1:
        return CheckResult.not_applicable("order of elements", "there is one element")
    here, worst = evaluate(atoms), (0.0, "")
    for sign, name in ((1, "light"), (-1, "heavy")):
        order = np.argsort(sign * atoms.numbers, kind="stable")
        expected = Evaluation(here.energy, here.forces[order], here.stress)
        deviation, where = disagreement(evaluate(atoms[order]), expected, atoms.get_volume())
        worst = worse(worst, (deviation, f"{name} ones first: {where}"))
    return CheckResult.judge("order of elements", worst[0], tolerances.invariance, worst[1])


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
    worst, where = _against_supercell(evaluate, atoms, (2, 2, 2))
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


def check_locality(
    evaluate: Evaluate, one: Atoms, other: Atoms, tolerances: Tolerances, reach: float
) -> CheckResult:
    """Check that two clusters ``reach`` (Å) apart have the sum of their energies, and their forces."""
    far = other.copy()
    far.positions[:, 0] += one.positions[:, 0].max() - far.positions[:, 0].min() + reach
    parts = evaluate(one), evaluate(far)
    expected = Evaluation(
        sum(part.energy for part in parts), np.concatenate([part.forces for part in parts]), None
    )
    worst, where = disagreement(evaluate(one + far), expected, 1.0)
    return CheckResult.judge("locality", worst, tolerances.invariance, f"{reach:.3g} Å apart: {where}")


def _against_supercell(evaluate: Evaluate, atoms: Atoms, repeats: tuple[int, int, int]) -> tuple[float, str]:
    here, copies = evaluate(atoms), int(np.prod(repeats))
    expected = Evaluation(copies * here.energy, np.tile(here.forces, (copies, 1)), here.stress)
    return disagreement(evaluate(atoms.repeat(repeats)), expected, copies * atoms.get_volume())
