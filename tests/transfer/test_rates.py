"""Rates by layer: what a factor does, and which patterns are refused."""

from __future__ import annotations

import pytest
import torch

from mlpot.errors import RecipeError
from mlpot.recipe import parse_recipe
from mlpot.training.fit import fit
from mlpot.training.optimizer import build_optimizer, rate_factors
from mlpot.training.settings import FitSettings
from mlpot.transfer.donor import donate
from mlpot.transfer.freeze import freeze

LOWER, UPPER = "network.layers.0.*", "network.layers.1.*"


@pytest.fixture
def start(make_donor):
    return lambda: donate(make_donor(dtype=torch.float32), ["Ge"])[0]


def test_groups_have_the_factor_of_their_weights_on_both_rates(start):
    model = start()
    optimizer = build_optimizer(model, 1e-3, 2e-2, {LOWER: 0.25, "*.centre_table": 0.25})
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {}
    for group in optimizer.param_groups:
        assert group["lr"] == (2e-2 if group["matrix"] else 1e-3)
        found |= {names[parameter]: group["factor"] for parameter in group["params"]}
    assert found == {
        name: 0.25 if "layers.0" in name or "centre_table" in name else 1.0 for name in names.values()
    }


def test_half_of_twice_the_rate_is_the_rate(start, ge_frames, tmp_path):
    """To the bit, as two is a power of two: through warm-up, schedule, both kinds of weights."""
    settings = FitSettings(epochs=3, batch_size=2, warmup=0.3)
    double = {"rate": 2 * settings.rate, "matrix_rate": 2 * settings.matrix_rate}
    halves = settings.model_copy(update=double | {"rate_factors": {LOWER: 0.5, UPPER: 0.5}})
    plain, other = start(), start()
    fit(plain, ge_frames[:4], ge_frames[4:6], settings, tmp_path / "plain")
    fit(other, ge_frames[:4], ge_frames[4:6], halves, tmp_path / "halves")
    for a, b in zip(plain.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_vanishing_factor_is_as_good_as_frozen_and_the_others_do_not_notice(start, ge_frames, tmp_path):
    # Without clipping, which sees the gradients of what is trained only.
    settings = FitSettings(epochs=2, batch_size=2, gradient_clip=1e9)
    slow, frozen, before = start(), start(), dict(start().named_parameters())
    fit(
        slow, ge_frames[:4], [], settings.model_copy(update={"rate_factors": {LOWER: 1e-30}}),
        tmp_path / "slow",
    )  # fmt: skip
    freeze(frozen, [LOWER])
    fit(frozen, ge_frames[:4], [], settings, tmp_path / "frozen")
    for name, parameter in frozen.named_parameters():
        assert torch.equal(parameter, before[name]) == ("layers.0" in name), name
        torch.testing.assert_close(dict(slow.named_parameters())[name], parameter, rtol=0, atol=1e-6)


def test_patterns_that_do_not_fit(start):
    model = start()
    with pytest.raises(
        RecipeError, match=r"rate_factors: 'layers\.0\.\*' matches no weight; there are network"
    ):
        rate_factors(model, {"layers.0.*": 0.1})
    message = (
        r"'network\.layers\.0\.\*' gives network\.layers\.0\.centre_table the factor 0\.1, '\*table' gives 2;"
    )
    with pytest.raises(RecipeError, match=message):
        rate_factors(model, {LOWER: 0.1, "*table": 2.0})
    assert rate_factors(model, {LOWER: 0.5, "*.0.centre_table": 0.5})["network.layers.0.centre_table"] == 0.5
    freeze(model, [LOWER])
    with pytest.raises(RecipeError, match=r"all that 'network\.layers\.0\.update\.\*' matches is frozen"):
        rate_factors(model, {"network.layers.0.update.*": 0.1})


def test_a_wrong_pattern_is_refused_before_anything_is_written(start, ge_frames, tmp_path):
    settings = FitSettings(epochs=1, rate_factors={"nothing": 0.1})
    with pytest.raises(RecipeError, match="'nothing' matches no weight"):
        fit(start(), ge_frames[:2], [], settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_factors_must_be_positive():
    with pytest.raises(RecipeError, match="greater than 0"):
        parse_recipe(FitSettings, {"rate_factors": {"*": 0.0}}, "fit")
