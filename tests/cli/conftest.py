"""A tiny chain of data and models, made once by the commands themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlpot.cli.main import app

PLAN = """
calculator: {calculator}
seed: 1
supercell: [1, 1, 1]
stages:
  - {{kind: rattle, standard_deviations: [0.05, 0.15], frames: 6}}
  - {{kind: strain, frames: 4, amplitude: 0.04, rattle: 0.05}}
"""
RECIPE = """
data: {{train: {data}, validation: {{fraction: 0.2, stratify: [config_type]}}}}
model: {{channels: 4, hidden: 4, radial: 4, l_max: 2}}
fit: {{epochs: 40}}
"""


def invoke(*arguments, status=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exit_code != status and result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


@pytest.fixture(scope="session")
def run():
    """Run a command and return its result; the exit status must be as expected."""
    return invoke


@pytest.fixture(scope="session")
def document():
    """Run a command with ``--json`` and return what it prints."""
    return lambda *arguments: json.loads(invoke(*arguments, "--json").stdout)


@pytest.fixture(scope="session")
def complaint():
    """Run a command that must fail and return its one line on standard error."""

    def complain(*arguments):
        result = invoke(*arguments, status=2)
        assert result.stdout == ""
        (line,) = result.stderr.strip().splitlines()
        assert line.startswith("mlpot: error: ")
        return line

    return complain


@pytest.fixture(scope="session")
def work(tmp_path_factory) -> Path:
    """A folder with ``si.xyz``, ``ge.xyz`` (16 cells of 8 atoms), ``train.yaml`` and a trained ``si``."""
    folder = tmp_path_factory.mktemp("cli")
    for name in ("si", "ge"):
        plan = folder / f"{name}.yaml"
        plan.write_text(PLAN.format(calculator=f"sw-{name}"))
        invoke("generate", plan, "--out", folder / f"{name}.xyz")
    (folder / "train.yaml").write_text(RECIPE.format(data=folder / "si.xyz"))
    invoke("train", folder / "train.yaml", "--out", folder / "si")
    return folder


@pytest.fixture(scope="session")
def si(work) -> Path:
    """The silicon model."""
    return work / "si" / "model.safetensors"
