"""Carrying: donated, scaled, shifted, and all of it said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mlpot.errors import DataError, ElementError
from mlpot.training.errors import errors_by_group
from mlpot.training.fit import fit
from mlpot.training.initialise import new_potential
from mlpot.training.scales import Scales
from mlpot.training.settings import FitSettings
from mlpot.transfer.carry import carry, shift_offsets


@pytest.fixture(scope="module")
def silicon_model(si_frames, tiny, tmp_path_factory):
    """A potential that knows a little about silicon."""
    potential = new_potential(si_frames[:16], ["Si"], tiny)
    settings = FitSettings(epochs=10, batch_size=2, average=0.9)
    fit(potential, si_frames[:16], si_frames[16:20], settings, tmp_path_factory.mktemp("donor"))
    potential.provenance = {"kind": "train", "recipe": "mine"}
    return potential


@pytest.fixture(scope="module")
def carried(silicon_model, ge_frames):
    return carry(silicon_model, ["Ge"], ge_frames[:4])


def residuals(model, frames):
    return np.array(
        [(f.energy - p.energy) / len(f) for f, p in zip(frames, model.predict(frames), strict=True)]
    )


def test_offsets_leave_no_mean_error(carried, ge_frames):
    left = residuals(carried.model, ge_frames[:4])
    assert left.mean() == pytest.approx(0.0, abs=1e-6)
    assert carried.offset_residual == pytest.approx(np.sqrt((left**2).mean()), rel=1e-4)


def test_two_scalars_improve_the_forces_of_other_frames(silicon_model, carried, ge_frames):
    as_it_is = carry(silicon_model, ["Ge"], ge_frames[:4], scales=Scales(1.0, 1.0, "none"))
    plain, reduced = (errors_by_group(c.model, ge_frames[4:])["all"].forces_rmse for c in (as_it_is, carried))
    assert reduced < 0.9 * plain
    assert 0.9 < carried.scales["Ge"].length < 1.0


def test_report_marks_what_was_re_estimated(carried):
    actions = {name: record.action for name, record in carried.report.records.items()}
    estimated = {name for name, action in actions.items() if action == "re-estimated"}
    assert estimated == {"offsets", "length_scales", "energy_scales"}
    assert "meV/atom left" in carried.report.records["offsets"].detail
    assert f"{carried.scales['Ge'].length:.4f}" in carried.report.records["length_scales"].detail
    assert "forces and stresses of 4 frames" in carried.report.records["energy_scales"].detail
    assert carried.report.notes == []


def test_scales_of_one_are_not_called_an_estimate(silicon_model, ge_frames):
    result = carry(silicon_model, ["Ge"], ge_frames[:2], scales=Scales(1.0, 1.0, "none"))
    assert result.report.records["length_scales"].action == "donated"
    assert result.report.records["offsets"].action == "re-estimated"


def test_provenance_keeps_the_parent(carried):
    assert carried.model.provenance["parent"] == {
        "elements": ["Si"],
        "provenance": {"kind": "train", "recipe": "mine"},
    }
    assert carried.model.provenance["transfer"]["donors"] == {"Ge": "Si"}
    assert (
        carried.model.provenance["transfer"]["element_scales"]["Ge"]["length"] == carried.scales["Ge"].length
    )


def test_donor_is_not_changed(silicon_model, ge_frames):
    before = {name: tensor.clone() for name, tensor in silicon_model.state_dict().items()}
    provenance = dict(silicon_model.provenance)
    result = carry(silicon_model, ["Ge"], ge_frames[:2])
    with torch.no_grad():
        for parameter in result.model.parameters():
            parameter.add_(1.0)
    after = silicon_model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert (silicon_model.symbols, silicon_model.provenance) == (("Si",), provenance)


def test_without_energies_the_offsets_stay_and_it_is_said(silicon_model, ge_frames):
    blind = [replace(frame, energy=None) for frame in ge_frames[:2]]
    for frames, scales in ((blind, None), ([], Scales(0.96, 0.83, "tables"))):
        result = carry(silicon_model, ["Ge"], frames, scales=scales)
        assert result.offset_residual is None
        assert torch.equal(result.model.offsets, silicon_model.offsets)
        assert result.report.records["offsets"].action == "donated"
        assert any("offsets are the donor's" in note for note in result.report.notes)


def test_given_scales_are_used_as_they_are(silicon_model, ge_frames):
    given = Scales(0.96, 0.83, "tables")
    result = carry(silicon_model, ["Ge"], ge_frames[:2], scales=given)
    assert result.scales == {"Ge": given}
    assert result.model.length_scales.item() == pytest.approx(0.96)
    assert result.model.energy_scales.item() == pytest.approx(0.83)


def test_alloy_gets_an_offset_for_each_element(make_donor, si_frames, ge_frames):
    frames = [*si_frames[:2], *ge_frames[:2]]
    model = carry(make_donor(), ["Si", "Ge"], frames, scales=Scales(1.0, 1.0, "none")).model
    for half in (frames[:2], frames[2:]):
        assert residuals(model, half).mean() == pytest.approx(0.0, abs=1e-9)
    again = model.offsets.clone()
    shift_offsets(model, frames)
    torch.testing.assert_close(model.offsets, again, rtol=0, atol=1e-9)


def test_element_of_the_frames_must_be_a_target(silicon_model, si_frames, ge_frames):
    with pytest.raises(DataError, match=r"frames contain Si, which is not among the targets \['Ge'\]"):
        carry(silicon_model, ["Ge"], [ge_frames[0], si_frames[0]])


def test_neither_frames_nor_scales(silicon_model):
    with pytest.raises(
        DataError, match="no frames and no scales: give labelled frames, or lattice constants"
    ):
        carry(silicon_model, ["Ge"])


def test_target_without_an_energy_needs_one(make_donor, ge_frames):
    with pytest.raises(DataError, match="no frame with an energy contains Si"):
        carry(make_donor(), ["Ge", "Si"], ge_frames[:2], scales=Scales(1.0, 1.0, "none"))


def test_unknown_target(silicon_model, ge_frames):
    with pytest.raises(ElementError, match="'Gg' is no chemical element"):
        carry(silicon_model, ["Gg"], ge_frames[:2])


def test_each_target_has_scales_of_its_own_relative_to_its_donor(make_donor, si_frames, ge_frames):
    donor = make_donor(("Si", "C"))
    donor.length_scales[:] = torch.tensor([1.0, 1.1])
    given = {"Ge": Scales(0.9, 0.8, "given"), "Si": Scales(1.0, 1.0, "given")}
    model = carry(donor, ["Si", "Ge"], donors={"Ge": "C"}, scales=given).model
    assert model.length_scales.tolist() == pytest.approx([1.0, 0.99])
    assert model.energy_scales.tolist() == pytest.approx([1.0, 0.8])
