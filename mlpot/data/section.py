"""The ``data`` section of a recipe: which frames are trained on, which are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from ase.data import atomic_numbers
from pydantic import BeforeValidator, Field, WrapSerializer, field_validator

from mlpot.data.files import count_labels, read_frames
from mlpot.data.frame import Frame, LabelKeys
from mlpot.data.overlap import refuse_overlap
from mlpot.data.split import draw_frames, split_frames
from mlpot.data.store import SUFFIX, StoredFrames, tabulate
from mlpot.data.zeros import EnergyZero, apply_zeros
from mlpot.errors import DataError
from mlpot.recipe import Recipe

#: With fewer frames than this none is held out.
FEWEST_TO_SPLIT = 5


def _check_symbols(value: Any) -> Any:
    symbols = [value] if isinstance(value, str) else value
    for symbol in symbols if isinstance(symbols, list) else ():
        if symbol not in atomic_numbers or symbol == "X":
            raise ValueError(f"'{symbol}' is no chemical element; give symbols such as Ge.")
    return symbols


#: Chemical symbols in a recipe; one need not be a list.
Elements = Annotated[list[str], Field(min_length=1), BeforeValidator(_check_symbols)]


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
    train, validation : sequence of Frame
        Disjoint; ``validation`` may be empty. Lists, or what streams from an indexed file.
    files : dict
        SHA-256 of every file read, by its path; of an indexed file, of its frames.
    notes : list of str
        What a reader of the results must know about the split.
    """

    train: Sequence[Frame]
    validation: Sequence[Frame]
    files: dict[str, str]
    notes: list[str]

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols that occur, by atomic number."""
        found = known_symbols(self.train) | known_symbols(self.validation)
        return sorted(found, key=atomic_numbers.__getitem__)

    def counts(self) -> dict[str, Any]:
        """Return frames, atoms and labels of both sides, for people and JSON."""
        sides = {"train": self.train, "validation": self.validation}
        return {
            side: {"frames": len(frames), "atoms": count_atoms(frames), "labels": count_labels(frames)}
            for side, frames in sides.items()
        }

    def membership(self) -> dict[str, Any]:
        """Return which frame (``file#index``) is on which side, for ``split.json``."""
        return {
            "train": _sources(self.train),
            "validation": _sources(self.validation),
            "files": self.files,
            "notes": self.notes,
        }


class DataSection(Recipe):
    """Files of labelled frames, and how they are divided.

    First the validation frames are held out (or read from a file of their own), then
    ``frames`` of the rest are drawn to train on, stratified by the info keys ``stratify``; so
    the validation frames stay the same whatever ``frames`` and ``seed`` are. ``energy_zeros`` are
    taken away from the energies of all of them, first. Frames of an indexed file (``.lmdb``) are
    not loaded but streamed.
    """

    train: list[str] = Field(min_length=1)
    labels: LabelSection = LabelSection()
    energy_zeros: list[EnergyZero] = Field(default=[])
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
            that is trained on; if streamed frames are to be divided, or not the only ones.
        """
        keys = self.labels.keys()
        if any(Path(path).suffix.lower() == SUFFIX for path in self.train):
            return self._stream(keys)
        separate = [self.validation] if isinstance(self.validation, str) else []
        files = {path: file_sha256(path) for path in [*self.train, *separate]}
        read = [read_frames(path, keys) for path in [*self.train, *separate]]
        everything, notes = apply_zeros([frame for part in read for frame in part], self.energy_zeros)
        indices = list(range(sum(map(len, read[: len(self.train)]))))
        everything, validation = everything[: len(indices)], everything[len(indices) :]
        if self.validation is None:
            notes.append("no validation, as asked: the last averaged weights are kept.")
        elif not separate and len(everything) < FEWEST_TO_SPLIT:
            notes.append(
                f"no validation: {len(everything)} frames are too few to hold one out "
                f"(fewer than {FEWEST_TO_SPLIT}); the last averaged weights are kept."
            )
        elif isinstance(self.validation, HoldoutSection):
            how = self.validation
            split = split_frames(everything, how.fraction, how.seed, how.keys, how.block, how.stratify)
            indices = split.train.tolist()
            validation = [everything[i] for i in split.holdout]
        if self.frames is not None:
            chosen = draw_frames(everything, self.frames, self.seed, self.stratify, indices)
            notes.append(f"{self.frames} of {len(indices)} training frames drawn with seed {self.seed}.")
            indices = chosen.tolist()
        train = [everything[i] for i in indices]
        _refuse_trained(train, validation)
        return DataSets(train, validation, files, notes)

    def _stream(self, keys: LabelKeys) -> DataSets:
        """Return frames that stay in their indexed file; of the whole set only the index is read."""
        path = self.train[0]
        if len(self.train) > 1:
            raise DataError(
                f"{path}: streamed frames come from one file; join the files: "
                f"mlpot convert {' '.join(self.train)} --out all{SUFFIX}"
            )
        if isinstance(self.validation, HoldoutSection):
            raise DataError(
                f"{path}: streamed frames are not divided, because keeping copies of a structure on one side "
                "takes all of them in memory; give a file, best of other trajectories (`validation: FILE`), "
                "or `validation: null`."
            )
        if self.energy_zeros:
            raise DataError(f"{path}: energy_zeros are for frames that are loaded; correct the file instead.")
        if self.stratify:
            raise DataError(f"{path}: streamed frames are drawn without `stratify`; leave it out.")
        train = StoredFrames(path, keys)
        files, notes = {path: train.digest}, []
        validation: Sequence[Frame] = []
        if self.validation is None:
            notes.append("no validation, as asked: the last averaged weights are kept.")
        elif Path(self.validation).suffix.lower() == SUFFIX:
            validation = stored = StoredFrames(self.validation, keys)
            files[self.validation] = stored.digest
        else:
            files[self.validation] = file_sha256(self.validation)
            validation = read_frames(self.validation, keys)
        if self.frames is not None:
            if self.frames > len(train):
                raise DataError(f"cannot draw {self.frames} frames from {len(train)}; ask for fewer.")
            notes.append(f"{self.frames} of {len(train)} training frames drawn with seed {self.seed}.")
            train = train.select(np.random.default_rng(self.seed).permutation(len(train))[: self.frames])
        _refuse_trained(train, validation)
        return DataSets(train, validation, files, notes)


#: One section, or a list of them: each with its own names of labels and its own hold-out.
DataSections = Annotated[
    list[DataSection],
    Field(min_length=1),
    BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
    WrapSerializer(lambda value, plain: plain(value)[0] if len(value) == 1 else plain(value)),
]


def load_sections(sections: Sequence[DataSection]) -> DataSets:
    """Read and divide the files of each section, and join what results.

    Raises
    ------
    DataError
        As :meth:`DataSection.load`; if a frame that one section holds out is trained on by another.
    """
    sets = [section.load() for section in sections]
    if len(sets) == 1:
        return sets[0]
    if any(isinstance(part.train, StoredFrames) for part in sets):
        raise DataError("data: streamed frames come in one section alone; join the files with mlpot convert.")
    train = [frame for part in sets for frame in part.train]
    validation = [frame for part in sets for frame in part.validation]
    _refuse_trained(train, validation)
    notes = [
        f"{', '.join(section.train)}: {note}"
        for section, part in zip(sections, sets, strict=True)
        for note in part.notes
    ]
    files = {path: digest for part in sets for path, digest in part.files.items()}
    return DataSets(train, validation, files, notes)


def file_sha256(path: str) -> str:
    """Return the digest of a file; a missing file is left to its reader to report."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if Path(path).is_file() else ""


def known_symbols(frames: Sequence[Frame]) -> set[str]:
    """Return the chemical symbols that occur in frames."""
    if isinstance(frames, StoredFrames):
        return set(frames.table.symbols)
    return set().union(*(frame.symbols for frame in frames))


def count_atoms(frames: Sequence[Frame]) -> int:
    """Return the number of atoms of frames."""
    if isinstance(frames, StoredFrames):
        return int(frames.table.composition.sum())
    return sum(map(len, frames))


def _sources(frames: Sequence[Frame]) -> list[str]:
    return frames.sources if isinstance(frames, StoredFrames) else [frame.source for frame in frames]


def _refuse_trained(train: Sequence[Frame], validation: Sequence[Frame]) -> None:
    if isinstance(train, StoredFrames):
        if not validation:
            return
        # The index tells which frames can be equal; these few are compared in full.
        held = validation.table if isinstance(validation, StoredFrames) else tabulate(validation)
        hashes = train.table.hashes
        train = train.select(np.flatnonzero(np.isin(hashes, held.hashes)))
        alike = np.flatnonzero(np.isin(held.hashes, hashes))
        validation = [validation[int(i)] for i in alike]
    refuse_overlap(
        validation,
        train,
        lambda frame, other: (
            f"{frame}: this validation frame is also trained on ({other}); remove it from one side, or give "
            "`validation: {fraction: 0.1}` to hold frames out."
        ),
    )
