"""Pretraining, joint training in reduced units, fine-tuning, by commands; and the card of it all."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
import yaml

from mlpot.model import file as model_file
from mlpot.model.card import MISSING
from mlpot.model.file import load_model, read_header
from mlpot.simulation.calculator import MLPotCalculator

MODEL = {"channels": 4, "hidden": 4, "radial": 4, "l_max": 2}
SCALES = {"Ge": {"length": 0.96, "energy": 0.83}}


def card(title):
    return {"title": title, "description": "x", "licence": "MIT", "citations": ["y"], "domain": "z"}


def parts(work):
    """Two sections: silicon without stress under names of its own, germanium as it is."""
    frames = ase.io.read(work / "si.xyz", ":")
    for atoms in frames:
        atoms.info["dft_energy"] = atoms.info.pop("REF_energy")
        del atoms.info["REF_stress"]
    ase.io.write(work / "renamed.xyz", frames)
    hold = {"fraction": 0.2, "stratify": ["config_type"]}
    return [
        {"train": str(work / "renamed.xyz"), "labels": {"energy": "dft_energy"}, "validation": hold},
        {"train": str(work / "ge.xyz"), "validation": hold},
    ]


@pytest.fixture(scope="module")
def joint(work, si, run, document, tmp_path_factory):
    """The pretrained silicon carried to silicon and germanium, trained on both."""
    folder = tmp_path_factory.mktemp("joint")
    recipe = {
        "model": str(si),
        "targets": ["Si", "Ge"],
        "scales": SCALES,
        "data": parts(work),
        "fit": {"epochs": 3, "batch_size": 4},
        "group_by": "config_type",
        "card": card("Joint"),
    }
    (folder / "joint.yaml").write_text(yaml.safe_dump(recipe))
    return document("transfer", folder / "joint.yaml", "--out", folder / "joint")


def test_joint_training_from_a_model_of_one_of_the_elements(joint):
    assert joint["donors"] == {"Si": "Si", "Ge": "Si"}
    assert joint["scales"]["Si"]["length"] == 1.0 and joint["scales"]["Ge"]["length"] == 0.96
    labels = joint["frames"]["train"]["labels"]
    assert labels == {"energy": 26, "forces": 26, "stress": 13}
    errors = joint["errors_by_group"]
    assert set(errors) == {"all", "Si", "Ge"} | {
        f"{e}: {g}" for e in ("Si", "Ge") for g in ("rattle", "strain")
    }
    assert errors["all"]["frames"] == errors["Si"]["frames"] + errors["Ge"]["frames"] == 6
    assert errors["Si"]["stress_mae"] is None and errors["Ge"]["stress_mae"] > 0
    assert joint["errors"]["fine-tuned"] == errors["all"]
    assert -3.9 < joint["offsets"]["eV"]["Ge"] < -3.3 < joint["offsets"]["eV"]["Si"] + 1
    potential = load_model(joint["model"])
    assert potential.length_scales.tolist() == [1.0, 0.96]
    assert potential.energy_scales.tolist() == [1.0, 0.83]


def test_fine_tuning_of_one_element_keeps_its_scales_and_tells_the_lineage(
    work, joint, tmp_path, run, document, complaint
):
    recipe = {
        "model": joint["model"],
        "targets": "Ge",
        "scales": "none",
        "data": {"train": str(work / "ge.xyz")},
        "fit": {"epochs": 1, "rate": 1e-4, "matrix_rate": 1e-3},
        "group_by": ["config_type"],
        "card": card("Tuned"),
    }
    (tmp_path / "ge.yaml").write_text(yaml.safe_dump(recipe))
    tuned = document("transfer", tmp_path / "ge.yaml", "--out", tmp_path / "ge")
    path = tuned["model"]
    assert load_model(path).length_scales.tolist() == [0.96]
    parent = read_header(path)["provenance"]["parent"]
    assert parent["file"] == joint["model"] and parent["checksum"] == read_header(joint["model"])["checksum"]
    assert parent["elements"] == ["Si", "Ge"] and parent["provenance"]["parent"]["elements"] == ["Si"]

    start = load_model(path).state_dict()
    ge = ["evaluate", path, "--data", work / "ge.xyz", "--group-by", "config_type"]
    found = document(*ge, "--record", "everything")
    assert all(np.array_equal(value, start[name]) for name, value in load_model(path).state_dict().items())
    recorded = {entry["name"]: entry for entry in read_header(path)["provenance"]["errors"]}
    assert set(recorded) == {"validation", "everything"}
    assert recorded["everything"]["errors"] == found["errors"] and found["recorded"] == "everything"
    assert "trained on or held out" in recorded["everything"]["use"]
    other = ["evaluate", path, "--data", work / "si.xyz", "--record", "silicon"]
    assert "element Si is unknown" in complaint(*other)
    assert len(read_header(path)["provenance"]["errors"]) == 2

    text = run("info", path, "--card").stdout
    assert text.startswith("# Tuned\n")
    assert (
        "1. train on Si" in text
        and "2. transfer on Si, Ge, Joint" in text
        and "3. transfer on Ge, Tuned" in text
    )
    assert "| rattle |" in text and "**everything**" in text
    # The pretraining said nothing for the card: only its licence and citation are missing.
    assert text.count(MISSING) == 2
    assert run("info", path, "--card", "--out", tmp_path / "card.md").stdout == ""
    assert (tmp_path / "card.md").read_text() == text
    assert "everything: forces" in run("info", path).stdout


def test_joint_training_from_nothing(work, tmp_path, run, document):
    recipe = {
        "data": parts(work),
        "scales": SCALES,
        "model": MODEL,
        "fit": {"epochs": 1},
        "group_by": "config_type",
    }
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(recipe))
    found = document("train", tmp_path / "both.yaml", "--out", tmp_path / "r")
    assert found["elements"] == ["Si", "Ge"]
    assert found["scales"]["Ge"]["energy"] == 0.83 and found["scales"]["Si"]["energy"] == 1.0
    assert {"all", "Si", "Ge: strain"} <= set(found["errors_by_group"])
    assert found["errors"] == found["errors_by_group"]["all"]
    header = read_header(found["model"])
    assert header["length_scales"] == [1.0, 0.96]
    assert set(header["provenance"]["domain"]) == set(found["errors_by_group"])
    # What is written down is a recipe that does the same again.
    run("train", tmp_path / "r" / "recipe.yaml", "--out", tmp_path / "again")
    again = load_model(tmp_path / "again" / "model.safetensors").state_dict()
    assert all(np.array_equal(v, again[k]) for k, v in load_model(found["model"]).state_dict().items())
    assert "scales Ge" in run("train", tmp_path / "both.yaml", "--out", tmp_path / "shown").stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scales": {"Sn": {"length": 1.0}}}, "scales: Sn is not among the elements"),
        ({"scales": {"Ge": {"lenght": 1.0}}}, "did you mean 'length'"),
        ({"group_by": "phase"}, "group_by: no frame has the info key 'phase'"),
        ({"card": {"license": "MIT"}}, "did you mean 'licence'"),
    ],
)
def test_mistakes_in_a_joint_recipe(work, tmp_path, change, message, complaint):
    recipe = {"data": {"train": str(work / "si.xyz")}, "fit": {"epochs": 1}} | change
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(recipe))
    assert message in complaint("train", tmp_path / "bad.yaml", "--out", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_card_and_record_where_they_cannot_be(work, si, tmp_path, shipped, complaint):
    assert "give --card too" in complaint("info", si, "--out", tmp_path / "card.md")
    assert "give one of them" in complaint("info", si, "--card", "--json")
    text = complaint("evaluate", "donor", "--data", work / "si.xyz", "--record", "test")
    assert "give its path, not the name donor" in text


@pytest.fixture
def shipped(si, tmp_path, monkeypatch):
    """The silicon model under the name of a shipped one, where a folder has that name too."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "donor.safetensors").write_bytes(si.read_bytes())
    monkeypatch.setattr(model_file, "_shipped_folder", lambda: tmp_path / "models")
    (tmp_path / "donor").mkdir()
    monkeypatch.chdir(tmp_path)


def test_a_name_will_do_wherever_a_model_is_asked_for(work, si, shipped, tmp_path, run, document, complaint):
    assert document("info", "donor")["elements"] == ["Si"]
    assert run("info", "donor", "--card").stdout.startswith("# donor\n")
    atoms = ase.io.read(work / "si.xyz", 3)
    atoms.calc = MLPotCalculator("donor")
    energy = load_model(si).predict(atoms)[0].energy
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-6)
    assert document("transfer", "--from", "donor", "--to", "Ge", "--out", tmp_path / "ge")["from"] == "donor"
    assert document("evaluate", "donor", "--data", work / "si.xyz")["errors"]["all"]["frames"] == 16
    assert "models shipped with mlpot: donor" in complaint("info", "doner")
    assert "models shipped with mlpot: donor" in complaint(
        "transfer", "--from", "doner", "--to", "Ge", "--out", tmp_path / "r"
    )
