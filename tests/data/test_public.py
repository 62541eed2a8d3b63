"""Layouts of published sets become frames."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from published import as_mlearn, mlearn_records

from mlpot.data.download import Checksum
from mlpot.data.fetch import catalogue
from mlpot.data.files import read_frames
from mlpot.data.frame import LabelKeys
from mlpot.data.public import frames_sha256, mlearn_frames, pyxtal_frames, xyz_frames
from mlpot.errors import DataError

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
MLEARN = DATA / "mlearn"
needs_mlearn = pytest.mark.skipif(not MLEARN.is_dir(), reason=f"reference data not found in {MLEARN}")


@needs_mlearn
def test_mlearn_layout_is_that_of_the_reference():
    ours, theirs = mlearn_frames(MLEARN / "Si_test.json", "test"), read_frames(MLEARN / "si_test.xyz")
    assert [frame.info for frame in ours] == [frame.info for frame in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert np.abs(one.positions - other.positions).max() < 1e-8
        assert np.abs(one.forces - other.forces).max() < 1e-8
        assert np.abs(one.stress - other.stress).max() < 1e-8
        assert np.array_equal(one.cell, other.cell) and one.energy == other.energy
    assert frames_sha256(ours) == frames_sha256(theirs)


@needs_mlearn
@pytest.mark.parametrize("name", ["si_train", "si_test", "ge_train"])
def test_catalogue_holds_the_checksums_of_the_reference(name, tmp_path):
    (file,) = [file for file in catalogue()["mlearn"].files if file.name == f"{name}.xyz"]
    frames = read_frames(MLEARN / f"{name}.xyz")
    assert (len(frames), sum(map(len, frames))) == (file.frames, file.atoms)
    assert frames_sha256(frames) == file.frames_sha256
    as_published = [as_mlearn(frame) for frame in frames]
    (tmp_path / "x.json").write_text(json.dumps(as_published))
    again = mlearn_frames(tmp_path / "x.json", file.split)
    assert [frame.info for frame in again] == [frame.info for frame in frames]
    if name == "si_test":
        (source,) = file.sources
        assert Checksum.parse(source.checksum).of(MLEARN / "Si_test.json") == Checksum.parse(source.checksum)
        assert (MLEARN / "Si_test.json").stat().st_size == source.size


@pytest.mark.skipif(not (DATA / "si_pyxtal_pbe.xyz").exists(), reason=f"reference data not found in {DATA}")
def test_pyxtal_layout_is_that_of_the_reference(tmp_path):
    # The end of the published Si6.json.
    record = {
        "formula": "Si3",
        "coords": {"data": [[0.5, 0.5, 0.7577710102176383], [0.5, 0.5, 0.2422289897823617], [0.0, 0.0, 0.0]]},
        "lattice": {
            "data": [
                [2.447158127805488, 0.0, 1e-16],
                [4e-16, 2.447158127805488, 1e-16],
                [0.0, 0.0, 10.4525277512025],
            ]
        },
        "elements": ["Si"] * 3,
        "energy": -14.33483982,
        "force": [[0.0, 0.0, 0.03322282], [-0.0, 0.0, -0.03322282], [0.0, -0.0, 0.0]],
    }
    path = tmp_path / "Si6.json"
    path.write_text(json.dumps([record, record | {"energy": -11.9}]))
    (ours,) = pyxtal_frames([path], below=-4.0)
    reference = read_frames(DATA / "si_pyxtal_pbe.xyz")
    (theirs,) = [frame for frame in reference if frame.energy == record["energy"]]
    assert ours.info == theirs.info and frames_sha256([ours]) == frames_sha256([theirs])
    (file,) = catalogue()["pyxtal-si"].files
    assert (file.frames, file.atoms) == (len(reference), sum(map(len, reference)))
    assert file.frames_sha256 == frames_sha256(reference)


def test_damaged_layouts(tmp_path):
    path = tmp_path / "Si4.json"
    for text, complaint in (
        ('[{"lattice": []}]', "Si4.json#0: not the layout of PyXtal_FF"),
        ("{", "not a JSON file"),
        ("{}", "expected a list"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=complaint):
            pyxtal_frames([path])
    other = mlearn_records(1, "Al")
    path.write_text(json.dumps(other))
    with pytest.raises(DataError, match="energies of Si and Ge only, this frame is of Al"):
        mlearn_frames(path, "train")
    del other[0]["group"]
    path.write_text(json.dumps(other))
    with pytest.raises(DataError, match="has no group and description"):
        mlearn_frames(path, "train")


def test_xyz_in_an_archive(tmp_path):
    atoms = bulk("Si")
    atoms.info["dft_energy"], atoms.arrays["dft_forces"] = -1.5, np.full((2, 3), 0.25)
    ase.io.write(tmp_path / "a.xyz", atoms)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.xyz", "database/a.xyz")
    keys = LabelKeys(energy="dft_energy", forces="dft_forces", stress=None)
    (frame,) = xyz_frames(tmp_path / "a.zip", keys, "database/a.xyz")
    assert frame.energy == -1.5 and (frame.forces == 0.25).all()
    assert frame.source.endswith("a.zip!database/a.xyz#0")
    assert frames_sha256(xyz_frames(tmp_path / "a.xyz", keys)) == frames_sha256([frame])
    with pytest.raises(DataError, match=r"other.xyz cannot be unpacked"):
        xyz_frames(tmp_path / "a.zip", keys, "other.xyz")
