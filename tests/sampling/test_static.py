"""Strain, equations of state, pairs: cells and distances are those the frames' info states."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from mlpot.conventions import voigt_to_matrix
from mlpot.sampling.generate import generate
from mlpot.sampling.plan import SamplingPlan
from mlpot.sampling.static import MODES

A = 5.43


def _plan(*stages: dict, **changes) -> SamplingPlan:
    plan = {"calculator": "sw-si", "seed": 5, "supercell": [1, 1, 1], "lattice_constant": A, "labels": False}
    return SamplingPlan.model_validate(plan | {"stages": list(stages)} | changes)


def _frames(*stages: dict, **changes):
    return generate(_plan(*stages, **changes)).frames


def test_strain_modes_strain_one_component_each():
    frames = _frames({"kind": "strain_modes", "amplitudes": [-0.04, 0.02]})
    assert [(f.info["strain_mode"], f.info["strain"]) for f in frames] == [
        (mode, amplitude) for mode in MODES for amplitude in (-0.04, 0.02)
    ]
    scaled = frames[0].positions @ np.linalg.inv(frames[0].cell)
    for frame in frames:
        component = np.zeros(6)
        component[MODES.index(frame.info["strain_mode"])] = frame.info["strain"]
        np.testing.assert_allclose(frame.cell, A * (np.eye(3) + voigt_to_matrix(component)), atol=1e-12)
        np.testing.assert_allclose(frame.positions @ np.linalg.inv(frame.cell), scaled, atol=1e-12)
        assert frame.info["group"] == f"strain-{frame.info['strain_mode']}"
    assert len({frame.info["block"] for frame in frames}) == 12


def test_stress_of_strain_series_is_the_slope_of_the_energy():
    step = 1e-4
    frames = _frames(
        {"kind": "strain_modes", "amplitudes": [0.05 - step, 0.05, 0.05 + step], "modes": ["yy", "xz"]},
        labels=True,
    )
    for series, weight in ((frames[:3], 1), (frames[3:], 2)):
        slope = (series[2].energy - series[0].energy) / (2 * step)
        # sigma = (1/V) dE/d(strain) at the strain itself: dE/d(amplitude) = V sigma : (1+e)^-1 d(1+e)
        direction = (series[2].cell - series[0].cell) / (2 * step) / A
        work = np.trace(series[1].stress @ np.linalg.inv(series[1].cell / A) @ direction)
        assert slope == pytest.approx(series[1].volume * work, rel=1e-4)
        assert np.count_nonzero(direction.round(6)) == weight


def test_rattled_strains_differ():
    frames = _frames(
        {"kind": "strain_modes", "amplitudes": [0.03], "modes": ["xy"], "rattle": 0.02, "frames": 3}
    )
    perfect = _frames({"kind": "strain_modes", "amplitudes": [0.03], "modes": ["xy"]})[0].positions
    moved = np.array([frame.positions - perfect for frame in frames])
    assert moved.std() == pytest.approx(0.02, rel=0.25)  # 72 numbers: 8 % deviation
    assert len({frame.content_hash for frame in frames}) == 3


def test_equation_of_state_covers_its_volumes():
    structure = {"kind": "crystal", "phase": "fcc", "volume": 15.0}
    stage = {"kind": "equation_of_state", "volumes": [0.8, 1.2], "frames": 5, "structure": structure}
    frames = _frames(stage)
    np.testing.assert_allclose([f.volume / 4 / 15 for f in frames], [0.8, 0.9, 1.0, 1.1, 1.2])
    assert {f.info["group"] for f in frames} == {f.info["config_type"] for f in frames} == {"eos-fcc"}
    assert {f.info["strain_mode"] for f in frames} == {"volume"}
    np.testing.assert_allclose([(1 + f.info["strain"]) ** 3 for f in frames], [0.8, 0.9, 1.0, 1.1, 1.2])


def test_random_structures_differ_from_frame_to_frame():
    random = {"kind": "random", "atoms": 6, "density": 2.0, "min_distance": 2.0}
    static = _frames({"kind": "static", "frames": 3, "structure": random})
    assert len({frame.content_hash for frame in static}) == 3
    # What is done to structures does not change what they are.
    strained = _frames({"kind": "strain", "frames": 3, "amplitude": 1e-9, "structure": random})
    for one, other in zip(static, strained, strict=True):
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-6)


def test_dimers_have_their_distances():
    frames = _frames({"kind": "dimer", "distances": [1.2, 3.6], "frames": 4})
    apart = [float(np.linalg.norm(f.positions[1] - f.positions[0])) for f in frames]
    np.testing.assert_allclose(apart, [1.2, 2.0, 2.8, 3.6])
    assert [f.info["distance"] for f in frames] == pytest.approx(apart)
    assert all(f.pbc.all() and f.volume == pytest.approx(12.0**3) for f in frames)


def test_pairs_are_pushed_together_along_their_bond():
    frames = _frames({"kind": "short_pair", "distances": [1.0, 1.8], "frames": 10}, supercell=[2, 2, 2])
    assert len({frame.info["distance"] for frame in frames}) == 10
    perfect = _frames({"kind": "static"}, supercell=[2, 2, 2])[0].positions
    for frame in frames:
        atoms = frame.to_atoms()
        moved = np.flatnonzero(np.linalg.norm(frame.positions - perfect, axis=1) > 1e-9)
        assert len(moved) == 2 and 1.0 <= frame.info["distance"] <= 1.8
        assert atoms.get_distance(*moved, mic=True) == pytest.approx(frame.info["distance"])
        np.testing.assert_allclose((frame.positions - perfect)[moved].sum(0), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"kind": "static", "frames": 2}, "only random structures differ"),
        ({"kind": "strain_modes", "amplitudes": [0.1], "frames": 2}, "would all be the same; give rattle"),
        ({"kind": "strain_modes", "amplitudes": [0.1, 0.1]}, "the same value twice"),
        ({"kind": "strain_modes", "amplitudes": [0.6]}, "less than 0.5"),
        ({"kind": "strain_modes", "amplitudes": [0.1], "modes": ["zy"]}, "'yz'"),
        ({"kind": "equation_of_state", "volumes": [1.2, 0.8], "frames": 3}, "a smaller and a larger volume"),
        ({"kind": "dimer", "distances": [1, 7], "frames": 3}, "see their images; give at least 13"),
        ({"kind": "dimer", "distances": [3, 2], "frames": 3}, "a shorter and a longer distance"),
        ({"kind": "dimer", "distances": [1, 2], "frames": 3, "structure": {"kind": "vacancy"}}, "leave out"),
        ({"kind": "short_pair", "distances": [2, 1], "frames": 3}, "a shorter and a longer distance"),
    ],
)
def test_mistakes_are_refused(stage, message):
    with pytest.raises(ValidationError, match=message):
        _plan(stage)
