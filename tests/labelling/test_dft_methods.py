"""Ab initio methods: inputs are right, and every way of failing has its message and no label.

Programs are played by small shell scripts; the real ones are run in test_dft_programs.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from mlpot.errors import ElementError, GeometryError, MLPotError, RecipeError
from mlpot.labelling.dft.base import ExecutableError, complete
from mlpot.labelling.dft.cp2k import CP2KMethod
from mlpot.labelling.dft.espresso import EspressoMethod
from mlpot.labelling.dft.gpaw import GPAWMethod
from mlpot.labelling.dft.pseudopotentials import PseudopotentialError
from mlpot.labelling.dft.vasp import VaspMethod
from mlpot.labelling.method import LabelFailed, NotConverged
from mlpot.labelling.recipe import LabelRecipe
from mlpot.recipe import parse_recipe, read_yaml

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "dft"


def program(folder: Path, text: str, name: str = "program") -> str:
    """Write a shell script that plays a program; return its path."""
    path = folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def pseudo(folder: Path, name: str, content: bytes = b"a pseudopotential\n") -> dict[str, str]:
    """Write a file; return its entry in a recipe."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest()}


@pytest.fixture
def silicon():
    """Two atoms, displaced."""
    atoms = bulk("Si", "diamond", a=5.47)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture
def folder(tmp_path):
    """The folder of a frame."""
    (tmp_path / "frame").mkdir()
    return tmp_path / "frame"


def espresso(tmp_path: Path, script: str = "exit 0\n", **settings) -> EspressoMethod:
    """Return a method whose pw.x is a script that prints a version when it gets no input."""
    text = f'if [ $# -eq 0 ]; then echo "     Program PWSCF v.6.7MaX starts"; exit 1; fi\n{script}'
    data = {
        "cutoff": 400,
        "density_cutoff": 3200,
        "k_spacing": 0.9,
        "pseudo_dir": str(tmp_path / "pseudo"),
        "pseudopotentials": {"Si": pseudo(tmp_path / "pseudo", "Si.UPF")},
        "executable": program(tmp_path, text),
    }
    return parse_recipe(EspressoMethod, data | settings, "recipe")


def vasp(tmp_path: Path, script: str = "exit 0\n", **settings) -> VaspMethod:
    """Return a method whose VASP is a script."""
    data = {
        "cutoff": 520,
        "k_spacing": 0.31,
        "pseudo_dir": str(tmp_path / "potpaw"),
        "pseudopotentials": {
            "Si": pseudo(tmp_path / "potpaw", "Si/POTCAR"),
            "Ge": pseudo(tmp_path / "potpaw", "Ge_d/POTCAR", b"another\n"),
        },
        "version": "6.4.2",
        "executable": program(tmp_path, script),
    }
    return parse_recipe(VaspMethod, data | settings, "recipe")


@pytest.mark.parametrize("spacing", [0, -0.3])
@pytest.mark.parametrize("code", ["gpaw", "espresso", "cp2k", "vasp"])
def test_k_spacing_must_be_positive(code, spacing):
    data = read_yaml(RECIPES / f"{code}_pbe.yaml")
    data["method"]["k_spacing"] = spacing
    with pytest.raises(RecipeError, match="k_spacing: Input should be greater than 0"):
        parse_recipe(LabelRecipe, data, "recipe")


def test_pseudopotential_by_name_and_hash_only():
    data = read_yaml(RECIPES / "espresso_pbe.yaml")
    del data["method"]["pseudopotentials"]["Si"]["sha256"]
    with pytest.raises(RecipeError, match=r"pseudopotentials\.Si\.sha256: Field required"):
        parse_recipe(LabelRecipe, data, "recipe")


def test_element_without_pseudopotential(tmp_path):
    with pytest.raises(ElementError, match="no entry for Ge, only for Si"):
        espresso(tmp_path).check({"Si", "Ge"})
    with pytest.raises(ElementError, match="no entry for C, only for Ge, Si"):
        vasp(tmp_path).check({"C"})


def test_missing_pseudopotential(tmp_path):
    method = espresso(tmp_path)
    (tmp_path / "pseudo" / "Si.UPF").unlink()
    with pytest.raises(
        PseudopotentialError, match=r"Si\.UPF, the pseudopotential of Si, is not in .*pseudo; put"
    ):
        method.check({"Si"})


def test_another_pseudopotential_of_that_name(tmp_path):
    method = espresso(tmp_path)
    (tmp_path / "pseudo" / "Si.UPF").write_bytes(b"another\n")
    with pytest.raises(PseudopotentialError, match=r"its SHA-256 is [0-9a-f]{64}, the recipe asks for"):
        method.check({"Si"})


@pytest.mark.parametrize("make", [espresso, vasp])
def test_missing_executable(tmp_path, make):
    method = make(tmp_path, executable="no-such-program")
    with pytest.raises(ExecutableError, match=r"'no-such-program' is not on the PATH; (install|load)"):
        method.check({"Si"})


def test_missing_launcher(tmp_path):
    with pytest.raises(ExecutableError, match=r"method\.launcher: 'no-such-mpi' is not on the PATH"):
        espresso(tmp_path, launcher="no-such-mpi -n 4").check({"Si"})


def test_program_that_is_another(tmp_path):
    method = espresso(tmp_path, executable=program(tmp_path, "echo hello\n", "hello"))
    with pytest.raises(ExecutableError, match=r"does not start as pw\.x does"):
        method.check({"Si"})


def test_python_without_gpaw(tmp_path):
    data = read_yaml(RECIPES / "gpaw_pbe.yaml")["method"]
    text = "echo \"ModuleNotFoundError: No module named 'gpaw'\" >&2\nexit 1\n"
    method = parse_recipe(GPAWMethod, data | {"python": program(tmp_path, text)}, "recipe")
    with pytest.raises(
        ExecutableError, match=r"cannot import GPAW .*No module named 'gpaw'.*pip install gpaw"
    ):
        method.check({"Si"})


def test_density_that_would_be_truncated(tmp_path):
    with pytest.raises(RecipeError, match="less than 4 times"):
        espresso(tmp_path, density_cutoff=400).check({"Si"})


def test_identity_is_what_decides_labels(tmp_path):
    method = espresso(tmp_path)
    same = method.model_copy(update={"launcher": "mpiexec -n 4"})
    assert method.identity() == same.identity()
    assert method.identity()["versions"] == {"pw.x": "6.7MaX"}
    assert method.identity() != method.model_copy(update={"cutoff": 500}).identity()
    json.dumps(method.identity())


def test_structure_without_cell(tmp_path, silicon, folder):
    silicon.cell = None
    with pytest.raises(GeometryError, match="no cell"):
        espresso(tmp_path).compute(silicon, folder)


def test_spacing_too_small_for_the_cell(tmp_path, silicon, folder):
    with pytest.raises(GeometryError, match=r"k-points; change method\.k_spacing"):
        espresso(tmp_path, k_spacing=0.001).compute(silicon, folder)


def test_output_that_ends_in_the_middle(tmp_path, silicon, folder):
    method = espresso(tmp_path, 'echo "     iteration #  1"\nexit 137\n')
    with pytest.raises(
        LabelFailed, match=r"pw\.x ended with status 137 before its work was done; .*iteration"
    ):
        method.compute(silicon, folder)
    assert (folder / "espresso.pwi").is_file(), "inputs are kept"


def test_output_that_is_empty(tmp_path, silicon, folder):
    with pytest.raises(LabelFailed, match=r"espresso\.pwo is empty"):
        espresso(tmp_path).compute(silicon, folder)


def test_scf_that_did_not_converge(tmp_path, silicon, folder):
    method = espresso(
        tmp_path, 'echo "convergence NOT achieved after 100 iterations: stopping"\necho JOB DONE\n'
    )
    with pytest.raises(NotConverged, match=r"did not converge; raise method\.max_steps"):
        method.compute(silicon, folder)


def test_output_that_ase_cannot_read(tmp_path, silicon, folder):
    method = espresso(tmp_path, "echo convergence has been achieved\necho JOB DONE\n")
    with pytest.raises(LabelFailed, match=r"cannot be read as output of pw\.x"):
        method.compute(silicon, folder)


def test_scratch_is_removed(tmp_path, silicon, folder):
    method = espresso(tmp_path, "mkdir scratch && echo wave > scratch/functions\n")
    with pytest.raises(LabelFailed):
        method.compute(silicon, folder)
    assert not (folder / "scratch").exists()


def test_energies_without_forces_are_no_label(tmp_path):
    results = {"free_energy": -10.0, "forces": None, "stress": np.zeros(6)}
    with pytest.raises(LabelFailed, match="the output has no forces; nothing of it was taken"):
        complete(results, 2, True, tmp_path)
    with pytest.raises(LabelFailed, match="no free energy and no stress"):
        complete({"forces": np.zeros((2, 3))}, 2, True, tmp_path)


def test_forces_of_some_atoms_are_no_label(tmp_path):
    with pytest.raises(LabelFailed, match=r"shape \(1, 3\) for 2 atoms"):
        complete({"free_energy": 0.0, "forces": np.zeros((1, 3))}, 2, False, tmp_path)


def test_not_a_number_is_no_label(tmp_path):
    with pytest.raises(LabelFailed, match="not finite"):
        complete({"free_energy": np.nan, "forces": np.zeros((2, 3))}, 2, False, tmp_path)


def test_order_of_stress_components(tmp_path):
    results = {"free_energy": 0.0, "forces": np.zeros((1, 3)), "stress": [1, 2, 3, 4, 5, 6]}
    stress = complete(results, 1, True, tmp_path).stress
    assert np.array_equal(stress, [[1, 6, 5], [6, 2, 4], [5, 4, 3]])


def test_input_of_espresso(tmp_path, silicon, folder):
    method = espresso(tmp_path, k_spacing=0.31, smearing={"kind": "cold", "width": 0.1})
    with pytest.raises(LabelFailed):
        method.compute(silicon, folder)
    lines = [" ".join(line.split()) for line in (folder / "espresso.pwi").read_text().splitlines()]
    settings = dict(line.split(" = ") for line in lines if " = " in line)
    assert float(settings["ecutwfc"]) == pytest.approx(400 / 13.605693, rel=1e-6)
    assert float(settings["degauss"]) == pytest.approx(0.1 / 13.605693, rel=1e-6)
    assert float(settings["conv_thr"]) == pytest.approx(2e-8 / 13.605693, rel=1e-6)
    assert settings["smearing"] == "'mv'"
    assert settings["tprnfor"] == settings["tstress"] == settings["nosym"] == ".true."
    assert "7 7 7 0 0 0" in lines
    assert "nspin" not in settings


def test_spin_of_espresso(tmp_path, silicon, folder):
    method = espresso(tmp_path, magnetic_moments={"Si": 1.0})
    with pytest.raises(LabelFailed):
        method.compute(silicon, folder)
    text = (folder / "espresso.pwi").read_text()
    assert "nspin" in text
    assert "tot_magnetization = 2.0" in " ".join(text.split())


def test_input_of_vasp(tmp_path, silicon, folder):
    silicon.symbols[0] = "Ge"
    method = vasp(tmp_path, "cp POTCAR POTCAR.seen\n")
    with pytest.raises(LabelFailed, match="before its work was done; OUTCAR was not written"):
        method.compute(silicon, folder)
    incar = dict(
        line.strip().split(" = ") for line in (folder / "INCAR").read_text().splitlines() if "=" in line
    )
    expected = {"ENCUT": 520, "SIGMA": 0.05, "ISMEAR": -1, "ISYM": 0, "ISPIN": 1, "NSW": 0, "NELM": 100}
    assert {key: float(incar[key]) for key in expected} == expected
    assert float(incar["EDIFF"]) == pytest.approx(2e-7)
    assert incar["GGA"] == "PE"
    assert incar["LWAVE"] == ".FALSE."
    points = [line.split() for line in (folder / "KPOINTS").read_text().splitlines()]
    assert points[1:4] == [["0"], ["Gamma"], ["7", "7", "7"]]
    assert (folder / "POTCAR.seen").read_bytes() == b"another\na pseudopotential\n", "in the order of POSCAR"
    assert not (folder / "POTCAR").exists(), "licensed, not kept with every frame"
    assert (folder / "POSCAR").read_text().splitlines()[5].split() == ["Ge", "Si"]


def test_dataset_of_vasp_is_in_a_folder_of_its_own(tmp_path):
    with pytest.raises(RecipeError, match="Si/POTCAR or Si_d/POTCAR"):
        vasp(tmp_path, pseudopotentials={"Si": {"file": "POTCAR", "sha256": "0" * 64}})


def test_input_of_cp2k():
    data = read_yaml(RECIPES / "cp2k_pbe.yaml")["method"]
    method = parse_recipe(CP2KMethod, data, "recipe")
    text = method.template((4, 3, 1), {"Si"})
    assert "SCHEME MACDONALD 4 3 1 0.125000000000 0.000000000000 0.000000000000" in text, "holds Γ"
    assert "ELECTRONIC_TEMPERATURE [K] 580.2" in text
    assert "&KIND Si\nBASIS_SET DZVP-MOLOPT-SR-GTH\nPOTENTIAL GTH-PBE-q4" in text
    assert "KPOINTS" not in method.template((1, 1, 1), {"Si"})


@pytest.mark.filterwarnings("ignore:CP2K-shell not ready")
def test_program_of_cp2k_that_dies(tmp_path, silicon, folder):
    files = {"potentials": pseudo(tmp_path / "data", "P"), "basis_sets": pseudo(tmp_path / "data", "B")}
    data = read_yaml(RECIPES / "cp2k_pbe.yaml")["method"]
    settings = {"data_dir": str(tmp_path / "data"), "executable": program(tmp_path, "exit 3\n"), **files}
    method = parse_recipe(CP2KMethod, data | settings, "recipe")
    with pytest.raises(LabelFailed, match=r"CP2K ended before its work was done .*cp2k\.out was not written"):
        method.compute(silicon, folder)
    with pytest.raises(ExecutableError, match="does not start as CP2K does"):
        method.check({"Si"})


def test_gpaw_that_leaves_no_results(tmp_path, silicon, folder):
    data = read_yaml(RECIPES / "gpaw_pbe.yaml")["method"]
    method = parse_recipe(
        GPAWMethod, data | {"python": program(tmp_path, "echo begun > gpaw.txt; exit 9\n")}, "recipe"
    )
    with pytest.raises(
        LabelFailed, match=r"GPAW ended with status 9 and left no results; gpaw\.txt ends: …begun"
    ):
        method.compute(silicon, folder)
    job = json.loads((folder / "gpaw.json").read_text())
    assert job["gpaw"]["kpts"] == {"size": [8, 8, 8], "gamma": True}
    assert job["gpaw"]["mode"] == {"name": "pw", "ecut": 300}
    assert job["gpaw"]["spinpol"] is False


@pytest.mark.parametrize(
    ("results", "error", "message"),
    [
        ('{"converged": false}', NotConverged, "did not converge in 100 steps"),
        ('{"converged": true, "free_energy": -1.0}', LabelFailed, "no forces and no stress"),
        ('{"converged": true, "free_en', LabelFailed, "left no results"),
    ],
)
def test_results_of_gpaw_that_are_no_label(tmp_path, silicon, folder, results, error, message):
    data = read_yaml(RECIPES / "gpaw_pbe.yaml")["method"]
    text = f"echo '{results}' > results.json\n"
    method = parse_recipe(GPAWMethod, data | {"python": program(tmp_path, text)}, "recipe")
    with pytest.raises(error, match=message):
        method.compute(silicon, folder)


def test_every_error_reaches_the_command_line():
    assert all(issubclass(kind, MLPotError) for kind in (ExecutableError, PseudopotentialError, LabelFailed))
