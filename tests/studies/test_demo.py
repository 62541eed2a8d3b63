"""The demo as `make demo` runs it, and the quick profiles: what they promise must come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpot.studies.recipe import load_study
from mlpot.studies.run import run_study

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_demo_shows_what_it_promises(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    results = run_study(load_study(ROOT / "recipes" / "demo.yaml"), tmp_path / "demo")
    error = {run["arm"]: run["holdout"]["all"]["forces_mae"] for run in results["runs"]}
    assert error["transfer"] < 0.8 * error["scratch"]
    assert error["zero_shot"] < 0.5 * error["as_is"]
    hottest = results["dynamics"]["transfer"]["0"]["temperatures"][-1]
    assert hottest["temperature_K"] >= 1200
    assert all(run["censored"] for run in hottest["runs"])
    assert (tmp_path / "demo" / "report.html").stat().st_size > 50_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sw_si_to_ge", "pbe_si_to_ge", "mlearn_si_to_ge"])
def test_quick_profiles_run_to_their_verdict(tmp_path, monkeypatch, name):
    monkeypatch.chdir(ROOT)
    if name.startswith("mlearn") and not (ROOT / "../shared/data/mlearn").exists():
        pytest.skip("../shared/data/mlearn is not there")
    results = run_study(load_study(ROOT / "recipes" / "studies" / f"{name}.yaml", "quick"), tmp_path / name)
    assert results["failed"] == []
    cells = {(run["arm"], run["size"], run["seed"]) for run in results["runs"]}
    assert {("scratch", 10, 1), ("transfer", 10, 1), ("zero_shot", 2, 0)} <= cells
    assert results["verdict"][0].startswith("Forces, transfer against scratch")
    assert results["dynamics"]["transfer"]["1"]["temperatures"]
