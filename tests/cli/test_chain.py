"""From data to stability through the commands, in small."""

from __future__ import annotations

import csv
import json
import os
import signal

import ase.io
import numpy as np
import pytest
from lightning.pytorch.callbacks import Callback
from safetensors.numpy import load_file

import mlpot.training.run
from mlpot.data.files import read_frames, read_provenance
from mlpot.model.file import load_model
from mlpot.reference.classical import classical_calculator
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.training.fit import fit


def test_generate_writes_labels_of_the_force_field(work):
    frames = read_frames(work / "ge.xyz")
    atoms = frames[3].to_atoms()
    atoms.calc = classical_calculator("sw-ge")
    assert atoms.get_potential_energy() == pytest.approx(frames[3].energy, abs=1e-6)
    assert read_provenance(work / "ge.xyz")["recipe"]["calculator"]["name"] == "sw-ge"


def test_training_leaves_a_complete_run_directory(work, si):
    folder = si.parent
    assert {"recipe.yaml", "model.safetensors", "metrics.csv", "log.txt", "checkpoints", "split.json"} <= {
        path.name for path in folder.iterdir()
    }
    split = json.loads((folder / "split.json").read_text())
    assert len(split["train"]) == 13 and len(split["validation"]) == 3
    assert not set(split["train"]) & set(split["validation"])
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert len(rows) == 40 and float(rows[-1]["forces_mae"]) < 0.5 * float(rows[0]["forces_mae"])


def test_resolved_recipe_gives_the_same_model_again(work, si, tmp_path, run):
    run("train", si.parent / "recipe.yaml", "--out", tmp_path / "again")
    first, second = load_file(si), load_file(tmp_path / "again" / "model.safetensors")
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_evaluate_agrees_with_the_calculator(work, si, run, document):
    found = document("evaluate", si, "--data", work / "si.xyz", "--group-by", "config_type")["errors"]
    assert set(found) == {"all", "rattle", "strain"}
    assert found["all"]["frames"] == found["rattle"]["frames"] + found["strain"]["frames"] == 16
    calculator, differences = MLPotCalculator(si), []
    for atoms in ase.io.read(work / "si.xyz", ":"):
        labels = atoms.arrays["REF_forces"]
        atoms.calc = calculator
        differences.append(atoms.get_forces() - labels)
    assert found["all"]["forces_mae"] == pytest.approx(1e3 * np.abs(differences).mean(), rel=1e-4)
    assert "rattle" in run("evaluate", si, "--data", work / "si.xyz", "--group-by", "config_type").stdout


def test_training_without_a_recipe(work, tmp_path, document):
    found = document(
        "train", "--data", work / "si.xyz", "--out", tmp_path / "r", "--epochs", "1", "--seed", "7"
    )
    assert found["elements"] == ["Si"] and found["epochs"] == 1
    assert found["frames"]["train"]["frames"] == 14 and found["frames"]["validation"]["frames"] == 2
    header = document("info", found["model"])
    assert header["provenance"]["recipe"]["fit"]["seed"] == 7
    assert header["parameters"] == found["parameters"]
    (digest,) = header["provenance"]["data"].values()
    assert len(digest) == 64


def test_too_few_frames_are_said_not_to_be_validated(work, tmp_path, document):
    ase.io.write(tmp_path / "few.xyz", ase.io.read(work / "si.xyz", ":3"))
    found = document("train", work / "train.yaml", "--data", tmp_path / "few.xyz", "--epochs", "1",
                     "--out", tmp_path / "r")  # fmt: skip
    assert found["frames"]["validation"]["frames"] == 0 and found["errors"] is None
    assert any("no validation: 3 frames are too few" in note for note in found["notes"])


def test_interrupted_training_resumes_exactly(work, si, tmp_path, monkeypatch, run):
    class ControlC(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

    options = ["train", work / "train.yaml", "--epochs", "4"]
    run(*options, "--out", tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(mlpot.training.run, "fit", lambda *a, **k: fit(*a, **k, callbacks=[ControlC()]))
        stopped = run(*options, "--out", tmp_path / "parts", status=130)
    assert "interrupted" in stopped.stderr and "--resume" in stopped.stderr
    again = run(*options, "--out", tmp_path / "parts", status=2)
    assert "holds a run already" in again.stderr
    run("train", "--resume", "--out", tmp_path / "parts")
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)
    changed = run(*options[:-1], "5", "--resume", "--out", tmp_path / "parts", status=2)
    assert "other data, settings, weights or threads" in changed.stderr


@pytest.fixture(scope="module")
def ge(work, si, document):
    result = document("transfer", "--from", si, "--to", "Ge", "--data", work / "ge.xyz", "--frames", "8",
                      "--epochs", "3", "--out", work / "ge")  # fmt: skip
    return result


def test_transfer_with_data(work, si, ge):
    assert ge["donors"] == {"Ge": "Si"}
    assert ge["frames"]["train"]["frames"] == 8 and ge["frames"]["validation"]["frames"] == 2
    assert (
        0.9 < ge["scales"]["Ge"]["length"] < 1.0
        and "forces and stresses of 8 frames" in ge["scales"]["Ge"]["origin"]
    )
    assert set(ge["errors"]) == {"zero-shot", "fine-tuned"}
    # The offset is re-estimated: Ge of Stillinger-Weber is bound by 3.86 eV, Si by 4.34 eV.
    assert -3.9 < ge["offsets"]["eV"]["Ge"] < -3.3
    noted = json.loads((work / "ge" / "transfer.json").read_text())
    tensors = {record["tensor"]: record["action"] for record in noted["report"]["tensors"]}
    assert tensors.keys() == load_file(work / "ge" / "model.safetensors").keys()
    assert set(tensors.values()) == {"copied", "donated", "re-estimated"}
    assert len(json.loads((work / "ge" / "split.json").read_text())["train"]) == 8


def test_info_names_the_parent(work, ge, run, document):
    provenance = document("info", ge["model"])["provenance"]
    assert provenance["parent"]["elements"] == ["Si"]
    assert provenance["parent"]["provenance"]["recipe"]["model"]["channels"] == 4
    text = run("info", ge["model"]).stdout
    assert "Ge from Si" in text and "8 train, 2 validation" in text and "13 train, 3 validation" in text


def test_transfer_without_data_and_with_unit_scales_is_the_donor(work, si, tmp_path, document):
    found = document("transfer", "--from", si, "--to", "Ge", "--scales", "none", "--out", tmp_path / "r")
    assert found["frames"] is None and found["errors"] is None and found["epochs"] == 0
    donor, model = load_model(si), load_model(found["model"])
    atoms = ase.io.read(work / "si.xyz", 5)
    germanium = atoms.copy()
    germanium.numbers[:] = 32
    (one,), (other,) = donor.predict(atoms), model.predict(germanium)
    assert one.energy == other.energy and np.array_equal(one.forces, other.forces)


@pytest.mark.parametrize(
    ("flags", "length", "energy"),
    [
        # Experiment: a = 5.43 and 5.66 Å, cohesive energies 4.63 and 3.85 eV.
        ([], 5.43 / 5.66, 3.85 / 4.63),
        (["--lattice-constants", "5", "6", "--cohesive-energies", "4", "2"], 5 / 6, 0.5),
    ],
)
def test_transfer_without_data_scales_by_properties(work, si, tmp_path, flags, length, energy, run, document):
    found = document("transfer", "--from", si, "--to", "Ge", *flags, "--out", tmp_path / "r")
    assert found["scales"]["Ge"]["length"] == pytest.approx(length)
    assert found["scales"]["Ge"]["energy"] == pytest.approx(energy)
    table = run("info", found["model"]).stdout
    assert f"{length:.4f}" in table and f"{energy:.4f}" in table
    # What is written down is a recipe that does the same again.
    run("transfer", tmp_path / "r" / "recipe.yaml", "--out", tmp_path / "again")
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert all(np.array_equal(value, again[name]) for name, value in load_file(found["model"]).items())


def test_an_element_that_serves_itself_keeps_its_scales_beside_others(
    work, si, tmp_path, document, complaint
):
    both = ["transfer", "--from", si, "--to", "Si", "--to", "Ge", "--to", "C"]
    found = document(*both, "--out", tmp_path / "r")
    assert [own["length"] for own in found["scales"].values()] == pytest.approx(
        [1.0, 5.43 / 5.66, 5.43 / 3.57], rel=2e-3
    )
    pair = ["--lattice-constants", "5", "6", "--cohesive-energies", "4", "2", "--out", tmp_path / "s"]
    assert "properties serve one target, not Si, Ge, C" in complaint(*both, *pair)
    found = document(*both[:-2], *pair)
    assert [own["energy"] for own in found["scales"].values()] == [1.0, 0.5]


def test_transfer_with_data_and_no_epochs_is_zero_shot(work, si, tmp_path, document):
    found = document("transfer", "--from", si, "--to", "Ge", "--data", work / "ge.xyz", "--epochs", "0",
                     "--scales", "properties", "--out", tmp_path / "r")  # fmt: skip
    assert found["epochs"] == 0 and set(found["errors"]) == {"zero-shot"}
    assert "experimental" in found["scales"]["Ge"]["origin"]


def test_transfer_resumes_a_finished_run_without_change(work, si, ge, run):
    before = load_file(ge["model"])
    run("transfer", "--resume", "--out", work / "ge")
    after = load_file(ge["model"])
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_md_writes_a_trajectory_that_ase_reads(work, si, tmp_path, run, document):
    out = tmp_path / "md.xyz"
    options = ["--structure", work / "si.xyz", "--time", "0.04", "--timestep", "2", "--interval", "5"]
    found = document("md", si, *options, "--ensemble", "nve", "--temperature", "300", "--supercell", 1, 1, 2,
                     "--out", out)  # fmt: skip
    assert found["completed"] and found["time_ps"] == pytest.approx(0.04) and found["ns_per_day"] > 0
    assert abs(found["total_energy_change_meV_per_atom"]) < 5
    frames = ase.io.read(out, ":")
    assert len(frames) == found["frames"] == 5 and len(frames[0]) == 16
    assert [frame.info["time_ps"] for frame in frames] == pytest.approx([0, 0.01, 0.02, 0.03, 0.04])
    fresh = frames[-1].copy()
    fresh.calc = MLPotCalculator(si)
    assert np.allclose(fresh.get_forces(), frames[-1].get_forces(), atol=1e-4)
    assert (
        "holds" in run("md", si, *options, "--temperature", 300, "--out", out, status=2).stderr
        or out.exists()
    )


def test_md_that_fails_saves_the_offending_structure(work, si, tmp_path, document):
    atoms = ase.io.read(work / "si.xyz", 0)
    atoms.positions[0] += 0.35 * (atoms.positions[1] - atoms.positions[0])
    ase.io.write(tmp_path / "squeezed.xyz", atoms)
    found = document("md", si, "--structure", tmp_path / "squeezed.xyz", "--temperature", "20000",
                     "--time", "2", "--timestep", "5", "--out", tmp_path / "md.xyz")  # fmt: skip
    assert not found["completed"] and found["stop_reason"] and found["time_ps"] < 2
    assert len(ase.io.read(found["stopped_structure"])) == 8


def test_stability_with_several_temperatures(work, si, tmp_path, run):
    result = run("stability", si, "--structure", work / "si.xyz@2", "--temperatures", 300, 900, "--seeds", 2,
                 "--time", "0.02", "--reference", "sw-si", "--out", tmp_path / "s", "--json")  # fmt: skip
    found = json.loads(result.stdout)
    assert [entry["temperature_K"] for entry in found["temperatures"]] == [300, 900]
    assert all(len(entry["runs"]) == 2 and entry["radial"] for entry in found["temperatures"])
    saved = json.loads((tmp_path / "s" / "stability.json").read_text())
    assert saved["temperatures"] == found["temperatures"]
    assert len(ase.io.read(tmp_path / "s" / "final.xyz", ":")) == 4
    header, first, *_ = (tmp_path / "s" / "rdf_300K.csv").read_text().splitlines()
    assert header == "r_angstrom,model,reference" and len(first.split(",")) == 3
    table = run("stability", si, "--structure", work / "si.xyz", "--temperatures", 300, "--seeds", 1,
                "--time", "0.02")  # fmt: skip
    assert "1 of 1" in table.stdout
