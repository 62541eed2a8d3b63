"""``mlpot calibrate``, and the uncertainty where it is shown: evaluate and md."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest

from mlpot.model.file import load_model, read_header


@pytest.fixture(scope="module")
def sides(work):
    """The frames of silicon on two sides, twelve and four."""
    frames = ase.io.read(work / "si.xyz", ":")
    paths = work / "first.xyz", work / "last.xyz"
    for path, part in zip(paths, (frames[:12], frames[12:]), strict=True):
        ase.io.write(path, part, format="extxyz")
    return paths


@pytest.fixture(scope="module")
def uncertain(work, si, sides, run):
    """The silicon model with an uncertainty."""
    out = work / "uncertain.safetensors"
    text = run(
        "calibrate", si, "--data", sides[0], "--validation", sides[1], "--out", out, "--heads", 8
    ).stdout
    assert "12 frames" in text and "from 100 errors on 4 frames" in text and "8 heads" in text
    return out


def test_predictions_stay_the_same(work, si, uncertain):
    old, new = load_model(si), load_model(uncertain)
    atoms = ase.io.read(work / "si.xyz", "0")
    (before,), (after,) = old.predict(atoms), new.predict(atoms, uncertainty=True)
    assert before.energy == after.energy and np.array_equal(before.forces, after.forces)
    assert after.energy_std > 0.0 and after.forces_std.min() > 0.0
    noted = read_header(uncertain)["provenance"]["uncertainty"]
    assert noted["heads"] == 8 and noted["frames"] == 12 and len(noted["files"]) == 2


def test_evaluate_shows_the_calibration(si, sides, uncertain, run, document):
    found = document("evaluate", uncertain, "--data", sides[1])["calibration"]
    # Calibrated on these very frames, 4 energies and 96 components of forces together.
    together = sum(own["count"] * own["mean_z2"] for own in found.values())
    assert together / 100 == pytest.approx(1.0, abs=1e-3)
    assert found["forces"]["count"] == 96 and len(found["forces"]["bins"]) == 10
    text = run("evaluate", uncertain, "--data", sides[1]).stdout
    assert "uncertainty of forces" in text and "1 if calibrated" in text
    assert document("evaluate", si, "--data", sides[1])["calibration"] == {}
    several = document("evaluate", si, "--committee", uncertain, "--data", sides[1])
    # The same potential twice: no deviation, and nothing to calibrate.
    assert several["calibration"] == {} and several["errors"]["all"]["frames"] == 4


def test_md_stops_on_uncertainty(work, si, sides, uncertain, tmp_path, document):
    arguments = ["--structure", f"{sides[0]}@0", "--temperature", 300, "--time", 0.01, "--interval", 5]
    ran = document("md", uncertain, *arguments, "--uncertainty", "--out", tmp_path / "a.xyz")
    assert ran["completed"]
    frames = ase.io.read(tmp_path / "a.xyz", ":")
    assert all(
        frame.info["energy_std"] > 0.0 and frame.arrays["forces_std"].shape == (8, 3) for frame in frames
    )
    ended = document("md", uncertain, *arguments, "--max-forces-std", 1e-6, "--out", tmp_path / "b.xyz")
    assert not ended["completed"] and "predicted deviation of" in ended["stop_reason"]
    assert ase.io.read(ended["stopped_structure"]).info["stop_reason"] == ended["stop_reason"]


def test_stability_stops_on_uncertainty(sides, uncertain, document):
    arguments = ["--structure", f"{sides[0]}@0", "--temperatures", 300, "--time", 0.01, "--seeds", 1]
    report = document("stability", uncertain, *arguments, "--max-forces-std", 1e-6, "--reference", "sw-si")
    (result,) = report["temperatures"]
    assert "predicted deviation" in result["runs"][0]["reason"]
    assert report["protocol"]["stop"]["max_forces_std"] == 1e-6


def test_mistakes(si, sides, uncertain, tmp_path, complaint):
    common = ["calibrate", si, "--data", sides[0], "--out", tmp_path / "new.safetensors", "--validation"]
    assert "first.xyz#0 is also among the training frames" in complaint(*common, sides[0])
    common[5] = uncertain
    assert "there is a file of this name already" in complaint(*common, sides[1])
    arguments = ["--structure", sides[0], "--temperature", 300, "--time", 0.01, "--out", tmp_path / "c.xyz"]
    assert "has no uncertainty: make one" in complaint("md", si, *arguments, "--max-forces-std", 0.1)
    assert "stop criteria: max_forces_std: Input should be greater than 0" in complaint(
        "md", uncertain, *arguments, "--max-forces-std", -1
    )
    assert "leave --committee out" in complaint(
        "evaluate", si, "--committee", uncertain, "--data", sides[1], "--record", "x"
    )
