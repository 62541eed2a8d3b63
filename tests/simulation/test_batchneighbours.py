from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100

from mlpot.data.neighbours import find_neighbours
from mlpot.errors import RecipeError
from mlpot.simulation.batchneighbours import BatchedNeighbours, Found

CUTOFF = 4.0
ON, OFF = (True, True, True), (False, False, False)


def found_for(lists: BatchedNeighbours, structures: list[Atoms], pbc: tuple[bool, bool, bool]) -> Found:
    counts = torch.tensor([len(atoms) for atoms in structures])
    return lists.find(
        torch.from_numpy(np.concatenate([atoms.numbers for atoms in structures])),
        torch.from_numpy(np.concatenate([atoms.positions for atoms in structures])),
        torch.from_numpy(np.array([atoms.cell.array for atoms in structures])),
        pbc,
        torch.repeat_interleave(counts),
    )


def bonds(centre: np.ndarray, neighbour: np.ndarray, vectors: np.ndarray) -> set[tuple[int, ...]]:
    listed = list(
        zip(centre.tolist(), neighbour.tolist(), *np.rint(1e6 * vectors).astype(int).T.tolist(), strict=True)
    )
    assert len(set(listed)) == len(listed)
    return set(listed)


def assert_same(
    lists: BatchedNeighbours, structures: list[Atoms], pbc: tuple[bool, bool, bool] = ON
) -> Found:
    found = found_for(lists, structures, pbc)
    graph, expected, start = found.graph, set(), 0
    for atoms in structures:
        alone = find_neighbours(atoms.positions, atoms.cell.array, np.array(pbc), lists.cutoff)
        vectors = alone.vectors(atoms.positions, atoms.cell.array)
        expected |= bonds(alone.centre + start, alone.neighbour + start, vectors)
        start += len(atoms)
    (centre, neighbour), reverse = graph.edge_index, graph.reverse
    translations = torch.einsum("ea,eab->eb", graph.shift, graph.cell[graph.batch[centre]])
    vectors = graph.pos[neighbour] - graph.pos[centre] + translations
    assert bonds(centre.numpy(), neighbour.numpy(), vectors.numpy()) == expected
    assert (torch.diff(centre) >= 0).all()
    assert torch.equal(reverse[reverse], torch.arange(len(reverse)))
    assert torch.equal(vectors[reverse], -vectors)
    assert not found.failures
    return found


def crystals() -> list[Atoms]:
    """A cube, a primitive cell smaller than the cutoff, a skewed one, and a larger one."""
    skewed = bulk("Ge", cubic=True)
    skewed.set_cell(np.add(skewed.cell.array, [[0, 0, 0], [2.0, 0, 0], [0, -1.0, 0]]), scale_atoms=True)
    return [bulk("Si", cubic=True), bulk("Si"), skewed, bulk("Si", cubic=True) * (2, 1, 1)]


def shaken(structures: list[Atoms], rng: np.random.Generator, scale: float) -> None:
    for atoms in structures:
        atoms.positions += rng.normal(scale=scale, size=atoms.positions.shape)


@pytest.mark.parametrize("pbc", [ON, (True, True, False), OFF])
@pytest.mark.parametrize("wrap", [False, True])
def test_equal_fresh_lists_along_a_random_walk(pbc: tuple[bool, bool, bool], wrap: bool) -> None:
    rng, structures = np.random.default_rng(0), crystals()
    lists = BatchedNeighbours(CUTOFF, 0.5)
    for _ in range(60):
        shaken(structures, rng, 0.02)
        for atoms in structures if wrap else []:
            atoms.wrap(pbc=pbc)
        assert_same(lists, structures, pbc)
    # Wrapping, as torch-sim does at every step, costs no builds.
    assert 1 < lists.builds < 25


def test_atoms_that_were_wrapped_cause_no_build() -> None:
    structures = crystals()
    lists = BatchedNeighbours(CUTOFF, 0.5)
    assert_same(lists, structures)
    structures[1].positions += 2 * structures[1].cell[0] - structures[1].cell[2]
    structures[3].positions[5] -= structures[3].cell[1]
    assert_same(lists, structures)
    assert lists.builds == 1
    # Along a direction that is not periodic, that is a move.
    assert_same(lists, structures, (True, False, True))
    structures[3].positions[5] += structures[3].cell[1]
    assert_same(lists, structures, (True, False, True))
    assert lists.builds == 3


def test_reused_until_an_atom_moved_half_the_skin() -> None:
    structures = crystals()
    lists = BatchedNeighbours(CUTOFF, 0.6)
    assert_same(lists, structures)
    structures[2].positions[3, 0] += 0.299
    assert_same(lists, structures)
    assert lists.builds == 1
    structures[2].positions[3, 0] += 0.002
    assert_same(lists, structures)
    assert lists.builds == 2


def test_cells_that_change() -> None:
    rng, structures = np.random.default_rng(1), crystals()
    lists = BatchedNeighbours(CUTOFF, 0.5)
    for _ in range(60):
        for atoms in structures[1:]:
            strain = np.eye(3) + rng.normal(scale=0.003, size=(3, 3))
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        shaken(structures, rng, 0.01)
        assert_same(lists, structures)
    assert 1 < lists.builds < 40


@pytest.mark.parametrize("squeeze", [0.99, 0.9, 0.7])
def test_a_squeezed_cell_lets_no_pair_in_unseen(squeeze: float) -> None:
    structures = crystals()
    lists = BatchedNeighbours(CUTOFF, 0.5)
    assert_same(lists, structures)
    structures[2].set_cell(structures[2].cell.array * squeeze, scale_atoms=True)
    assert_same(lists, structures)
    assert lists.builds == (1 if squeeze * 4.5 >= 4.0 else 2)


def test_slabs_without_a_third_vector() -> None:
    slab, pbc = fcc100("Al", (2, 2, 2)), (True, True, False)
    assert slab.cell.rank == 2
    other = slab.copy()
    lists = BatchedNeighbours(CUTOFF, 0.5)
    assert_same(lists, [slab, other], pbc)
    other.positions[1] += other.cell[0]
    assert_same(lists, [slab, other], pbc)
    assert lists.builds == 1
    other.set_cell(other.cell.array * 1.01, scale_atoms=True)
    assert_same(lists, [slab, other], pbc)
    assert lists.builds == 2


def test_another_batch_builds_anew() -> None:
    structures = crystals()
    lists = BatchedNeighbours(CUTOFF, 0.5)
    for some in (structures, structures[:2], structures[1::-1], structures[:1]):
        assert_same(lists, some)
    assert lists.builds == 4


def test_no_atom_has_a_neighbour() -> None:
    lone = [
        Atoms("Si", cell=[20.0] * 3, pbc=True),
        Atoms("Si2", positions=[[0] * 3, [9] * 3], cell=[20.0] * 3),
    ]
    assert_same(BatchedNeighbours(CUTOFF), lone)


@pytest.mark.parametrize("skin", [0.0, 3.0])
def test_a_structure_in_trouble_leaves_the_others_alone(skin: float) -> None:
    structures = crystals()
    lists = BatchedNeighbours(CUTOFF, skin)
    assert_same(lists, structures)
    structures[0].positions[1] = structures[0].positions[0] + [0.0, 0.0, 0.01]
    structures[2].positions[4, 1] = np.nan
    for _ in range(2):
        found = found_for(lists, structures, ON)
        assert set(found.failures) == {0, 2}
        assert "atoms 0 and 1 overlap" in str(found.failures[0])
        assert "NaN or infinity" in str(found.failures[2])
        owners = found.graph.batch[found.graph.edge_index[0]]
        assert set(owners.tolist()) == {1, 3}
    del structures[2], structures[0]
    assert_same(lists, structures)


def test_an_overlap_within_the_skin_is_seen() -> None:
    structures = crystals()
    near = structures[3].positions
    near[9] += 0.9 * (near[8] - near[9])
    lists = BatchedNeighbours(CUTOFF, 1.0)
    assert_same(lists, structures)
    near[9] += 0.99 * (near[8] - near[9])
    found = found_for(lists, structures, ON)
    assert set(found.failures) == {3} and "atoms 8 and 9 overlap" in str(found.failures[3])
    assert lists.builds == 1


@pytest.mark.parametrize(("cutoff", "skin"), [(4.0, -0.1), (0.0, 0.5), (4.0, float("nan"))])
def test_lists_of_senseless_lengths(cutoff: float, skin: float) -> None:
    with pytest.raises(RecipeError, match="must be positive"):
        BatchedNeighbours(cutoff, skin)
