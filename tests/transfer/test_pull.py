"""The pull towards the donor: its formula, and that a resumed fit is pulled to the same place."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from mlpot.errors import Interrupted, RecipeError
from mlpot.model.file import load_model
from mlpot.recipe import parse_recipe
from mlpot.training.fit import fit
from mlpot.training.module import learning_rate
from mlpot.training.optimizer import MuonAdam, build_optimizer
from mlpot.training.settings import FitSettings
from mlpot.transfer.adapters import Adapters, adapt
from mlpot.transfer.donor import donate
from mlpot.transfer.freeze import freeze

SETTINGS = FitSettings(epochs=4, batch_size=2, average=0.9, pull=20.0)


@pytest.fixture
def start(make_donor):
    return lambda: donate(make_donor(dtype=torch.float32), ["Ge"])[0]


def distance(model, origin):
    pairs = zip(model.parameters(), origin.parameters(), strict=True)
    return math.sqrt(sum(float((a - b).detach().square().sum()) for a, b in pairs))


@pytest.mark.parametrize("matrix", [True, False])
def test_after_the_step_the_weights_go_back_by_rate_times_factor_times_pull(matrix):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    origin = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    free, pulled = nn.Parameter(values.clone()), nn.Parameter(values.clone())
    group = {"lr": 0.1, "matrix": matrix, "factor": 0.5}
    optimizers = [
        MuonAdam([{"params": [free], **group}]),
        MuonAdam([{"params": [pulled], **group}], pull=0.4, start={pulled: origin}),
    ]
    free.grad = pulled.grad = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    for optimizer in optimizers:
        optimizer.step()
    expected = free - 0.1 * 0.5 * 0.4 * (free - origin)
    torch.testing.assert_close(pulled, expected, rtol=0, atol=1e-14)


def test_without_gradients_weights_come_back_by_the_sum_of_the_rates(start):
    """The unit of the pull: about exp(-pull x sum of rates) is left, with the rates of the schedule."""
    model = start().double()
    origin = {name: parameter.detach() + 1.0 for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model, 1e-3, 2e-3, {"network.layers.0.*": 0.5}, pull=10.0, start=origin)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, 50, 0.1))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(50):
        optimizer.step()
        schedule.step()
    shape = [learning_rate(step, 50, 0.1) for step in range(50)]
    rates = {
        p: group["initial_lr"] * group["factor"] for group in optimizer.param_groups for p in group["params"]
    }
    assert len(set(rates.values())) == 3  # 2e-3, 1e-3 (twice), 5e-4
    for name, parameter in model.named_parameters():
        left = math.prod(1.0 - 10.0 * rates[parameter] * fraction for fraction in shape)
        assert left == pytest.approx(math.exp(-10.0 * rates[parameter] * sum(shape)), rel=1e-2)
        torch.testing.assert_close(
            origin[name] - parameter.detach(), torch.full_like(parameter, left), rtol=1e-12, atol=0
        )


def test_a_stronger_pull_ends_nearer_to_the_donor(start, ge_frames, tmp_path):
    ends = []
    for pull in (0.0, 5.0, 40.0):
        model = start()
        settings = SETTINGS.model_copy(update={"pull": pull})
        fit(model, ge_frames[:4], [], settings, tmp_path / f"{pull:g}")
        ends.append(distance(model, start()))
    assert ends[0] > 1.1 * ends[1] > 1.1**2 * ends[2] > 0.0


class Stop(Callback):
    """Interrupt by Ctrl-C in the middle of the third epoch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 2 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("adapters", [None, Adapters(rank=2)])
def test_resumed_fit_is_pulled_to_the_same_start(start, ge_frames, tmp_path, adapters, precision):
    """With factors, frozen weights and adapters too: the very bits of the fit without a stop."""
    frames = (ge_frames[:6], ge_frames[6:9])
    settings = SETTINGS.model_copy(
        update={"precision": precision, "rate_factors": {"network.layers.1.*": 0.3}}
    )

    def begun():
        model = start()
        freeze(model, ["network.layers.0.scalars.*"])
        if adapters is not None:
            adapt(model, adapters)
        return model

    whole = fit(begun(), *frames, settings, tmp_path / "whole")
    with pytest.raises(Interrupted):
        fit(begun(), *frames, settings, tmp_path / "run", callbacks=[Stop()])
    model = begun()
    resumed = fit(model, *frames, settings, tmp_path / "run", resume=True)
    assert (resumed.epochs, resumed.steps) == (whole.epochs, whole.steps) == (4, 12)
    assert resumed.validation == whole.validation
    assert (tmp_path / "run/metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()
    ours, theirs = (
        load_model(tmp_path / run / "model.safetensors", getattr(torch, precision)).state_dict()
        for run in ("run", "whole")
    )
    assert list(ours) == list(theirs) == list(start().state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(ours[name], theirs[name]), name
        assert torch.equal(ours[name], tensor), name
    again = begun()
    assert fit(again, *frames, settings, tmp_path / "run", resume=True).validation == whole.validation
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_resuming_with_another_pull_or_other_frozen_weights_is_refused(start, ge_frames, tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 1})
    fit(start(), ge_frames[:2], [], settings, tmp_path)
    other = settings.model_copy(update={"pull": 1.0})
    with pytest.raises(RecipeError, match="started from other data, settings, weights"):
        fit(start(), ge_frames[:2], [], other, tmp_path, resume=True)
    model = start()
    freeze(model, ["network.layers.0.*"])
    with pytest.raises(RecipeError, match="started from other data, settings, weights"):
        fit(model, ge_frames[:2], [], settings, tmp_path, resume=True)


def test_a_pull_beyond_the_start_is_refused():
    with pytest.raises(RecipeError, match=r"pull: 60 times a rate of 0\.02 takes weights beyond.*below 50\."):
        parse_recipe(FitSettings, {"pull": 60.0}, "fit")
    with pytest.raises(RecipeError, match="takes weights beyond their start in one step"):
        parse_recipe(FitSettings, {"pull": 30.0, "rate_factors": {"*": 2.0}}, "fit")
    with pytest.raises(RecipeError, match="greater than or equal to 0"):
        parse_recipe(FitSettings, {"pull": -1.0}, "fit")
