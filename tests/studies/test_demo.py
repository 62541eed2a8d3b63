"""The demo as `make demo` runs it: what it promises must come out."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpot.recipe import load_recipe
from mlpot.studies.recipe import StudyRecipe
from mlpot.studies.run import run_study

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_demo_shows_what_it_promises(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    results = run_study(load_recipe(StudyRecipe, ROOT / "recipes" / "demo.yaml"), tmp_path / "demo")
    (seed,) = results["seeds"]
    error = {arm: record["holdout"]["all"]["forces_mae"] for arm, record in seed["arms"].items()}
    assert error["transfer"] < 0.8 * error["scratch"]
    assert error["transfer"] < error["reduced"] < error["plain"]
    hottest = results["dynamics"]["transfer"]["temperatures"][-1]
    assert hottest["temperature_K"] >= 1200
    assert all(run["censored"] for run in hottest["runs"])
    assert (tmp_path / "demo" / "report.html").stat().st_size > 50_000
