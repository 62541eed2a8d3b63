"""Defects, surfaces and random structures: geometry, and errors that say what to do."""

from __future__ import annotations

import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from pydantic import TypeAdapter, ValidationError

from mlpot.errors import RecipeError
from mlpot.reference.classical import classical_calculator
from mlpot.sampling.base import Material
from mlpot.sampling.disorder import grams_per_cm3
from mlpot.sampling.structures import AnyStructure

A = 5.431
BOND = np.sqrt(3) / 4 * A


def _build(seed=0, given=A, **recipe):
    material = Material("Si", classical_calculator("sw-si"), given, (2, 2, 2))
    structure = TypeAdapter(AnyStructure).validate_python(recipe)
    return structure.build(material, np.random.default_rng(seed))


def _coordination(atoms, cutoff=1.15 * BOND):
    return np.bincount(neighbor_list("i", atoms, cutoff), minlength=len(atoms))


def test_vacancy_leaves_four_atoms_with_three_neighbours():
    atoms = _build(kind="vacancy")
    assert len(atoms) == 63
    assert sorted(_coordination(atoms)) == [3] * 4 + [4] * 59


def test_divacancy_leaves_six_atoms_with_three_neighbours():
    atoms = _build(kind="vacancy", missing=2, supercell=[2, 2, 3])
    assert len(atoms) == 94
    assert sorted(_coordination(atoms)) == [3] * 6 + [4] * 88


@pytest.mark.parametrize(
    ("site", "neighbours", "distance"), [("tetrahedral", 4, BOND), ("hexagonal", 6, np.sqrt(11) / 8 * A)]
)
def test_interstitial_sits_where_it_is_said_to(site, neighbours, distance):
    atoms = _build(kind="interstitial", site=site)
    assert len(atoms) == 65
    lengths = np.sort(atoms.get_distances(64, range(64), mic=True))
    np.testing.assert_allclose(lengths[:neighbours], distance)
    assert lengths[neighbours] > 1.1 * distance


def test_dumbbell_shares_a_site_along_110():
    atoms = _build(kind="interstitial", site="dumbbell", separation=0.9)
    assert len(atoms) == 65
    apart = atoms.get_distance(0, 64, mic=True, vector=True)
    np.testing.assert_allclose(apart, 0.9 * BOND / np.sqrt(2) * np.array([1, 1, 0]), atol=1e-12)
    np.testing.assert_allclose((atoms.positions[0] + atoms.positions[64]) / 2, 0, atol=1e-12)


def test_relaxed_defect_has_no_forces_and_less_energy():
    recipe = {"kind": "interstitial", "site": "dumbbell", "supercell": [1, 1, 2]}
    atoms, perfect = _build(relax=True, **recipe), _build(**recipe)
    assert atoms.calc is None
    for one in (atoms, perfect):
        one.calc = classical_calculator("sw-si")
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.01
    assert atoms.get_potential_energy() < perfect.get_potential_energy() - 0.1


@pytest.mark.parametrize(
    ("orientation", "layers", "per_layer", "broken"),
    [
        ("100", 8, 4, 2),
        ("100", 9, 4, 2),
        ("110", 6, 8, 1),
        ("110", 4, 8, 1),
        ("111", 8, 4, 1),
        ("111", 6, 4, 1),
    ],
)
def test_surfaces_have_their_broken_bonds_and_vacuum(orientation, layers, per_layer, broken):
    atoms = _build(kind="surface", orientation=orientation, layers=layers, repeat=[2, 2], vacuum=9.0)
    assert len(atoms) == layers * per_layer and atoms.pbc.all()
    coordination = _coordination(atoms)
    assert sorted(coordination) == [4 - broken] * 2 * per_layer + [4] * (len(atoms) - 2 * per_layer)
    heights = atoms.positions[:, 2]
    assert atoms.cell[2, 2] - np.ptp(heights) == pytest.approx(9.0)
    np.testing.assert_allclose(atoms.cell.array[2, :2], 0, atol=1e-12)


def test_random_structures_keep_distance_and_density():
    recipe = {"kind": "random", "atoms": 16, "density": [1.8, 2.4], "min_distance": 2.1}
    densities = []
    for seed in range(6):
        atoms = _build(seed=seed, **recipe)
        assert len(atoms) == 16
        assert neighbor_list("d", atoms, 6.0).min() >= 2.1
        densities.append(grams_per_cm3(atoms))
    assert 1.8 <= min(densities) < 2.1 < max(densities) <= 2.4
    np.testing.assert_array_equal(_build(seed=5, **recipe).positions, atoms.positions)


def test_periodic_images_of_an_atom_keep_distance_too():
    recipe = {"kind": "random", "atoms": 1, "density": 2.4, "min_distance": 2.2}
    for seed in range(5):
        assert neighbor_list("d", _build(seed=seed, **recipe), 8.0).min() >= 2.2


def test_random_structures_that_cannot_be_are_refused(monkeypatch):
    monkeypatch.setattr("mlpot.sampling.disorder._CELLS", 1)
    with pytest.raises(RecipeError, match=r"min_distance = 2.6 Å apart fill 46% .* jam at 38%; lower the"):
        _build(kind="random", atoms=16, density=2.33, min_distance=2.6)
    with pytest.raises(
        RecipeError, match=r"no place was found for 64 atoms at least 2.43 Å apart in 1 cells"
    ):
        _build(kind="random", atoms=64, density=2.33, min_distance=2.43)


def test_other_phases_are_stretched_like_diamond():
    relaxed = _build(kind="crystal", phase="sc", given=None)
    stretched = _build(kind="crystal", phase="sc", given=1.02 * 5.430949777)
    assert stretched.get_volume() / relaxed.get_volume() == pytest.approx(1.02**3, rel=1e-5)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"kind": "crystal", "phase": "bc9"}, "'bc8' or 'st12'"),
        ({"kind": "crystal", "phase": "bcc", "supercell": [2, 2, 2], "min_atoms": 8}, "give one of them"),
        ({"kind": "surface", "orientation": "111", "layers": 7}, "come in pairs: 7 is odd; give 6 or 8"),
        ({"kind": "surface", "orientation": "210"}, "'100', '110' or '111'"),
        ({"kind": "random", "atoms": 8, "density": [3, 2], "min_distance": 2}, "give the lower one first"),
        ({"kind": "interstitial", "site": "hexagonal", "separation": 0.9}, "belongs to site dumbbell"),
        ({"kind": "vacancy", "mising": 2}, "unknown key 'mising'; did you mean 'missing'"),
        ({"kind": "vacancies"}, "does not match any of the expected tags"),
    ],
)
def test_mistakes_are_refused(recipe, message):
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(AnyStructure).validate_python(recipe)
