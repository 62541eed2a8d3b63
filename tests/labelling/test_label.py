"""Every frame is labelled once, or listed with its reason; never in part."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moody import make_frames
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.data.files import read_frames, read_provenance, write_frames
from mlpot.data.frame import LabelKeys
from mlpot.engine.workers import EngineError
from mlpot.errors import DataError, RecipeError
from mlpot.labelling.run import label
from mlpot.labelling.store import Store


def numbers(frames):
    return [frame.info["number"] for frame in frames]


def test_labels_are_those_of_the_calculator_and_nothing_is_computed_twice(world, inline):
    frames = make_frames(5)
    frames = [*frames, frames[2]]
    result = label(world.recipe(), frames, world.run)
    assert numbers(result.frames) == [0, 1, 2, 3, 4, 2] and not result.unlabelled
    assert (result.structures, result.reused) == (5, 0)
    for frame in result.frames:
        np.testing.assert_array_equal(frame.forces, -frame.positions)
        assert frame.energy == 0.5 * np.sum(frame.positions**2)
        np.testing.assert_array_equal(frame.stress[0], [1e-3] * 3)
    again = label(world.recipe(), frames[::-1], world.run)
    assert numbers(again.frames) == [2, 4, 3, 2, 1, 0] and again.reused == 5
    assert set(world.calls().values()) == {1}
    other = world.recipe().model_copy(
        update={"method": world.recipe().method.model_copy(update={"stress": False})}
    )
    assert label(other, frames[:1], world.run).frames[0].stress is None
    assert world.calls()[0] == 2  # another setting is another label


def test_each_failure_is_listed_with_its_reason_and_no_partial_label_is_kept(world):
    world.moods(_1="crash", _2="unconverged", _3="nan", _4="no forces", _5="exit", _6="kill")
    frames = make_frames(8)
    result = label(world.recipe(retries=1), frames, world.run)
    assert numbers(result.frames) == [0, 7]
    listed = {entry.index: entry for entry in result.unlabelled}
    assert "ValueError: it went wrong" in listed[1].reason and listed[1].source == "frames.xyz#1"
    assert (listed[2].kind, listed[2].attempts) == ("not_converged", 1)
    assert "60 steps were not enough" in listed[2].reason
    assert "forces holds NaN" in listed[3].reason
    assert "forces" in listed[4].reason and listed[4].kind == "failed"
    assert "SystemExit" in listed[5].reason
    assert (listed[6].kind, listed[6].attempts) == ("lost", 2)
    assert "SIGKILL" in listed[6].reason and "memory" in listed[6].reason
    assert len(list(world.run.rglob("result.json"))) == 2
    assert [entry["index"] for entry in json.loads((world.run / "failed.json").read_text())] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    (log,) = (world.run / "frames").glob(f"*/*{listed[1].folder[-20:]}/attempt-1/log.txt")
    assert "Traceback" in log.read_text()


def test_what_failed_is_tried_again_and_what_did_not_converge_only_when_asked(world, inline):
    world.moods(_1="crash", _2="unconverged", _3="nan")
    frames = make_frames(5)
    label(world.recipe(), frames, world.run)
    world.moods(_3="crash")
    again = label(world.recipe(), frames, world.run)
    assert numbers(again.frames) == [0, 1, 4] and again.reused == 2
    assert [(entry.index, entry.kind, entry.attempts) for entry in again.unlabelled] == [
        (2, "not_converged", 1), (3, "failed", 2)]  # fmt: skip
    assert any("--retry" in note for note in again.notes)
    last = label(world.recipe(), frames, world.run, retry=True)
    assert numbers(last.frames) == [0, 1, 2, 4]
    assert world.calls() == {0: 1, 1: 2, 2: 2, 3: 3, 4: 1}


def test_a_worker_has_the_threads_of_the_recipe_and_what_it_prints_is_kept(world, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    label(world.recipe(threads=3), make_frames(1), world.run)
    assert (world.folder / "calls.txt").read_text().split()[2] == "3"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    (log,) = world.run.rglob("log.txt")
    assert log.read_text() == "a line of output\n" and log.parent.name == "attempt-1"


def test_labels_in_the_input_are_ignored_and_info_is_carried_over(world, inline):
    frame = replace(make_frames(1)[0], energy=5.0, info={"number": 0, "REF_energy": 3.0, "group": "bulk"})
    result = label(world.recipe(), [frame], world.run)
    assert result.frames[0].info == {"number": 0, "group": "bulk"}
    assert result.frames[0].energy == 0.5 * np.sum(frame.positions**2)
    assert result.notes == ["1 frames of the input have labels, which are ignored."]


def test_frames_without_volume_have_no_stress(world, inline):
    crystal, cluster = make_frames(2)
    cluster = replace(cluster, cell=np.zeros((3, 3)), pbc=np.zeros(3, dtype=bool))
    result = label(world.recipe(), [crystal, cluster], world.run)
    assert [frame.stress is None for frame in result.frames] == [False, True]
    assert "1 of 2 labelled frames have no stress" in result.notes[0]


def test_partial_computes_nothing(world, inline):
    world.moods(_1="crash")
    frames = make_frames(4)
    label(world.recipe(), frames[:2], world.run)
    result = label(world.recipe(), frames, world.run, partial=True)
    assert numbers(result.frames) == [0]
    assert [entry.kind for entry in result.unlabelled] == ["failed", "waiting", "waiting"]
    assert sum(world.calls().values()) == 2


def test_progress_counts_structures(world, inline):
    world.moods(_2="crash")
    frames = make_frames(4)
    label(world.recipe(), frames[:1], world.run)
    seen = []
    label(world.recipe(), frames, world.run, progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 0, 3), (2, 0, 2), (2, 1, 1)]


def test_no_frames(world):
    with pytest.raises(DataError, match="no frames to label"):
        label(world.recipe(), [], world.run)


HOLD_LOCK = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(60)
"""


def test_two_at_once_are_refused(world):
    world.run.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(world.run / "lock")], stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    try:
        with pytest.raises(RecipeError, match="another mlpot label is at work here"):
            label(world.recipe(), make_frames(1), world.run)
    finally:
        holder.kill()
        holder.wait()


def test_a_method_that_is_another_in_the_worker_stops_the_run(world, monkeypatch):
    recipe = world.recipe()
    kind = type(recipe.method)
    identity = kind.identity
    monkeypatch.setattr(kind, "identity", lambda self: identity(self) | {"version": "newer"})
    with pytest.raises(EngineError, match="not the same on this machine"):
        label(recipe, make_frames(2), world.run)
    assert not world.calls()


def test_an_error_beside_the_method_is_listed_and_the_others_go_on(world, inline, monkeypatch):
    new_attempt, begun = Store.new_attempt, []

    def fail_once(store, key):
        begun.append(key)
        if len(begun) == 1:
            raise PermissionError(13, "Permission denied")
        return new_attempt(store, key)

    monkeypatch.setattr(Store, "new_attempt", fail_once)
    result = label(world.recipe(), make_frames(2), world.run)
    assert numbers(result.frames) == [1]
    (entry,) = result.unlabelled
    assert entry.kind == "failed" and "Permission denied" in entry.reason
    assert label(world.recipe(), make_frames(2), world.run).reused == 1


def test_workers_that_cannot_start_stop_the_run(world, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EngineError, match=r"ended with status 1 before it was ready; see .*workers\.log"):
        label(world.recipe(), make_frames(2), world.run)


# Full disks ----------------------------------------------------------------------------------------------


def test_a_full_disk_stops_the_run_and_keeps_what_is_finished(world, inline):
    world.moods(_2="full")
    with pytest.raises(EngineError, match=r"No space left .* 2 structures are labelled and kept.*free space"):
        label(world.recipe(), make_frames(4), world.run)
    world.moods()
    assert label(world.recipe(), make_frames(4), world.run).reused >= 2


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", disk], capture_output=True
    ).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_fills_up(world, small_disk, inline):
    frames = make_frames(8, atoms=600)  # about 150 kB each
    with pytest.raises(EngineError, match=r"No space left on device.*run the same command again"):
        label(world.recipe(), frames, small_disk / "run")
    kept = label(world.recipe(), frames, small_disk / "run", partial=True) if _room(small_disk) else None
    results = list((small_disk / "run").rglob("result.json"))
    assert 1 <= len(results) < 8
    assert all(json.loads(path.read_text())["labels"] for path in results)
    assert kept is None or len(kept.frames) == len(results)


def _room(disk):
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize > 64_000


# Kills ---------------------------------------------------------------------------------------------------


def start(world, count, seconds):
    """Start the command in a process of its own and return it."""
    write_frames(world.folder / "in.xyz", make_frames(count))
    settings = {"method": world.method(seconds), "engine": {"workers": 1, "kind": "local"}}
    (world.folder / "recipe.yaml").write_text(json.dumps(settings))
    command = [sys.executable, "-c", "from mlpot.cli.main import app; app()", "label", "in.xyz",
               "--recipe", "recipe.yaml", "--out", "out.xyz", "--run", "run"]  # fmt: skip
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    }
    return subprocess.Popen(command, cwd=world.folder, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_ended_loses_nothing_and_leaves_no_process(world, number):
    process = start(world, 12, 0.3)
    wait_for(lambda: len(list(world.run.rglob("result.json"))) >= 3)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == (-number if number == signal.SIGKILL else 130)
    if number == signal.SIGINT:
        assert "interrupted; all finished labels are kept" in errors
    assert not (world.folder / "out.xyz").exists()
    worker = int((world.folder / "calls.txt").read_text().split()[1])
    wait_for(lambda: not is_alive(worker), 5.0)
    finished = {path.parent.name for path in world.run.rglob("result.json")}
    result = label(world.recipe(0.3), read_frames(world.folder / "in.xyz", None), world.run)
    assert len(result.frames) == 12 and result.reused == len(finished)
    calls = world.calls()
    assert sum(calls.values()) <= 13 and set(calls) == set(range(12))  # one was in flight


def test_the_command_writes_labels_with_provenance(world, tmp_path):
    world.moods(_1="unconverged")
    process = start(world, 3, 0.0)
    _, errors = process.communicate()
    assert process.returncode == 1, errors
    assert errors == ""
    frames = read_frames(world.folder / "out.xyz", LabelKeys())
    assert numbers(frames) == [0, 2] and frames[0].stress is not None
    provenance = read_provenance(world.folder / "out.xyz")
    assert provenance["kind"] == "label" and provenance["frames"] == {"labelled": 2, "unlabelled": 1}
    assert provenance["method"]["kind"] == "calculator" and "ase" in provenance["versions"]


# The command ---------------------------------------------------------------------------------------------


@pytest.fixture
def command(world, inline):
    """Run ``mlpot label`` in this process on four frames, and return its result."""
    write_frames(world.folder / "in.xyz", make_frames(4))
    settings = {"method": world.method(), "engine": {"kind": "local", "workers": 1}}
    (world.folder / "recipe.yaml").write_text(json.dumps(settings))

    def run(*further, out="out.xyz"):
        arguments = ["label", world.folder / "in.xyz", "--recipe", world.folder / "recipe.yaml"]
        arguments += ["--out", world.folder / out, *further]
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def test_a_result_for_people(world, command):
    world.moods(_1="unconverged", _3="crash")
    result = command()
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    for expected in (
        "2 of 4 labelled",
        "1 not_converged",
        "1 failed",
        "60 steps",
        "it went wrong",
        "failed.json",
    ):
        assert expected in text, expected
    assert read_provenance(world.folder / "out.xyz")["input"]
    world.moods()
    text = " ".join(command("--retry").stdout.split())
    assert "4 of 4 labelled; 2 from before" in text and "without labels" not in text


def test_a_result_for_machines(world, command):
    world.moods(_1="unconverged")
    result = command("--json", "--run", world.folder / "here")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["frames"], document["labelled"], document["reused"]) == (4, 3, 0)
    (entry,) = document["unlabelled"]
    assert (entry["index"], entry["kind"], entry["attempts"]) == (1, "not_converged", 1)
    assert document["run"] == str(world.folder / "here") and document["method"]["kind"] == "calculator"
    again = command("--json", "--run", world.folder / "here", "--partial")
    assert json.loads(again.stdout)["reused"] == 3


def test_nothing_is_written_where_nothing_is_labelled(world, command):
    world.moods(_0="crash", _1="crash", _2="crash", _3="crash")
    result = command("--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["file"] is None
    assert not (world.folder / "out.xyz").exists()


def test_mistakes_have_one_line(world, command):
    for result, expected in (
        (command(out="in.xyz"), "would replace the input"),
        (command(out="out.poscar"), "unknown suffix '.poscar'"),
    ):
        assert result.exit_code == 2 and result.stdout == ""
        (line,) = result.stderr.strip().splitlines()
        assert expected in line
    assert not world.calls()


def test_a_method_that_cannot_work_is_refused_before_any_computing(world, command):
    data = {"method": {"kind": "calculator", "calculator": "sw-ge"}}
    (world.folder / "recipe.yaml").write_text(json.dumps(data))
    result = command()
    assert result.exit_code == 2 and "knows Ge, but the frames have Si" in result.stderr
    assert not (world.folder / "out.run").exists()


def test_an_output_that_does_not_fit_on_the_disk(world, command, monkeypatch):
    def write(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlpot.labelling.run.write_frames", write)
    result = command()
    assert result.exit_code == 2 and "the labels are kept in" in result.stderr
    assert not (world.folder / "out.xyz").exists()
