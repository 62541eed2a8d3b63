from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from mlpot.data.files import write_frames
from mlpot.data.frame import Frame
from mlpot.data.section import DataSection
from mlpot.data.zeros import EnergyZero, apply_zeros
from mlpot.errors import DataError, RecipeError
from mlpot.recipe import parse_recipe


def frame(energy: float | None, number: int, symbol: str = "Ge", **info: object) -> Frame:
    atoms = bulk(symbol, "diamond", a=5.66 + 0.01 * number)
    return Frame(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions,
        cell=np.array(atoms.cell.array),
        pbc=np.array([True, True, True]),
        energy=energy,
        forces=np.zeros((2, 3)),
        info=dict(info),
        source=f"memory#{number}",
    )


FRAMES = [frame(-8.0, 0, group="bulk"), frame(-9.0, 1, group="Surface"), frame(-9.5, 2, group="Surface")]


def test_shift_is_per_atom_and_only_where_it_holds() -> None:
    zeros = [EnergyZero(where={"group": "Surface"}, shift={"Ge": 0.25})]
    corrected, notes = apply_zeros(FRAMES, zeros)
    assert [one.energy for one in corrected] == [-8.0, -8.5, -9.0]
    assert corrected[0] is FRAMES[0]
    assert FRAMES[1].energy == -9.0
    assert notes == ["2 frames with group Surface: energies moved by +0.25 eV per Ge."]


def test_unknown_zero_drops_the_energy_and_nothing_else() -> None:
    corrected, notes = apply_zeros(FRAMES, [EnergyZero(where={"group": "Surface"}, shift="unknown")])
    assert [one.energy for one in corrected] == [-8.0, None, None]
    assert corrected[1].forces is not None
    assert notes == ["2 frames with group Surface: energies are not used, their zero is unknown."]


def test_frame_without_energy_stays_without() -> None:
    corrected, _ = apply_zeros(
        [frame(None, 0, group="x")], [EnergyZero(where={"group": "x"}, shift={"Ge": 1.0})]
    )
    assert corrected[0].energy is None


def zero(value: str = "Surface", key: str = "group", shift: object = "unknown") -> dict[str, object]:
    return {"where": {key: value}, "shift": shift}


@pytest.mark.parametrize(
    ("zeros", "message"),
    [
        ([zero("surface")], "no frame has group surface; group has the values Surface, bulk"),
        ([zero("s", key="kind")], "no frame has kind s; no frame has kind"),
        ([zero(shift={"Si": 0.1})], "memory#1: energy_zeros .group Surface. gives no shift for Ge"),
        ([zero(), zero()], "memory#1: two entries of energy_zeros hold"),
    ],
)
def test_mistakes(zeros: list[dict], message: str) -> None:
    with pytest.raises(DataError, match=message):
        apply_zeros(FRAMES, [EnergyZero.model_validate(zero) for zero in zeros])


def test_misspelt_shift_is_refused() -> None:
    with pytest.raises(RecipeError, match="shift"):
        parse_recipe(EnergyZero, {"where": {"group": "Surface"}, "shift": "unkown"}, "recipe.yaml")


def test_section_corrects_both_sides(tmp_path: Path) -> None:
    several = [
        frame(-8.0 - number, number, group="Surface" if number % 2 else "bulk") for number in range(12)
    ]
    write_frames(tmp_path / "a.xyz", several)
    write_frames(tmp_path / "b.xyz", [frame(-7.0, 20, group="Surface")])
    section = {
        "train": str(tmp_path / "a.xyz"),
        "labels": {"stress": None},
        "energy_zeros": [{"where": {"group": "Surface"}, "shift": {"Ge": 0.5}}],
    }
    plain = {key: value for key, value in section.items() if key != "energy_zeros"}
    for validation in ({"fraction": 0.3}, str(tmp_path / "b.xyz")):
        sets = DataSection.model_validate({**section, "validation": validation}).load()
        raw = DataSection.model_validate({**plain, "validation": validation}).load()
        assert sets.membership()["validation"] == raw.membership()["validation"]
        for new, old in zip([*sets.train, *sets.validation], [*raw.train, *raw.validation], strict=True):
            moved = 1.0 if old.info["group"] == "Surface" else 0.0
            assert new.energy == pytest.approx(old.energy + moved)
        assert any("energies moved by +0.5 eV per Ge" in note for note in sets.notes)


def test_streamed_frames_are_refused(tmp_path: Path) -> None:
    section = DataSection.model_validate(
        {
            "train": "x.lmdb",
            "validation": None,
            "energy_zeros": [{"where": {"group": "a"}, "shift": "unknown"}],
        }
    )
    with pytest.raises(DataError, match="energy_zeros are for frames that are loaded"):
        section.load()
