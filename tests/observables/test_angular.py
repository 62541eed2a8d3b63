"""Angles and coordination: crystals, no order at all, and counting by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlpot.errors import DataError, RecipeError
from mlpot.observables.angular import angular_distribution, coordination_numbers


def test_tetrahedral_angle():
    theta, p = angular_distribution([bulk("Si", cubic=True)], cutoff=2.6, bins=360)
    width = theta[1] - theta[0]
    assert p.sum() * width == pytest.approx(1.0)
    assert p[np.searchsorted(theta + width / 2, np.degrees(np.arccos(-1 / 3)))] * width == pytest.approx(1.0)


def test_fcc_has_four_angles():
    # Of the 66 pairs of 12 neighbours: 24 at 60, 12 at 90, 24 at 120, 6 at 180 degrees.
    theta, p = angular_distribution([bulk("Al", cubic=True)], cutoff=3.2, bins=18)
    shares = p * 10 * 66
    edges = {60: 24, 90: 12, 120: 24, 180: 6}
    for angle, expected in edges.items():
        near = np.abs(theta - angle) < 5.1
        assert shares[near].sum() == pytest.approx(expected), angle
    assert shares.sum() == pytest.approx(66)


def test_without_order_it_is_a_sine():
    rng = np.random.default_rng(0)
    frames = [Atoms("Si400", positions=rng.random((400, 3)) * 20, cell=[20] * 3, pbc=True) for _ in range(4)]
    theta, p = angular_distribution(frames, cutoff=4.0, bins=12)
    assert p == pytest.approx(np.pi / 360 * np.sin(np.radians(theta)), rel=0.05, abs=2e-4)


def test_against_loops_and_triples():
    atoms = bulk("SiGe", "zincblende", a=5.5, cubic=True).repeat(2)
    atoms.symbols[atoms.get_chemical_symbols().index("Si")] = "Ge"
    atoms.rattle(0.2, seed=0)
    symbols = atoms.get_chemical_symbols()
    counts = {None: np.zeros(36), ("Si", "Ge", "Ge"): np.zeros(36), ("Ge", "Si", "Ge"): np.zeros(36)}
    for i in range(len(atoms)):
        vectors = atoms.get_distances(i, range(len(atoms)), mic=True, vector=True)
        lengths = np.linalg.norm(vectors, axis=1)
        around = [j for j in range(len(atoms)) if j != i and lengths[j] < 3.2]
        for j, k in combinations(around, 2):
            cosine = vectors[j] @ vectors[k] / lengths[j] / lengths[k]
            place = min(int(np.degrees(np.arccos(cosine)) / 5), 35)
            for triple, count in counts.items():
                ends = (symbols[j], symbols[k])
                if triple is None or (
                    symbols[i] == triple[1] and ends in ((triple[0], triple[2]), (triple[2], triple[0]))
                ):
                    count[place] += 1
    for triple, count in counts.items():
        _, p = angular_distribution([atoms], 3.2, 36, triple)
        assert p == pytest.approx(count / count.sum() / 5)


def test_coordination():
    atoms = bulk("SiGe", "zincblende", a=5.5, cubic=True)
    assert (coordination_numbers([atoms, atoms], 3.0) == 4).all()
    assert coordination_numbers([atoms], 3.0, ("Si", "Si")).tolist() == [[0] * 4]
    assert coordination_numbers([atoms], 4.0, ("Si", "Si")).tolist() == [[12] * 4]
    assert coordination_numbers([atoms], 3.0, ("Ge", "Si")).shape == (1, 4)


def test_refused():
    atoms = bulk("Si", cubic=True)
    with pytest.raises(RecipeError, match="needs frames"):
        angular_distribution([], 3.0)
    with pytest.raises(RecipeError, match="cutoff above zero"):
        coordination_numbers([atoms], -1.0)
    with pytest.raises(DataError, match="no atom has two bonds"):
        angular_distribution([atoms], 1.0)
    with pytest.raises(RecipeError, match="holds Si"):
        coordination_numbers([atoms], 3.0, ("Si", "Ge"))
    with pytest.raises(RecipeError, match="differ in their number"):
        coordination_numbers([atoms, atoms.repeat(2)], 3.0)
