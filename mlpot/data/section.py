"""The ``data`` section of a recipe: which frames are trained on, which are held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ase.data import atomic_numbers
from pydantic import Field, field_validator

from mlpot.data.files import count_labels, read_frames
from mlpot.data.frame import Frame, LabelKeys
from mlpot.data.split import draw_frames, split_frames
from mlpot.errors import DataError
from mlpot.recipe import Recipe

#: With fewer frames than this none is held out.
FEWEST_TO_SPLIT = 5


class LabelSection(Recipe):
    """Under which names the files keep their labels; see :class:`~mlpot.data.frame.LabelKeys`."""

    energy: str | None = "REF_energy"
    forces: str | None = "REF_forces"
    stress: str | None = "REF_stress"
    missing: Literal["error", "allow"] = "error"

    def keys(self) -> LabelKeys:
        """Return the names as the readers of frames take them."""
        return LabelKeys(self.energy, self.forces, self.stress, self.missing)


class HoldoutSection(Recipe):
    """How validation frames are held out; see :func:`~mlpot.data.split.split_frames`."""

    fraction: float = Field(default=0.1, gt=0.0, lt=1.0)
    keys: list[str] = Field(default=[])
    block: int | None = Field(default=None, ge=1)
    stratify: list[str] = Field(default=[])
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class DataSets:
    """Frames to train on and frames held out, and where they come from.

    Attributes
    ----------
    train, validation : list of Frame
        Disjoint; ``validation`` may be empty.
    files : dict
        SHA-256 of every file read, by its path.
    notes : list of str
        What a reader of the results must know about the split.
    """

    train: list[Frame]
    validation: list[Frame]
    files: dict[str, str]
    notes: list[str]

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols that occur, by atomic number."""
        found = set().union(*(frame.symbols for frame in [*self.train, *self.validation]))
        return sorted(found, key=atomic_numbers.__getitem__)

    def counts(self) -> dict[str, Any]:
        """Return frames, atoms and labels of both sides, for people and JSON."""
        sides = {"train": self.train, "validation": self.validation}
        return {
            side: {"frames": len(frames), "atoms": sum(map(len, frames)), "labels": count_labels(frames)}
            for side, frames in sides.items()
        }

    def membership(self) -> dict[str, Any]:
        """Return which frame (``file#index``) is on which side, for ``split.json``."""
        return {
            "train": [frame.source for frame in self.train],
            "validation": [frame.source for frame in self.validation],
            "files": self.files,
            "notes": self.notes,
        }


class DataSection(Recipe):
    """Files of labelled frames, and how they are divided.

    First the validation frames are held out (or read from a file of their own), then
    ``frames`` of the rest are drawn to train on, stratified by the info keys ``stratify``; so
    the validation frames stay the same whatever ``frames`` and ``seed`` are.
    """

    train: list[str] = Field(min_length=1)
    labels: LabelSection = LabelSection()
    frames: int | None = Field(default=None, ge=1)
    stratify: list[str] = Field(default=[])
    seed: int = Field(default=0, ge=0)
    validation: str | HoldoutSection | None = HoldoutSection()

    @field_validator("train", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    def load(self) -> DataSets:
        """Read the files and divide their frames.

        Raises
        ------
        DataError
            As :func:`~mlpot.data.files.read_frames`, :func:`~mlpot.data.split.split_frames` and
            :func:`~mlpot.data.split.draw_frames`; if a file of validation frames holds a frame
            that is trained on.
        """
        keys = self.labels.keys()
        files = {path: _sha256(path) for path in self.train}
        everything = [frame for path in files for frame in read_frames(path, keys)]
        indices = list(range(len(everything)))
        validation: list[Frame] = []
        notes: list[str] = []
        if isinstance(self.validation, str):
            files[self.validation] = _sha256(self.validation)
            validation = read_frames(self.validation, keys)
        elif self.validation is None:
            notes.append("no validation, as asked: the last averaged weights are kept.")
        elif len(everything) < FEWEST_TO_SPLIT:
            notes.append(
                f"no validation: {len(everything)} frames are too few to hold one out "
                f"(fewer than {FEWEST_TO_SPLIT}); the last averaged weights are kept."
            )
        else:
            how = self.validation
            split = split_frames(everything, how.fraction, how.seed, how.keys, how.block, how.stratify)
            indices = split.train.tolist()
            validation = [everything[i] for i in split.holdout]
        if self.frames is not None:
            chosen = draw_frames(everything, self.frames, self.seed, self.stratify, indices)
            notes.append(f"{self.frames} of {len(indices)} training frames drawn with seed {self.seed}.")
            indices = chosen.tolist()
        train = [everything[i] for i in indices]
        _refuse_overlap(train, validation)
        return DataSets(train, validation, files, notes)


def _sha256(path: str) -> str:
    """Return the digest of a file; a missing file is left to its reader to report."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else ""


def _refuse_overlap(train: list[Frame], validation: list[Frame]) -> None:
    known = {frame.content_hash: frame.source for frame in train}
    for frame in validation:
        if frame.content_hash in known:
            raise DataError(
                f"{frame.source}: this validation frame is also trained on ({known[frame.content_hash]}); "
                "remove it from one side, or give `validation: {fraction: 0.1}` to hold frames out."
            )
