"""Bond order of crystals, as in the literature, and of atoms without any."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlpot.errors import GeometryError, RecipeError
from mlpot.observables.steinhardt import BondOrder

# Steinhardt, Nelson and Ronchetti, Phys. Rev. B 28, 784 (1983); Mickel et al., J. Chem. Phys. 138,
# 044501 (2013), table I. bcc with both shells, 14 neighbours.
CRYSTALS = {
    "fcc": (bulk("Al", cubic=True), 12, {"q4": 0.19094, "q6": 0.57452, "w4": -0.159317, "w6": -0.013161}),
    "hcp": (
        bulk("Mg", a=3.2, c=3.2 * np.sqrt(8 / 3)), 12,
        {"q4": 0.09722, "q6": 0.48476, "w4": 0.134097, "w6": -0.012442},
    ),
    "bcc": (bulk("Fe", cubic=True), 14, {"q4": 0.03637, "q6": 0.51069, "w4": 0.159317, "w6": 0.013161}),
    "sc": (bulk("Po", "sc", a=3.3), 6, {"q4": 0.76376, "q6": 0.35355, "w4": 0.159317, "w6": 0.013161}),
    # Tetrahedron: q3 = 5^(1/2)/3, q4 = 7^(1/2) 27^(-1/2), q6 = 32^(1/2)/9.
    "diamond": (bulk("Si", cubic=True), 4, {"q3": 5**0.5 / 3, "q4": (7 / 27) ** 0.5, "q6": 32**0.5 / 9}),
}  # fmt: skip


@pytest.mark.parametrize("name", CRYSTALS)
def test_crystals(name):
    atoms, nearest, expected = CRYSTALS[name]
    found = BondOrder(atoms, nearest=nearest)
    assert (found.coordination == nearest).all()
    for key, value in expected.items():
        values = (found.q if key[0] == "q" else found.w)(int(key[1]))
        assert values == pytest.approx(np.full(len(atoms), value), abs=2e-5), key


def test_cutoff_and_count_agree_and_nothing_depends_on_the_orientation():
    atoms = bulk("Si", cubic=True).repeat(2)
    atoms.rattle(0.05, seed=0)
    by_cutoff, by_count = BondOrder(atoms, cutoff=3.0), BondOrder(atoms, nearest=4)
    turned = atoms.copy()
    turned.rotate(37.0, (1, 2, 3), rotate_cell=True)
    for averaged in (False, True):
        assert by_cutoff.q(6, averaged) == pytest.approx(by_count.q(6, averaged))
        assert BondOrder(turned, nearest=4).q(6, averaged) == pytest.approx(by_count.q(6, averaged))
        assert BondOrder(turned, nearest=4).w(4, averaged) == pytest.approx(by_count.w(4, averaged))


def test_averages_by_hand():
    atoms = bulk("Al", cubic=True).repeat(2)
    atoms.rattle(0.2, seed=1)
    found = BondOrder(atoms, nearest=12)
    own, averaged = found.components(6), found.components(6, averaged=True)
    for i in range(len(atoms)):
        distances = atoms.get_distances(i, range(len(atoms)), mic=True)
        around = np.argsort(distances)[:13]  # itself first
        assert averaged[i] == pytest.approx(own[around].mean(axis=0))


def test_averages_of_a_perfect_crystal():
    # In diamond the two sublattices see inverted bonds: odd degrees change sign, even ones do not.
    found = BondOrder(bulk("Si", cubic=True), nearest=4)
    assert found.q(6, averaged=True) == pytest.approx(found.q(6))
    assert found.q(3, averaged=True) == pytest.approx(found.q(3) * 3 / 5)


def test_disorder():
    # Independent directions: <q_l^2> is 1 / neighbours.
    rng = np.random.default_rng(0)
    atoms = Atoms("Si2000", positions=rng.random((2000, 3)) * 60.0, cell=[60.0] * 3, pbc=True)
    found = BondOrder(atoms, cutoff=8.0)
    some = found.coordination > 0
    squares = found.q(6)[some] ** 2 * found.coordination[some]
    assert squares.mean() == pytest.approx(1.0, abs=0.05)


def test_an_atom_alone_has_none():
    found = BondOrder(Atoms("Si3", positions=[[0, 0, 0], [2, 0, 0], [20, 0, 0]]), cutoff=3.0)
    assert found.q(6) == pytest.approx([1.0, 1.0, 0.0])
    assert found.w(6)[2] == 0.0 and found.coordination.tolist() == [1, 1, 0]


def test_refused():
    atoms = bulk("Si", cubic=True)
    with pytest.raises(RecipeError, match="either a cutoff"):
        BondOrder(atoms)
    with pytest.raises(RecipeError, match="either a cutoff"):
        BondOrder(atoms, cutoff=3.0, nearest=4)
    with pytest.raises(RecipeError, match="choose l"):
        BondOrder(atoms, cutoff=3.0).q(-1)
    with pytest.raises(GeometryError, match="only 1 others"):
        BondOrder(Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2]]), nearest=4)
