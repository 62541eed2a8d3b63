"""The head in closed form: against planted weights, refits by hand, and the gradient of the loss."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.errors import DataError
from mlpot.model.design import design_rows, in_double
from mlpot.model.head import head_size, read_head, write_head
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.training.loss import loss, residuals
from mlpot.training.settings import LossTerm
from mlpot.transfer.ridge import Ridge, SquaredLoss, fit_head

LABELS = ("energy", "forces", "stress")


@pytest.fixture
def model() -> Potential:
    """A small potential of two elements whose rows differ."""
    potential = Potential(["Si", "Ge"], NetworkConfig(channels=4, hidden=4), seed=1).double()
    with torch.no_grad():
        potential.network.layers[0].species_radial[1] *= 1.1
        potential.network.layers[1].centre_table[0] *= 0.9
        for layer in potential.network.layers:
            layer.readout.outer *= 10.0
    potential.offsets.copy_(torch.tensor([-5.4, -4.5]))
    potential.energy_scales[1] = 0.8
    potential.length_scales[1] = 0.96
    return potential


@pytest.fixture
def frames(si_frames: list[Frame], ge_frames: list[Frame]) -> list[Frame]:
    """Silicon, germanium, and two alloys with labels of silicon."""
    alloys = []
    for frame in si_frames[4:6]:
        numbers = frame.numbers.copy()
        numbers[:3] = 32
        alloys.append(replace(frame, numbers=numbers))
    return [*si_frames[:3], *ge_frames[:3], *alloys]


def relabelled(frames: list[Frame], model: Potential) -> list[Frame]:
    return [
        replace(frame, energy=p.energy, forces=p.forces, stress=p.stress)
        for frame, p in zip(frames, model.predict(frames), strict=True)
    ]


def changed(model: Potential, seed: int = 0) -> Potential:
    """Return the model with other weights of the head and other offsets."""
    other = copy.deepcopy(model)
    head = read_head(other.network)
    generator = torch.Generator().manual_seed(seed)
    write_head(other.network, head + 0.1 * torch.randn(len(head), generator=generator, dtype=head.dtype))
    other.offsets += torch.tensor([0.3, -0.2])
    return other


def test_a_head_comes_back_as_written(model: Potential) -> None:
    head = read_head(model.network)
    assert len(head) == head_size(model.config) == 16
    write_head(model.network, torch.arange(16.0))
    assert torch.equal(read_head(model.network), torch.arange(16.0).double())
    assert model.network.layers[1].readout.outer[:, 0].tolist() == [8.0, 9.0, 10.0, 11.0]


@pytest.mark.parametrize("native", [False, True])
def test_predictions_are_linear_in_the_head(
    model: Potential, frames: list[Frame], native: bool, request: pytest.FixtureRequest
) -> None:
    """Energies, forces and stress of changed weights follow from the rows, for every composition."""
    double, other = in_double(model), changed(model)
    if native:
        request.getfixturevalue("compiled")
    assert double.use_native(native) == native
    change = read_head(other.network) - read_head(model.network)
    change = np.concatenate([change.numpy(), (other.offsets - model.offsets).numpy()])
    for frame in relabelled([frames[0], frames[-1]], other):
        for rows in design_rows(double, frame).values():
            np.testing.assert_allclose(rows.matrix @ change, rows.target, atol=1e-11)


def test_planted_weights_come_back(model: Potential, frames: list[Frame]) -> None:
    planted = changed(model)
    fit = fit_head(model, relabelled(frames, planted), Ridge(strength=1e-12))
    torch.testing.assert_close(read_head(model.network), read_head(planted.network), atol=1e-4, rtol=0.0)
    torch.testing.assert_close(model.offsets, planted.offsets, atol=1e-6, rtol=0.0)
    assert fit.training["forces"] < 1e-4 and not fit.chosen and fit.grid == []
    errors = [
        p.energy - q.energy for p, q in zip(model.predict(frames), planted.predict(frames), strict=True)
    ]
    assert np.abs(errors).max() < 1e-7


def test_the_gradient_of_the_penalised_loss_vanishes(model: Potential, frames: list[Frame]) -> None:
    """By autograd through the loss of training, with the solution in place."""
    settings = Ridge(strength=0.3)
    before = read_head(model.network)
    fit_head(model, frames, settings)
    layers = model.network.layers
    weights = [weight for layer in layers for weight in (layer.readout.outer, layer.readout.direct)]
    batch = batch_graphs([frame_graph(frame, model.cutoff) for frame in frames])
    model.offsets.requires_grad_()
    value = loss(residuals(model(batch, create_graph=True), batch), settings.loss)
    *slopes, by_offsets = torch.autograd.grad(value, [*weights, model.offsets])
    slope = torch.cat([part[:, 0] for part in slopes])
    penalty = 0.3 * (read_head(model.network) - before)
    assert penalty.norm() > 1e-3
    torch.testing.assert_close(slope, -penalty, atol=1e-9, rtol=0.0)
    assert by_offsets.abs().max() < 1e-6  # the tiny penalty on offsets


@pytest.mark.parametrize("loss_of", [SquaredLoss(), SquaredLoss(energy=LossTerm(weight=1.0, unit=0.02))])
def test_leaving_out_is_refitting_without(
    model: Potential, frames: list[Frame], loss_of: SquaredLoss
) -> None:
    """Also where a frame lacks labels, which changes the averages."""
    frames[1] = replace(frames[1], stress=None)
    frames[4] = replace(frames[4], energy=None)
    settings = Ridge(strength=0.1, loss=loss_of)
    found = fit_head(copy.deepcopy(model), frames, settings).left_out
    squares: dict[str, list[float]] = {name: [] for name in LABELS}
    for index, frame in enumerate(frames):
        refitted = copy.deepcopy(model)
        fit_head(refitted, frames[:index] + frames[index + 1 :], settings)
        graph = batch_graphs([frame_graph(frame, model.cutoff)])
        for name, values in residuals(refitted(graph), graph).items():
            squares[name] += values.square().tolist()
    assert found is not None
    expected = {name: np.sqrt(np.mean(values)) for name, values in squares.items()}
    assert found["energy"] == pytest.approx(1e3 * expected["energy"], rel=1e-8)
    assert found["forces"] == pytest.approx(1e3 * expected["forces"], rel=1e-8)
    assert found["stress"] == pytest.approx(160.21766208 * expected["stress"], rel=1e-6)


def test_the_strength_is_that_of_the_smallest_error_left_out(model: Potential, frames: list[Frame]) -> None:
    fit = fit_head(model, frames)
    assert fit.chosen and fit.frames == len(frames) and fit.weights == 16
    assert min(fit.grid, key=lambda entry: entry[1])[0] == fit.strength
    assert fit.left_out is not None
    assert fit.left_out["forces"] > fit.training["forces"] > 0.0
    assert fit.asdict()["strength"] == fit.strength
    assert fit.tensors[0] == "network.layers.0.readout.outer" and fit.tensors[-1] == "offsets"
    assert set(fit.tensors) <= set(model.state_dict())


def test_strong_penalties_leave_the_potential_but_for_its_offsets(model: Potential, frames) -> None:
    before = read_head(model.network)
    fit = fit_head(model, frames, Ridge(strength=1e12))
    torch.testing.assert_close(read_head(model.network), before, atol=1e-8, rtol=0.0)
    assert fit.change < 1e-8
    energies = [p.energy - f.energy for p, f in zip(model.predict(frames), frames, strict=True)]
    assert abs(np.mean(energies)) < 0.01 * 8


def test_a_float32_model_stays_one(model: Potential, frames: list[Frame]) -> None:
    single, double = copy.deepcopy(model).float(), model
    single.head_deviations = torch.zeros(2, 18)
    fit_head(single, frames, Ridge(strength=1.0))
    fit_head(double, frames, Ridge(strength=1.0))
    assert single.dtype == torch.float32 and single.head_deviations is None
    torch.testing.assert_close(
        read_head(single.network).double(), read_head(double.network), atol=1e-4, rtol=0
    )


def test_mistakes(model: Potential, frames: list[Frame]) -> None:
    with pytest.raises(DataError, match=r"single labelled frame .* give `strength`"):
        fit_head(model, frames[:1])
    assert fit_head(model, frames[:1], Ridge(strength=1.0)).left_out is None
    bare = [replace(frame, energy=None, forces=None, stress=None) for frame in frames]
    with pytest.raises(DataError, match="none of 8 frames has a label"):
        fit_head(model, bare)
    with pytest.raises(ValidationError, match="squared"):
        SquaredLoss(kind="huber")
    with pytest.raises(ValidationError, match="greater than 0"):
        Ridge(strength=0.0)
