"""The loss against numbers by hand, and its gradient against finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graphs
from mlpot.model.base import Output
from mlpot.model.potential import Potential
from mlpot.training.loss import loss, residuals
from mlpot.training.settings import LossSettings, LossTerm

SETTINGS = LossSettings(
    energy=LossTerm(weight=2.0, unit=0.1),
    forces=LossTerm(weight=0.5, unit=0.2),
    stress=LossTerm(weight=3.0, unit=0.01),
)
FORCES_ONLY = LossSettings(
    energy=LossTerm(weight=0.0, unit=1.0),
    forces=LossTerm(weight=1.0, unit=0.1),
    stress=LossTerm(weight=0.0, unit=1.0),
)


@pytest.fixture
def pair():
    """Two frames of two atoms and one atom, and what a model might say about them."""
    cell, pbc = 4.0 * np.eye(3), np.ones(3, dtype=bool)
    two = Frame(
        np.array([14, 14]), np.array([[0.0, 0, 0], [2.0, 2.0, 2.0]]), cell, pbc, -10.0, np.zeros((2, 3)),
        np.zeros((3, 3)),
    )  # fmt: skip
    one = Frame(np.array([14]), np.zeros((1, 3)), cell, pbc, 3.0, np.ones((1, 3)), np.zeros((3, 3)))
    forces = torch.zeros(3, 3, dtype=torch.float64)
    forces[0, 0] = 0.1
    forces[2] = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    stress = torch.zeros(2, 3, 3, dtype=torch.float64)
    stress[1, 0, 1] = stress[1, 1, 0] = 0.005
    output = Output(torch.tensor([-9.0, 3.01], dtype=torch.float64), torch.zeros(3), forces, stress)
    return batch_graphs(frame_graphs([two, one], 3.0)), output


def test_residuals_are_per_atom_and_by_component(pair):
    batch, output = pair
    differences = residuals(output, batch)
    assert differences["energy"].tolist() == pytest.approx([0.5, 0.01])
    assert differences["forces"].tolist() == pytest.approx([0.1, 0, 0, 0, 0, 0, 0, 0, -1.0])
    assert differences["stress"].shape == (18,)
    assert differences["stress"].sum() == pytest.approx(0.01)


def test_squared_loss_by_hand(pair):
    batch, output = pair
    value = loss(residuals(output, batch), SETTINGS.model_copy(update={"kind": "squared"}))
    energy = 2.0 * 0.5 * (5.0**2 + 0.1**2) / 2
    forces = 0.5 * 0.5 * (0.5**2 + 5.0**2) / 9
    stress = 3.0 * 0.5 * (2 * 0.5**2) / 18
    assert float(value) == pytest.approx(energy + forces + stress, rel=1e-12)


def test_huber_loss_by_hand(pair):
    batch, output = pair
    value = loss(residuals(output, batch), SETTINGS)
    energy = 2.0 * ((5.0 - 0.5) + 0.5 * 0.1**2) / 2
    forces = 0.5 * (0.5 * 0.5**2 + (5.0 - 0.5)) / 9
    stress = 3.0 * (2 * 0.5 * 0.5**2) / 18
    assert float(value) == pytest.approx(energy + forces + stress, rel=1e-12)


@pytest.fixture(scope="module")
def potential(tiny):
    return Potential(["Si"], tiny, seed=3).double()


def value_and_gradient(potential, frames, settings):
    batch = batch_graphs(frame_graphs(frames, potential.cutoff))
    value = loss(residuals(potential(batch, create_graph=True), batch), settings)
    parameters = list(potential.parameters())
    return value, torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)


def test_frame_without_forces_changes_nothing_in_their_term(potential, si_frames):
    gap = replace(si_frames[2], forces=None)
    value, gradient = value_and_gradient(potential, si_frames[:2], FORCES_ONLY)
    with_gap, gradient_with_gap = value_and_gradient(potential, [*si_frames[:2], gap], FORCES_ONLY)
    assert float(with_gap.detach()) == pytest.approx(float(value.detach()), rel=1e-12)
    for ours, theirs in zip(gradient_with_gap, gradient, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["energy", "stress"])
def test_missing_label_is_left_out_not_zero(potential, si_frames, name):
    gap = replace(si_frames[2], **{name: None})
    values = {}
    for key, frames in (("two", si_frames[:2]), ("gap", [*si_frames[:2], gap])):
        batch = batch_graphs(frame_graphs(frames, potential.cutoff))
        values[key] = residuals(potential(batch), batch)[name]
    torch.testing.assert_close(values["gap"], values["two"], rtol=1e-9, atol=1e-12)


def test_term_without_any_label_is_left_out_and_gradients_stay_finite(potential, si_frames):
    frames = [replace(frame, energy=None, stress=None) for frame in si_frames[:2]]
    value, gradient = value_and_gradient(potential, frames, SETTINGS)
    only = SETTINGS.model_copy(update={"energy": FORCES_ONLY.energy, "stress": FORCES_ONLY.stress})
    assert float(value.detach()) == float(value_and_gradient(potential, frames, only)[0].detach())
    assert all(torch.isfinite(part).all() for part in gradient)


def test_cluster_without_volume_has_no_stress_to_learn_from(potential, si_frames):
    frame = si_frames[0]
    cluster = replace(frame, cell=np.zeros((3, 3)), pbc=np.zeros(3, dtype=bool), stress=None)
    value, gradient = value_and_gradient(potential, [cluster], SETTINGS)
    assert torch.isfinite(value)
    assert all(torch.isfinite(part).all() for part in gradient)


@pytest.mark.parametrize("kind", ["huber", "squared"])
def test_gradient_agrees_with_finite_differences(potential, si_frames, kind):
    settings = SETTINGS.model_copy(update={"kind": kind})
    frames = si_frames[:2]
    batch = batch_graphs(frame_graphs(frames, potential.cutoff))
    _, gradient = value_and_gradient(potential, frames, settings)
    generator = torch.Generator().manual_seed(0)
    step = 1e-6
    for parameter, slope in zip(potential.parameters(), gradient, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        sides = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * step)
            sides.append(float(loss(residuals(potential(batch), batch), settings)))
            with torch.no_grad():
                parameter.sub_(direction, alpha=sign * step)
        numeric = (sides[0] - sides[1]) / (2 * step)
        assert float((slope * direction).sum()) == pytest.approx(numeric, rel=1e-5, abs=1e-6)


def test_a_cluster_beside_a_crystal(potential, si_frames):
    """What has no volume has no stress, and leaves the gradient of the others' finite."""
    cluster = replace(si_frames[2], cell=np.zeros((3, 3)), pbc=np.zeros(3, bool), stress=None)
    _, gradient = value_and_gradient(potential, [*si_frames[:2], cluster], SETTINGS)
    assert all(torch.isfinite(part).all() for part in gradient)
