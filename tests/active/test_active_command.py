"""``mlpot active``: what it prints, and its exit status."""

from __future__ import annotations

import copy
import json

import pytest
import yaml
from typer.testing import CliRunner

from mlpot.cli.main import app


@pytest.fixture
def invoke(raw, tmp_path):
    """Run the command on a recipe with one round, changed at the top."""

    def run(*arguments, **changes):
        recipe = copy.deepcopy(raw) | {"rounds": 1} | changes
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        out = tmp_path / "run"
        return CliRunner().invoke(
            app, ["active", str(tmp_path / "recipe.yaml"), "--out", str(out), *arguments]
        )

    return run


def test_json_table_and_status(fixed, invoke, tmp_path):
    result = invoke("--json", "--choose", "random", "--seed", "3")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["command"], document["choose"], document["seed"]) == ("active", "random", 3)
    assert "round 0: 2 of 2 chosen frames labelled" in result.stderr
    # The same again prints the record as a table.
    result = invoke("--choose", "random", "--seed", "3")
    assert result.exit_code == 0 and "stopped:     rounds" in result.stdout
    assert str(tmp_path / "run" / "labelled.xyz") in result.stdout


def test_status_is_one_where_labels_are_missing(fixed, invoke, tmp_path):
    (tmp_path / "mood").write_text("first")
    calculator = {"import": "temperamental:Temperamental", "arguments": {"folder": str(tmp_path)}}
    result = invoke(label={"method": {"kind": "calculator", "calculator": calculator}})
    assert result.exit_code == 1 and "unlabelled:" in result.stdout and "it went wrong" in result.stdout


def test_mistakes_are_one_line(invoke):
    for changes, said in (
        ({"elements": "Si"}, "not among elements"),
        ({"uncertainty": {"members": 1}}, "two or more"),
    ):
        result = invoke(**changes)
        assert result.exit_code == 2 and result.stdout == ""
        (line,) = result.stderr.strip().splitlines()
        assert line.startswith("mlpot: error: ") and said in line
