"""Crystal structures: bonds, coordination and symmetry are those of the literature."""

from __future__ import annotations

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from mlpot.reference.classical import classical_calculator
from mlpot.reference.lattice import lattice_constant
from mlpot.sampling.prototypes import prototype, repeated
from mlpot.sampling.relax import relaxed_volume

#: Phase: atoms per cell, volume per atom (Å³), cutoff (Å), neighbours within it, their distances.
GEOMETRY = {
    "diamond": (8, 5.431**3 / 8, 2.6, 4, [2.352]),
    "hexagonal_diamond": (4, 5.431**3 / 8, 2.6, 4, [2.352]),
    # Si-II, a = 4.686, c = 2.585: 4 + 2 neighbours.
    "beta_tin": (4, 4.686**3 * 0.552 / 4, 2.8, 6, [2.431, 2.587]),
    "sc": (1, 2.5**3, 2.6, 6, [2.5]),
    "bcc": (2, 3.1**3 / 2, 2.8, 8, [3.1 * np.sqrt(3) / 2]),
    "fcc": (4, 3.9**3 / 4, 3.0, 12, [3.9 / np.sqrt(2)]),
    "hcp": (2, 2.75**3 / np.sqrt(2), 3.0, 12, [2.75]),
    # Si-III, a = 6.636: one bond of 2.306 and three of 2.392; the next atom is at 3.45.
    "bc8": (16, 6.636**3 / 16, 3.2, 4, [2.306, 2.392]),
    # Ge-III, a = 5.93, c = 6.98: all bonds within 2.479 to 2.488.
    "st12": (12, 5.93**2 * 6.98 / 12, 3.0, 4, [2.479, 2.486, 2.488]),
}


@pytest.mark.parametrize("phase", GEOMETRY)
def test_neighbours_are_those_of_the_literature(phase):
    atoms, volume, cutoff, coordination, distances = GEOMETRY[phase]
    cell = prototype("Si", phase, volume)
    assert len(cell) == atoms and cell.pbc.all()
    assert cell.get_volume() / atoms == pytest.approx(volume)
    centres, lengths = neighbor_list("id", cell, cutoff)
    assert (np.bincount(centres, minlength=atoms) == coordination).all()
    np.testing.assert_allclose(np.unique(lengths.round(3)), distances, atol=1.1e-3)


@pytest.mark.parametrize(
    ("phase", "number"),
    [("diamond", 227), ("beta_tin", 141), ("sc", 221), ("bcc", 229), ("fcc", 225), ("hcp", 194),
     ("hexagonal_diamond", 194), ("bc8", 206), ("st12", 96)],
)  # fmt: skip
def test_space_groups(phase, number):
    spglib = pytest.importorskip("spglib", reason="spglib (pip install spglib) finds space groups")
    cell = prototype("Si", phase, 20.0)
    found = spglib.get_symmetry_dataset((cell.cell.array, cell.get_scaled_positions(), cell.numbers), 1e-4)
    # The mirror image of P4_3 2_1 2 is P4_1 2_1 2.
    assert found.number in {96: (96, 92)}.get(number, (number,))


def test_bonds_of_beta_tin_are_four_and_two():
    cell = prototype("Si", "beta_tin", GEOMETRY["beta_tin"][1])
    assert (np.bincount(neighbor_list("i", cell, 2.5), minlength=4) == 4).all()


def test_tetrahedra_of_hexagonal_diamond_are_regular():
    cell = prototype("Si", "hexagonal_diamond", 20.0)
    centres, bonds = neighbor_list("iD", cell, 2.6)
    units = bonds / np.linalg.norm(bonds, axis=1)[:, None]
    for atom in range(4):
        cosines = (units[centres == atom] @ units[centres == atom].T)[np.triu_indices(4, 1)]
        np.testing.assert_allclose(cosines, -1 / 3, atol=1e-12)


@pytest.mark.parametrize(
    ("phase", "min_atoms", "repeats"),
    [("diamond", 8, (1, 1, 1)), ("diamond", 60, (2, 2, 2)), ("sc", 8, (2, 2, 2)), ("sc", 7, (2, 2, 2)),
     ("beta_tin", 8, (1, 1, 2)), ("bcc", 54, (3, 3, 3)), ("fcc", 1, (1, 1, 1))],
)  # fmt: skip
def test_repetition_is_compact_and_large_enough(phase, min_atoms, repeats):
    cell = prototype("Si", phase, 20.0)
    atoms = repeated(cell, min_atoms)
    np.testing.assert_allclose(atoms.cell.array, cell.cell.array * np.array(repeats)[:, None])
    assert len(atoms) >= min_atoms


def test_relaxed_crystals_have_no_pressure():
    calculator = classical_calculator("sw-si")
    a = lattice_constant("Si", calculator)
    assert a == pytest.approx(5.4309, abs=1e-4)
    for phase in ("diamond", "sc"):
        volume = relaxed_volume("Si", phase, calculator, a)
        atoms = prototype("Si", phase, volume)
        atoms.calc = calculator
        assert abs(np.trace(atoms.get_stress(voigt=False))) < 1e-4
    assert relaxed_volume("Si", "diamond", calculator, a) == pytest.approx(a**3 / 8, rel=1e-5)


def test_small_cells_are_as_good_as_large_ones():
    one, many = (repeated(prototype("Si", "sc", 16.0), atoms) for atoms in (1, 27))
    for atoms in (one, many):
        atoms.calc = classical_calculator("sw-si")
    assert (len(one), len(many)) == (1, 27)
    assert one.get_potential_energy() == pytest.approx(many.get_potential_energy() / 27, abs=1e-10)
