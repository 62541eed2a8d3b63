"""A potential beside labels: the frames that it was to be judged on, where they are still at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from mlpot.conventions import GPA
from mlpot.data.frame import Frame
from mlpot.data.section import DataSections, file_sha256, load_sections
from mlpot.errors import DataError
from mlpot.model.base import LocalEnergyModel, Prediction
from mlpot.model.file import load_model, read_header
from mlpot.training.errors import group_frames

#: Of more frames, so many are computed, evenly spread.
MOST_FRAMES = 1000


@dataclass(frozen=True)
class Compared:
    """Labels and predictions of one quantity.

    Attributes
    ----------
    name, unit
        Of the quantity.
    error_unit, scale
        Unit of errors, and what a difference is multiplied with to be in it.
    label, predicted : (n,)
        Energies per atom, or components, of all frames that have the label.
    groups
        Indices into them, by group.
    """

    name: str
    unit: str
    error_unit: str
    scale: float
    label: np.ndarray
    predicted: np.ndarray
    groups: dict[str, np.ndarray]


def state_of_files(files: Mapping[str, str]) -> dict[str, str]:
    """Return of every file, by its SHA-256 at the time, whether it is still what it was."""
    states = {}
    for path, digest in files.items():
        if not Path(path).is_file():
            states[path] = "not here"
        else:
            states[path] = "unchanged" if file_sha256(path) == digest else "changed since"
    return states


def validation_frames(recipe: Mapping[str, Any], files: Mapping[str, str]) -> list[Frame]:
    """Return the frames that a recipe holds out, in their order.

    Parameters
    ----------
    recipe
        Of a training or transfer run, as plain data.
    files
        SHA-256 of its files by path.

    Raises
    ------
    DataError
        If there are none, or a file is missing or not the same any more.
    """
    if not recipe.get("data"):
        raise DataError("no frames were trained on, so none were held out.")
    for path, state in state_of_files(files).items():
        if state != "unchanged":
            hint = "paths are relative to the working directory" if state == "not here" else "by its SHA-256"
            raise DataError(f"the file {path} is {state} ({hint}).")
    try:
        sections = TypeAdapter(DataSections).validate_python(recipe["data"])
    except ValidationError as error:
        raise DataError(f"the recipe's data cannot be read: {error.errors()[0]['msg']}.") from None
    held = load_sections(sections).validation
    if not len(held):
        raise DataError("no frames were held out.")
    return list(held)


def compare(
    model: LocalEnergyModel,
    frames: Sequence[Frame],
    keys: Sequence[str],
    progress: Callable[[float], None] | None = None,
) -> tuple[list[Compared], int]:
    """Return labels beside predictions of energies, forces and stress, and the number of frames.

    Parameters
    ----------
    model
        The potential.
    frames
        Labelled; of more than :data:`MOST_FRAMES` that many, evenly spread.
    keys
        Info keys to group by.
    progress
        Called with the fraction done.

    Raises
    ------
    DataError
        If no frame has a label.
    MLPotError
        For frames that the model cannot be evaluated on.
    """
    if len(frames) > MOST_FRAMES:
        frames = [frames[i] for i in np.linspace(0, len(frames) - 1, MOST_FRAMES).astype(int)]
    predictions: list[Prediction] = []
    with model.natively():
        for done, frame in enumerate(frames, start=1):
            predictions += model.predict(frame)
            if progress is not None:
                progress(done / len(frames))
    groups = group_frames(frames, keys)
    # All, elements and groups overlap; the last that holds a frame is the finest.
    of_frame = {i: name for name, members in groups.items() for i in members}
    pairs = {
        "energy": (
            "eV/atom",
            "meV/atom",
            1e3,
            lambda f, p: (np.array([f.energy / len(f)]), np.array([p.energy / len(f)])),
        ),
        "forces": ("eV/Å", "meV/Å", 1e3, lambda f, p: (f.forces.ravel(), p.forces.ravel())),
        "stress": ("GPa", "GPa", 1.0, lambda f, p: (f.stress.ravel() / GPA, p.stress.ravel() / GPA)),
    }
    found = []
    for name, (unit, error_unit, scale, values) in pairs.items():
        own = [i for i, frame in enumerate(frames) if getattr(frame, name) is not None]
        if not own:
            continue
        both = [values(frames[i], predictions[i]) for i in own]
        belongs = np.concatenate([np.full(len(both[k][0]), of_frame[i]) for k, i in enumerate(own)])
        members = {group: np.flatnonzero(belongs == group) for group in groups}
        members = {group: places for group, places in members.items() if len(places)}
        label, predicted = (np.concatenate(part) for part in zip(*both, strict=True))
        found.append(Compared(name, unit, error_unit, scale, label, predicted, members))
    if not found:
        raise DataError("no frame has a label.")
    return found, len(frames)


def load_as_written(path: str | Path) -> LocalEnergyModel:
    """Return the potential of a model file in the precision it was written in."""
    double = read_header(path)["precision"] == "float64"
    return load_model(path, torch.float64 if double else torch.float32)
