"""The convergence command: what counts as converged, and a run with a program that is played."""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.errors import DataError, RecipeError
from mlpot.labelling.dft.convergence import ConvergenceRecipe, Tolerances, compare, converge
from mlpot.labelling.method import Labels
from mlpot.recipe import parse_recipe

#: Plays Python with GPAW: labels that converge as 1/cutoff² and with the k-points.
GPAW = """
import json, sys
import numpy as np
if sys.argv[1] == "-c":
    print(json.dumps({{"version": "0", "libxc": "0", "folders": [{folder!r}]}}))
    sys.exit()
job = json.load(open("gpaw.json"))
row = json.load(open("structure.json"))["1"]
positions = np.reshape(row["positions"]["__ndarray__"][2], (-1, 3))
error = (100 / job["gpaw"]["mode"]["ecut"]) ** 2 + 1 / np.prod(job["gpaw"]["kpts"]["size"])
open({calls!r}, "a").write("x")
results = {{
    "converged": True,
    "free_energy": error * np.abs(positions).sum() / 10,
    "forces": (positions * error).tolist(),
}}
if job["stress"]:
    results["stress"] = (np.eye(3) * error / 10).tolist()
json.dump(results, open("results.json", "w"))
"""


def labels(forces: float, energy: float = 0.0, stress: float = 0.0) -> tuple[Labels, float]:
    """Return labels of one atom that differ from zero by this much, meV and meV/Å and GPa, and seconds."""
    tensor = np.diag([stress / 160.21766208, 0, 0])
    return Labels(energy / 1e3, np.array([[forces, 0, 0]]) / 1e3, tensor), 1.0


def steps(*table):
    """Compare rows with the last one."""
    rows = [[labels(*entry) for entry in row] for row in table]
    meshes = [[[1, 1, 1]] * len(row) for row in table]
    return compare("cutoff", list(range(len(rows))), meshes, rows, Tolerances())


def test_errors_are_those_of_the_worse_structure():
    first, last = steps([(3, 2, 0.05), (9, 0.5, 0.02)], [(0, 0, 0), (0, 0, 0)])
    assert first.forces_rms == pytest.approx(9 / np.sqrt(3))
    assert first.forces_max == pytest.approx(9)
    assert first.energy == pytest.approx(1.5), "of the difference: a shift of both is none"
    assert first.stress == pytest.approx(0.05)
    assert not first.converged
    assert last.converged


def test_a_value_counts_only_if_all_finer_ones_do():
    coarse, bad, fine, _ = steps(*[[(f, 0), (0, 0)] for f in (1, 30, 2, 0)])
    assert [coarse.converged, bad.converged, fine.converged] == [False, False, True]


@pytest.mark.parametrize("change", [(20, 0, 0), (0, 2, 0), (0, 0, 0.2)])
def test_each_tolerance_counts(change):
    assert not steps([change, (0, 0, 0)], [(0, 0, 0), (0, 0, 0)])[0].converged


@pytest.fixture
def plan(tmp_path):
    """A recipe, as plain data, whose GPAW is played."""
    dataset = tmp_path / "Si.PBE.gz"
    dataset.write_bytes(b"dataset")
    script = tmp_path / "played.py"
    script.write_text(GPAW.format(folder=str(tmp_path), calls=str(tmp_path / "calls")))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    python.chmod(0o755)
    first = bulk("Si", "diamond", a=5.47)
    first.rattle(0.05, seed=1)
    second = first.copy()
    second.set_cell(first.cell * 0.97, scale_atoms=True)
    write(tmp_path / "two.xyz", [first, second])
    digest = hashlib.sha256(b"dataset").hexdigest()
    return {
        "structures": str(tmp_path / "two.xyz"),
        "method": {
            "kind": "gpaw",
            "cutoff": 300,
            "k_spacing": 0.5,
            "pseudopotentials": {"Si": {"file": "Si.PBE.gz", "sha256": digest}},
            "python": str(python),
        },
        "vary": {"cutoff": [200, 1600, 3200]},
        "isolated_atoms": {"magnetic_moments": {"Si": 2}},
    }


def test_a_run_finds_the_converged_value_and_computes_nothing_twice(tmp_path, plan):
    recipe = parse_recipe(ConvergenceRecipe, plan, "recipe")
    document = converge(recipe, tmp_path / "out")
    assert document["chosen"] == {"cutoff": 1600}
    assert [step["value"] for step in document["steps"]] == [200, 1600, 3200]
    assert document["steps"][0]["forces_rms"] > document["steps"][1]["forces_rms"]
    assert set(document["isolated_atoms"]) == {"Si"}
    assert json.loads((tmp_path / "out" / "convergence.json").read_text()) == document
    assert len((tmp_path / "calls").read_text()) == 7
    assert converge(recipe, tmp_path / "out") == document
    assert len((tmp_path / "calls").read_text()) == 7


def test_what_a_killed_run_left_is_no_obstacle(tmp_path, plan):
    recipe = parse_recipe(ConvergenceRecipe, plan, "recipe")
    document = converge(recipe, tmp_path / "out")
    min((tmp_path / "out" / "calculations").glob("*/labels.json")).unlink()
    again = converge(recipe, tmp_path / "out")
    assert [step["forces_rms"] for step in again["steps"]] == [s["forces_rms"] for s in document["steps"]]


def test_command(tmp_path, plan):
    import yaml

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plan))
    result = CliRunner().invoke(app, ["converge", str(path), "--out", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["chosen"] == {"cutoff": 1600}


def test_one_structure_is_not_enough(tmp_path, plan):
    write(tmp_path / "one.xyz", bulk("Si"))
    recipe = parse_recipe(ConvergenceRecipe, plan | {"structures": str(tmp_path / "one.xyz")}, "recipe")
    with pytest.raises(DataError, match="need two structures"):
        converge(recipe, tmp_path / "out")
    recipe = parse_recipe(ConvergenceRecipe, plan | {"structures": "none.xyz"}, "recipe")
    with pytest.raises(DataError, match="no such file"):
        converge(recipe, tmp_path / "out")


def test_values_go_from_coarse_to_fine(plan):
    with pytest.raises(RecipeError, match="cutoffs rise"):
        parse_recipe(ConvergenceRecipe, plan | {"vary": {"cutoff": [400, 200]}}, "recipe")
    with pytest.raises(RecipeError, match="values fall"):
        parse_recipe(ConvergenceRecipe, plan | {"vary": {"k_spacing": [0.2, 0.4]}}, "recipe")


def test_nothing_to_vary(tmp_path, plan):
    with pytest.raises(RecipeError, match="nothing to vary"):
        converge(parse_recipe(ConvergenceRecipe, plan | {"vary": {}}, "recipe"), tmp_path / "out")
