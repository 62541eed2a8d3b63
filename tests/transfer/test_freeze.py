"""Frozen weights: named, kept, reported."""

from __future__ import annotations

import pytest
import torch

from mlpot.errors import RecipeError
from mlpot.training.fit import fit
from mlpot.training.settings import FitSettings
from mlpot.transfer.donor import donate
from mlpot.transfer.freeze import freeze


def test_frozen_weights_stay_and_the_others_move(make_donor, ge_frames, tmp_path):
    model, report = donate(make_donor(dtype=torch.float32), ["Ge"])
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    frozen = freeze(model, ["network.layers.0.*"], report)
    assert frozen and all(name.startswith("network.layers.0.") for name in frozen)
    fit(model, ge_frames[:4], [], FitSettings(epochs=2, batch_size=2, rate=1e-3, matrix_rate=1e-3), tmp_path)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name in frozen), name
    assert {name for name, record in report.records.items() if record.action == "frozen"} == set(frozen)
    assert report.records["network.layers.0.species_radial"].detail == "donated"


def test_patterns_that_freeze_nothing_or_everything(make_donor):
    model, _ = donate(make_donor(), ["Ge"])
    with pytest.raises(RecipeError, match=r"'layers\.\*' matches no weight; there are network\.layers\.0"):
        freeze(model, ["layers.*"])
    with pytest.raises(RecipeError, match="match every weight, so nothing is left to train"):
        freeze(model, ["network.layers.0.*", "network.layers.1.*"])
