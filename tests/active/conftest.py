"""Active learning on cells of eight germanium atoms: a silicon donor, a first set, test frames."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from stand_ins import InlineWorkers

from mlpot.active.recipe import ActiveRecipe
from mlpot.active.run import run_active
from mlpot.data.files import write_frames
from mlpot.model.file import save_model
from mlpot.recipe import parse_recipe
from mlpot.training.initialise import new_potential


@pytest.fixture(autouse=True)
def inline(monkeypatch):
    """Label in this process, and let the calculator of the tests be imported."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr("mlpot.labelling.run.start_workers", lambda engine, run: InlineWorkers())


@pytest.fixture(scope="session")
def files(tmp_path_factory, si_frames, sw_frames, tiny) -> Path:
    """Return a folder with the donor (its network as it was initialised), first and test frames."""
    folder = tmp_path_factory.mktemp("active")
    save_model(new_potential(si_frames, ["Si"], tiny), folder / "si.safetensors")
    write_frames(folder / "first.xyz", sw_frames("Ge", 4, seed=1, rattle=0.1))
    write_frames(folder / "test.xyz", sw_frames("Ge", 3, seed=2, rattle=0.3))
    return folder


@pytest.fixture(scope="session")
def raw(files) -> dict:
    """Return a recipe as plain values: two trajectories, two members, rounds of two frames."""
    return {
        "title": "test",
        "elements": "Ge",
        "training": {"donor": str(files / "si.safetensors"), "scales": "none", "steps": 4},
        "data": {"train": str(files / "first.xyz")},
        "test": str(files / "test.xyz"),
        "uncertainty": {"members": 2},
        "dynamics": {
            "structures": f"{files / 'first.xyz'}@0",
            "volumes": [1.0, 1.05],
            "temperatures": [600],
            "time_ps": 0.03,
            "timestep_fs": 2.0,
            "interval": 3,
            "max_forces_std": 100.0,
        },
        "selection": {"frames": 2, "separation": 1e-3},
        "label": {"method": {"kind": "calculator", "calculator": {"name": "sw-ge", "engine": "matscipy"}}},
        "rounds": 2,
        "engine": {"kind": "local", "workers": 1},
    }


@pytest.fixture(scope="session")
def varied(raw):
    """Return a maker of recipes with values at paths such as ``"dynamics.time_ps"`` changed."""

    def make(*changes) -> ActiveRecipe:
        changed = copy.deepcopy(raw)
        for path, value in changes:
            section = changed
            *parents, last = path.split(".")
            for key in parents:
                section = section.setdefault(key, {})
            if value is None:
                section.pop(last)
            else:
                section[last] = value
        return parse_recipe(ActiveRecipe, changed, "recipe")

    return make


@pytest.fixture
def fixed(monkeypatch):
    """Let members be what the donor is, apart from a seed: for tests that are not about learning."""
    from mlpot.active import work

    def instead(begun, held_out, settings, run, *others, **named):
        weights = np.random.default_rng(settings.seed)
        for parameter in begun.model.parameters():
            noise = weights.normal(scale=0.02, size=tuple(parameter.shape))
            parameter.data += parameter.data.new_tensor(noise)
        begun.model.eval()
        return type("Done", (), {"steps": 0})

    monkeypatch.setattr(work, "fine_tune", instead)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, varied):
    """Return the folder and the results of a whole run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr("mlpot.labelling.run.start_workers", lambda engine, run: InlineWorkers())
        out = tmp_path_factory.mktemp("finished") / "run"
        return out, run_active(varied(), out)
