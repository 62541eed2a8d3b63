"""The whole check of a data set, from its frames to a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlpot.checking.copies import check_copies
from mlpot.checking.counts import check_gaps, check_info, count
from mlpot.checking.coverage import check_coverage
from mlpot.checking.finding import Finding, worst_first
from mlpot.checking.geometry import check_cells, check_distances, check_forces
from mlpot.checking.outliers import check_outliers
from mlpot.checking.report import Report, collect_points
from mlpot.checking.survey import Survey, survey
from mlpot.checking.temperature import check_temperatures
from mlpot.checking.units import check_scales, check_units_by_model, check_work
from mlpot.checking.zeros import check_zeros, check_zeros_by_model
from mlpot.data.frame import Frame
from mlpot.errors import DataError

#: Called with the share done (0 to 1) and what is going on.
Update = Callable[[float, str], None]


def check(
    frames: Sequence[Frame],
    against: Sequence[Frame] | None = None,
    model: Any = None,
    group_by: str | Sequence[str] | None = None,
    *,
    name: str = "data",
    against_name: str = "against",
    constrained: Mapping[int, int] | None = None,
    refused: Mapping[str, str] | None = None,
    progress: Update | None = None,
) -> Report:
    """Look for what is wrong with a data set before a potential is trained on it.

    Parameters
    ----------
    frames
        The set to check.
    against
        Another set, usually what a potential was trained on: which frames are in both, which lie
        outside what it covers, and whether energies count from the same zero.
    model
        A model (:class:`~mlpot.model.base.LocalEnergyModel`), a path, or the name of a shipped one:
        groups whose energies it misses by a common amount, units of forces and stress; of a
        :class:`~mlpot.model.potential.Potential`, its features take the place of descriptors for
        coverage.
    group_by
        Info key, or keys, whose values make groups; by default ``config_type`` or ``group``, the
        first that all frames have.
    name, against_name
        As messages call the sets.
    constrained
        Number of atoms with a constraint, by index of the frame.
    refused
        What was wrong with frames that could not be read, by ``file#index``.
    progress
        Called with the share done and what is going on.

    Returns
    -------
    Report
        With ``findings``, the worst first, and ``asdict()``.

    Raises
    ------
    DataError
        If there are no frames, or no frame has a key to group by.
    ModelFileError
        If the model cannot be loaded.
    """
    start = time.perf_counter()
    told = progress or (lambda share, text: None)
    keys = [group_by] if isinstance(group_by, str) else group_by
    if not len(frames) or (against is not None and not len(against)):
        raise DataError(f"{name if not len(frames) else against_name}: no frames to check.")
    for key in keys or ():
        if not any(key in frame.info for frame in frames):
            known = sorted({str(own) for frame in frames for own in frame.info})
            raise DataError(
                f"{name}: no frame has the info key {key!r}; there are: {', '.join(known) or 'none'}."
            )
    potential = _loaded(model)
    total = len(frames) + (len(against) if against is not None else 0)

    def looked(offset: int) -> Callable[[int, int], None]:
        return lambda done, _: told(0.6 * (offset + done) / total, f"neighbours of frame {done}")

    several = len(set().union(*(frame.symbols for part in (frames, against or ()) for frame in part))) > 1
    own = survey(frames, name, keys, constrained, several, looked(0))
    other = None
    if against is not None:
        other = survey(against, against_name, keys, weighted=several, progress=looked(len(frames)))
    findings = _refusals(refused)
    told(0.6, "labels and geometry")
    for checked in (check_gaps, check_info, check_scales, check_work, check_distances, check_forces,
                    check_cells, check_outliers, check_temperatures):  # fmt: skip
        findings += checked(own)
    told(0.7, "copies")
    findings += check_copies(own, other, lambda done, all_: told(0.7 + 0.1 * done / all_, "copies"))
    told(0.8, "energy zeros")
    shifts = check_zeros(own.frames, _descriptors(own), own.groups, own.key)
    if potential is not None:
        predictions = _predict(potential, own.frames, own.sound, told)
        energies = {i: prediction.energy for i, prediction in predictions.items()}
        by_model = check_zeros_by_model(own.frames, energies, own.groups, own.key)
        findings += check_units_by_model(own.frames, predictions)
        # Of one group, what the model says is the better estimate.
        judged = {finding.details["group"] for finding in by_model}
        shifts = [finding for finding in shifts if finding.details["group"] not in judged] + by_model
    findings += shifts
    if other is not None:
        findings += _zero_of_set(own, other)
        told(0.95, "coverage")
        findings += _coverage(own, other, potential)
    counts = {name: count(own)} | ({} if other is None else {against_name: count(other)})
    called = model if model is None or isinstance(model, str) else str(getattr(model, "name", "model"))
    return Report(
        worst_first(findings),
        counts,
        name,
        None if other is None else against_name,
        called,
        time.perf_counter() - start,
        collect_points(own),
    )


def _loaded(model: Any) -> Any:
    if model is None:
        return None
    # Imported here: without a model torch, which takes its time, is not needed.
    from mlpot.model.base import LocalEnergyModel
    from mlpot.model.file import load_model

    return model if isinstance(model, LocalEnergyModel) else load_model(model)


def _refusals(refused: Mapping[str, str] | None) -> list[Finding]:
    if not refused:
        return []
    first = next(iter(refused.values()))
    return [
        Finding(
            "unusable frames",
            "error",
            f"{len(refused)} frames cannot be used and were left out of all other checks: {first}",
            "Correct or remove them; mlpot train refuses the file as it is.",
            tuple(refused),
            float(len(refused)),
            "frames",
            dict(refused),
        )
    ]


def _descriptors(data: Survey) -> list[np.ndarray | None]:
    return [None if own is None else own.descriptors for own in data.geometry]


def _predict(model: Any, frames: Sequence[Frame], sound: Sequence[int], told: Update) -> dict[int, Any]:
    """Return predictions by index, of the frames whose elements the model knows."""
    known = set(model.symbols)
    predictions = {}
    for done, i in enumerate(sound):
        if frames[i].symbols <= known:
            predictions[i] = model.predict(frames[i])[0]
        told(0.8 + 0.15 * done / len(frames), f"prediction for frame {done + 1}")
    if not predictions:
        raise DataError(
            f"the model knows {', '.join(sorted(known))} and no frame is made of these alone; "
            "give another model."
        )
    return predictions


def _zero_of_set(own: Survey, other: Survey) -> list[Finding]:
    """Compare the energy zero of the set as a whole with that of the other."""
    frames = [*own.frames, *other.frames]
    return check_zeros(frames, _descriptors(own) + _descriptors(other), {own.name: range(len(own.frames))})


def _coverage(own: Survey, other: Survey, model: Any) -> list[Finding]:
    features = [_descriptors(own), _descriptors(other)]
    what = "descriptors of their surroundings"
    if model is not None:
        from mlpot.model.features import atomic_features
        from mlpot.model.potential import Potential

        if isinstance(model, Potential):
            known = set(model.symbols)
            features = [
                [
                    atomic_features(model, frame)
                    if i not in data.overlaps and frame.symbols <= known
                    else None
                    for i, frame in enumerate(data.frames)
                ]
                for data in (own, other)
            ]
            what = "the model's features"
    return check_coverage(
        own.sources(range(len(own.frames))),
        [frame.numbers for frame in own.frames],
        features[0],
        [frame.numbers for frame in other.frames],
        features[1],
        other.name,
        what,
    )
