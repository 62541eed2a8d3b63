"""What a study computes: kinds of tasks, each with what it rests on, and all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mlpot.data.frame import Frame
from mlpot.data.section import DataSets
from mlpot.studies.draws import TargetFrames
from mlpot.studies.recipe import StudyRecipe


@dataclass(frozen=True)
class DonorTask:
    """Train a donor; ``start``: the task it is carried from, if any."""

    key: str
    name: str
    seed: int
    start: str | None

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return (self.start,) if self.start is not None else ()


@dataclass(frozen=True)
class TrainingTask:
    """Train an arm on one subset.

    Attributes
    ----------
    key : str
        Folder of the result.
    arm, domain, size, seed
        Which run of the study this is.
    indices : tuple of int
        The subset, in the pool.
    donor : str or None
        Task of the donor that is trained in the study.
    steps : int
        Gradient steps.
    factor : float or None
        On the rates; ``None``: what ``candidates`` say.
    candidates : tuple of str
        Tasks of the search, of which the best on the selection frames gives the factor.
    """

    key: str
    arm: str
    domain: str
    size: int
    seed: int
    indices: tuple[int, ...]
    donor: str | None
    steps: int
    factor: float | None
    candidates: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return (*((self.donor,) if self.donor is not None else ()), *self.candidates)


@dataclass(frozen=True)
class DynamicsTask:
    """Run the potential of an arm and seed, or the reference (``arm`` is ``None``), in dynamics."""

    key: str
    arm: str | None
    seed: int
    trainings: tuple[str, ...]
    truth: str | None

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return (*self.trainings, *((self.truth,) if self.truth is not None else ()))


@dataclass(frozen=True)
class PropertiesTask:
    """Compute properties by the potential of an arm and seed, or the reference (``arm`` is ``None``)."""

    key: str
    arm: str | None
    seed: int
    trainings: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return self.trainings


@dataclass(frozen=True)
class LiquidTask:
    """Run the potential of an arm and seed where labelled frames tell the structure."""

    key: str
    arm: str
    seed: int
    trainings: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return self.trainings


Task = DonorTask | TrainingTask | DynamicsTask | PropertiesTask | LiquidTask


@dataclass
class Plan:
    """All tasks of a study, in an order in which they can be done.

    Attributes
    ----------
    recipe
        The study.
    frames
        Those of the target.
    donors : dict
        Frames of each donor that is trained, by name.
    tests : dict
        Frames of its test, by name.
    files : dict
        SHA-256 of every file of data.
    tasks : dict
        By key.
    runs : dict
        Keys of the trainings of each (arm, domain, size, seed): one, or the candidates of a search.
    """

    recipe: StudyRecipe
    frames: TargetFrames
    donors: dict[str, DataSets]
    tests: dict[str, list[Frame]]
    files: dict[str, str]
    tasks: dict[str, Task] = field(default_factory=dict)
    runs: dict[tuple[str, str, int, int], tuple[str, ...]] = field(default_factory=dict)
    _orders: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    @cached_property
    def judges(self) -> dict[str, list[str]]:
        """Hashes of the frames that choose and that judge, of which every training depends."""
        return {"selection": hashes(self.frames.selection), "holdout": hashes(self.frames.holdout)}

    def order(self, domain: str, seed: int) -> list[int]:
        """Return the frames of a domain in the order of a seed, found once for all arms and sizes."""
        if (domain, seed) not in self._orders:
            self._orders[domain, seed] = self.frames.order(self.recipe.target, domain, seed)
        return self._orders[domain, seed]

    def add(self, task: Task) -> str:
        """Take up a task; return its key."""
        self.tasks[task.key] = task
        return task.key

    def membership(self) -> dict[str, Any]:
        """Return which frame is used for what, for ``split.json``."""
        target = {
            "pool": [frame.source for frame in self.frames.pool],
            "selection": [frame.source for frame in self.frames.selection],
            "holdout": [frame.source for frame in self.frames.holdout],
        }
        return {
            "target": target,
            "donors": {name: sets.membership() for name, sets in self.donors.items()},
            "files": self.files,
        }


def hashes(frames: Sequence[Frame]) -> list[str]:
    """Return the content hashes of frames."""
    return [frame.content_hash for frame in frames]
