"""Trajectories read back: all formats alike, and none that is cut off."""

from __future__ import annotations

import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from spring_network import SpringNetwork, face_centred

from mlpot.conventions import GPA
from mlpot.errors import DataError, RecipeError
from mlpot.simulation.ensembles import Ensemble
from mlpot.simulation.run import run_md
from mlpot.simulation.trajectory import read_trajectory

h5py = pytest.importorskip("h5py", reason="HDF5 trajectories need h5py")
SUFFIXES = ("xyz", "traj", "h5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The same run of 30 steps in three formats, eleven frames each."""
    folder = tmp_path_factory.mktemp("trajectories")
    ensemble = Ensemble("npt", temperature=400.0, pressure=1.0, barostat="full")
    for suffix in SUFFIXES:
        atoms = face_centred()
        run_md(SpringNetwork(atoms), atoms, folder / f"run.{suffix}", ensemble, 0.03, interval=3)
    return folder


def test_all_formats_hold_the_same(folder: Path) -> None:
    runs = [read_trajectory(folder / f"run.{suffix}") for suffix in SUFFIXES]
    assert [len(run) for run in runs] == [11, 11, 11]
    for frames in zip(*runs, strict=True):
        for other in frames[:2]:
            for name in ("positions", "numbers"):
                np.testing.assert_allclose(getattr(other, name), getattr(frames[2], name), atol=1e-8)
            np.testing.assert_allclose(other.cell, frames[2].cell, atol=1e-8)
            np.testing.assert_allclose(other.get_momenta(), frames[2].get_momenta(), atol=1e-8)
            np.testing.assert_allclose(other.get_forces(), frames[2].get_forces(), atol=1e-8)
            np.testing.assert_allclose(other.get_stress(), frames[2].get_stress(), atol=1e-8)
            assert other.get_potential_energy() == pytest.approx(frames[2].get_potential_energy())
            assert other.info.keys() == frames[2].info.keys()
            assert other.info["step"] == frames[2].info["step"]
            for key in ("time_ps", "temperature_K", "pressure_GPa"):
                assert other.info[key] == pytest.approx(frames[2].info[key])
    last = runs[1][-1]
    assert last.info["time_ps"] == pytest.approx(0.03) and last.pbc.all()
    fresh = last.copy()
    fresh.calc = SpringNetwork(face_centred())
    np.testing.assert_allclose(fresh.get_forces(), last.get_forces(), atol=1e-10)
    pressure = -fresh.get_stress(include_ideal_gas=True)[:3].mean() / GPA
    assert last.info["pressure_GPa"] == pytest.approx(pressure)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_some_frames(folder: Path, suffix: str) -> None:
    frames = read_trajectory(folder / f"run.{suffix}", 2, 9, 3)
    assert [int(frame.info["step"]) for frame in frames] == [6, 15, 24]


def test_hdf5_is_h5md(folder: Path) -> None:
    with h5py.File(folder / "run.h5") as file:
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        atoms = file["particles/atoms"]
        assert atoms["position/value"].shape == (11, 8, 3)
        assert atoms["position/value"].attrs["unit"] == "Angstrom"
        assert atoms["box/edges/value"].shape == (11, 3, 3)
        assert list(atoms["box"].attrs["boundary"]) == ["periodic"] * 3
        assert atoms["force/step"][()].tolist() == list(range(0, 31, 3))
        np.testing.assert_allclose(file["observables/temperature/time"], atoms["position/time"])
        # Å/ps: from one frame to the next, 3 fs apart, the mean velocity is about that of both.
        moved = np.diff(atoms["position/value"][:2], axis=0)[0] / 0.003
        mean = atoms["velocity/value"][:2].mean(0)
        assert np.abs(moved - mean).max() < 0.05 * np.abs(mean).max()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_truncated_file_is_refused(folder: Path, suffix: str, tmp_path: Path) -> None:
    data = (folder / f"run.{suffix}").read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(data[: len(data) - 500])
    with pytest.raises(DataError, match=r"frame \d+ \(counted from 0\) is cut off or damaged") as caught:
        read_trajectory(cut)
    text = str(caught.value)
    assert "with --resume: it cuts the file back" in text and "copy it again" in text
    if suffix == "h5":
        return
    assert "frame 10 (counted" in text and "The 10 frames before it are whole" in text
    assert len(read_trajectory(cut, stop=10)) == 10


def test_hdf5_tells_the_frame_that_was_lost(folder: Path, tmp_path: Path) -> None:
    data = (folder / "run.h5").read_bytes()
    with h5py.File(folder / "run.h5") as file:
        place = file["observables/pressure/value"].id.get_offset()
    cut = tmp_path / "cut.h5"
    cut.write_bytes(data[: place + 4 * 8 + 3])
    with pytest.raises(DataError, match=r"frame 4 \(counted from 0\) .* of its \d+ bytes"):
        read_trajectory(cut)


def test_cut_within_a_number(folder: Path, tmp_path: Path) -> None:
    """The last line then looks whole but for its end."""
    data = (folder / "run.xyz").read_bytes()
    cut = tmp_path / "cut.xyz"
    cut.write_bytes(data[:-3])
    with pytest.raises(DataError, match=r"frame 10 .* the file ends after 7 of its 8 atoms"):
        read_trajectory(cut)


def test_damage_in_the_middle(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "run.xyz").read_text().splitlines(keepends=True)
    bad = tmp_path / "bad.xyz"
    bad.write_text("".join(lines[:34] + lines[35:]))
    with pytest.raises(DataError, match=r"frame 3 .* damaged"):
        read_trajectory(bad)
    bad.write_text("".join([*lines[:40], "junk\n", *lines[40:]]))
    with pytest.raises(DataError, match=r"frame 4 .* 'junk' stands for its number of atoms"):
        read_trajectory(bad)


def test_files_that_are_no_trajectories(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="no such trajectory"):
        read_trajectory(tmp_path / "none.xyz")
    with pytest.raises(RecipeError, match=r"extended XYZ \(\.xyz\), by ASE \(\.traj\) or as HDF5 \(\.h5\)"):
        read_trajectory(tmp_path / "a.dcd")
    with pytest.raises(RecipeError, match="frames 5:2:1 make no sense"):
        read_trajectory(folder / "run.xyz", 5, 2)
    (tmp_path / "empty.xyz").write_text("\n")
    with pytest.raises(DataError, match="holds no frame"):
        read_trajectory(tmp_path / "empty.xyz")
    for suffix in ("traj", "h5"):
        (tmp_path / f"text.{suffix}").write_text("hello")
        with pytest.raises(DataError, match="frame 0"):
            read_trajectory(tmp_path / f"text.{suffix}")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="not an H5MD trajectory of mlpot"):
        read_trajectory(tmp_path / "other.h5")


def test_any_extended_xyz_is_read(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "other.xyz", [face_centred(), face_centred(3)])
    assert [len(frame) for frame in read_trajectory(tmp_path / "other.xyz")] == [8, 27]


def test_hdf5_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    atoms = face_centred()
    for call in (
        lambda: run_md(SpringNetwork(atoms), atoms, tmp_path / "a.h5", Ensemble("nve"), 0.01),
        lambda: read_trajectory(tmp_path / "a.h5"),
    ):
        with pytest.raises(RecipeError, match=r"need h5py: pip install 'mlpot\[simulation\]'"):
            call()
    assert not (tmp_path / "a.h5").exists()
