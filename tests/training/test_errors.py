"""Errors in the units people quote, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units

from mlpot.data.frame import Frame
from mlpot.errors import DataError
from mlpot.model.base import Prediction
from mlpot.training.errors import check_keys, errors_by_group, group_frames, summarise
from mlpot.training.initialise import new_potential


def frame(n, energy, forces, stress, **info):
    return Frame(
        np.full(n, 14),
        np.arange(3.0 * n).reshape(n, 3),
        10.0 * np.eye(3),
        np.ones(3, dtype=bool),
        energy,
        None if forces is None else np.full((n, 3), forces),
        None if stress is None else stress * np.eye(3),
        info,
    )


def prediction(n, energy, forces, stress):
    return Prediction(energy, np.zeros(n), np.full((n, 3), forces), stress * np.eye(3))


def test_units_and_weights_by_hand():
    frames = [frame(2, -10.0, 0.0, 0.0), frame(4, -20.0, 0.0, 0.0)]
    predictions = [prediction(2, -9.99, 0.1, units.GPa), prediction(4, -20.04, -0.3, 0.0)]
    summary = summarise(frames, predictions)
    assert (summary.frames, summary.atoms) == (2, 6)
    # 10 meV on two atoms, -40 meV on four: 5 and -10 meV/atom, every frame counts once.
    assert summary.energy_mae == pytest.approx(7.5)
    assert summary.energy_rmse == pytest.approx(np.sqrt((25 + 100) / 2))
    # 6 components of 100 meV/Å and 12 of -300 meV/Å, every component counts once.
    assert summary.forces_mae == pytest.approx((6 * 100 + 12 * 300) / 18)
    assert summary.forces_rmse == pytest.approx(np.sqrt((6 * 100**2 + 12 * 300**2) / 18))
    # 3 of 18 components are off by 1 GPa.
    assert summary.stress_mae == pytest.approx(3 / 18)
    assert summary.stress_rmse == pytest.approx(np.sqrt(3 / 18))


def test_missing_labels_are_left_out_and_said():
    frames = [frame(2, None, 0.0, None), frame(2, -10.0, None, None)]
    predictions = [prediction(2, 77.0, 0.2, 5.0), prediction(2, -9.8, 99.0, 5.0)]
    summary = summarise(frames, predictions)
    assert summary.energy_mae == pytest.approx(100.0)
    assert summary.forces_mae == pytest.approx(200.0)
    assert summary.stress_mae is None
    assert summary.asdict()["stress_rmse"] is None


def test_every_frame_needs_its_prediction():
    with pytest.raises(ValueError, match="shorter"):
        summarise([frame(2, 0.0, 0.0, 0.0)], [])


def test_groups_are_judged_apart(si_frames, tiny):
    frames = [*si_frames[:4], frame(1, 0.0, 0.0, 0.0)]
    potential = new_potential(si_frames[:4], ["Si"], tiny)
    calls = []
    errors = errors_by_group(potential, frames, "group", lambda done, total: calls.append((done, total)))
    assert list(errors) == ["all", "calm", "shaken", "(none)"]
    assert [errors[name].frames for name in errors] == [5, 2, 2, 1]
    assert calls == [(i, 5) for i in range(1, 6)]
    alone = [frames[0], frames[2]]
    assert errors["calm"] == summarise(alone, potential.predict(alone))
    assert list(errors_by_group(potential, frames)) == ["all"]


def test_elements_are_told_apart_and_groups_within_them(si_frames, ge_frames):
    frames = [ge_frames[0], si_frames[1], si_frames[2], ge_frames[3]]
    groups = group_frames(frames, "group")
    assert groups == {
        "all": [0, 1, 2, 3],
        "Ge": [0, 3],
        "Ge: calm": [0],
        "Ge: shaken": [3],
        "Si": [1, 2],
        "Si: shaken": [1],
        "Si: calm": [2],
    }
    assert group_frames(frames) == {"all": [0, 1, 2, 3], "Ge": [0, 3], "Si": [1, 2]}


def test_groups_by_several_keys_and_one_that_is_called_all():
    frames = [frame(1, 0.0, 0.0, 0.0, group="all", state=s) for s in ("solid", "liquid")]
    assert group_frames(frames, ["group", "state"]) == {
        "all": [0, 1],
        "all, solid": [0],
        "all, liquid": [1],
    }
    assert group_frames(frames, ["group"]) == {"all": [0, 1], "Si: all": [0, 1]}


def test_key_that_no_frame_has():
    frames = [frame(1, 0.0, 0.0, 0.0, group="a", state="solid")]
    check_keys(frames, ["group"], "here")
    with pytest.raises(DataError, match="here: no frame has the info key 'phase'; there are: group, state"):
        check_keys(frames, ["group", "phase"], "here")
