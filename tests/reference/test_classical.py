"""Classical force fields against published numbers, closed forms and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk

from mlpot.errors import ElementError, GeometryError, RecipeError
from mlpot.reference.classical import FORCE_FIELDS, classical_calculator, lattice_constant

#: Lattice constant (Å) and cohesive energy (eV/atom), computed with LAMMPS.
PUBLISHED = {
    "sw-si": (5.4309, 4.3366),
    "sw-ge": (5.6536, 3.8600),
    "t2-si": (5.4312, 4.6304),
    "t3-si": (5.4320, 4.6296),
    "t3-ge": (5.6567, 3.8506),
}
NAMES = sorted(PUBLISHED)


def _crystal(name: str) -> Atoms:
    atoms = bulk(FORCE_FIELDS[name].element, "diamond", a=lattice_constant(name), cubic=True)
    atoms.calc = classical_calculator(name)
    return atoms


@pytest.mark.parametrize("name", NAMES)
def test_lattice_constant_and_cohesive_energy(name):
    a, cohesive = PUBLISHED[name]
    atoms = _crystal(name)
    assert atoms.cell[0, 0] == pytest.approx(a, abs=1e-4)
    assert -atoms.get_potential_energy() / len(atoms) == pytest.approx(cohesive, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_forces_and_stress_are_derivatives_of_the_energy(name):
    atoms = _crystal(name)
    atoms.rattle(0.15, seed=2)
    skew = np.eye(3) + np.random.default_rng(3).uniform(-0.08, 0.08, (3, 3))
    atoms.set_cell(atoms.cell @ skew, scale_atoms=True)
    forces, stress, volume = atoms.get_forces(), atoms.get_stress(voigt=False), atoms.get_volume()
    assert np.sum(atoms.get_potential_energies()) == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    assert np.abs(forces).max() > 0.5
    h = 1e-5

    def energy(moved: Atoms) -> float:
        moved.calc = atoms.calc
        return moved.get_potential_energy()

    for atom, axis in ((0, 0), (3, 1), (6, 2)):
        difference = 0.0
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * h
            difference += sign * energy(moved)
        assert -difference / (2 * h) == pytest.approx(forces[atom, axis], abs=1e-6)
    for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        difference = 0.0
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[i, j] += sign * h / 2
            strain[j, i] += sign * h / 2
            moved = atoms.copy()
            moved.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
            difference += sign * energy(moved)
        assert difference / (2 * h * volume) == pytest.approx(stress[i, j], abs=1e-7)


@pytest.mark.parametrize(
    ("name", "c11", "c12"),
    [
        ("sw-si", 151.4, 76.4),
        ("sw-ge", 138.3, 50.9),
        ("t2-si", 121.7, 85.8),
        ("t3-si", 142.5, 75.4),
        ("t3-ge", 138.5, 44.4),
    ],
)
def test_elastic_constants(name, c11, c12):
    stresses = []
    for strain in (1e-4, -1e-4):
        atoms = _crystal(name)
        atoms.set_cell(atoms.cell * [1 + strain, 1, 1], scale_atoms=True)
        stresses.append(atoms.get_stress())
    slope = (stresses[0] - stresses[1]) / 2e-4 / units.GPa
    assert slope[0] == pytest.approx(c11, abs=0.1)
    assert slope[1:3] == pytest.approx([c12, c12], abs=0.1)


def test_stillinger_weber_trimer_in_closed_form():
    # A trimer with legs r and angle θ whose far side is beyond the cutoff: two bonds, one angle.
    epsilon, sigma, r, theta = 2.1683, 2.0951, 2.5, np.radians(150)
    cut = np.exp(1 / (r / sigma - 1.8))
    pair = epsilon * 7.049556277 * (0.6022245584 * (sigma / r) ** 4 - 1) * cut
    triple = epsilon * 21 * np.exp(2 * 1.2 / (r / sigma - 1.8)) * (np.cos(theta) + 1 / 3) ** 2
    atoms = Atoms("Si3", [[0, 0, 0], [r, 0, 0], [r * np.cos(theta), r * np.sin(theta), 0]])
    atoms.calc = classical_calculator("sw-si")
    assert atoms.get_potential_energy() == pytest.approx(2 * pair + triple, abs=1e-8)


def test_tersoff_dimer_in_closed_form():
    r = 2.9  # inside the switch, 2.8 to 3.1 Å; no third atom: the bond order is 1
    switch = 0.5 + 0.5 * np.cos(np.pi * (r - 2.8) / 0.3)
    expected = switch * (1769.0 * np.exp(-2.4451 * r) - 419.23 * np.exp(-1.7047 * r))
    atoms = Atoms("Ge2", [[0, 0, 0], [r, 0, 0]])
    atoms.calc = classical_calculator("t3-ge")
    assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_free_atoms_are_the_zero_and_open_structures_work(name):
    element = FORCE_FIELDS[name].element
    atom = Atoms(element)
    atom.calc = classical_calculator(name)
    assert atom.get_potential_energy() == 0 and not atom.get_forces().any()
    positions = np.random.default_rng(0).uniform(0, 4, (6, 3)) * [1, 1, 3] + 30
    energies = []
    for cell, pbc in (((0, 0, 0), False), ((90, 90, 90), True), ((90, 90, 0), (True, True, False))):
        cluster = Atoms(f"{element}6", positions, cell=cell, pbc=pbc)
        cluster.calc = classical_calculator(name)
        energies.append(cluster.get_potential_energy())
    assert energies[0] == pytest.approx(energies[1], rel=1e-12) == pytest.approx(energies[2], rel=1e-12)
    assert "stress" not in cluster.calc.results


def test_alloy_has_the_elements_as_its_limits():
    for name in ("t3-si", "t3-ge"):
        atoms = _crystal(name)
        atoms.rattle(0.1, seed=4)
        pure = atoms.get_forces()
        atoms.calc = classical_calculator("t3-sige")
        assert atoms.get_forces() == pytest.approx(pure, abs=1e-9)


def test_alloy_dimer_in_closed_form():
    # Tersoff 1989: geometric means, χ on the attraction, cut off between √(2.7·2.8) and √(3.0·3.1).
    r = 2.9
    inner, outer = np.sqrt(2.7 * 2.8), np.sqrt(3.0 * 3.1)
    switch = 0.5 + 0.5 * np.cos(np.pi * (r - inner) / (outer - inner))
    repulsion = np.sqrt(1830.8 * 1769.0) * np.exp(-(2.4799 + 2.4451) / 2 * r)
    attraction = 1.00061 * np.sqrt(471.18 * 419.23) * np.exp(-(1.7322 + 1.7047) / 2 * r)
    atoms = Atoms("SiGe", [[0, 0, 0], [r, 0, 0]])
    atoms.calc = classical_calculator("t3-sige")
    assert atoms.get_potential_energy() == pytest.approx(switch * (repulsion - attraction), abs=1e-8)


def test_alloy_forces_are_derivatives_of_the_energy():
    atoms = bulk("Si", cubic=True)
    atoms.symbols[::3] = "Ge"
    atoms.rattle(0.15, seed=5)
    atoms.calc = classical_calculator("t3-sige")
    force, h = atoms.get_forces()[3, 1], 1e-5
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[3, 1] += sign * h
        moved.calc = atoms.calc
        energies.append(moved.get_potential_energy())
    assert (energies[1] - energies[0]) / (2 * h) == pytest.approx(force, abs=1e-6)


def test_forces_that_overflow_are_refused():
    atoms = Atoms("Si3", [[0, 0, 0], [3.1, 0, 0], [0, 0.3, 0]])
    atoms.calc = classical_calculator("t2-si")
    with pytest.raises(GeometryError, match="t2-si: forces are not finite: atoms are too close"):
        atoms.get_forces()


def test_lattice_constant_of_an_alloy_is_refused():
    with pytest.raises(ElementError, match="t3-sige is of Si, Ge, not of one element"):
        lattice_constant("t3-sige")


def test_other_elements_are_refused():
    atoms = bulk("Ge", cubic=True)
    atoms.symbols[0] = "Si"
    atoms.calc = classical_calculator("sw-si")
    with pytest.raises(ElementError, match="sw-si knows Si only, but the structure has Ge"):
        atoms.get_potential_energy()


def test_unknown_name():
    with pytest.raises(RecipeError, match="unknown classical calculator 'SW_Si'; did you mean 'sw-si'"):
        classical_calculator("SW_Si")
    with pytest.raises(RecipeError, match="there are: sw-si, sw-ge, t2-si, t3-si, t3-ge, t3-sige"):
        classical_calculator("lennard-jones")
