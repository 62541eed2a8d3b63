"""The smallest study there is: eight-atom cells, four steps, twenty femtoseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpot.data.files import write_frames
from mlpot.recipe import parse_recipe
from mlpot.studies.recipe import StudyRecipe
from mlpot.studies.run import run_study


@pytest.fixture(scope="session")
def raw(si_frames, ge_frames, tmp_path_factory) -> dict[str, Any]:
    """Return the recipe of the smallest study, as plain data."""
    folder = tmp_path_factory.mktemp("data")
    write_frames(folder / "si.xyz", si_frames[:10])
    write_frames(folder / "test.xyz", si_frames[10:14])
    write_frames(folder / "ge.xyz", ge_frames)
    return {
        "title": "Silicon <to> germanium",
        "donors": {
            "si": {
                "elements": "Si",
                "data": {"train": str(folder / "si.xyz"), "validation": {"fraction": 0.2}},
                "test": str(folder / "test.xyz"),
                "fit": {"epochs": 2, "batch_size": 2},
            },
        },
        "target": {
            "elements": "Ge",
            "data": {
                "train": str(folder / "ge.xyz"),
                "validation": {"fraction": 0.5, "stratify": ["group"]},
                "stratify": ["group"],
            },
            "selection": {"fraction": 0.25},
        },
        "arms": {
            "scratch": {"fit": {"rate": 5e-3, "matrix_rate": 2e-2}},
            "zero_shot": {"donor": "si", "scales": "properties", "steps": 0},
            "transfer": {"donor": "si", "scales": "properties"},
            "frozen": {"donor": "si", "scales": "properties", "freeze": ["network.layers.0.*"], "sizes": [3]},
        },
        "sizes": [2, 3],
        "seeds": [0, 1],
        "budget": {"steps": 4, "checks": 2},
        "search": {"factors": [0.1, 1.0]},
        "domains": {"calm": {"where": {"group": "calm"}, "sizes": [2], "arms": ["scratch", "transfer"]}},
        "model": {"channels": 4, "hidden": 4},
        "dynamics": {
            "size": 3,
            "reference": "sw-ge",
            "repeat": 1,
            "temperatures": [300, 400],
            "seeds": [0],
            "time_ps": 0.02,
            "timestep_fs": 2.0,
            "batched": True,
        },
        "engine": {"kind": "local", "workers": 1},
        "watts": 10.0,
    }


@pytest.fixture(scope="session")
def recipe(raw) -> StudyRecipe:
    """Return the recipe of the smallest study."""
    return parse_recipe(StudyRecipe, raw, "plan")


@pytest.fixture(scope="session")
def study(recipe, tmp_path_factory) -> tuple[Path, dict[str, Any], list[str]]:
    """Return the directory of a finished study, its results and the lines it said."""
    out = tmp_path_factory.mktemp("study") / "out"
    said: list[str] = []
    results = run_study(recipe, out, said.append)
    return out, results, said
