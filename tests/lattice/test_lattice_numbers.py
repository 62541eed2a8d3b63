"""docs/lattice.md: its example runs as it stands, and its tables are made from results."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from lattice_laws import lattice_results

ROOT = Path(__file__).resolve().parents[2]


def test_example_in_the_document_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "lattice.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(code, "docs/lattice.md", "exec"), {})
    rmse, energies = capsys.readouterr().out.strip().split("\n")
    assert float(rmse) < 3.0
    cold, _, hot = (float(value) for value in energies.strip("[]").split())
    assert -2.0 < cold < hot < 0.0


def test_results_of_runs_become_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import lattice_numbers

    run = tmp_path / "runs" / "lattice_ising"
    (run / "figures").mkdir(parents=True)
    (run / "figures" / "learning.png").write_bytes(b"png")
    (run / "results.json").write_text(json.dumps(lattice_results(lengths=(8, 16))), encoding="utf-8")
    (tmp_path / "runs" / "lattice_unfinished").mkdir()
    results = tmp_path / "results"
    results.mkdir()
    (results / "lattice_samplers.json").write_text("{}", encoding="utf-8")
    lattice_numbers.collect(tmp_path / "runs", results, tmp_path / "images")
    assert (tmp_path / "images" / "lattice_ising_learning.png").exists()
    ((name, document),) = lattice_numbers.studies(results)
    assert name == "ising"
    lines = lattice_numbers.study(name, document)
    assert "Made by `mlpot lattice learn recipes/lattice/ising.yaml --out runs/lattice_ising`." in lines
    assert lines[4].startswith("- A baseline wins")
    assert any(line.startswith("| 4 | 10,000 | two_stage | 3 |") for line in lines)
    sys.modules.pop("lattice_numbers")
