"""Sampling plans: validation, and that their frames are what they claim to be."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import units
from pydantic import ValidationError

from mlpot.data.files import count_labels, read_frames, read_provenance, write_frames
from mlpot.data.split import group_ids
from mlpot.errors import RecipeError
from mlpot.reference.calculators import build
from mlpot.reference.classical import classical_calculator, lattice_constant
from mlpot.sampling.generate import generate, provenance
from mlpot.sampling.plan import SamplingPlan

# The same bits with and without LAMMPS.
MATSCIPY = {"name": "sw-si", "engine": "matscipy"}
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
    runs = [generate(_plan(SOLID, STRAIN, RATTLE, calculator=MATSCIPY)).frames for _ in range(2)]
    hashes = [[frame.content_hash for frame in run] for run in runs]
    assert hashes[0] == hashes[1] and len(set(hashes[0])) == 15
    other = generate(_plan(STRAIN, seed=6, calculator=MATSCIPY)).frames
    assert not {frame.content_hash for frame in other} & set(hashes[0])
    # A stage's frames depend on the seed and its place, not on what the other stages are.
    swapped = generate(_plan(RATTLE, STRAIN, RATTLE, calculator=MATSCIPY)).frames
    assert [frame.content_hash for frame in swapped[4:7]] == hashes[0][8:11]


def test_frames_carry_their_origin_and_true_labels():
    calls: list[tuple[str, int, int]] = []
    frames = generate(
        _plan(SOLID, STRAIN, RATTLE, calculator=MATSCIPY), progress=lambda *call: calls.append(call)
    ).frames
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
    assert calls[0] == ("md-300K-solid", 0, 4) and calls[-1] == ("labels", 15, 15)
    assert ("rattle-0.1A", 2, 2) in calls
    assert count_labels(frames) == {"energy": 15, "forces": 15, "stress": 15}
    for frame in frames:
        atoms = frame.to_atoms()
        atoms.calc = classical_calculator("sw-si")
        assert atoms.get_potential_energy() == frame.energy
        np.testing.assert_array_equal(atoms.get_forces(), frame.forces)
        np.testing.assert_array_equal(atoms.get_stress(voigt=False), frame.stress)


def test_strain_and_rattle_have_the_asked_size():
    frames = generate(_plan(STRAIN | {"frames": 200, "rattle": 0}, RATTLE | {"frames": 50})).frames
    a = lattice_constant("sw-si")
    strains = np.array([frame.cell / a - np.eye(3) for frame in frames[:200]])
    np.testing.assert_allclose(strains, strains.transpose(0, 2, 1), atol=1e-12)
    assert 0.045 < np.abs(strains).max() <= 0.05 and abs(strains.mean()) < 0.003
    perfect = frames[0].positions @ np.linalg.inv(frames[0].cell)
    for part, deviation in ((frames[200:250], 0.02), (frames[250:], 0.1)):
        moved = np.array([frame.positions - perfect @ frame.cell for frame in part])
        assert moved.std() == pytest.approx(deviation, rel=0.06)  # 1200 numbers: 2 % deviation


def test_lattice_constant_can_be_set():
    (frame,) = generate(
        _plan(RATTLE | {"standard_deviations": [0.01], "frames": 1}, lattice_constant=5.0)
    ).frames
    np.testing.assert_array_equal(frame.cell, 5.0 * np.eye(3))


def _liquid(**changes) -> dict:
    return SOLID | {
        "phase": "liquid", "temperatures": [3000], "frames": 2, "melt_temperature": 8000, "melt_ps": 0.5,
        "equilibration_ps": 0.4, "density": 2.5,
    } | changes  # fmt: skip


def test_liquid_is_melted_and_has_the_asked_density():
    frames = generate(_plan(_liquid())).frames
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
        (STRAIN | {"kind": "strian"}, "does not match any of the expected tags: 'md', .* 'strain'"),
        (RATTLE | {"frames": 0}, "greater than 0"),
    ],
)
def test_plan_refuses(stage, message):
    with pytest.raises(ValidationError, match=message):
        _plan(stage)


def test_plan_refuses_unknown_calculator():
    with pytest.raises(ValidationError, match="did you mean 'sw-si'"):
        _plan(STRAIN, calculator="swsi")


def test_provenance_is_written_and_read(tmp_path):
    plan = _plan(STRAIN, calculator=MATSCIPY)
    generated = generate(plan)
    write_frames(tmp_path / "s.xyz", generated.frames, provenance=provenance(plan, generated))
    noted = read_provenance(tmp_path / "s.xyz")
    assert noted is not None and SamplingPlan.model_validate(noted["recipe"]) == plan
    assert noted["calculator"]["source"] == "F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985)"
    assert noted["calculator"]["engine"] == "matscipy" and "matscipy" in noted["calculator"]["versions"]
    assert noted["labels"] is True
    assert noted["frames"] == {"sampled": {"strain": 3}, "dropped": {}, "written": {"strain": 3}}
    assert set(noted["versions"]) == {"mlpot", "ase", "numpy"}


def test_structures_can_be_left_without_labels_or_labelled_by_another(tmp_path):
    bare = generate(_plan(STRAIN, labels=False)).frames
    assert count_labels(bare) == {"energy": 0, "forces": 0, "stress": 0}
    plan = _plan(STRAIN, labels={"name": "t3-si", "engine": "matscipy"})
    generated = generate(plan)
    for frame, other in zip(bare, generated.frames, strict=True):
        np.testing.assert_array_equal(frame.positions, other.positions)
        atoms = other.to_atoms()
        atoms.calc = classical_calculator("t3-si")
        assert atoms.get_potential_energy() == other.energy
    assert provenance(plan, generated)["labels"]["name"] == "t3-si"


def test_frames_with_large_forces_are_refused_or_dropped_and_counted():
    pairs = {"kind": "short_pair", "distances": [1.0, 1.4], "frames": 2}
    with pytest.raises(
        RecipeError, match=r"frame 3 \(group short_pair\): an atom feels .* max_force = 20; .*drop"
    ):
        generate(_plan(STRAIN, pairs, max_force=20, supercell=[2, 2, 1]))
    generated = generate(_plan(STRAIN, pairs, max_force=20, above_max_force="drop", supercell=[2, 2, 1]))
    assert generated.groups == {"strain": 3} and generated.dropped == {"short_pair": 2}
    assert generated.sampled == {"strain": 3, "short_pair": 2}
    with pytest.raises(ValidationError, match="max_force judges labels, but labels is false"):
        _plan(STRAIN, max_force=20, labels=False)
    with pytest.raises(ValidationError, match=r"above max_force \(eV/Å\), which is not given"):
        _plan(STRAIN, above_max_force="drop")


def test_selection_keeps_diverse_frames_of_a_stage_or_of_all():
    many = RATTLE | {"standard_deviations": [0.02], "frames": 9}
    odd = RATTLE | {"standard_deviations": [0.4], "frames": 1}
    select = {"frames": 3, "method": "farthest_point", "model": "si"}
    of_all = generate(_plan(many, odd, select=select))
    assert of_all.groups == {"rattle-0.02A": 2, "rattle-0.4A": 1}
    assert of_all.sampled == {"rattle-0.02A": 9, "rattle-0.4A": 1}
    of_one = generate(_plan(many | {"select": select}, odd))
    assert of_one.groups == {"rattle-0.02A": 3, "rattle-0.4A": 1}
    whole = {frame.content_hash for frame in generate(_plan(many, odd)).frames}
    assert {frame.content_hash for frame in [*of_all.frames, *of_one.frames]} <= whole


def test_frames_of_a_file_are_selected_with_their_labels_or_labelled_again(tmp_path):
    path = tmp_path / "long.xyz"
    labelled = generate(_plan(SOLID | {"frames": 6, "temperatures": [300]})).frames
    write_frames(path, labelled)
    stage = {"kind": "file", "path": str(path), "index": "::2"}
    kept = generate(SamplingPlan.model_validate({"seed": 0, "labels": False, "stages": [stage]})).frames
    assert [frame.energy for frame in kept] == [frame.energy for frame in labelled[::2]]
    assert {frame.info["group"] for frame in kept} == {"file-long"}
    assert {frame.info["temperature_K"] for frame in kept} == {300.0}
    assert len({frame.info["block"] for frame in kept}) == 3  # those of the file: two in a row
    (again,) = generate(_plan(stage | {"index": "0"}, calculator={"name": "t3-si"})).frames
    assert abs(again.energy - labelled[0].energy) > 0.1
    with pytest.raises(ValidationError, match="labels needs a calculator"):
        SamplingPlan.model_validate({"seed": 0, "stages": [stage]})
    with pytest.raises(ValidationError, match="stage md needs a calculator"):
        SamplingPlan.model_validate({"seed": 0, "labels": False, "stages": [stage, SOLID]})


def test_element_is_asked_for_where_it_is_not_clear():
    several = {"potential": "sige"}
    with pytest.raises(RecipeError, match="sige knows Ge, Si: say with element which one to sample"):
        generate(_plan(STRAIN, calculator=several))
    with pytest.raises(RecipeError, match="calculator sw-si knows Si, but element is Ge"):
        generate(_plan(STRAIN, element="Ge"))
    with pytest.raises(RecipeError, match="calculator sw-si knows Si, but element is Ge"):
        generate(_plan(STRAIN, calculator=several, element="Ge", labels=MATSCIPY))
    with pytest.raises(ValidationError, match="'Sj' is no chemical symbol"):
        _plan(STRAIN, element="Sj")
    frames = generate(_plan(STRAIN, calculator=several, element="Ge")).frames
    assert frames[0].symbols == {"Ge"} and count_labels(frames)["forces"] == 3


def _digest(frames) -> str:
    """Hash structures and labels to the digits in which machines agree: no chaos lies before them."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(repr((frame.numbers.tolist(), round(frame.energy, 4))).encode())
        for array, digits in ((frame.positions, 6), (frame.cell, 6), (frame.forces, 4), (frame.stress, 6)):
            digest.update((array.round(digits) + 0.0).tobytes())  # no negative zeros
    return digest.hexdigest()


#: Shipped recipes: how many frames their stages without trajectories have, and the digest of these.
SHIPPED = {
    "sw_si": (25, "e0a5e24e22ac2c2974b8804d8df0a2739c0656cce76d6a0694b4358e6836726e"),
    "sw_ge": (25, "c4b915c2f75340b1f819daf5850503d5d18b358fef182d04ca3b1a8511df4676"),
    "tersoff_si": (178, "59c004e21efca7d45c7218c4ff51abb688b6c144bc490a1d28ea3ab532de5133"),
    "tersoff_ge": (178, "5c0badb3b86c4cd4d891f431b59d162ce8578540ce3728d0fe72960211e2a317"),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_subset_of_shipped_data_is_made_again(name):
    recipe = yaml.safe_load((ROOT / f"recipes/data/{name}.yaml").read_text())
    made_of = [
        {"kind": "static"} if stage["kind"] in ("md", "quench") else stage for stage in recipe["stages"]
    ]
    made = generate(SamplingPlan.model_validate(recipe | {"stages": made_of})).frames
    made = [frame for frame in made if frame.info["group"] != "static"]
    shipped = read_frames((ROOT / "data" / name.replace("_", "/")).with_suffix(".xyz"))
    groups = {frame.info["group"] for frame in made}
    shipped = [frame for frame in shipped if frame.info["group"] in groups]
    assert (len(made), _digest(made)) == SHIPPED[name]
    # The file has eight decimals of positions and forces.
    assert [frame.info for frame in made] == [frame.info for frame in shipped]
    for one, other in zip(made, shipped, strict=True):
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-7)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-6)
        assert one.energy == pytest.approx(other.energy, abs=1e-7)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_data_are_those_of_the_shipped_recipe(name):
    path = ROOT / "data" / name.replace("_", "/")
    path = path.with_suffix(".xyz")
    plan = SamplingPlan.model_validate(yaml.safe_load((ROOT / f"recipes/data/{name}.yaml").read_text()))
    noted = read_provenance(path)
    assert noted is not None and SamplingPlan.model_validate(noted["recipe"]) == plan
    assert path.stat().st_size < 3e6
    frames = read_frames(path)
    assert count_labels(frames) == {label: len(frames) for label in ("energy", "forces", "stress")}
    for frame in frames[::20]:
        atoms = frame.to_atoms()
        atoms.calc = build(plan.calculator)
        # Positions are written with eight decimals: so good are the labels for them.
        assert atoms.get_potential_energy() == pytest.approx(frame.energy, abs=1e-5)
        np.testing.assert_allclose(atoms.get_forces(), frame.forces, atol=1e-5)
        np.testing.assert_allclose(atoms.get_stress(voigt=False), frame.stress, atol=1e-7)
