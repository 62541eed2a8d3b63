"""Any function is carried out in workers; what it raises, and workers that die, end their task only."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from mlpot.engine.settings import LocalEngine
from mlpot.engine.start import start_workers
from mlpot.engine.tasks import Tasks
from mlpot.engine.workers import EngineError, TaskError, WorkerLost


@pytest.fixture
def workers(tmp_path):
    """One worker process."""
    with closing(start_workers(LocalEngine(workers=1, threads=3), tmp_path)) as started:
        yield started


def test_a_function_by_its_import_path(workers, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert workers.submit("chores:double", {"number": 21}).result()["number"] == 42
    there = workers.submit("chores:surroundings", {}).result()
    assert (there["directory"], there["threads"]) == (os.getcwd(), "3")
    # A worker starts without what its tasks do not need.
    assert not {"numpy", "ase", "torch", "pydantic", "parsl"} & set(there["modules"])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bug", r"^ValueError: it went wrong \(traceback in .*workers\.log\)$"),
        ("exit", "^SystemExit: 3"),
        ("result", "^TypeError: .*not JSON serializable"),
        ("user", r"^DataError: frames.xyz: no such file; check the path\.$"),
    ],
)
def test_an_exception_ends_its_task_and_not_the_worker(workers, tmp_path, kind, message):
    process = workers.submit("chores:double", {"number": 1}).result()["process"]
    with pytest.raises(TaskError, match=message):
        workers.submit("chores:fail", {"kind": kind}).result()
    assert workers.submit("chores:double", {"number": 1}).result()["process"] == process
    assert "Traceback" in (tmp_path / "workers.log").read_text()


@pytest.mark.parametrize("function", ["chores:absent", "no_such_module:double"])
def test_a_function_that_is_not_there(workers, function):
    with pytest.raises(EngineError, match=f"a worker cannot import {function}: .*workers.log"):
        workers.submit(function, {}).result()


def test_arguments_that_json_cannot_hold(workers):
    with pytest.raises(TypeError, match="not JSON serializable"):
        workers.submit("chores:double", {"number": object()})


def test_a_folder_that_is_not_there(tmp_path):
    with (
        closing(start_workers(LocalEngine(workers=1), tmp_path / "absent")) as workers,
        pytest.raises(EngineError, match=r"a worker process cannot be started: .*No such file"),
    ):
        workers.submit("chores:double", {"number": 1}).result()


def test_by_default_there_is_a_worker_for_each_processor(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)))
    assert [LocalEngine(threads=threads).count() for threads in (1, 4, 24)] == [12, 3, 1]
    assert LocalEngine(threads=4, workers=2).count() == 2


# Many tasks ----------------------------------------------------------------------------------------------


def test_tasks_that_wait_for_others(workers):
    tasks = Tasks(workers, retries=0)
    tasks.submit("0", "chores:double", {"number": 1})
    seen = []
    for key, outcome in tasks:
        seen.append((key, outcome["number"], len(tasks)))
        if int(key) < 3:
            tasks.submit(str(int(key) + 1), "chores:double", {"number": outcome["number"]})
    assert seen == [("0", 2, 0), ("1", 4, 0), ("2", 8, 0), ("3", 16, 0)]
    tasks.submit("0", "chores:double", {"number": 5})
    with pytest.raises(ValueError, match="task 0 is under way"):
        tasks.submit("0", "chores:double", {"number": 5})
    assert [outcome["number"] for _, outcome in tasks] == [10]


@pytest.mark.parametrize(("times", "politely"), [(2, False), (2, True), (3, False)])
def test_a_lost_task_is_tried_again_as_often_as_asked(workers, tmp_path, times, politely):
    marks = tmp_path / "marks"
    marks.mkdir()
    losses = []
    tasks = Tasks(workers, retries=2, on_lost=lambda key, loss: losses.append((key, str(loss))))
    tasks.submit("dies", "chores:die", {"marks": str(marks), "times": times, "politely": politely})
    tasks.submit("other", "chores:double", {"number": 1})
    ended = dict(tasks)
    assert ended["other"]["number"] == 2
    assert len(losses) == times and set(key for key, _ in losses) == {"dies"}
    assert politely or ("SIGKILL" in losses[0][1] and "memory" in losses[0][1])
    if times == 2:
        assert ended["dies"] == {"calls": 3}
    else:
        assert isinstance(ended["dies"], WorkerLost) and len(list(marks.iterdir())) == 3


def test_errors_of_tasks_are_outcomes_and_those_of_the_engine_end_all(workers):
    tasks = Tasks(workers, retries=5)
    tasks.submit("bug", "chores:fail", {"kind": "bug"})
    ((key, outcome),) = tasks
    assert key == "bug" and isinstance(outcome, TaskError)
    tasks.submit("absent", "chores:absent", {})
    with pytest.raises(EngineError, match="cannot import"):
        list(tasks)
