"""Sampling plans: validation, and that their frames are what they claim to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import units
from pydantic import ValidationError

from mlpot.data.files import count_labels, read_frames, read_provenance, write_frames
from mlpot.data.split import group_ids
from mlpot.errors import RecipeError
from mlpot.reference.classical import classical_calculator, lattice_constant
from mlpot.reference.generate import generate, provenance
from mlpot.reference.sampling import SamplingPlan

ROOT = Path(__file__).resolve().parents[2]

SOLID = {
    "kind": "md", "phase": "solid", "temperatures": [300, 900], "frames": 4, "equilibration_ps": 0.1,
    "interval_fs": 10, "block": 2,
}  # fmt: skip
STRAIN = {"kind": "strain", "frames": 3, "amplitude": 0.05, "rattle": 0.02}
RATTLE = {"kind": "rattle", "standard_deviations": [0.02, 0.1], "frames": 2}


def _plan(*stages: dict, **changes) -> SamplingPlan:
    plan = {"calculator": "sw-si", "seed": 5, "supercell": [1, 1, 1], "stages": list(stages)}
    return SamplingPlan.model_validate(plan | changes)


def test_same_plan_same_frames_bit_for_bit():
    runs = [generate(_plan(SOLID, STRAIN, RATTLE)) for _ in range(2)]
    hashes = [[frame.content_hash for frame in run] for run in runs]
    assert hashes[0] == hashes[1] and len(set(hashes[0])) == 15
    other = generate(_plan(STRAIN, seed=6))
    assert not {frame.content_hash for frame in other} & set(hashes[0])
    # A stage's frames depend on the seed and its place, not on what the other stages are.
    swapped = generate(_plan(RATTLE, STRAIN, RATTLE))
    assert [frame.content_hash for frame in swapped[4:7]] == hashes[0][8:11]


def test_frames_carry_their_origin_and_true_labels():
    calls: list[tuple[str, int, int]] = []
    frames = generate(_plan(SOLID, STRAIN, RATTLE), progress=lambda *call: calls.append(call))
    groups = [frame.info["group"] for frame in frames]
    assert groups == (
        ["md-300K-solid"] * 4
        + ["md-900K-solid"] * 4
        + ["strain"] * 3
        + ["rattle-0.02A"] * 2
        + ["rattle-0.1A"] * 2
    )
    assert {frame.info["config_type"] for frame in frames} == {"md-solid", "strain", "rattle"}
    assert [frame.info["temperature_K"] for frame in frames] == [300.0] * 4 + [900.0] * 4 + [0.0] * 7
    # Trajectories in blocks of two, everything else alone.
    expected = [0, 0, 1, 1, 2, 2, 3, 3, *range(4, 11)]
    np.testing.assert_array_equal(group_ids(frames, keys=["block"]), expected)
    assert calls[0] == ("md-300K-solid", 0, 4) and calls[-1] == ("rattle-0.1A", 2, 2)
    assert count_labels(frames) == {"energy": 15, "forces": 15, "stress": 15}
    for frame in frames:
        atoms = frame.to_atoms()
        atoms.calc = classical_calculator("sw-si")
        assert atoms.get_potential_energy() == frame.energy
        np.testing.assert_array_equal(atoms.get_forces(), frame.forces)
        np.testing.assert_array_equal(atoms.get_stress(voigt=False), frame.stress)


def test_strain_and_rattle_have_the_asked_size():
    frames = generate(_plan(STRAIN | {"frames": 200, "rattle": 0}, RATTLE | {"frames": 50}))
    a = lattice_constant("sw-si")
    strains = np.array([frame.cell / a - np.eye(3) for frame in frames[:200]])
    np.testing.assert_allclose(strains, strains.transpose(0, 2, 1), atol=1e-12)
    assert 0.045 < np.abs(strains).max() <= 0.05 and abs(strains.mean()) < 0.003
    perfect = frames[0].positions @ np.linalg.inv(frames[0].cell)
    for part, deviation in ((frames[200:250], 0.02), (frames[250:], 0.1)):
        moved = np.array([frame.positions - perfect @ frame.cell for frame in part])
        assert moved.std() == pytest.approx(deviation, rel=0.06)  # 1200 numbers: 2 % deviation


def test_lattice_constant_can_be_set():
    (frame,) = generate(_plan(RATTLE | {"standard_deviations": [0.01], "frames": 1}, lattice_constant=5.0))
    np.testing.assert_array_equal(frame.cell, 5.0 * np.eye(3))


def _liquid(**changes) -> dict:
    return SOLID | {
        "phase": "liquid", "temperatures": [3000], "frames": 2, "melt_temperature": 8000, "melt_ps": 0.5,
        "equilibration_ps": 0.4, "density": 2.5,
    } | changes  # fmt: skip


def test_liquid_is_melted_and_has_the_asked_density():
    frames = generate(_plan(_liquid()))
    assert [frame.info["group"] for frame in frames] == ["md-3000K-liquid"] * 2
    atoms = frames[0].to_atoms()
    grams = atoms.get_masses().sum() * units._amu * 1e3
    assert grams / (frames[0].volume * 1e-24) == pytest.approx(2.5, rel=1e-6)
    crystal = -4.3366
    assert all(frame.energy / 8 > crystal + 0.2 for frame in frames)


def test_phases_that_are_not_what_they_are_called_are_refused():
    with pytest.raises(
        RecipeError, match=r"did not melt within melt_ps = 0.1 ps at melt_temperature = 400 K"
    ):
        generate(_plan(_liquid(melt_temperature=400, melt_ps=0.1)))
    with pytest.raises(RecipeError, match="the solid melted at 8000 K"):
        generate(_plan(SOLID | {"temperatures": [8000], "equilibration_ps": 0.5}))
    with pytest.raises(RecipeError, match="the liquid hardly moved at 100 K"):
        generate(_plan(_liquid(temperatures=[100], equilibration_ps=0.1)))


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (SOLID | {"temperatures": [300, -5]}, "greater than 0"),
        (SOLID | {"temperatures": [300, 300]}, "the same value twice"),
        (SOLID | {"density": 2.5}, "density belong to phase liquid"),
        (SOLID | {"phase": "liquid"}, "needs melt_temperature"),
        (SOLID | {"interval_fs": 1}, r"interval_fs \(1.0\) is shorter than timestep_fs"),
        (SOLID | {"temperature": 300}, "unknown key 'temperature'; did you mean 'temperatures'"),
        (STRAIN | {"amplitude": 0.7}, "less than 0.5"),
        (STRAIN | {"kind": "strian"}, "does not match any of the expected tags: 'md', 'strain', 'rattle'"),
        (RATTLE | {"frames": 0}, "greater than 0"),
    ],
)
def test_plan_refuses(stage, message):
    with pytest.raises(ValidationError, match=message):
        _plan(stage)


def test_plan_refuses_unknown_calculator():
    with pytest.raises(RecipeError, match="did you mean 'sw-si'"):
        _plan(STRAIN, calculator="swsi")


def test_provenance_is_written_and_read(tmp_path):
    plan = _plan(STRAIN)
    write_frames(tmp_path / "s.xyz", generate(plan), provenance=provenance(plan))
    noted = read_provenance(tmp_path / "s.xyz")
    assert noted is not None and SamplingPlan.model_validate(noted["recipe"]) == plan
    assert noted["force_field"]["source"] == "F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985)"
    assert set(noted["versions"]) == {"mlpot", "ase", "matscipy", "numpy"}


@pytest.mark.parametrize("element", ["si", "ge"])
def test_shipped_data_are_those_of_the_shipped_recipe(element):
    path = ROOT / "data" / "sw" / f"{element}.xyz"
    plan = SamplingPlan.model_validate(yaml.safe_load((ROOT / f"recipes/data/sw_{element}.yaml").read_text()))
    noted = read_provenance(path)
    assert noted is not None and SamplingPlan.model_validate(noted["recipe"]) == plan
    frames = read_frames(path)
    assert count_labels(frames) == {"energy": 120, "forces": 120, "stress": 120}
    for frame in frames[::20]:
        atoms = frame.to_atoms()
        atoms.calc = classical_calculator(plan.calculator)
        # Positions are written with eight decimals: so good are the labels for them.
        assert atoms.get_potential_energy() == pytest.approx(frame.energy, abs=1e-5)
        np.testing.assert_allclose(atoms.get_forces(), frame.forces, atol=1e-5)
        np.testing.assert_allclose(atoms.get_stress(voigt=False), frame.stress, atol=1e-7)
