"""The PBE sets that ship: whole, of the shipped recipes, and sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from mlpot.data.files import count_labels, read_frames, read_provenance
from mlpot.labelling.recipe import LabelRecipe
from mlpot.recipe import load_recipe
from mlpot.sampling.generate import generate
from mlpot.sampling.plan import SamplingPlan

ROOT = Path(__file__).resolve().parents[2]
ELEMENTS = ("Si", "Ge")


@pytest.fixture(params=ELEMENTS)
def element(request) -> str:
    return request.param


@pytest.fixture
def path(element) -> Path:
    return ROOT / "data" / "pbe" / f"{element.lower()}.xyz"


def test_sets_are_whole(path, element):
    frames = read_frames(path)
    assert len(frames) >= 60
    assert count_labels(frames) == {label: len(frames) for label in ("energy", "forces", "stress")}
    assert {len(frame) for frame in frames} <= {7, 8, 15, 16}
    assert all(frame.symbols == {element} and all(frame.pbc) for frame in frames)
    groups = {frame.info["group"] for frame in frames}
    for part in ("solid", "liquid", "strain", "beta_tin", "vacancy"):
        assert any(part in group for group in groups), part
    assert path.stat().st_size < 3e6


def test_labels_are_of_the_shipped_recipe(path):
    noted = read_provenance(path)
    assert noted is not None
    method = load_recipe(LabelRecipe, ROOT / "recipes" / "dft" / "gpaw_pbe.yaml").method.model_dump(
        mode="json"
    )
    for name, value in noted["method"].items():
        if name not in ("versions", "stress", "pseudopotentials"):
            assert method[name] == value, name
    for symbol, file in noted["method"]["pseudopotentials"].items():
        assert method["pseudopotentials"][symbol] == file
    assert noted["frames"] == {"labelled": len(read_frames(path)), "unlabelled": 0}


def test_structures_without_trajectories_are_made_again(path, element):
    raw = yaml.safe_load((ROOT / f"recipes/pbe/{element.lower()}_structures.yaml").read_text())
    stages = [{"kind": "static"} if stage["kind"] == "md" else stage for stage in raw["stages"]]
    made = generate(SamplingPlan.model_validate(raw | {"stages": stages})).frames
    made = [frame for frame in made if frame.info["group"] != "static"]
    groups = {frame.info["group"] for frame in made}
    shipped = [frame for frame in read_frames(path) if frame.info["group"] in groups]
    assert [frame.info for frame in made] == [frame.info for frame in shipped]
    for one, other in zip(made, shipped, strict=True):
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-7)
        np.testing.assert_allclose(one.cell, other.cell, atol=1e-7)


def test_labels_are_sound(path):
    frames = read_frames(path)
    for frame in frames:
        # Real-space parts of the total energy break translations by a little.
        assert np.abs(frame.forces.mean(axis=0)).max() < 0.02
        assert np.allclose(frame.stress, frame.stress.T)
    curve = sorted(
        (abs(np.linalg.det(frame.cell)) / len(frame), frame.energy / len(frame))
        for frame in frames
        if frame.info["group"] == "eos"
    )
    energies = [energy for _, energy in curve]
    lowest = energies.index(min(energies))
    assert 0 < lowest < len(energies) - 1
    assert energies[:lowest] == sorted(energies[:lowest], reverse=True)
    assert energies[lowest:] == sorted(energies[lowest:])
    # Stress is the slope of that curve: dE/dV = tr(stress) / 3, here by differences around the minimum.
    stress = {
        abs(np.linalg.det(frame.cell)) / len(frame): np.trace(frame.stress) / 3
        for frame in frames
        if frame.info["group"] == "eos"
    }
    (v0, e0), (v1, e1) = curve[lowest], curve[lowest + 1]
    assert (e1 - e0) / (v1 - v0) == pytest.approx((stress[v0] + stress[v1]) / 2, rel=0.1)
