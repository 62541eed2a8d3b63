from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mlpot.data.neighbours import Neighbours, find_neighbours
from mlpot.errors import GeometryError, RecipeError
from mlpot.simulation.skin import SkinnedNeighbours

CUTOFF = 4.0
ON, OFF = np.array([True] * 3), np.array([False] * 3)


def pairs(found: Neighbours) -> set[tuple[int, ...]]:
    listed = list(zip(found.centre.tolist(), found.neighbour.tolist(), *found.shift.T.tolist(), strict=True))
    assert len(set(listed)) == len(listed)
    return set(listed)


def assert_same(skinned: SkinnedNeighbours, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> None:
    found = skinned.find(positions, cell, pbc)
    assert pairs(found) == pairs(find_neighbours(positions, cell, pbc, skinned.cutoff))
    if len(found):
        assert (np.diff(found.centre) >= 0).all()
        assert (found.reverse[found.reverse] == np.arange(len(found))).all()
        assert (found.centre[found.reverse] == found.neighbour).all()
        assert (found.shift[found.reverse] == -found.shift).all()


CELLS = {
    "cubic": np.diag([5.4, 5.4, 5.4]),
    "skewed": np.array([[5.0, 0.0, 0.0], [4.0, 5.0, 0.0], [-3.0, 4.0, 6.0]]),
    "small": np.array([[0.0, 2.7, 2.7], [2.7, 0.0, 2.7], [2.7, 2.7, 0.0]]),
}


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0), (0, 0, 0)])
@pytest.mark.parametrize("name", CELLS)
def test_equals_fresh_list_along_a_random_walk(name: str, pbc: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    cell, periodic = CELLS[name], np.array(pbc, dtype=bool)
    positions = np.array([[0.0, 0.0, 0.0], [1.35, 1.35, 1.35], [2.7, 0.2, 2.9]]) + rng.normal(size=3)
    skinned = SkinnedNeighbours(CUTOFF, 0.5)
    for _ in range(120):
        positions = positions + rng.normal(scale=0.03, size=positions.shape)
        assert_same(skinned, positions, cell, periodic)
    assert 1 < skinned.builds < 60


def test_reused_until_an_atom_moved_half_the_skin() -> None:
    positions, cell = bulk("Si", cubic=True).positions, np.diag([5.43] * 3)
    skinned = SkinnedNeighbours(CUTOFF, 0.6)
    skinned.find(positions, cell, ON)
    moved = positions.copy()
    moved[3, 0] += 0.299
    skinned.find(moved, cell, ON)
    assert skinned.builds == 1
    moved[3, 0] += 0.002
    skinned.find(moved, cell, ON)
    assert skinned.builds == 2


def test_wrapped_and_unwrapped_positions() -> None:
    rng = np.random.default_rng(2)
    cell = CELLS["skewed"]
    fractional = rng.random((6, 3))
    skinned = SkinnedNeighbours(3.0, 0.4)
    for step in range(60):
        fractional = fractional + rng.normal(scale=0.004, size=fractional.shape)
        # Every tenth step the atoms are wrapped, as some drivers do.
        fractional = fractional % 1.0 if step % 10 == 9 else fractional
        assert_same(skinned, fractional @ cell, cell, ON)
    assert_same(skinned, (fractional + rng.integers(-3, 4, fractional.shape)) @ cell, cell, ON)


@pytest.mark.parametrize("name", CELLS)
def test_equals_fresh_list_in_a_changing_cell(name: str) -> None:
    rng = np.random.default_rng(3)
    cell, fractional = CELLS[name], rng.random((4, 3))
    skinned = SkinnedNeighbours(CUTOFF, 0.5)
    for _ in range(120):
        cell = cell @ (np.eye(3) + rng.normal(scale=0.003, size=(3, 3)))
        fractional = fractional + rng.normal(scale=0.002, size=fractional.shape)
        assert_same(skinned, fractional @ cell, cell, ON)
    assert 1 < skinned.builds < 90


@pytest.mark.parametrize("squeeze", [0.99, 0.95, 0.9, 0.7])
def test_squeezed_cell_lets_no_pair_in_unseen(squeeze: float) -> None:
    # Under affine compression no atom moves relative to the lattice, yet shells come into reach.
    atoms = bulk("Si", cubic=True)
    skinned = SkinnedNeighbours(CUTOFF, 0.5)
    skinned.find(atoms.positions, atoms.cell.array, ON)
    assert_same(skinned, atoms.positions * squeeze, atoms.cell.array * squeeze, ON)
    assert skinned.builds == (1 if squeeze * 4.5 >= 4.0 else 2)


def test_stretch_of_cell_keeps_the_list() -> None:
    atoms = bulk("Si", cubic=True)
    skinned = SkinnedNeighbours(CUTOFF, 0.5)
    skinned.find(atoms.positions, atoms.cell.array, ON)
    assert_same(skinned, atoms.positions * 1.05, atoms.cell.array * 1.05, ON)
    assert skinned.builds == 1


def test_other_boundaries_or_number_of_atoms_rebuild() -> None:
    atoms = bulk("Si", cubic=True)
    skinned = SkinnedNeighbours(CUTOFF, 0.5)
    for pbc in (ON, OFF, np.array([True, False, True])):
        assert_same(skinned, atoms.positions, atoms.cell.array, pbc)
    assert_same(skinned, atoms.positions[:5], atoms.cell.array, ON)
    assert skinned.builds == 4


def test_slab_without_third_vector() -> None:
    positions = bulk("Si", cubic=True).positions
    skinned = SkinnedNeighbours(CUTOFF, 0.5)
    slab = np.array([True, True, False])
    assert_same(skinned, positions, np.diag([5.43, 5.43, 0.0]), slab)
    assert_same(skinned, positions, np.diag([5.43, 5.40, 0.0]), slab)
    assert_same(skinned, positions, np.diag([5.43, 5.40, 30.0]), slab)


def test_no_skin_still_right() -> None:
    atoms = bulk("Si", cubic=True)
    skinned = SkinnedNeighbours(CUTOFF, 0.0)
    for shift in (0.0, 0.01, 0.02):
        atoms.positions[2] += shift
        assert_same(skinned, atoms.positions, atoms.cell.array, ON)
    assert skinned.builds == 3


def test_bad_positions_are_refused() -> None:
    atoms = bulk("Si", cubic=True)
    cell = atoms.cell.array
    skinned = SkinnedNeighbours(CUTOFF, 3.0)
    skinned.find(atoms.positions, cell, ON)
    lost = atoms.positions.copy()
    lost[1, 2] = np.nan
    with pytest.raises(GeometryError, match="NaN or infinity"):
        skinned.find(lost, cell, ON)
    with pytest.raises(GeometryError, match="NaN or infinity"):
        skinned.find(atoms.positions, cell + np.inf, ON)
    # Within the skin no list is built, and the overlap is found all the same.
    near = atoms.positions.copy()
    near[1] += 0.5 * (near[0] - near[1])
    near[0] = near[1] + [0.0, 0.0, 0.01]
    builds = skinned.builds
    with pytest.raises(GeometryError, match="atoms 0 and 1 overlap"):
        skinned.find(near, cell, ON)
    assert skinned.builds == builds
    assert_same(skinned, atoms.positions, cell, ON)


@pytest.mark.parametrize(("cutoff", "skin"), [(4.0, -0.1), (0.0, 0.5), (4.0, float("nan"))])
def test_senseless_lengths(cutoff: float, skin: float) -> None:
    with pytest.raises(RecipeError, match="must be positive"):
        SkinnedNeighbours(cutoff, skin)
