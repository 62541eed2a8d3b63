"""``mlpot md`` in all its ensembles and formats, and ``mlpot stability --crash``."""

from __future__ import annotations

import pytest

from mlpot.simulation.trajectory import read_trajectory


@pytest.fixture
def start(work, si):
    return [si, "--structure", work / "si.xyz", "--time", 0.03, "--interval", 5]


def test_constant_pressure_and_resume(start, tmp_path, document, run, complaint):
    pytest.importorskip("h5py", reason="HDF5 trajectories need h5py")
    out = tmp_path / "a.h5"
    squeeze = ["md", *start, "--ensemble", "npt", "--temperature", 200, "--temperature-end", 300,
               "--pressure", 0, "--pressure-end", 2, "--barostat", "full", "--barostat-time", 100,
               "--restart-interval", 20, "--out", out]  # fmt: skip
    found = document(*squeeze)
    assert found["completed"] and found["barostat"] == "full" and found["mean_volume_A3"] > 100
    frames = read_trajectory(out)
    assert len(frames) == found["frames"] == 7 and "pressure_GPa" in frames[0].info
    before = out.read_bytes()
    assert document(*squeeze, "--resume")["frames"] == 7 and out.read_bytes() == before
    text = complaint(*squeeze[:-1], tmp_path / "b.h5", "--resume")
    assert "there is no restart, so no run to resume; leave --resume out" in text
    assert "mean P:" in run(*squeeze, "--resume").stdout


@pytest.mark.parametrize("thermostat", ["langevin", "bussi", "nose-hoover"])
def test_thermostats(start, thermostat, tmp_path, document):
    out = tmp_path / "a.traj"
    found = document("md", *start, "--temperature", 300, "--thermostat", thermostat, "--out", out)
    assert found["thermostat"] == thermostat and len(read_trajectory(out)) == 7
    assert (found["conserved_drift_meV_per_atom_per_ps"] is None) == (thermostat == "langevin")


def test_a_long_time_step_is_warned_of(start, tmp_path, run):
    result = run("md", *start, "--temperature", 30, "--timestep", 9, "--out", tmp_path / "a.xyz")
    assert "mlpot: warning: a time step of 9 fs is long" in result.stderr
    assert "note: " in result.stdout and "fs or less" in result.stdout


def test_mistakes(start, tmp_path, complaint):
    base = ["md", *start, "--out", tmp_path / "a.xyz"]
    assert "ensemble npt needs a pressure (GPa)" in complaint(*base, "--ensemble", "npt", "--temperature", 9)
    hot = [*base, "--temperature", 300]
    assert "pressure goes with npt" in complaint(*hot, "--pressure", 1)
    assert "friction goes with the thermostat langevin" in complaint(
        *hot, "--thermostat", "bussi", "--friction", 5
    )
    assert "the cell is 5.4" in complaint(*hot, "--min-width", 12).replace("5.39", "5.4").replace(
        "5.45", "5.4"
    )
    assert "name it a.xyz" in complaint("md", *start, "--temperature", 300, "--out", tmp_path / "a.dcd")
    assert "restart interval is 0" in complaint(*hot, "--restart-interval", 0)
    assert not list(tmp_path.iterdir())


def test_stability_with_crash_tests(start, work, si, tmp_path, document, run):
    arguments = ["stability", si, "--structure", work / "si.xyz", "--temperatures", 300, "--seeds", 1]
    found = document(*arguments, "--time", 0.02, "--crash", "--out", tmp_path / "s")
    assert [test["name"] for test in found["crash"]] == ["compress", "heat"]
    assert all(len(test["runs"]) == 1 for test in found["crash"])
    assert (tmp_path / "s" / "crash.json").exists()
    assert "survive 300 to 3000 K" in run(*arguments, "--time", 0.02, "--crash").stdout
