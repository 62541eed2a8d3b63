"""Runs that are killed, resumed, out of disk, and what their files hold."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io.ulm
import numpy as np
import pytest
from ase import Atoms
from spring_network import SpringNetwork, face_centred

from mlpot.errors import DataError, GeometryError, Interrupted, RecipeError
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.simulation.ensembles import Ensemble
from mlpot.simulation.run import run_md
from mlpot.simulation.stopping import StopCriteria
from mlpot.simulation.trajectory import read_trajectory

pytest.importorskip("h5py", reason="HDF5 trajectories need h5py")

ENSEMBLES = {
    "nve": Ensemble("nve", temperature=500.0),
    "langevin": Ensemble("nvt", temperature=500.0),
    "bussi": Ensemble("nvt", temperature=500.0, thermostat="bussi"),
    "nose-hoover": Ensemble("nvt", temperature=500.0, thermostat="nose-hoover"),
    "npt": Ensemble("npt", temperature=500.0, pressure=1.0),
    "npt-full": Ensemble("npt", temperature=500.0, pressure=1.0, barostat="full"),
    "heating": Ensemble("nvt", temperature=200.0, temperature_end=900.0),
    "heating-chain": Ensemble("nvt", temperature=200.0, temperature_end=900.0, thermostat="nose-hoover"),
    "squeezing": Ensemble(
        "npt", temperature=200.0, temperature_end=400.0, pressure=0.0, pressure_end=5.0, barostat="full"
    ),
}
SUFFIXES = (".xyz", ".traj", ".h5")


class Killed(BaseException):
    """Ends a run as SIGKILL would: nothing in mlpot catches it."""


def run(out: Path, ensemble: Ensemble, calculator=None, atoms=None, time_ps=0.06, **options):
    """Run 60 steps of 1 fs, a frame every 4 and a restart every 25."""
    atoms = face_centred() if atoms is None else atoms
    given = {"interval": 4, "restart_interval": 25, "seed": 3} | options
    return run_md(calculator or SpringNetwork(atoms), atoms, out, ensemble, time_ps, **given)


def kill_at(step: int):
    def progress(sample, speed) -> None:
        if sample.step >= step:
            raise Killed

    return progress


@pytest.mark.parametrize("name", ENSEMBLES)
def test_a_killed_run_goes_on_without_a_seam(name: str, tmp_path: Path) -> None:
    suffix = SUFFIXES[list(ENSEMBLES).index(name) % 3]
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    summary = run(whole, ENSEMBLES[name])
    with pytest.raises(Killed):
        run(cut, ENSEMBLES[name], progress=kill_at(44))
    assert cut.read_bytes() != whole.read_bytes()
    resumed = run(cut, ENSEMBLES[name], resume=True)
    assert cut.read_bytes() == whole.read_bytes()
    changing = ("trajectory", "restart", "seconds", "ns_per_day")
    assert {key: value for key, value in resumed.items() if key not in changing} == {
        key: value for key, value in summary.items() if key not in changing
    }
    assert resumed["frames"] == len(read_trajectory(cut)) == 16


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("killed_at", [0, 24, 25, 52])
def test_wherever_it_was_killed(suffix: str, killed_at: int, tmp_path: Path) -> None:
    """Also from a file whose last frame is torn, and twice."""
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    run(whole, ENSEMBLES["langevin"])
    with pytest.raises(Killed):
        run(cut, ENSEMBLES["langevin"], progress=kill_at(max(killed_at, 1)))
    if suffix != ".h5":
        with cut.open("ab") as file:
            file.write(b"torn")
    with pytest.raises(Killed):
        run(cut, ENSEMBLES["langevin"], resume=True, progress=kill_at(36))
    run(cut, ENSEMBLES["langevin"], resume=True)
    assert cut.read_bytes() == whole.read_bytes()


def test_a_potential_with_a_skin_goes_on_without_a_seam(silicon: Atoms, tmp_path: Path) -> None:
    """Its list of neighbours, and so the order of its sums, must not remember what came before."""
    potential = Potential(["Si"], NetworkConfig(channels=8, hidden=8), seed=0)
    whole, cut = tmp_path / "whole.traj", tmp_path / "cut.traj"
    ensemble = Ensemble("npt", temperature=300.0, pressure=2.0)
    run(whole, ensemble, MLPotCalculator(potential), silicon)
    with pytest.raises(Killed):
        run(cut, ensemble, MLPotCalculator(potential), silicon, progress=kill_at(44))
    assert run(cut, ensemble, MLPotCalculator(potential), silicon, resume=True)["notes"] == []
    assert cut.read_bytes() == whole.read_bytes()


PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_md_files import ENSEMBLES, run
run(Path(sys.argv[2]), ENSEMBLES["bussi"], progress=lambda sample, speed: time.sleep(0.05))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 1)])
def test_a_real_signal(number: int, status: int, tmp_path: Path) -> None:
    out = tmp_path / "cut.traj"
    arguments = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(out)]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (out.exists() and out.stat().st_size > 4000) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate()
    assert process.returncode == status
    if number == signal.SIGTERM:
        assert b"Interrupted: interrupted; the same command with --resume goes on" in told
    assert len(read_trajectory(out)) < 16
    run(out, ENSEMBLES["bussi"], resume=True)
    run(tmp_path / "whole.traj", ENSEMBLES["bussi"])
    assert out.read_bytes() == (tmp_path / "whole.traj").read_bytes()


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    def interrupt(sample, speed) -> None:
        if sample.step == 8:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match=r"--resume goes on from the last restart, .*a\.xyz\.restart\.npz"):
        run(tmp_path / "a.xyz", ENSEMBLES["nve"], progress=interrupt)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_full_disk_loses_nothing(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written stays readable, the message says what to do, and doing it gives the same file."""
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    run(whole, ENSEMBLES["bussi"])
    frames = 0

    def count(sample, speed) -> None:
        nonlocal frames
        frames += 1

    def full(original):
        def write(file, data, *place):
            if frames < 10:
                return original(file, data, *place)
            if original is pwrite:
                original(file, data[: len(data) // 2], *place)
            raise OSError(errno.ENOSPC, "No space left on device")

        return write

    pwrite = os.pwrite
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full(pwrite))
        patched.setattr(ase.io.ulm, "writeint", full(ase.io.ulm.writeint))
        with pytest.raises(DataError, match=r"No space left on device; 10 frames are kept.*--resume"):
            run(cut, ENSEMBLES["bussi"], progress=count)
    assert len(read_trajectory(cut)) == 10
    run(cut, ENSEMBLES["bussi"], resume=True)
    assert cut.read_bytes() == whole.read_bytes()


def test_full_disk_at_a_restart_keeps_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, calls, savez = tmp_path / "a.xyz", [], np.savez

    def full(*arguments, **named):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        savez(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", full)
        with pytest.raises(DataError, match=r"No space left on device; 7 frames are kept"):
            run(out, ENSEMBLES["bussi"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.xyz", "a.xyz.restart.npz"]
    assert run(out, ENSEMBLES["bussi"], resume=True)["completed"]


def test_full_disk_before_the_first_frame_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(
        DataError, match=r"nothing was begun\. Free some space and run the same command again"
    ):
        run(tmp_path / "a.xyz", ENSEMBLES["nve"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_made_longer_equals_one_that_was_long(suffix: str, tmp_path: Path) -> None:
    short, long = tmp_path / f"short{suffix}", tmp_path / f"long{suffix}"
    run(short, ENSEMBLES["npt"])
    run(short, ENSEMBLES["npt"], time_ps=0.1, resume=True)
    run(long, ENSEMBLES["npt"], time_ps=0.1)
    assert short.read_bytes() == long.read_bytes()
    with pytest.raises(RecipeError, match="steps was 60 in the run to resume and is 100 now"):
        run(tmp_path / "ramp.xyz", ENSEMBLES["heating"])
        run(tmp_path / "ramp.xyz", ENSEMBLES["heating"], time_ps=0.1, resume=True)


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    out = tmp_path / "a.xyz"
    with pytest.raises(RecipeError, match="there is no restart, so no run to resume"):
        run(out, ENSEMBLES["nve"], resume=True)
    run(out, ENSEMBLES["bussi"])
    with pytest.raises(RecipeError, match=r"a file of this name already \(--resume goes on with it\)"):
        run(out, ENSEMBLES["bussi"])
    warmer = Ensemble("nvt", temperature=501.0, thermostat="bussi")
    with pytest.raises(RecipeError, match=r"temperature was 500\.0 in the run to resume and is 501\.0 now"):
        run(out, warmer, resume=True)
    with pytest.raises(RecipeError, match="seed was 3 in the run to resume and is 4 now"):
        run(out, ENSEMBLES["bussi"], resume=True, seed=4)
    with pytest.raises(RecipeError, match=r"other atoms \(numbers\)"):
        run(out, ENSEMBLES["bussi"], atoms=face_centred(3), resume=True)
    stiffer = SpringNetwork(face_centred(), stiffness=9.0)
    with pytest.raises(RecipeError, match="resume with the potential it was started with"):
        run(out, ENSEMBLES["bussi"], stiffer, resume=True)
    out.write_bytes(out.read_bytes()[:300])
    with pytest.raises(DataError, match="its end was lost"):
        run(out, ENSEMBLES["bussi"], resume=True)
    out.unlink()
    with pytest.raises(DataError, match="the trajectory is gone"):
        run(out, ENSEMBLES["bussi"], resume=True)
    restart = tmp_path / "a.xyz.restart.npz"
    restart.write_bytes(restart.read_bytes()[:500])
    with pytest.raises(DataError, match=r"restart\.npz: damaged"):
        run(out, ENSEMBLES["bussi"], resume=True)


def test_two_runs_do_not_write_one_trajectory(tmp_path: Path) -> None:
    def second(sample, speed) -> None:
        if sample.step == 40:
            with pytest.raises(RecipeError, match="another run writes this trajectory"):
                run(tmp_path / "a.xyz", ENSEMBLES["nve"], resume=True)

    assert run(tmp_path / "a.xyz", ENSEMBLES["nve"], progress=second)["completed"]


def test_the_offending_frame_is_saved(tmp_path: Path) -> None:
    summary = run(
        tmp_path / "a.h5", ENSEMBLES["squeezing"], time_ps=0.4, stop=StopCriteria(volume_factor=1.01)
    )
    assert not summary["completed"] and "the volume is" in summary["stop_reason"]
    stopped = ase.io.read(summary["stopped_structure"])
    assert stopped.info["stop_reason"] == summary["stop_reason"]
    assert abs(np.log(stopped.get_volume() / face_centred().get_volume())) > np.log(1.01)
    # Room for frames that did not come is given back.
    assert len(read_trajectory(tmp_path / "a.h5")) == summary["frames"] < 101
    assert (tmp_path / "a.h5").stat().st_size < 200_000 * summary["frames"] / 101 + 100_000


def test_a_cell_that_is_too_narrow(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=r"too small: the cell is 4\.16 Å wide \(limit 5\); repeat the"):
        run(tmp_path / "a.xyz", ENSEMBLES["npt"], stop=StopCriteria(min_width=5.0))
    assert not (tmp_path / "a.xyz").exists()
    shrinking = Ensemble("npt", temperature=100.0, pressure=30.0, barostat_fs=50.0)
    ended = run(tmp_path / "a.xyz", shrinking, time_ps=0.5, stop=StopCriteria(min_width=4.1))
    assert "Å wide (limit 4.1)" in ended["stop_reason"]


def test_a_long_time_step_is_told_before_the_run(tmp_path: Path) -> None:
    told: list[str] = []
    summary = run(tmp_path / "a.xyz", ENSEMBLES["langevin"], timestep_fs=5.0, notify=told.append)
    assert summary["notes"] == told and len(told) == 1
    # One spring per pair of neighbours: ω² = 8 k / m at the edge of the zone.
    assert summary["fastest_period_fs"] == pytest.approx(42.3, rel=0.03)
    assert told[0].startswith("a time step of 5 fs is long: the fastest vibration of this structure has a")
    assert run(tmp_path / "b.xyz", ENSEMBLES["langevin"], timestep_fs=4.0)["notes"] == []
