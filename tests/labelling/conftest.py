"""Frames to label, and a calculator that does as it is told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from stand_ins import InlineWorkers

from mlpot.labelling.recipe import LabelRecipe
from mlpot.recipe import parse_recipe


@pytest.fixture(autouse=True)
def moody_can_be_imported(monkeypatch):
    """Let the calculator of the tests be imported, here and in workers."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


class World:
    """A folder with a run and a calculator whose moods and calls are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.moods()

    def moods(self, **moods: str) -> None:
        """Say how frames behave: ``_3="crash"`` for the frame of number 3."""
        named = {f"{int(name[1:]) / 1000:.3f}": mood for name, mood in moods.items()}
        (self.folder / "moods.json").write_text(json.dumps(named))

    def method(self, seconds: float = 0.0) -> dict:
        """Return the method section."""
        arguments = {"folder": str(self.folder), "seconds": seconds}
        return {"kind": "calculator", "calculator": {"import": "moody:Moody", "arguments": arguments}}

    def recipe(self, seconds: float = 0.0, **engine) -> LabelRecipe:
        """Return a recipe for this calculator."""
        data = {"method": self.method(seconds), "engine": engine}
        if "kind" not in engine:
            data["engine"] = {"kind": "local", "workers": 1, **engine}
        return parse_recipe(LabelRecipe, data, "recipe")

    def calls(self) -> Counter[int]:
        """Return how often each frame was computed."""
        path = self.folder / "calls.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter(round(1000 * float(line.split()[0])) for line in lines)


@pytest.fixture
def world(tmp_path) -> World:
    """See :class:`World`."""
    return World(tmp_path)


@pytest.fixture
def inline(monkeypatch) -> None:
    """Start no processes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("mlpot.labelling.run.start_workers", lambda engine, run: InlineWorkers())
