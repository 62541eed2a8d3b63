"""Workers are killed, nodes are lost, jobs are refused: nothing is lost and nothing computed twice."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from moody import make_frames

from mlpot.engine.workers import EngineError
from mlpot.errors import RecipeError
from mlpot.labelling.recipe import LabelRecipe
from mlpot.labelling.run import label
from mlpot.recipe import parse_recipe


def workers_of(run: Path) -> list[int]:
    """Return the processes that compute for a run, whoever started them."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\0")
        except (OSError, UnicodeDecodeError):  # no process, or one that has just ended
            continue
        if "mlpot.engine.worker" in words and str(run) in words:
            found.append(int(entry.name))
    return found


class Assassin(threading.Thread):
    """Kills a worker that has begun to compute, whenever so many further frames are finished."""

    def __init__(self, folder: Path, every: int, most: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.every, self.most = folder, every, most
        self.kills, self.over = 0, threading.Event()

    def run(self) -> None:
        while not self.over.is_set() and self.kills < self.most:
            time.sleep(0.02)
            begun = _lines(self.folder / "calls.txt")
            if len(begun) < self.every * (self.kills + 1):
                continue
            latest = int(begun[-1].split()[1])
            if latest in workers_of(self.folder / "run"):
                os.kill(latest, signal.SIGKILL)
                self.kills += 1


def label_with_kills(world, recipe, count, every, most):
    """Label frames while workers are killed; return the result and the number of kills."""
    assassin = Assassin(world.folder, every, most)
    assassin.start()
    try:
        result = label(recipe, make_frames(count), world.run)
    finally:
        assassin.over.set()
        assassin.join()
    return result, assassin.kills


def check_against_quiet_run(world, result, count, kills):
    """Check that all is there, as without kills, and computed once but for what was in flight."""
    assert len(result.frames) == count and not result.unlabelled
    for frame, start in zip(result.frames, make_frames(count), strict=True):
        np.testing.assert_array_equal(frame.positions, start.positions)
        np.testing.assert_array_equal(frame.forces, -start.positions)
        assert frame.energy == 0.5 * np.sum(start.positions**2)
    calls = world.calls()
    assert set(calls) == set(range(count))
    # A worker that was killed between two frames had none in flight.
    assert count <= sum(calls.values()) <= count + kills


def test_killed_workers_cost_their_frame_only(world):
    result, kills = label_with_kills(world, world.recipe(0.005, workers=2, retries=5), 100, 25, 3)
    assert kills == 3
    check_against_quiet_run(world, result, 100, kills)


@pytest.mark.slow
def test_a_thousand_frames_and_many_kills(world):
    result, kills = label_with_kills(world, world.recipe(0.01, workers=2, retries=5), 1000, 45, 20)
    assert kills == 20
    check_against_quiet_run(world, result, 1000, kills)
    print(json.dumps({"frames": 1000, "kills": kills, "computed": sum(world.calls().values())}))


def test_a_code_that_a_killed_worker_started_is_ended_with_it(world):
    world.moods(_0="child")
    recipe = world.recipe(retries=0)
    result = label(recipe, make_frames(1), world.run)
    assert result.unlabelled[0].kind == "lost"
    child = Path("/proc", (world.folder / "child.txt").read_text())
    end = time.monotonic() + 5
    while child.exists() and "sleep" in (child / "cmdline").read_text():  # empty once it is ended
        assert time.monotonic() < end
        time.sleep(0.02)


# Slurm ---------------------------------------------------------------------------------------------------


def test_slurm_jobs_whose_workers_are_killed(world, slurm):
    pytest.importorskip("parsl", reason="the cluster engine needs Parsl")
    recipe = world.recipe(0.01, **{"kind": "slurm", "workers_per_node": 2, "walltime": "00:10:00"})
    result, kills = label_with_kills(world, recipe, 60, 10, 3)
    assert kills == 3
    check_against_quiet_run(world, result, 60, kills)
    assert len(_lines(slurm / "jobs")) == 1
    assert not workers_of(world.run)


@pytest.mark.slow
def test_a_lost_node_costs_what_it_was_computing(world, slurm):
    pytest.importorskip("parsl", reason="the cluster engine needs Parsl")
    engine = {"kind": "slurm", "nodes": 2, "workers_per_node": 1, "walltime": "00:10:00", "node_timeout": 8}
    ended = threading.Event()

    def lose_a_node():
        while not ended.is_set():
            time.sleep(0.1)
            at_work = {line.split()[1] for line in _lines(world.folder / "calls.txt")}
            if len(at_work) > 1:  # both nodes compute
                os.killpg(int(_lines(slurm / "jobs")[0]), signal.SIGKILL)
                return

    thief = threading.Thread(target=lose_a_node)
    thief.start()
    result = label(world.recipe(0.5, **engine), make_frames(60), world.run)
    ended.set()
    thief.join()
    assert len(result.frames) == 60
    assert sum(world.calls().values()) == 61
    (lost,) = world.run.rglob("failures.json")
    assert "lost" in lost.read_text()


def _lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.slow
def test_jobs_that_end_at_once_stop_the_run(world, slurm, monkeypatch):
    pytest.importorskip("parsl", reason="the cluster engine needs Parsl")
    from parsl.providers import SlurmProvider

    monkeypatch.setattr(SlurmProvider, "status_polling_interval", 1)
    engine = {
        "kind": "slurm",
        "workers_per_node": 1,
        "walltime": "00:10:00",
        "setup": ["echo no such module >&2; exit 1"],
    }
    with pytest.raises(EngineError, match="jobs in a row ended before any work was done"):
        label(world.recipe(**engine), make_frames(1), world.run)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ({"kind": "slurm", "walltime": "1:00:00"}, "workers_per_node: Field required"),
        ({"kind": "slurm", "workers_per_node": 1, "walltime": "1h"}, "walltime"),
        ({"kind": "local", "workers": 0}, "workers.*greater than or equal to 1"),
        ({"kind": "local", "worker": 1}, "did you mean 'workers'"),
        ({"kind": "pbs"}, "'local', 'slurm'"),
    ],
)
def test_mistakes_in_the_engine_section(world, engine, message):
    data = {"method": world.method(), "engine": engine}
    with pytest.raises(RecipeError, match=message):
        parse_recipe(LabelRecipe, data, "recipe")
