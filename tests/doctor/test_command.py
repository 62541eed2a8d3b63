"""``mlpot doctor`` from the command line."""

from __future__ import annotations

import json

import planted  # noqa: F401  (named on the command line)
import pytest
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.doctor import run

#: Left out where the answer does not depend on them.
SLOW = ("smooth cutoff", "energy-volume curve", "energy conservation", "diatomic force", "closed loop")


def doctor(*arguments, status):
    result = CliRunner().invoke(app, ["doctor", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


def skipped():
    return [word for name in SLOW for word in ("--skip", name)]


def test_healthy_calculator(tmp_path):
    page, file = tmp_path / "doctor.html", tmp_path / "doctor.json"
    written = ("--html", page, "--out", file, "--json")
    result = doctor("--calculator", "planted:Healthy", "--element", "Si", *written, status=0)
    found = json.loads(result.stdout)
    assert json.loads(file.read_text()) == found
    assert found["tally"]["fail"] == 0 and found["tally"]["pass"] > 25
    assert {check["check"] for check in found["checks"] if check["verdict"] == "not applicable"} == {
        "order of elements"
    }
    assert found["precision"] == "float64" and 3.6 < found["cutoff_A"] < 3.8
    assert [speed["atoms"] for speed in found["speed"]] == [64, 512]
    # On a busy machine the larger one may be left out.
    assert all(speed["microseconds_per_atom"] or speed["reason"] for speed in found["speed"])
    (curve,) = found["diatomics"]
    assert curve["pair"] == ["Si", "Si"]
    assert -2.2 < min(curve["energies_eV"]) < -2.1  # epsilon of Stillinger-Weber
    volumes = found["energy_volume"]
    lowest = min(range(61), key=volumes["energies_eV_per_atom"].__getitem__)
    assert volumes["volumes_A3_per_atom"][lowest] == pytest.approx(5.431**3 / 8, rel=0.05)
    text = page.read_text()
    assert text.count("data:image/png") == 2 and "http" not in text.replace("http-equiv", "")
    assert "rotation and inversion" in text


def test_faulty_calculator():
    result = doctor("--calculator", "planted:StressSign", "--element", "Si", *skipped(), status=1)
    assert "FAIL" in result.stdout and "opposite sign" in result.stdout.replace("\n", " ")
    assert "not applicable" in result.stdout


def test_what_is_missing_is_said(monkeypatch):
    def refuse(*_):
        raise ValueError("bulk only")

    monkeypatch.setattr(run, "check_subject", lambda *_, **__: [])
    monkeypatch.setattr(run, "energy_pressure", refuse)
    words = ("--calculator", "planted:Healthy", "--element", "Si", *skipped(), "--seed", 2, "--json")
    found = json.loads(doctor(*words, status=0).stdout)
    assert found["skipped"] == list(SLOW) and found["seed"] == 2
    assert found["energy_volume"] is None and found["diatomics"]
    assert found["curves_missing"] == ["energy by volume: ValueError: bulk only"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "either a MODEL or a --calculator"),
        (["si", "--calculator", "sw-si"], "either a MODEL or a --calculator"),
        (["--calculator", "planted:Healthy"], "does not say which elements it knows; name one or more"),
        (["--calculator", "planted:Healthy", "--element", "Xx"], "--element Xx: no chemical symbol"),
        (["--calculator", "planted:Helthy", "--element", "Si"], "did you mean 'Healthy'?"),
        (["--calculator", "no_such_module:f", "--element", "Si"], "cannot be imported"),
        (["--calculator", "sw_si"], "did you mean 'sw-si'?"),
        (["--calculator", "sw-si", "--element", "Ge"], "--element Ge: sw-si knows Si"),
        (["--calculator", "planted:Healthy", "--element", "Ge"], "knows Si only"),
        (
            ["--calculator", "planted:Healthy", "--element", "Si", "--skip", "speed"],
            "no check is named 'speed'",
        ),
        (["no_such_model"], "no_such_model"),
    ],
)
def test_mistakes(arguments, told):
    result = doctor(*arguments, status=2)
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("mlpot: error: ") and told in line
