"""Dividing frames as a recipe says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from mlpot.data.files import write_frames
from mlpot.data.frame import Frame, LabelKeys
from mlpot.data.section import DataSection, DataSections, load_sections
from mlpot.errors import DataError, RecipeError
from mlpot.recipe import Recipe, parse_recipe


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


class Several(Recipe):
    data: DataSections


def test_sections_are_read_and_divided_each_in_its_way(file, tmp_path):
    other = str(tmp_path / "other.xyz")
    write_frames(other, frames(20, seed=1), LabelKeys(energy="dft_energy"))
    first = {"train": file, "validation": {"fraction": 0.25, "keys": ["block"]}}
    second = {"train": other, "frames": 5, "labels": {"energy": "dft_energy", "forces": None}}
    recipe = parse_recipe(Several, {"data": [first, second]}, "x")
    sets = load_sections(recipe.data)
    alone = DataSection.model_validate(first).load(), DataSection.model_validate(second).load()
    sources = [[frame.source for frame in side] for side in (sets.train, sets.validation)]
    assert sources[0] == [frame.source for part in alone for frame in part.train]
    assert sources[1] == [frame.source for part in alone for frame in part.validation]
    assert sets.counts()["train"]["labels"] == {"energy": 33, "forces": 28, "stress": 0}
    assert set(sets.files) == {file, other}
    assert sets.notes == [f"{other}: 5 of 18 training frames drawn with seed 0."]


def test_one_section_needs_no_list_and_is_written_without_one(file):
    recipe = parse_recipe(Several, {"data": {"train": file}}, "x")
    assert recipe.model_dump(mode="json")["data"]["train"] == [file]
    assert Several.model_validate(recipe.model_dump(mode="json")) == recipe
    both = parse_recipe(Several, {"data": [{"train": file}, {"train": file}]}, "x")
    assert Several.model_validate(both.model_dump(mode="json")) == both


def test_a_frame_that_another_section_holds_out_is_refused(file):
    recipe = parse_recipe(Several, {"data": [{"train": file}, {"train": file, "validation": None}]}, "x")
    with pytest.raises(DataError, match="this validation frame is also trained on"):
        load_sections(recipe.data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"trian": "a"}, "x: data: unknown key 'trian'; did you mean 'train'"),
        ([{"train": "a"}, {"train": "b", "frames": 0}], r"x: data\.1\.frames: "),
        ([], "x: data: "),
        ("si.xyz", "x: data: .*dictionary"),
    ],
)
def test_mistakes_in_sections_are_placed(data, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(Several, {"data": data}, "x")
