"""Errors of a potential on labelled frames, in the units people quote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from mlpot.conventions import GPA
from mlpot.data.frame import Frame
from mlpot.errors import DataError
from mlpot.model.base import LocalEnergyModel, Prediction

_LABELS = ("energy", "forces", "stress")
#: Of a table of errors, each mean absolute / root mean square.
ERROR_COLUMNS = ("", "frames", "energy meV/atom", "forces meV/Å", "stress GPa")


@dataclass(frozen=True)
class ErrorSummary:
    """Mean absolute and root mean square errors; ``None`` where no frame has the label.

    ``energy`` in meV/atom, ``forces`` in meV/Å by component, ``stress`` in GPa by component.
    """

    frames: int
    atoms: int
    energy_mae: float | None
    energy_rmse: float | None
    forces_mae: float | None
    forces_rmse: float | None
    stress_mae: float | None
    stress_rmse: float | None

    def asdict(self) -> dict[str, float | int | None]:
        """Return plain values for JSON."""
        return asdict(self)


def summarise(frames: Sequence[Frame], predictions: Sequence[Prediction]) -> ErrorSummary:
    """Compare predictions with the labels that the frames have."""
    energy, forces, stress = [], [], []
    for frame, prediction in zip(frames, predictions, strict=True):
        if frame.energy is not None:
            energy.append(np.atleast_1d(1e3 * (prediction.energy - frame.energy) / len(frame)))
        if frame.forces is not None:
            forces.append(1e3 * (prediction.forces - frame.forces).ravel())
        if frame.stress is not None:
            stress.append((prediction.stress - frame.stress).ravel() / GPA)

    def norms(parts: list[np.ndarray]) -> tuple[float | None, float | None]:
        if not parts:
            return None, None
        values = np.concatenate(parts)
        return float(np.abs(values).mean()), float(np.sqrt((values**2).mean()))

    atoms = sum(len(frame) for frame in frames)
    return ErrorSummary(len(frames), atoms, *norms(energy), *norms(forces), *norms(stress))


def error_rows(summaries: Mapping[str, Mapping[str, Any] | None]) -> list[list[str]]:
    """Return rows of a table, named by :data:`ERROR_COLUMNS`, of plain :class:`ErrorSummary` by name."""
    return [
        [name, str(own["frames"]), *(_pair(own[f"{k}_mae"], own[f"{k}_rmse"]) for k in _LABELS)]
        for name, own in summaries.items()
        if own is not None
    ]


def _pair(mean_absolute: float | None, root_mean_square: float | None) -> str:
    if mean_absolute is None or root_mean_square is None:
        return "–"
    return f"{mean_absolute:.3g} / {root_mean_square:.3g}"


def group_frames(frames: Sequence[Frame], keys: str | Sequence[str] = ()) -> dict[str, list[int]]:
    """Return the indices of the frames of each element and group, by name.

    Parameters
    ----------
    frames
        Any frames.
    keys
        Info keys; frames that agree in all of them are a group, named by the values
        (``"(none)"`` for a frame that lacks a key).

    Returns
    -------
    dict
        ``"all"``; where frames of different elements occur, all of an element (``"Ge"``, alloys
        ``"Si-Ge"``); and each group (``"AIMD-NVT, solid"``, or ``"Ge: AIMD-NVT, solid"``).
    """
    keys = [keys] if isinstance(keys, str) else list(keys)
    groups: dict[str, list[int]] = {"all": list(range(len(frames)))}
    elements = ["-".join(chemical_symbols[z] for z in np.unique(frame.numbers)) for frame in frames]
    for element in dict.fromkeys(elements):
        members = [index for index, own in enumerate(elements) if own == element]
        several = len(members) < len(frames)
        if several:
            groups[element] = members
        if keys:
            for index in members:
                value = ", ".join(str(frames[index].info.get(key, "(none)")) for key in keys)
                name = f"{element}: {value}" if several or value == "all" else value
                groups.setdefault(name, []).append(index)
    return groups


def errors_by_group(
    model: LocalEnergyModel,
    frames: Sequence[Frame],
    keys: str | Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, ErrorSummary]:
    """Return the errors over all frames, under ``"all"``, and of each element and group.

    Parameters
    ----------
    model
        The model to judge.
    frames
        Labelled frames.
    keys
        Info key, or keys, to group by; see :func:`group_frames`.
    progress
        Called with frames done and in all.
    """
    predictions = []
    for index, frame in enumerate(frames):
        predictions.extend(model.predict(frame))
        if progress is not None:
            progress(index + 1, len(frames))
    return {
        name: summarise([frames[i] for i in members], [predictions[i] for i in members])
        for name, members in group_frames(frames, keys or ()).items()
    }


def check_keys(frames: Sequence[Frame], keys: Sequence[str], where: str) -> None:
    """Refuse info keys that no frame has.

    Raises
    ------
    DataError
        Naming the key and the keys there are.
    """
    for key in keys:
        if not any(key in frame.info for frame in frames):
            known = sorted({name for frame in frames for name in frame.info})
            raise DataError(
                f"{where}: no frame has the info key {key!r}; there are: {', '.join(known) or 'none'}."
            )
