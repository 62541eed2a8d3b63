"""A user's mistakes: exit status 2 and one line that says what to do."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest


def test_misspelt_key(work, tmp_path, complaint):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {train: si.xyz}\nfit: {epoch: 3}\n")
    text = complaint("train", recipe, "--out", tmp_path / "r")
    assert "recipe.yaml: fit: unknown key 'epoch'; did you mean 'epochs'?" in text
    assert not (tmp_path / "r").exists()


def test_misspelt_key_of_a_transfer(work, si, tmp_path, complaint):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"model: {si}\ntargets: Ge\ndonor: {{Ge: Si}}\nfit: {{bach_size: 3}}\n")
    text = complaint("transfer", recipe, "--out", tmp_path / "r")
    assert "unknown key 'donor'; did you mean 'donors'?" in text


@pytest.mark.parametrize("value", ["5", "[1, 2]"])
def test_value_where_a_section_belongs(work, tmp_path, value, complaint):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: {{train: {work / 'si.xyz'}}}\nfit: {value}\n")
    assert "fit: expected a section" in complaint("train", recipe, "--epochs", 1, "--out", tmp_path / "r")
    assert "fit" in complaint("train", recipe, "--out", tmp_path / "r")


def test_missing_label(work, tmp_path, complaint):
    text = complaint(
        "train", "--data", work / "si.xyz", "--energy-key", "dft_energy", "--out", tmp_path / "r"
    )
    assert "si.xyz#0: no energy label named 'dft_energy'" in text and "REF_energy" in text


def test_renamed_labels_are_found(work, tmp_path, run):
    frames = ase.io.read(work / "si.xyz", ":6")
    for atoms in frames:
        atoms.info["dft_energy"] = atoms.info.pop("REF_energy")
    ase.io.write(tmp_path / "renamed.xyz", frames)
    run("train", work / "train.yaml", "--data", tmp_path / "renamed.xyz", "--energy-key", "dft_energy",
        "--epochs", 1, "--out", tmp_path / "r")  # fmt: skip


def test_nan_label(work, tmp_path, complaint):
    frames = ase.io.read(work / "si.xyz", ":")
    frames[4].arrays["REF_forces"][2, 1] = np.nan
    ase.io.write(tmp_path / "nan.xyz", frames)
    text = complaint("train", "--data", tmp_path / "nan.xyz", "--out", tmp_path / "r")
    assert "nan.xyz#4: forces holds NaN or infinity (first at [2, 1])" in text


def test_unknown_element(work, si, tmp_path, complaint):
    text = complaint("evaluate", si, "--data", work / "ge.xyz")
    assert "element Ge is unknown to this model, which knows Si" in text and "mlpot transfer" in text
    md = complaint("md", si, "--structure", work / "ge.xyz", "--temperature", 300, "--time", 1,
                   "--out", tmp_path / "t.xyz")  # fmt: skip
    assert "Ge is unknown" in md


def test_transfer_to_no_element_or_from_no_donor(work, si, tmp_path, complaint):
    start = ["transfer", "--from", si, "--out", tmp_path / "r"]
    assert "'Gr' is no chemical element" in complaint(*start, "--to", "Gr")
    text = complaint(*start, "--to", "Ge", "--donor", "Ge=C")
    assert "donor of Ge is" in text and "Si" in text
    assert "expected TARGET=DONOR" in complaint(*start, "--to", "Ge", "--donor", "Ge")
    assert "give --to" in complaint(*start)
    assert "give --from" in complaint("transfer", "--to", "Ge", "--out", tmp_path / "r")


def test_transfer_that_lacks_data(work, si, tmp_path, complaint):
    start = ["transfer", "--from", si, "--to", "Ge", "--out", tmp_path / "r"]
    assert "nothing to fine-tune on" in complaint(*start, "--epochs", 5)
    assert "needs labelled frames" in complaint(*start, "--scales", "fit")
    assert "need --data" in complaint(*start, "--frames", 5)
    assert "cohesive_energies: Field required" in complaint(*start, "--lattice-constants", 5.4, 5.7)


def test_truncated_model(si, tmp_path, complaint):
    (tmp_path / "cut.safetensors").write_bytes(si.read_bytes()[:-100])
    for command in (["info"], ["evaluate", "--data", "x.xyz"]):
        assert "cut off" in complaint(command[0], tmp_path / "cut.safetensors", *command[1:])


def test_tampered_model(si, tmp_path, complaint):
    data = bytearray(si.read_bytes())
    data[-5] ^= 1
    (tmp_path / "altered.safetensors").write_bytes(data)
    assert "altered or damaged" in complaint("info", tmp_path / "altered.safetensors")


def test_no_such_model(complaint):
    text = complaint("info", "silicium")
    assert "silicium: neither a file nor a shipped model" in text


@pytest.mark.parametrize("temperature", ["-300", "0"])
def test_temperature_below_zero(work, si, tmp_path, temperature, complaint):
    options = [si, "--structure", work / "si.xyz", "--time", 1]
    text = complaint("md", *options, "--temperature", temperature, "--out", tmp_path / "t.xyz")
    assert f"temperature is {temperature} K; it must be above zero" in text
    assert not (tmp_path / "t.xyz").exists()
    text = complaint("stability", *options, "--temperatures", "300", temperature)
    assert "each must be above zero" in text


def test_md_without_temperature(work, si, tmp_path, complaint):
    text = complaint("md", si, "--structure", work / "si.xyz", "--time", 1, "--out", tmp_path / "t.xyz")
    assert "nvt needs a temperature" in text


def test_existing_trajectory_is_kept(work, si, tmp_path, complaint):
    (tmp_path / "t.xyz").write_text("mine")
    text = complaint("md", si, "--structure", work / "si.xyz", "--temperature", 300, "--time", 1,
                     "--out", tmp_path / "t.xyz")  # fmt: skip
    assert "choose another --out" in text and (tmp_path / "t.xyz").read_text() == "mine"


def test_structure_that_cannot_be_read(si, tmp_path, complaint):
    (tmp_path / "empty.xyz").write_text("")
    (tmp_path / "odd.cif").write_text("hello")
    start = ["md", si, "--temperature", 300, "--time", 1, "--out", tmp_path / "t.xyz", "--structure"]
    assert "no such file" in complaint(*start, tmp_path / "nowhere.xyz")
    assert "ASE cannot read a structure" in complaint(*start, tmp_path / "empty.xyz")
    assert "odd.cif" in complaint(*start, tmp_path / "odd.cif")


def test_nothing_to_train_on(tmp_path, complaint):
    assert "give a recipe, or --data" in complaint("train", "--out", tmp_path / "r")


def test_unknown_info_key(work, si, complaint):
    text = complaint("evaluate", si, "--data", work / "si.xyz", "--group-by", "phase")
    assert "no frame has the info key 'phase'" in text and "config_type" in text


def test_unknown_reference(work, si, complaint):
    text = complaint("stability", si, "--structure", work / "si.xyz", "--temperatures", 300, "--time", 1,
                     "--reference", "sw_si")  # fmt: skip
    assert "did you mean 'sw-si'" in text


def test_run_directory_that_cannot_be_made(work, tmp_path, complaint):
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in complaint("train", work / "train.yaml", "--out", tmp_path / "file" / "r")


@pytest.mark.parametrize("arguments", [["stability", "m"], ["md", "m", "--time", "long"], ["trian"]])
def test_usage_errors(arguments, run):
    assert "Usage" in run(*arguments, status=2).stderr
