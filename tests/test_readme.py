"""The three doors of the README, executed as they stand (with one epoch of training)."""

from __future__ import annotations

import re
import shlex
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlpot.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doors")
    (folder / "data").symlink_to(ROOT / "data")
    return folder


def test_commands_then_both_python_doors(doors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(doors)
    (commands,) = blocks("bash")
    lines = [shlex.split(line) for line in commands.strip().splitlines()]
    assert [line[1] for line in lines] == ["train", "transfer", "evaluate", "stability", "info"]
    for program, *arguments in lines:
        assert program == "mlpot"
        if arguments[0] in ("train", "transfer"):
            arguments += ["--epochs", "1"]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, (arguments, result.output)
    doors_in_python = blocks("python")
    assert len(doors_in_python) == 2
    for code in doors_in_python:
        assert len(code.strip().splitlines()) <= 11
        exec(compile(code, "README.md", "exec"), {})


def test_the_pictures_and_pages_named_exist() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets
    for target in targets:
        assert (ROOT / target).is_file(), target


def test_numbers_are_those_of_the_committed_results() -> None:
    spec = spec_from_file_location("readme_numbers", ROOT / "benchmarks" / "readme_numbers.py")
    assert spec is not None and spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    for path, section in script.sections().items():
        assert section in path.read_text(encoding="utf-8"), path
