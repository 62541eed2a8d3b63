"""Dividing frames as a recipe says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from mlpot.data.files import write_frames
from mlpot.data.frame import Frame
from mlpot.data.section import DataSection
from mlpot.errors import DataError, RecipeError
from mlpot.recipe import parse_recipe


def frames(count: int, seed: int = 0) -> list[Frame]:
    rng = np.random.default_rng(seed)
    return [
        Frame(
            numbers=np.array([14, 14]),
            positions=rng.uniform(0.0, 4.0, (2, 3)),
            cell=np.eye(3) * 6.0,
            pbc=np.ones(3, dtype=bool),
            energy=-1.0 * i,
            forces=rng.normal(size=(2, 3)),
            stress=None,
            info={"block": i // 4, "phase": "solid" if i % 2 else "liquid"},
        )
        for i in range(count)
    ]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "all.xyz"
    write_frames(path, frames(40))
    return str(path)


def section(**keys) -> DataSection:
    return parse_recipe(DataSection, keys, "test")


def test_a_tenth_is_held_out_by_default(file):
    sets = section(train=file).load()
    assert (len(sets.train), len(sets.validation)) == (36, 4)
    assert sets.files == {file: hashlib.sha256(Path(file).read_bytes()).hexdigest()}
    assert sets.symbols == ["Si"]
    counts = sets.counts()
    assert counts["train"] == {
        "frames": 36,
        "atoms": 72,
        "labels": {"energy": 36, "forces": 36, "stress": 0},
    }
    membership = sets.membership()
    assert sorted(membership["train"] + membership["validation"]) == sorted(f"{file}#{i}" for i in range(40))


def test_groups_stay_whole(file):
    sets = section(train=file, validation={"fraction": 0.2, "keys": ["block"]}).load()
    train, held = ({frame.info["block"] for frame in side} for side in (sets.train, sets.validation))
    assert len(held) == 2 and not train & held


def test_the_hold_out_does_not_depend_on_what_is_drawn(file):
    sources = []
    for n, seed in ((6, 0), (20, 0), (6, 1)):
        sets = section(train=file, frames=n, seed=seed, stratify=["phase"]).load()
        assert len(sets.train) == n
        assert abs(sum(frame.info["phase"] == "solid" for frame in sets.train) - n / 2) <= 1
        assert not {f.source for f in sets.train} & {f.source for f in sets.validation}
        sources.append(([f.source for f in sets.train], [f.source for f in sets.validation]))
    assert sources[0][1] == sources[1][1] == sources[2][1]
    assert set(sources[0][0]) < set(sources[1][0]) and sources[0][0] != sources[2][0]


def test_validation_from_a_file_of_its_own(file, tmp_path):
    write_frames(tmp_path / "held.xyz", frames(3, seed=9))
    sets = section(train=[file], validation=str(tmp_path / "held.xyz")).load()
    assert (len(sets.train), len(sets.validation), len(sets.files)) == (40, 3, 2)


def test_training_on_validation_frames_is_refused(file, tmp_path):
    write_frames(tmp_path / "held.xyz", [*frames(1, seed=9), frames(40)[7]])
    with pytest.raises(
        DataError, match=r"held.xyz#1: this validation frame is also trained on \(.*all.xyz#7\)"
    ):
        section(train=file, validation=str(tmp_path / "held.xyz")).load()


def test_no_validation_is_said(file, tmp_path):
    sets = section(train=file, validation=None).load()
    assert not sets.validation and "as asked" in sets.notes[0]
    write_frames(tmp_path / "few.xyz", frames(4))
    sets = section(train=str(tmp_path / "few.xyz")).load()
    assert len(sets.train) == 4 and "4 frames are too few" in sets.notes[0]


def test_mistakes(file):
    with pytest.raises(DataError, match="cannot draw 37 frames from 36"):
        section(train=file, frames=37).load()
    with pytest.raises(DataError, match="no such file"):
        section(train="nowhere.xyz").load()
    with pytest.raises(RecipeError, match="unknown key 'label'; did you mean 'labels'"):
        section(train=file, label={})
    with pytest.raises(ValidationError, match="at least 1 item"):
        DataSection(train=[])
