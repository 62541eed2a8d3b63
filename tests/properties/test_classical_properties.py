"""Classical force fields, whose answers are known: computed with LAMMPS, listed in ``references.yaml``."""

from __future__ import annotations

import pytest

from mlpot.properties import PropertySettings, compute

CRYSTAL = ["lattice", "cohesion", "equation_of_state", "elastic_constants", "phonons"]
# GPa, eV, THz: a, B, C11, C12, C44, C44_0, optical Γ, vacancy.
KNOWN = {
    "sw-si": (5.431, 101.4, 151.4, 76.4, 56.4, 109.8, 17.83, 2.69),
    "t3-si": (5.432, 97.8, 142.5, 75.4, 69.0, 118.8, 16.07, 3.71),
    "sw-ge": (5.654, 80.0, 138.3, 50.9, 58.8, 89.7, 10.63, 3.71),
    "t3-ge": (5.657, 75.8, 138.5, 44.4, 66.8, 92.9, 9.89, 3.60),
}
NAMES = ("lattice_constant", "bulk_modulus", "C11", "C12", "C44", "C44_0", "phonon_gamma_optical")


@pytest.fixture(scope="module")
def found(force_field):
    return {one.name: one for one in compute(force_field("sw-si"), "Si", CRYSTAL)}


def check_crystal(found, name):
    for quantity, known in zip(NAMES, KNOWN[name], strict=False):
        assert found[quantity].value == pytest.approx(known, rel=5e-3), quantity


def test_crystal_of_stillinger_and_weber(found):
    check_crystal(found, "sw-si")
    assert found["cohesive_energy"].value == pytest.approx(4.3366, rel=1e-4)
    # Two ways to the bulk modulus: from energies, and from stresses.
    mean = (found["C11"].value + 2 * found["C12"].value) / 3
    assert found["bulk_modulus"].value == pytest.approx(mean, rel=1e-3)


def test_zone_boundary(found):
    known = {"X_TA": 6.65, "X_LA": 12.99, "X_TO": 15.63, "L_TA": 4.70, "L_LA": 11.77, "L_LO": 13.40,
             "L_TO": 16.77}  # fmt: skip
    for name, value in known.items():
        assert found[f"phonon_{name}"].value == pytest.approx(value, rel=5e-3), name


def test_thermodynamics_and_curves(found):
    lowest = found["phonon_lowest"]
    assert lowest.value == pytest.approx(0, abs=0.02) and not lowest.notes
    dos = lowest.data["dos"]
    pitch = dos["frequency_THz"][1] - dos["frequency_THz"][0]
    assert pitch * sum(dos["states_per_THz"]) == pytest.approx(6, rel=5e-3)
    heat = found["vibrational_free_energy"].data
    assert heat["heat_capacity_J_per_mol_K"][0] == pytest.approx(0, abs=1e-6)
    # Dulong and Petit, nearly, at 1,000 K; F = E - TS at 0 K is the zero-point energy.
    assert heat["heat_capacity_J_per_mol_K"][-1] == pytest.approx(3 * 8.314, rel=0.05)
    assert 1e3 * heat["free_energy_eV"][0] == pytest.approx(found["zero_point_energy"].value, rel=1e-6)
    assert found["entropy"].settings["temperature_K"] == 300


def test_vacancy_is_lower_than_where_it_first_rests(force_field):
    settings = PropertySettings(defect_supercells=(2,), starts=0)
    found = {one.name: one for one in compute(force_field("sw-si"), "Si", ["vacancy"], settings)}
    assert found["vacancy_symmetric"].value == pytest.approx(4.337, rel=1e-3)
    assert found["vacancy"].value == pytest.approx(2.835, rel=0.01)  # 64 sites; 216 give 2.694
    assert any("metastable" in note for note in found["vacancy"].notes)


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_known_values_and_vacancy(name, force_field):
    element = name[-2:].capitalize()
    records = compute(force_field(name), element, [*CRYSTAL, "vacancy"])
    found = {one.name: one for one in records}
    assert [one.name for one in records if one.value is None] == []
    check_crystal(found, name)
    assert found["vacancy"].value == pytest.approx(KNOWN[name][-1], rel=0.01)
    if name == "sw-si":
        assert found["vacancy_symmetric"].value == pytest.approx(4.34, rel=0.01)


@pytest.mark.slow
def test_full_set(force_field):
    """Everything else, for one force field: values that follow from its form, and literature."""
    records = compute(force_field("sw-si"), "Si", "full")
    found = {one.name: one for one in records}
    # Neighbours beyond the first bond do not see the stacking: no energy parts the two diamonds.
    assert found["energy_hexagonal_diamond"].value == pytest.approx(0, abs=1e-4)
    assert found["stacking_fault_intrinsic"].value == pytest.approx(0, abs=1e-3)
    assert found["stacking_fault_unstable"].value < found["stacking_fault_unstable_rigid"].value
    # PRB 31, 5262: diamond is lowest; fcc and hcp are alike at the ideal proportion.
    energies = [one.value for one in records if one.name.startswith("energy_") and one.value is not None]
    assert min(energies) > -1e-4
    # As cut, bonds are broken and nothing else: two, √2 and 2/√3 per a²/2 at half of 2.1683 eV each.
    epsilon, a = 2.1683, 5.4309
    for name, bonds in (("100", 4), ("110", 8**0.5), ("111", 4 / 3**0.5)):
        expected = bonds / a**2 * epsilon / 2 * 16.0218
        assert found[f"surface_{name}_unrelaxed"].value == pytest.approx(expected, rel=2e-3), name
    assert found["surface_100"].value < 0.7 * found["surface_100_1x1"].value  # dimers
    assert 1 < found["thermal_expansion"].value < 4
    assert 0.2 < found["vacancy_migration"].value < 1
    assert found["ideal_strength_111"].value > found["ideal_strength_100"].value > 10
