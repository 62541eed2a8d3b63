"""A new potential fits the size of its data before it has learned anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.build import bulk

from mlpot.data.graph import batch_graphs, frame_graphs
from mlpot.errors import DataError
from mlpot.model.network import UnitScale
from mlpot.training.initialise import new_potential
from mlpot.training.scales import Scales


@pytest.fixture(scope="module")
def fresh(si_frames, tiny):
    return new_potential(si_frames[:8], ["Si"], tiny, dtype=torch.float64)


def test_every_stage_has_unit_size_on_the_data(fresh, si_frames):
    sizes = {}

    def measure(name):
        def hook(module, inputs, output):
            split = output.view(*output.shape[:2], module.blocks, -1)
            for degree in range(module.l_max + 1):
                part = split[degree**2 : (degree + 1) ** 2]
                sizes[name, degree] = part.square().mean(dim=(0, 1, 3)).sqrt()

        return hook

    stages = [(n, m) for n, m in fresh.network.named_modules() if isinstance(m, UnitScale)]
    handles = [module.register_forward_hook(measure(name)) for name, module in stages]
    fresh(batch_graphs(frame_graphs(si_frames[:8], fresh.cutoff)), create_graph=True)
    for handle in handles:
        handle.remove()
    assert len(sizes) > len(stages)
    for size in sizes.values():
        torch.testing.assert_close(size, torch.ones_like(size), rtol=1e-6, atol=0)


def test_densities_fall_with_the_order_of_the_radial_function(fresh, si_frames):
    batch = batch_graphs(frame_graphs(si_frames[:8], fresh.cutoff))
    geometry, _ = fresh.network.geometry(fresh.environments(batch))
    config = fresh.config
    density = geometry.sum(2).view(len(geometry), -1, config.radial)
    orders = torch.arange(1, config.radial + 1, dtype=torch.float64)
    for degree in range(config.l_max + 1):
        size = density[:, degree**2 : (degree + 1) ** 2].square().mean((0, 1)).sqrt()
        torch.testing.assert_close(size, 1 / orders, rtol=1e-6, atol=0)


def test_energy_unit_is_the_root_mean_square_force(fresh, si_frames):
    forces = np.concatenate([frame.forces for frame in si_frames[:8]])
    assert float(fresh.energy_unit) == pytest.approx(np.sqrt((forces**2).mean()))


def test_offset_is_the_mean_energy_and_predictions_start_near_it(fresh, si_frames):
    mean = np.mean([frame.energy / len(frame) for frame in si_frames[:8]])
    assert float(fresh.offsets[0]) == pytest.approx(mean)
    predicted = [p.energy / 8 for p in fresh.predict(si_frames[:8])]
    assert np.abs(np.array(predicted) - mean).max() < float(fresh.energy_unit)


def test_given_offsets_are_taken(si_frames, tiny):
    frames = [replace(frame, energy=None) for frame in si_frames[:3]]
    potential = new_potential(frames, ["Si", "Ge"], tiny, offsets={"Si": -1.5, "Ge": -2.5})
    assert potential.offsets.tolist() == [-1.5, -2.5]


def test_same_seed_same_potential(si_frames, tiny):
    first, again, other = (
        new_potential(si_frames[:4], ["Si"], tiny, seed=seed).state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_precision_is_float32_by_default_and_scalars_stay_double(si_frames, tiny):
    potential = new_potential(si_frames[:4], ["Si"], tiny)
    assert {p.dtype for p in potential.parameters()} == {torch.float32}
    assert potential.offsets.dtype == potential.energy_unit.dtype == torch.float64


def test_perfect_crystals_alone_give_finite_weights(label, tiny):
    crystals = [label(bulk("Si", "diamond", a=a, cubic=True), "sw-si") for a in (5.3, 5.43, 5.5)]
    potential = new_potential(crystals, ["Si"], tiny)
    assert float(potential.energy_unit) == 1.0
    assert all(torch.isfinite(tensor).all() for tensor in potential.state_dict().values())
    shaken = bulk("Si", cubic=True)
    shaken.positions += np.random.default_rng(0).normal(scale=0.1, size=(8, 3))
    (prediction,) = potential.predict(shaken)
    assert np.isfinite(prediction.energy)
    assert np.isfinite(prediction.forces).all()


def test_strangers_among_the_frames(si_frames, ge_frames, tiny):
    with pytest.raises(DataError, match=r"contain Ge, not among the elements \['Si'\]"):
        new_potential([si_frames[0], ge_frames[0]], ["Si"], tiny)


def test_no_forces_at_all(si_frames, tiny):
    with pytest.raises(DataError, match="no training frame has forces"):
        new_potential([replace(si_frames[0], forces=None)], ["Si"], tiny)


def test_no_frames_at_all(tiny):
    with pytest.raises(DataError, match="no training frame"):
        new_potential([], ["Si"], tiny)


def test_scales_of_one_change_nothing(si_frames, ge_frames, tiny):
    frames = [*si_frames[:4], *ge_frames[:4]]
    one = {symbol: Scales(1.0, 1.0, "given") for symbol in ("Si", "Ge")}
    plain = new_potential(frames, ["Si", "Ge"], tiny).state_dict()
    scaled = new_potential(frames, ["Si", "Ge"], tiny, scales=one).state_dict()
    assert all(torch.equal(plain[name], scaled[name]) for name in plain)


def test_an_element_in_its_own_units_starts_as_its_correspondent(si_frames, tiny):
    """Frames of a germanium that corresponds to silicon exactly give the network silicon gives."""
    s, e = 0.9, 0.8
    corresponding = [
        replace(
            frame,
            numbers=np.full(8, 32),
            positions=frame.positions / s,
            cell=frame.cell / s,
            energy=e * frame.energy,
            forces=e * s * frame.forces,
            stress=None,
        )
        for frame in si_frames[:6]
    ]
    scales = {"Ge": Scales(s, e, "given")}
    silicon = new_potential(si_frames[:6], ["Si"], tiny, dtype=torch.float64)
    germanium = new_potential(corresponding, ["Ge"], tiny, dtype=torch.float64, scales=scales)
    assert float(germanium.energy_unit) == pytest.approx(float(silicon.energy_unit), rel=1e-12)
    assert germanium.length_scales.tolist() == [s] and germanium.energy_scales.tolist() == [e]
    for name, tensor in silicon.network.state_dict().items():
        torch.testing.assert_close(germanium.network.state_dict()[name], tensor, rtol=1e-9, atol=1e-12)
    both = new_potential(
        [*si_frames[:6], *corresponding], ["Si", "Ge"], tiny, dtype=torch.float64, scales=scales
    )
    assert float(both.energy_unit) == pytest.approx(float(silicon.energy_unit), rel=1e-12)
    assert both.cutoff == pytest.approx(tiny.cutoff / s)
    (one,), (other,) = both.predict(si_frames[0]), both.predict(corresponding[0])
    assert other.forces == pytest.approx(e * s * one.forces, abs=1e-9)
