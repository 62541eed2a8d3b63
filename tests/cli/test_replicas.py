"""``mlpot stability --batched``."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def plan(work, si):
    return ["stability", si, "--structure", work / "si.xyz", "--temperatures", 300, 900, "--seeds", 2,
            "--time", "0.02"]  # fmt: skip


def test_batched_runs_are_reported_as_the_others(plan, tmp_path, document):
    pytest.importorskip("torch_sim", reason="torch-sim is not installed: mlpot[simulation]")
    alone = document(*plan)
    found = document(*plan, "--batched", "--out", tmp_path / "all")
    halves = document(*plan, "--batched", "--batch-size", 2)
    assert (alone["batch_size"], found["batch_size"], halves["batch_size"]) == (None, 4, 2)
    assert found.keys() == alone.keys() and found["protocol"] == alone["protocol"]
    for one, two in zip(found["temperatures"], alone["temperatures"], strict=True):
        assert one.keys() == two.keys()
        assert [run["censored"] for run in one["runs"]] == [True, True]
    assert [[run["survived_ps"] for run in one["runs"]] for one in halves["temperatures"]] == [[0.02] * 2] * 2
    assert len(found["files"]) == 2


def test_mistakes_with_batches(plan, complaint, monkeypatch):
    assert "--batch-size goes with --batched" in complaint(*plan, "--batch-size", 2)
    assert "--device tpu cannot be had" in complaint(*plan, "--device", "tpu")
    monkeypatch.setitem(sys.modules, "torch_sim", None)
    for name in ("torchsim", "screen", "batched"):
        monkeypatch.delitem(sys.modules, f"mlpot.simulation.{name}", raising=False)
    assert "pip install 'mlpot[simulation]'" in complaint(*plan, "--batched")
