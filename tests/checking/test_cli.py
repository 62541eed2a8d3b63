"""The command: what it prints, what it writes, how it ends."""

from __future__ import annotations

import json
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase.constraints import FixAtoms
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.data.files import write_frames


@pytest.fixture(scope="module")
def files(clean, tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    write_frames(folder / "good.xyz", clean)
    write_frames(folder / "half.xyz", clean[::2])
    bad = [replace(frame, stress=-frame.stress) for frame in clean]
    write_frames(folder / "bad.xyz", bad)
    return folder


def run(*arguments, status=0):
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    assert result.exit_code == status, (result.output, result.exception)
    return result


def test_a_good_set(files):
    result = run(files / "good.xyz")
    assert "0 errors, 0 warnings" in result.stdout and "strain" in result.stdout


def test_json_html_and_exit_status(files, tmp_path):
    page, written = tmp_path / "check.html", tmp_path / "check.json"
    result = run(files / "bad.xyz", "--json", "--html", page, "--out", written, status=1)
    document = json.loads(result.stdout)
    assert document == json.loads(written.read_text()) and document["tally"]["error"] >= 1
    worst = document["findings"][0]
    assert worst["check"] == "stress units" and worst["severity"] == "error" and worst["value"] < 0
    assert all(frame.startswith(str(files / "bad.xyz#")) for frame in worst["frames"]) and worst["action"]
    counts = document["counts"][str(files / "bad.xyz")]
    assert counts["groups"]["strain"]["labels"] == {"energy": 12, "forces": 12, "stress": 12}
    text = page.read_text()
    assert "of the wrong sign" in text and text.count("data:image/png") == 2 and "http" not in text


def test_against_another_set(files):
    document = json.loads(run(files / "good.xyz", "--against", files / "half.xyz", "--json", status=1).stdout)
    (leak,) = [one for one in document["findings"] if one["check"] == "leaks"]
    assert leak["value"] == 26
    (coverage,) = [one for one in document["findings"] if one["check"] == "coverage"]
    assert coverage["details"]["atoms_outside"] > 0


def test_with_a_model(files):
    options = ["--against", files / "half.xyz", "--model", "si", "--json"]
    document = json.loads(run(files / "half.xyz", *options, status=1).stdout)
    assert document["model"] == "si"
    # Everything is inside the hull of itself, in the features of the model, too.
    assert not [one for one in document["findings"] if one["check"] == "coverage"]


def test_constraints_and_unusable_frames(files, tmp_path):
    frames = ase.io.read(files / "good.xyz", ":")
    frames[2].set_constraint(FixAtoms([0, 1]))
    frames[3].arrays["REF_forces"][0, 0] = np.nan
    ase.io.write(tmp_path / "odd.xyz", frames, columns=["symbols", "positions", "REF_forces", "move_mask"])
    document = json.loads(run(tmp_path / "odd.xyz", "--json", status=1).stdout)
    found = {one["check"]: one for one in document["findings"]}
    assert found["constraints"]["frames"] == [f"{tmp_path}/odd.xyz#2"]
    assert found["unusable frames"]["frames"] == [f"{tmp_path}/odd.xyz#3"]
    assert "NaN" in found["unusable frames"]["message"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.xyz"], "there is no such file"),
        (["good.xyz", "--group-by", "phase"], "no frame has the info key 'phase'"),
        (["good.xyz", "--against", "none.xyz"], "none.xyz: there is no such file"),
        (["good.xyz", "--model", "unobtainium"], "unobtainium"),
        (["good.xyz", "--model", "ge"], "knows Ge and no frame"),
    ],
)
def test_mistakes(files, arguments, words):
    paths = [str(files / text) if text.endswith(".xyz") else text for text in arguments]
    result = run(*paths, status=2)
    (line,) = result.stderr.strip().splitlines()
    assert words in line and result.stdout == ""
