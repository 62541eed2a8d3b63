"""Meshes of k-points follow from a spacing and the cell alone."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlpot.labelling.dft.kpoints import mesh


def test_mesh_of_a_cube_and_of_its_double():
    cube = bulk("Si", "diamond", a=5.469, cubic=True)
    assert mesh(cube, 0.31) == (4, 4, 4)
    assert mesh(cube.repeat((2, 1, 1)), 0.31) == (2, 4, 4)


def test_spacing_is_never_exceeded_on_any_cell():
    rng = np.random.default_rng(0)
    for _ in range(50):
        atoms = Atoms("Si", cell=5 * np.eye(3) + rng.normal(scale=1.0, size=(3, 3)), pbc=True)
        lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(atoms.cell.array).T, axis=1)
        numbers = np.array(mesh(atoms, 0.3))
        assert np.all(lengths / numbers <= 0.3 + 1e-12)
        assert np.all((numbers == 1) | (lengths / np.maximum(numbers - 1, 1) > 0.3))


def test_exact_multiple_is_not_rounded_up():
    atoms = Atoms("Si", cell=2 * np.pi * np.eye(3), pbc=True)
    assert mesh(atoms, 0.1) == (10, 10, 10)


def test_one_point_where_nothing_repeats():
    assert mesh(Atoms("Si", cell=(5, 5, 20), pbc=(True, True, False)), 0.2) == (7, 7, 1)


@pytest.mark.parametrize("spacing", [0.0, -0.3, float("nan")])
def test_spacing_that_is_not_positive(spacing):
    with pytest.raises(ValueError, match="positive"):
        mesh(bulk("Si"), spacing)


def test_spacing_that_must_be_a_mistake():
    with pytest.raises(ValueError, match="k-points"):
        mesh(bulk("Si"), 0.001)
