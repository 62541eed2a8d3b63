"""``mlpot lattice``: from samples to a report on the command line, and mistakes in one line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.lattice.samples import load_samples

RECIPE = {
    "title": "tiny",
    "model": {"name": "ising"},
    "shape": [4, 4],
    "temperatures": [3.0],
    "counts": [400],
    "seeds": [0],
    "network": {"hidden": [4]},
    "arms": {
        "pl": {"kind": "pseudo_likelihood"},
        "direct": {"kind": "direct", "from_pairs": True, "descent": {"steps": 5}},
    },
    "score": {"configurations": 100, "random_states": 200},
    "extrapolation": [
        {"shapes": [[4, 4]], "temperatures": [2.0, 4.0], "steps": 20, "burn_in": 10, "start": "uniform"}
    ],
    "engine": {"kind": "local", "workers": 1},
    "profiles": {"less": {"counts": [200], "arms": {"direct": None}}},
}


def invoke(*arguments, status=0):
    result = CliRunner().invoke(app, ["lattice", *map(str, arguments)])
    if result.exit_code != status and result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def document(*arguments):
    return json.loads(invoke(*arguments, "--json").stdout)


def complaint(*arguments):
    result = invoke(*arguments, status=2)
    (line,) = result.stderr.strip().splitlines()
    assert result.stdout == "" and line.startswith("mlpot: error: ")
    return line


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with samples, a recipe and a run of it."""
    folder = tmp_path_factory.mktemp("lattice")
    (folder / "r.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))
    invoke(
        "sample", "--model", "ising", "--shape", 4, 4, "--temperature", 3, "--count", 400, "--seed", 2,
        "--out", folder / "s.npz",
    )  # fmt: skip
    invoke("learn", folder / "r.yaml", "--samples", folder / "s.npz", "--out", folder / "run")
    return folder


def test_samples_are_what_was_asked_for(work, tmp_path):
    samples = load_samples(work / "s.npz")
    assert len(samples) == 400 and samples.shape == (4, 4) and samples.model.name == "ising"
    said = document(
        "sample", "--model", "potts", "--q", 3, "--form", "clock", "--shape", 4, 3, "--temperature", 2,
        "--count", 100, "--stream", 2, "--burn-in", 50, "--method", "metropolis", "--out", tmp_path / "p.npz",
    )  # fmt: skip
    assert said["parameters"]["form"] == "clock" and said["shape"] == [4, 3] and said["samples"] == 100
    assert said["provenance"]["stream"] == 2 and said["autocorrelation"]["spacing"] == 2
    assert load_samples(tmp_path / "p.npz").q == 3
    text = invoke(
        "sample", "--model", "all_to_all", "--disorder", 3, "--shape", 8, "--temperature", 2, "--count", 80,
        "--out", tmp_path / "a.npz",
    ).stdout  # fmt: skip
    assert "tempering" in text and "tau" in text and "J per site" in text
    assert load_samples(tmp_path / "a.npz").model.parameters["seed"] == 3


def test_learning_extrapolating_and_the_report(work):
    learned = document("learn", work / "r.yaml", "--samples", work / "s.npz", "--out", work / "run")
    assert [one["arm"] for one in learned["learned"]] == ["pl", "direct"]
    assert learned["autocorrelation"][0]["file"].endswith("s.npz")
    curves = document("extrapolate", work / "run")
    assert len(curves["extrapolation"]) == 2 and curves["truth"][0]["kind"] == "enumeration"
    text = invoke("extrapolate", work / "run").stdout
    assert "largest deviation from the truth" in text and "results.json" in text
    said = document("report", work / "run")
    page = (work / "run" / "report.html").read_text(encoding="utf-8")
    assert said["report"].endswith("report.html") and "tiny" in page and "pl" in page
    text = invoke("learn", work / "r.yaml", "--samples", work / "s.npz", "--out", work / "run")
    assert "RMSE 4x4" in text.stdout and "tasks are done already" in text.stderr


def test_a_profile_changes_what_is_learned(work, tmp_path):
    said = document("learn", work / "r.yaml", "--profile", "less", "--workers", 1, "--out", tmp_path / "run")
    assert [(one["arm"], one["count"]) for one in said["learned"]] == [("pl", 200)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "0"], "temperature: 0.0; it is a positive number"),
        (["--temperature", "-1"], "temperature: -1.0; it is a positive number"),
        (["--temperature", "2", "--model", "ice"], "--model: name: "),
        (["--temperature", "2", "--model", "potts"], "--model: potts needs q"),
        (["--temperature", "2", "--q", "3"], "--model: ising takes no q"),
        (["--temperature", "2", "--shape", "4", "1"], "an axis shorter than 2"),
        (["--temperature", "2", "--method", "magic"], "sampling: method: "),
        (["--temperature", "2", "--out", "s.xyz"], "s.xyz: sample files end in .npz"),
        (["--temperature", "2", "--field", "1", "--method", "wolff"], "needs a model without field"),
    ],
)
def test_mistakes_in_sampling_are_one_line(arguments, message, tmp_path):
    defaults = {"--model": ["ising"], "--shape": ["4", "4"], "--count": ["50"], "--out": [tmp_path / "s.npz"]}
    given = [part for key, values in defaults.items() if key not in arguments for part in (key, *values)]
    assert message in complaint("sample", *given, *arguments)
    assert not (tmp_path / "s.npz").exists()


def test_mistakes_in_learning_are_one_line_and_leave_nothing(work, tmp_path):
    out = tmp_path / "run"

    def refused(**changes):
        path = tmp_path / "r.yaml"
        path.write_text(yaml.safe_dump(RECIPE | changes))
        line = complaint("learn", path, "--samples", work / "s.npz", "--out", out)
        assert not out.exists()
        return line

    assert "its lattice is (4, 4), not (8, 8)" in refused(shape=[8, 8])
    assert "its q is 2, not 3" in refused(model={"name": "potts", "q": 3})
    assert "temperatures.0: Input should be greater than 0" in refused(temperatures=[0])
    assert "focus: 3 does not divide" in refused(network={"focus": 3})
    drift = np.random.default_rng(0).random((400, 4, 4)) < np.linspace(0, 0.5, 400)[:, None, None]
    np.save(tmp_path / "d.npy", drift.astype(np.int8))
    said = complaint("learn", work / "r.yaml", "--samples", tmp_path / "d.npy", "--out", out)
    assert "visibly not in equilibrium" in said
    assert "no such sample file" in complaint(
        "learn", work / "r.yaml", "--samples", tmp_path / "none.npz", "--out", out
    )
    for command in ("extrapolate", "report"):
        assert "nothing was learned here" in complaint(command, tmp_path)


def test_help_of_every_command_has_an_example():
    for command in ("sample", "learn", "extrapolate", "report"):
        assert f"mlpot lattice {command}" in " ".join(invoke(command, "--help").stdout.split())
