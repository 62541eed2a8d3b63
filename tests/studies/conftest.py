"""The smallest study there is: eight-atom cells, two epochs, twenty femtoseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpot.data.files import write_frames
from mlpot.recipe import parse_recipe
from mlpot.studies.recipe import StudyRecipe
from mlpot.studies.run import run_study


@pytest.fixture(scope="session")
def plan(si_frames, ge_frames, tmp_path_factory) -> dict[str, Any]:
    """Return the recipe of the smallest study, as plain data."""
    folder = tmp_path_factory.mktemp("data")
    write_frames(folder / "si.xyz", si_frames[:10])
    write_frames(folder / "test.xyz", si_frames[10:14])
    write_frames(folder / "ge.xyz", ge_frames)
    brief = {"epochs": 2, "batch_size": 2}
    return {
        "title": "Silicon <to> germanium",
        "donor": {
            "element": "Si",
            "data": {"train": str(folder / "si.xyz"), "validation": {"fraction": 0.2}},
            "test": str(folder / "test.xyz"),
            "fit": brief,
        },
        "target": {
            "element": "Ge",
            "data": {
                "train": str(folder / "ge.xyz"),
                "validation": {"fraction": 0.5, "stratify": ["group"]},
                "stratify": ["group"],
            },
            "frames": 3,
            "fine_tuning": brief,
            "scratch": {"fit": brief, "rates": [[5e-3, 2e-2], [1e-3, 5e-3]]},
        },
        "model": {"channels": 4, "hidden": 4},
        "seeds": [0],
        "dynamics": {
            "reference": "sw-ge",
            "repeat": 1,
            "temperatures": [300],
            "seeds": [0],
            "time_ps": 0.02,
            "timestep_fs": 2.0,
        },
    }


@pytest.fixture(scope="session")
def recipe(plan) -> StudyRecipe:
    """Return the recipe of the smallest study."""
    return parse_recipe(StudyRecipe, plan, "plan")


@pytest.fixture(scope="session")
def study(recipe, tmp_path_factory) -> tuple[Path, dict[str, Any], list[str]]:
    """Return the directory of a finished study, its results and the lines it said."""
    out = tmp_path_factory.mktemp("study") / "out"
    said: list[str] = []
    results = run_study(recipe, out, said.append)
    return out, results, said
