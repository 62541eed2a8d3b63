"""Errors of a potential on labelled frames, in the units people quote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mlpot.conventions import GPA
from mlpot.data.frame import Frame
from mlpot.model.base import LocalEnergyModel, Prediction


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


def errors_by_group(
    model: LocalEnergyModel,
    frames: Sequence[Frame],
    key: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, ErrorSummary]:
    """Return the errors over all frames, under ``"all"``, and per value of an info key.

    Parameters
    ----------
    model
        The model to judge.
    frames
        Labelled frames.
    key
        Info key to group by; frames without it come under ``"(none)"``.
    progress
        Called with frames done and in all.
    """
    predictions = []
    for index, frame in enumerate(frames):
        predictions.extend(model.predict(frame))
        if progress is not None:
            progress(index + 1, len(frames))
    summaries = {"all": summarise(frames, predictions)}
    if key is not None:
        values = [str(frame.info.get(key, "(none)")) for frame in frames]
        for value in dict.fromkeys(values):
            members = [i for i, own in enumerate(values) if own == value]
            summaries[value] = summarise([frames[i] for i in members], [predictions[i] for i in members])
    return summaries
