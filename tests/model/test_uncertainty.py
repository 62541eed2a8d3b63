"""The posterior of the head: against changed weights, on planted noise, and far from its data."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.errors import DataError, RecipeError
from mlpot.model.design import Label
from mlpot.model.head import head_size, read_head, write_head
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.model.uncertainty import add_uncertainty, likelihood
from mlpot.testing.calibration import calibrate_labels

SCALES: dict[Label, float] = {"energy": 500.0, "forces": 100.0, "stress": 4000.0}


@pytest.fixture(scope="module")
def model() -> Potential:
    return Potential(["Si"], NetworkConfig(channels=4, hidden=4), seed=1).double()


@pytest.fixture(scope="module")
def noisy(model: Potential, si_frames: list[Frame]) -> list[Frame]:
    """Frames whose labels are the model's own plus Gaussian noise."""
    rng, noisy = np.random.default_rng(0), []
    for frame, p in zip(si_frames, model.predict(si_frames), strict=True):
        forces = p.forces + rng.normal(scale=0.05, size=p.forces.shape)
        noisy.append(
            replace(frame, energy=p.energy + 8 * rng.normal(scale=0.005), forces=forces, stress=None)
        )
    return noisy


@pytest.fixture(scope="module")
def uncertain(model: Potential, noisy: list[Frame]) -> Potential:
    """The model with the posterior of twelve frames, calibrated on six others."""
    uncertain = copy.deepcopy(model)
    fit = add_uncertainty(uncertain, noisy[:12], noisy[12:18], SCALES, heads=32)
    assert (fit.frames, fit.held_out, fit.heads, fit.values) == (12, 6, 32, 6 * 25)
    assert fit.scale > 0.0
    return uncertain


@pytest.mark.parametrize("native", [False, True])
def test_deviations_are_those_of_changed_weights(
    model: Potential,
    uncertain: Potential,
    noisy: list[Frame],
    native: bool,
    request: pytest.FixtureRequest,
) -> None:
    """Every head in turn as the weights and offsets of an ordinary potential."""
    uncertain = copy.deepcopy(uncertain)
    if native:
        request.getfixturevalue("compiled")
    assert uncertain.use_native(native) == native
    size = head_size(model.config)
    (found,), (base,) = uncertain.predict(noisy[0], uncertainty=True), model.predict(noisy[0])
    energies, forces = [], []
    assert uncertain.head_deviations is not None and uncertain.head_deviations.shape == (32, size + 1)
    for change in uncertain.head_deviations:
        other = copy.deepcopy(model)
        write_head(other.network, read_head(model.network) + change[:size])
        other.offsets += change[size:]
        (prediction,) = other.predict(noisy[0])
        energies.append(prediction.energy - base.energy)
        forces.append(prediction.forces - base.forces)
    assert found.energy_std == pytest.approx(np.sqrt(np.mean(np.square(energies))), rel=1e-9)
    assert found.forces_std is not None
    np.testing.assert_allclose(found.forces_std, np.sqrt(np.mean(np.square(forces), axis=0)), rtol=1e-8)
    assert found.energy == pytest.approx(base.energy, abs=1e-10)
    np.testing.assert_allclose(found.forces, base.forces, atol=1e-11)


def test_a_batch_has_the_deviations_of_its_structures(uncertain: Potential, noisy: list[Frame]) -> None:
    batch = batch_graphs([frame_graph(frame, uncertain.cutoff) for frame in noisy[:2]])
    _, deviation = uncertain.forward_with_deviation(batch)
    single = uncertain.predict(noisy[:2], uncertainty=True)
    assert deviation.energy.tolist() == pytest.approx([p.energy_std for p in single])
    np.testing.assert_allclose(deviation.forces, np.concatenate([p.forces_std for p in single]))


def test_they_are_scaled_to_the_errors(uncertain: Potential, noisy: list[Frame]) -> None:
    held_out = calibrate_labels(noisy[12:18], uncertain.predict(noisy[12:18], uncertainty=True))
    fresh = calibrate_labels(noisy[18:], uncertain.predict(noisy[18:], uncertainty=True))
    assert held_out["forces"] is not None and fresh["forces"] is not None and held_out["energy"] is not None
    together = 144 * held_out["forces"].mean_z2 + 6 * held_out["energy"].mean_z2
    assert together / 150 == pytest.approx(1.0, abs=1e-6)
    assert 0.5 < fresh["forces"].mean_z2 < 2.0


def test_unknown_structures_are_less_certain(uncertain: Potential, noisy: list[Frame]) -> None:
    """Squeezed far beyond the data: larger deviations than near them."""
    squeezed = replace(noisy[0], positions=0.85 * noisy[0].positions, cell=0.85 * noisy[0].cell)
    near, far = uncertain.predict([noisy[0], squeezed], uncertainty=True)
    assert near.forces_std is not None and far.forces_std is not None
    assert np.sqrt(np.mean(far.forces_std**2)) > 2.0 * np.sqrt(np.mean(near.forces_std**2))


def test_the_same_seed_gives_the_same_heads(model: Potential, uncertain: Potential, noisy) -> None:
    for seed, same in ((0, True), (1, False)):
        again = copy.deepcopy(model)
        add_uncertainty(again, noisy[:12], noisy[12:18], SCALES, heads=32, seed=seed)
        assert again.head_deviations is not None and uncertain.head_deviations is not None
        assert torch.equal(again.head_deviations, uncertain.head_deviations) is same


def test_likelihood_of_gaussian_errors() -> None:
    rng = np.random.default_rng(0)
    variances = rng.uniform(0.1, 10.0, 20_000)
    errors = rng.normal(scale=3.0 * np.sqrt(variances))
    factor, best = likelihood(errors, variances)
    assert factor == pytest.approx(3.0, rel=0.02)
    assert likelihood(errors, 4.0 * variances) == pytest.approx((factor / 2.0, best))
    assert likelihood(errors, np.ones_like(variances))[1] > best
    # What symmetry fixes says nothing.
    assert likelihood(np.append(errors, 1.0), np.append(variances, 0.0)) == pytest.approx((factor, best))


def test_mistakes(model: Potential, noisy: list[Frame]) -> None:
    with pytest.raises(DataError, match=r"Si.xyz#3 is also among the training frames"):
        add_uncertainty(copy.deepcopy(model), noisy[:4], noisy[3:5], SCALES)
    bare = [replace(frame, energy=None, forces=None) for frame in noisy]
    for sides, message in (((bare, noisy), "no training frame"), ((noisy, bare), "no held-out frame")):
        with pytest.raises(DataError, match=message):
            add_uncertainty(copy.deepcopy(model), sides[0][:2], sides[1][2:4], SCALES)
    with pytest.raises(RecipeError, match="this Potential has no uncertainty: make one with mlpot calibrate"):
        model.predict(noisy[0], uncertainty=True)
