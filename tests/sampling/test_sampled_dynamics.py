"""Pressures and quenches: the dynamics reach what the plan asks for."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.neighborlist import neighbor_list
from pydantic import ValidationError

from mlpot.conventions import GPA
from mlpot.errors import RecipeError
from mlpot.sampling.generate import generate
from mlpot.sampling.plan import SamplingPlan

NPT = {
    "kind": "md", "phase": "solid", "temperatures": [400], "pressures": [8.0], "frames": 40,
    "equilibration_ps": 0.3, "interval_fs": 14, "pressure_period_fs": 200, "friction_per_fs": 0.02,
    "block": 10,
}  # fmt: skip
QUENCH = {
    "kind": "quench", "density": 2.3, "melt_temperature": 7000, "melt_ps": 0.6, "start_temperature": 2500,
    "end_temperature": 300, "rate": 8000, "frames": 2, "liquid_frames": 1, "cooling_frames": 3,
    "equilibration_ps": 0.1, "interval_fs": 20,
}  # fmt: skip


def _plan(*stages: dict, **changes) -> SamplingPlan:
    plan = {"calculator": "sw-si", "seed": 5, "supercell": [1, 1, 1], "stages": list(stages)}
    return SamplingPlan.model_validate(plan | changes)


def _pressure(frame, temperature):
    """GPa, with the momenta's part."""
    return (-np.trace(frame.stress) / 3 + len(frame) * units.kB * temperature / frame.volume) / GPA


@pytest.mark.parametrize("cell", ["isotropic", "full"])
def test_pressure_is_reached(cell):
    frames = generate(_plan(NPT | {"cell": cell}, lattice_constant=5.431)).frames
    assert {frame.info["group"] for frame in frames} == {"md-400K-8GPa-solid"}
    assert {frame.info["pressure_GPa"] for frame in frames} == {8.0}
    pressures = np.array([_pressure(frame, 400) for frame in frames])
    blocks = pressures.reshape(4, 10).mean(axis=1)
    error = blocks.std(ddof=1) / np.sqrt(4)
    assert abs(pressures.mean() - 8.0) < 4 * error < 4.0
    # The bulk modulus of this force field is 101 GPa (Cowley, PRL 60, 2379 (1988)).
    shrunk = np.mean([frame.volume for frame in frames]) / 5.431**3
    assert 0.91 < shrunk < 0.95
    shapes = np.array([frame.cell / np.cbrt(frame.volume) for frame in frames])
    assert (shapes.std(axis=0).max() < 1e-12) == (cell == "isotropic")


def test_same_plan_same_frames_under_pressure():
    stage = NPT | {"frames": 2, "equilibration_ps": 0.02, "pressures": [0.0, 5.0]}
    calculator = {"name": "sw-si", "engine": "matscipy"}
    first, second = (generate(_plan(stage, calculator=calculator)).frames for _ in range(2))
    assert [f.content_hash for f in first] == [f.content_hash for f in second]
    assert [f.info["group"] for f in first] == ["md-400K-0GPa-solid"] * 2 + ["md-400K-5GPa-solid"] * 2


def test_structures_of_other_kinds_can_be_moved():
    stage = {
        "kind": "md", "phase": "any", "temperatures": [500], "frames": 2, "equilibration_ps": 0.02,
        "interval_fs": 4, "structure": {"kind": "vacancy"},
    }  # fmt: skip
    frames = generate(_plan(stage, stage | {"structure": {"kind": "random", "atoms": 5, "density": 2,
                                                          "min_distance": 2.1}})).frames  # fmt: skip
    assert [len(frame) for frame in frames] == [7, 7, 5, 5]
    assert frames[0].info["group"] == "md-500K-any-vacancy"
    assert frames[0].info["config_type"] == "md-any-vacancy"
    assert frames[2].info["group"] == "md-500K-any-random"


def test_quench_ends_in_an_amorphous_solid():
    generated = generate(_plan(QUENCH, supercell=[2, 1, 1]))
    assert generated.groups == {"quench-liquid": 1, "quench-cooling": 3, "quench-amorphous": 2}
    temperatures = [frame.info["temperature_K"] for frame in generated.frames]
    np.testing.assert_allclose(temperatures, [2500, 2133.3, 1400, 666.7, 300, 300], atol=20)
    amorphous = generated.frames[-1].to_atoms()
    assert len(amorphous) == 16
    centres, bonds = neighbor_list("iD", amorphous, 2.85)
    assert 3.7 < len(centres) / 16 < 5.0
    # Tetrahedral on average, but with angles far more spread than in a crystal at 300 K (some 5 degrees).
    units_ = bonds / np.linalg.norm(bonds, axis=1)[:, None]
    angles = [
        np.degrees(np.arccos(np.clip(units_[a] @ units_[b], -1, 1)))
        for a in range(len(bonds)) for b in range(a) if centres[a] == centres[b]
    ]  # fmt: skip
    assert 98 < np.mean(angles) < 114 and np.std(angles) > 9


def test_quench_that_is_no_glass_is_refused():
    with pytest.raises(RecipeError, match="did not melt within melt_ps"):
        generate(_plan(QUENCH | {"melt_temperature": 310, "start_temperature": 305, "melt_ps": 0.02}))
    with pytest.raises(RecipeError, match=r"still flows at end_temperature = 5000 K"):
        hot = {"melt_temperature": 8000, "start_temperature": 5100, "end_temperature": 5000}
        generate(_plan(QUENCH | hot | {"interval_fs": 400, "cooling_frames": 0, "liquid_frames": 0}))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (NPT | {"pressures": [1, 1]}, "pressures hold the same value twice"),
        (
            NPT | {"pressures": None, "cell": "full"},
            "cell and pressure_period_fs belong to pressures, which are not given",
        ),
        (NPT | {"phase": "liquid", "melt_temperature": 5000, "cell": "full"}, "cell full is for solids"),
        (QUENCH | {"start_temperature": 200}, "in falling order, got 7000, 200 and 300 K"),
        (QUENCH | {"rate": 0}, "greater than 0"),
        (QUENCH | {"interval_fs": 1}, "shorter than timestep_fs"),
    ],
)
def test_mistakes_are_refused(stage, message):
    with pytest.raises(ValidationError, match=message):
        _plan(stage)
