"""Indexed files: what is written is read again, exactly, piece by piece; what is damaged is named."""

from __future__ import annotations

import builtins
import pickle
from dataclasses import replace

import numpy as np
import pytest

import mlpot.data.store as store
from mlpot.data.files import (
    count_labels,
    iterate_frames,
    read_frames,
    read_provenance,
    write_frames,
)
from mlpot.data.frame import LabelKeys
from mlpot.data.section import DataSection, count_atoms, known_symbols, load_sections
from mlpot.data.store import StoredFrames, tabulate, write_store
from mlpot.errors import DataError

ALL = LabelKeys()


@pytest.fixture(scope="module")
def mixed(si_frames, ge_frames):
    """Return frames of two elements, some without a label, with info of several kinds."""
    frames = [replace(frame, info=dict(frame.info)) for frame in [*si_frames[:8], *ge_frames[:5]]]
    frames[0].info.update(tensor=np.arange(6.0).reshape(2, 3), note="Å", nested={"a": [1, None, True]})
    frames[2] = replace(frames[2], energy=None)
    frames[4] = replace(frames[4], forces=None)
    return [replace(frame, stress=None) if index % 3 else frame for index, frame in enumerate(frames)]


@pytest.fixture(scope="module")
def path(mixed, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "mixed.lmdb"
    write_store(path, iter(mixed), {"by": "test"})
    return path


def allow(**names):
    return LabelKeys(missing="allow", **names)


def test_frames_come_back_exactly(mixed, path):
    stored = StoredFrames(path, allow())
    assert len(stored) == len(mixed)
    assert [frame.content_hash for frame in stored] == [frame.content_hash for frame in mixed]
    assert stored[3].source == f"{path}#3"
    assert stored[0].info | {"tensor": None} == mixed[0].info | {"tensor": None}
    assert np.array_equal(stored[0].info["tensor"], mixed[0].info["tensor"])
    assert stored[-1].content_hash == mixed[-1].content_hash
    with pytest.raises(IndexError):
        stored[len(mixed)]
    assert list(path.parent.iterdir()) == [path]  # no lock file, no fragment


def test_index_is_what_a_pass_over_the_frames_tells(mixed, path, monkeypatch):
    stored = StoredFrames(path, allow())
    expected = tabulate(mixed)
    for name in ("elements", "composition", "energies", "force_squares", "labelled", "hashes"):
        np.testing.assert_array_equal(getattr(stored.table, name), getattr(expected, name))
    monkeypatch.setattr(StoredFrames, "fetch", lambda *_: pytest.fail("a frame was read"))
    assert count_labels(stored) == count_labels(mixed)
    assert known_symbols(stored) == {"Si", "Ge"}
    assert count_atoms(stored) == sum(map(len, mixed))
    silicon = stored.select(range(8))
    assert known_symbols(silicon) == {"Si"}
    assert silicon.table.counts([32, 14]).tolist() == [[0, 8]] * 8
    squares = sum((frame.forces**2).sum() for frame in mixed[:8] if frame.forces is not None)
    assert silicon.table.total_force_squares([32, 14]) == pytest.approx([0.0, squares])


def test_many_blocks(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_TRANSACTION", 2)
    monkeypatch.setattr(store, "_BLOCK", 4)
    for count in (3, 4, 8, 13):
        told = write_store(tmp_path / "x.lmdb", iter(mixed[:count]))
        stored = StoredFrames(tmp_path / "x.lmdb", allow())
        assert told["frames"] == len(stored) == count
        assert [frame.content_hash for frame in stored] == [frame.content_hash for frame in mixed[:count]]
        np.testing.assert_array_equal(stored.table.hashes, tabulate(mixed[:count]).hashes)
        np.testing.assert_array_equal(stored.table.composition.sum(1), [len(f) for f in mixed[:count]])


def test_parts_and_their_identity(mixed, path):
    stored = StoredFrames(path, allow())
    part = stored[2:10:3]
    assert [frame.source for frame in part] == [f"{path}#{i}" for i in (2, 5, 8)]
    assert part.select([2, 0])[0].source == f"{path}#8"
    assert part.sources == [f"{path}#{i}" for i in (2, 5, 8)]
    assert stored.sources == [f"{path}#:"]
    others = [stored, part, part.select([2, 1, 0]), StoredFrames(path, allow(stress=None))]
    assert len({frames.identity for frames in others}) == len(others)
    assert pickle.loads(pickle.dumps(part))[0].content_hash == mixed[2].content_hash  # a worker gets it so


def test_labels_that_are_not_asked_for(mixed, path):
    bare = StoredFrames(path, allow(energy=None, stress=None))
    assert all(frame.energy is None and frame.stress is None for frame in bare)
    assert count_labels(bare) == {"energy": 0, "forces": 12, "stress": 0}
    assert np.isnan(bare.table.energies).all()
    assert not StoredFrames(path).table.force_squares.any()


def test_gaps_are_errors_unless_allowed(path, si_frames, tmp_path):
    with pytest.raises(DataError, match=r"mixed\.lmdb: no energy label in 1 of 13 frames; keep the gaps"):
        StoredFrames(path, ALL)
    assert len(StoredFrames(path)) == 13
    write_frames(tmp_path / "x.lmdb", si_frames[:3], LabelKeys(stress=None))
    assert count_labels(StoredFrames(tmp_path / "x.lmdb", ALL)) == {"energy": 3, "forces": 3, "stress": 0}


def test_readers_and_writers_of_frames_know_the_format(mixed, path, tmp_path):
    assert [f.source for f in read_frames(path, allow(), "::5")] == [f"{path}#{i}" for i in (0, 5, 10)]
    assert read_provenance(path) == {"by": "test"}
    with pytest.raises(DataError, match="no frames to write"):
        write_store(tmp_path / "none.lmdb", [])
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError, match="its info cannot be written"):
        write_store(tmp_path / "x.lmdb", [replace(mixed[0], info={"a": object()})])


def test_what_is_no_such_file_is_said(path, tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        StoredFrames(tmp_path / "none.lmdb")
    damaged = tmp_path / "damaged.lmdb"
    damaged.write_bytes(b"x" * 100_000)
    with pytest.raises(DataError, match=r"damaged\.lmdb: not a file of frames that `mlpot convert` wrote"):
        StoredFrames(damaged)
    cut = tmp_path / "cut.lmdb"
    for size in (5000, 8192, 16384, path.stat().st_size - 1):
        cut.write_bytes(path.read_bytes()[:size])
        with pytest.raises(DataError, match=rf"cut\.lmdb: the file breaks off: {size} of"):
            StoredFrames(cut)


def test_missing_package_is_said(path, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **named):
        if name == "lmdb":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        DataError, match=r"need the package lmdb; install it with: pip install 'mlpot\[stream\]'"
    ):
        StoredFrames(path)


class TestIterating:
    def test_xyz_is_read_as_at_once(self, si_frames, tmp_path):
        write_frames(tmp_path / "x.xyz", si_frames[:5])
        ours, theirs = iterate_frames(tmp_path / "x.xyz"), read_frames(tmp_path / "x.xyz")
        for one, other in zip(ours, theirs, strict=True):
            assert (one.content_hash, one.source, one.info) == (other.content_hash, other.source, other.info)

    def test_frames_before_a_mistake_are_read(self, si_frames, tmp_path):
        path = tmp_path / "x.xyz"
        write_frames(path, si_frames[:3])
        path.write_text(path.read_text() + "7\nbroken\n")
        stream = iterate_frames(path)
        assert [next(stream).source for _ in range(3)] == [f"{path}#{i}" for i in range(3)]
        with pytest.raises(DataError, match=r"x\.xyz#3: the file breaks off in this frame"):
            next(stream)

    @pytest.mark.parametrize(
        ("name", "gone", "message"),
        [
            ("energy", [1], r"#1: no energy label named 'REF_energy' \(the first one without\)"),
            ("stress", [2], r"#2: no stress label named 'REF_stress'"),
            ("stress", [0], r"#1: has a stress label, which the first frame of the file has not"),
        ],
    )
    def test_gaps(self, si_frames, tmp_path, name, gone, message):
        frames = list(si_frames[:4])
        for index in gone:
            frames[index] = replace(frames[index], **{name: None})
        write_frames(tmp_path / "x.xyz", frames)
        with pytest.raises(DataError, match=message):
            list(iterate_frames(tmp_path / "x.xyz"))
        assert len(list(iterate_frames(tmp_path / "x.xyz", allow()))) == 4

    def test_stress_may_be_absent_from_all(self, si_frames, tmp_path):
        write_frames(tmp_path / "x.xyz", [replace(frame, stress=None) for frame in si_frames[:3]])
        assert len(list(iterate_frames(tmp_path / "x.xyz"))) == 3


class TestSection:
    @pytest.fixture
    def files(self, si_frames, tmp_path):
        write_frames(tmp_path / "all.xyz", si_frames)
        frames = read_frames(tmp_path / "all.xyz")  # rounded as in the file
        write_frames(tmp_path / "train.lmdb", frames[:20])
        write_frames(tmp_path / "validation.lmdb", frames[20:])
        write_frames(tmp_path / "both.xyz", frames[18:])
        return tmp_path

    def test_nothing_is_loaded(self, files):
        section = DataSection(train=f"{files}/train.lmdb", validation=f"{files}/validation.lmdb")
        sets = load_sections([section])
        assert isinstance(sets.train, StoredFrames)
        assert sets.symbols == ["Si"]
        assert sets.counts()["train"] == {
            "frames": 20, "atoms": 160, "labels": {"energy": 20, "forces": 20, "stress": 20}
        }  # fmt: skip
        assert sets.membership()["train"] == [f"{files}/train.lmdb#:"]
        assert sets.files[f"{files}/train.lmdb"] == sets.train.digest

    def test_drawing(self, files):
        drawn = [
            DataSection(train=f"{files}/train.lmdb", validation=None, frames=n, seed=1).load().train.sources
            for n in (5, 8)
        ]
        assert len(set(drawn[1])) == 8
        assert drawn[1][:5] == drawn[0]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({}, r"streamed frames are not divided.*give a file.*`validation: FILE`"),
            ({"validation": None, "stratify": ["group"]}, "streamed frames are drawn without `stratify`"),
            ({"validation": None, "frames": 21}, "cannot draw 21 frames from 20"),
            ({"validation": "both.xyz"}, r"both\.xyz#0: this validation frame is also trained on .*lmdb#18"),
        ],
    )
    def test_what_streaming_cannot_do(self, files, changes, message, monkeypatch):
        monkeypatch.chdir(files)
        with pytest.raises(DataError, match=message):
            DataSection(train="train.lmdb", **changes).load()

    def test_one_file_alone(self, files):
        train, other = f"{files}/train.lmdb", f"{files}/both.xyz"
        with pytest.raises(DataError, match=r"join the files: mlpot convert .*train\.lmdb .*both\.xyz"):
            DataSection(train=[train, other], validation=None).load()
        sections = [DataSection(train=path, validation=None) for path in (train, other)]
        with pytest.raises(DataError, match="streamed frames come in one section alone"):
            load_sections(sections)
