"""What holds for any calculator: closed forms, shared machinery, and mistakes."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from springs import LATTICE, STIFFNESS, Forceless, NearestImages, Particular, Springs

from mlpot.conventions import GPA
from mlpot.errors import ElementError, RecipeError
from mlpot.properties import PROPERTIES, PropertySettings, compare, compute, find, of_set, references
from mlpot.properties.defects import relax_starts
from mlpot.properties.fault import oriented_111
from mlpot.properties.migration import inverted
from mlpot.properties.subject import Subject
from mlpot.sampling.prototypes import diamond

SMALL = PropertySettings(defect_supercells=(2,), starts=0, mesh=7, fmax=0.05)


@pytest.fixture(scope="module")
def springs():
    names = ["lattice", "equation_of_state", "elastic_constants", "phonons", "vacancy"]
    return {one.name: one for one in compute(Springs, "Si", names, SMALL)}


def test_springs_in_closed_form(springs):
    """Central springs on diamond: B = C11 = C12 = C44_0 = k/3a, C44 = 0, ω² = 8k/3m."""
    assert springs["lattice_constant"].value == pytest.approx(LATTICE, abs=1e-5)
    expected = STIFFNESS / (3 * LATTICE) / GPA
    for name in ("bulk_modulus", "C11", "C12", "C44_0"):
        assert springs[name].value == pytest.approx(expected, rel=5e-3), name
    assert springs["C44"].value == pytest.approx(0, abs=0.01 * expected)
    omega = np.sqrt(8 * STIFFNESS / (3 * 28.085) * 9648.5332)  # eV/Å²/u in (rad/ps)²
    assert springs["phonon_gamma_optical"].value == pytest.approx(omega / (2 * np.pi), rel=2e-3)
    # A hole breaks springs that were at rest: it costs nothing.
    assert springs["vacancy_unrelaxed"].value == pytest.approx(0, abs=1e-6)


def test_missing_stress_is_made_up_for_and_said(springs):
    assert "finite differences" in springs["C11"].settings["stress"]


def test_records_are_plain_and_complete(springs):
    for one in springs.values():
        json.dumps(one.to_dict(), allow_nan=False)
        assert one.property in PROPERTIES and one.seconds > 0
        assert (one.value is None) == (one.reason is not None)


def test_one_failure_leaves_the_others():
    found = {one.name: one for one in compute(Particular(), "Si", ["cohesion", "lattice"], SMALL)}
    assert found["cohesive_energy"].value is None
    assert found["cohesive_energy"].reason == "ZeroDivisionError: no pairs"
    assert found["lattice_constant"].value == pytest.approx(LATTICE, abs=1e-5)


def test_free_atom_given():
    settings = SMALL.model_copy(update={"free_atom": -1.5})
    (one,) = compute(Particular(), "Si", ["cohesive_energy"], settings)
    assert one.value == pytest.approx(-1.5, abs=1e-6) and one.settings == {"free_atom": "given"}


def test_phonopy_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "phonopy", None)
    (one, *_) = compute(Springs(), "Si", ["phonons"], SMALL)
    assert one.value is None and "pip install 'mlpot[properties]'" in one.reason


def test_cell_too_small_for_the_cutoff():
    settings = PropertySettings(defect_supercells=(1,), cutoff=6.0)
    (one, *_) = compute(Springs(), "Si", ["vacancy"], settings)
    assert "the defect sees its images; give larger defect_supercells" in one.reason
    settings = SMALL.model_copy(update={"cutoff": 6.0})
    found = {one.name: one for one in compute(Springs(), "Si", ["divacancy"], settings)}
    assert "less than two cutoffs" in found["divacancy"].notes[0]


@pytest.mark.parametrize(
    ("calculator", "element", "error", "words"),
    [
        (NearestImages(), "Si", RecipeError, "does not see all periodic images"),
        (Forceless(), "Si", RecipeError, "has no forces"),
        (Springs(), "Xx", ElementError, "'Xx' is no chemical element"),
    ],
)
def test_calculators_that_will_not_do(calculator, element, error, words):
    with pytest.raises(error, match=words):
        compute(calculator, element, ["lattice"])


def test_element_that_the_calculator_does_not_know(force_field):
    with pytest.raises(ElementError, match="Ge"):
        compute(force_field("sw-si"), "Ge", ["lattice"])


def test_names():
    assert [one.name for one in find(["C11", "lattice", "surface_1?0"])] == [
        "lattice",
        "elastic_constants",
        "surface_100",
        "surface_110",
    ]
    assert set(of_set("quick")) < set(of_set("standard")) < set(of_set("full")) == set(PROPERTIES)
    with pytest.raises(RecipeError, match="did you mean 'vacancy'"):
        find(["vacency"])
    with pytest.raises(RecipeError, match="unknown set 'fast'; there are: quick, standard, full"):
        compute(Springs(), "Si", "fast")
    with pytest.raises(RecipeError, match="no property was asked for"):
        find([])


def test_settings_are_checked():
    with pytest.raises(ValueError, match="20 is even; give 19 or 21"):
        PropertySettings(mesh=20)
    with pytest.raises(ValueError, match="in ascending order"):
        PropertySettings(defect_supercells=(3, 2))


def test_oriented_cell_is_diamond(force_field):
    atoms = oriented_111("Si", 5.431, 2)
    assert len(atoms) == 12
    np.testing.assert_allclose(atoms.cell.angles(), [90, 90, 120], atol=1e-9)
    atoms.calc, cube = force_field("sw-si"), diamond("Si", 5.431)
    cube.calc = atoms.calc
    assert atoms.get_potential_energy() / 12 == pytest.approx(cube.get_potential_energy() / 8, rel=1e-9)
    # The boundary lies between close layers.
    heights = np.sort(atoms.positions[:, 2])
    assert heights[0] + atoms.cell[2, 2] - heights[-1] == pytest.approx(np.diff(heights).min(), abs=1e-6)


def test_vacancy_inverts_onto_its_neighbour(force_field):
    crystal = diamond("Si", 5.431).repeat(2)
    first = crystal.copy()
    del first[0]
    rng = np.random.default_rng(0)
    first.positions += rng.normal(0, 0.1, first.positions.shape)
    final = inverted(first, crystal)
    # Atom 0 sat at site 1 and jumps to site 0; all others stay near their sites.
    targets = crystal.positions[[0, *range(2, 64)]]
    assert np.abs(final.positions - targets).max() < 0.5
    first.calc = final.calc = force_field("sw-si")
    assert final.get_potential_energy() == pytest.approx(first.get_potential_energy(), rel=1e-9)


def test_relaxation_says_when_steps_do_not_suffice():
    subject = Subject("Si", Springs(), PropertySettings(steps=1))
    atoms = subject.attach(diamond("Si", LATTICE))
    atoms.rattle(0.1, seed=0)
    with pytest.raises(RecipeError.__base__, match="1 steps leave a force of"):
        subject.relax(atoms, "rattled")


def test_atoms_that_fall_into_each_other_are_no_defect():
    subject = Subject("Si", Springs())
    atoms = diamond("Si", LATTICE)
    collapsed = atoms.copy()
    collapsed.positions[1] = collapsed.positions[0] + [0.5, 0, 0]
    subject.relax = lambda *_: 1  # wherever it is, it is at rest
    accounts, relaxed = relax_starts(subject, [("good", atoms), ("bad", collapsed)], 0.0)
    assert relaxed[0] is not None and accounts[0]["energy_eV"] == pytest.approx(0, abs=1e-9)
    assert relaxed[1] is None and "0.50 Å apart" in accounts[1]["reason"]


def test_references_are_quantities_and_compared():
    known = {quantity.name for one in PROPERTIES.values() for quantity in one.quantities}
    for element in ("Si", "Ge"):
        for kind, values in references(element).items():
            assert set(values) <= known, (element, kind)
            assert all(one.source for one in values.values())
    assert references("C") == {} and references("sources") == {}
    record = {"name": "C11", "unit": "GPa", "value": 165.7 * 1.1}
    by_kind = {one.kind: one for one in compare([record, {**record, "value": None}], "Si")}
    assert by_kind["experiment"].deviation == pytest.approx(10)
    assert set(by_kind) == {"experiment", "PBE", "MTP", "SW", "T3"}
    entropy = {"name": "entropy", "unit": "J/(mol K)", "value": 18.0}
    assert compare([{**entropy, "settings": {"temperature_K": 300.0}}], "Si")[0].uncertainty == 0.08
    assert compare([{**entropy, "settings": {"temperature_K": 600.0}}], "Si") == []
