"""Copies by symmetry are found, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from scipy.stats import ortho_group, special_ortho_group

from mlpot.checking.copies import find_copies
from mlpot.checking.isometry import Structure, find_isometry
from mlpot.checking.survey import measure
from mlpot.data.frame import Frame
from mlpot.data.split import symmetry_copies


def copies(*frames):
    return find_copies(frames, [measure(frame).profiles for frame in frames])


def frame_of(atoms, source="memory"):
    return Frame.from_atoms(atoms, source=source)


def rattled(seed=0, element="Si"):
    atoms = bulk(element, "diamond", a=5.43, cubic=True)
    atoms.positions += np.random.default_rng(seed).normal(scale=0.1, size=(len(atoms), 3))
    return atoms


def disguised(atoms, rotation, seed=1):
    """Turn, shift, permute and wrap a structure, and choose other lattice vectors."""
    rng = np.random.default_rng(seed)
    other = make_supercell(atoms, [[1, 1, 0], [0, 1, 0], [-1, 0, 1]])
    other.set_cell(other.cell.array @ rotation, scale_atoms=False)
    other.positions = other.positions @ rotation + rng.normal(size=3) * 5
    other.wrap()
    return other[rng.permutation(len(other))]


@pytest.mark.parametrize("seed", range(3))
def test_a_rotated_permuted_shifted_frame_in_another_cell(seed):
    atoms = rattled(seed)
    rotation = special_ortho_group.rvs(3, random_state=seed)
    (copy,) = copies(frame_of(atoms), frame_of(disguised(atoms, rotation)))
    assert (copy.original, copy.copy) == (0, 1) and copy.isometry.proper
    np.testing.assert_allclose(copy.isometry.rotation, rotation, atol=1e-6)


def test_a_mirror_image_is_a_copy_and_called_so():
    atoms = rattled()
    turn = ortho_group.rvs(3, random_state=1)
    turn *= -np.sign(np.linalg.det(turn))
    (copy,) = copies(frame_of(atoms), frame_of(disguised(atoms, turn)))
    assert not copy.isometry.proper


def test_a_supercell_is_a_copy():
    atoms = rattled()
    (copy,) = copies(frame_of(atoms), frame_of(atoms.repeat((2, 1, 1))))
    assert len(set(copy.isometry.image.tolist())) == 8


def test_forces_map_with_the_structure(label):
    one = rattled()
    other = disguised(one, special_ortho_group.rvs(3, random_state=5))
    frames = [label(one, "sw-si"), label(other, "sw-si")]
    (copy,) = copies(*frames)
    turned = frames[0].forces @ copy.isometry.rotation
    np.testing.assert_allclose(turned, frames[1].forces[copy.isometry.image], atol=1e-5)


def test_what_is_no_copy():
    atoms = rattled()
    moved, strained, exchanged = atoms.copy(), atoms.copy(), atoms.copy()
    moved.positions[3] += [0.05, 0.0, 0.0]
    strained.set_cell(atoms.cell * [1.005, 1, 1], scale_atoms=True)
    exchanged.numbers[[0, 4]] = 32
    other = atoms.copy()
    other.numbers[[1, 2]] = 32
    assert copies(*map(frame_of, (atoms, moved, strained, exchanged, other))) == []


def test_structures_with_the_same_distances_are_told_apart():
    # A trapezium and a kite: the same six distances, not congruent.
    trapezium = np.array([[1, 1, 0], [-1, 1, 0], [-2, 0, 0], [2, 0, 0]]) * 1.4
    kite = np.array([[0, 1, 0], [-1, 0, 0], [0, -1, 0], [3, 0, 0]]) * 1.4
    frames = [frame_of(Atoms("Si4", points)) for points in (trapezium, kite)]
    assert symmetry_copies(frames) == [[0, 1]]  # by the sorted list of distances
    structures = [Structure(frame, measure(frame).profiles) for frame in frames]
    assert find_isometry(*structures) is None and copies(*frames) == []


def test_molecules_flat_straight_and_single():
    rotation = special_ortho_group.rvs(3, random_state=2)
    for atoms in (
        Atoms("Si"),
        Atoms("SiGe", [[0, 0, 0], [2.4, 0, 0]]),
        Atoms("Si3", [[0, 0, 0], [2.4, 0, 0], [1, 2, 0]]),
    ):
        turned = atoms.copy()
        turned.positions = atoms.positions @ rotation + 3.0
        assert len(copies(frame_of(atoms), frame_of(turned))) == 1, atoms


def test_shears_of_a_perfect_crystal():
    frames = []
    for i, j, size in ((0, 1, 0.06), (0, 1, -0.06), (1, 2, 0.06), (0, 1, 0.04), (0, 0, 0.06)):
        strain = np.eye(3)
        strain[i, j] += size
        strain[j, i] = strain[i, j]
        atoms = bulk("Si", "diamond", a=5.43, cubic=True)
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        frames.append(frame_of(atoms))
    found = copies(*frames)
    assert [(copy.original, copy.copy) for copy in found] == [(0, 1), (0, 2)]


def test_leaks_and_copies_within_a_set(clean, found):
    turned = disguised(clean[14].to_atoms(), special_ortho_group.rvs(3, random_state=3))
    leaked = replace(frame_of(turned), info=clean[14].info, source="other.xyz#7", energy=clean[14].energy)
    other = [*clean[20:40], leaked]
    (one,) = found(clean[:20], "leaks", against=other)
    assert one.frames == ("set.xyz#14",) and one.severity == "error"
    assert one.details["pairs"] == [{"frames": ["set.xyz#14"], "against": ["other.xyz#7"]}]
    (one,) = found([*clean, leaked], "copies")
    assert one.details["classes"] == [["set.xyz#14", "other.xyz#7"]] and one.severity == "warning"
    wrong = replace(leaked, energy=leaked.energy + 0.1)
    (one,) = found([*clean, wrong], "labels of copies")
    assert one.value == pytest.approx(12.5, abs=0.1)
