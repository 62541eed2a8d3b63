"""Which frames of the target are trained on: pool, selection and hold-out, and nested subsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlpot.data.frame import Frame
from mlpot.data.section import DataSets
from mlpot.data.split import draw_frames, split_frames
from mlpot.errors import DataError
from mlpot.studies.recipe import EVERYWHERE, Domain, Target


@dataclass(frozen=True)
class TargetFrames:
    """Frames of the target, divided once.

    Attributes
    ----------
    pool
        What subsets are drawn from.
    selection
        What chooses steps and rates; may be empty.
    holdout
        What judges; no arm ever sees it.
    domains : dict
        Indices into the pool by the name of a domain.
    """

    pool: Sequence[Frame]
    selection: Sequence[Frame]
    holdout: Sequence[Frame]
    domains: dict[str, np.ndarray]

    def order(self, target: Target, domain: str, seed: int) -> list[int]:
        """Return the indices of a domain in the order of a seed; any first n are its subset of n."""
        members = self.domains[domain]
        if target.draw == "diverse":
            start = int(np.random.default_rng(seed).integers(len(members)))
            return [int(members[i]) for i in _farthest([self.pool[i] for i in members], start)]
        drawn = draw_frames(self.pool, len(members), seed, target.data.stratify, members)
        return [int(i) for i in drawn]

    def size(self, domain: str, size: int | Literal["all"]) -> int:
        """Return a size as a number.

        Raises
        ------
        DataError
            If the domain has fewer frames.
        """
        there = len(self.domains[domain])
        if size == "all":
            return there
        if size > there:
            where = "the pool" if domain == EVERYWHERE else f"the domain '{domain}'"
            raise DataError(
                f"sizes: {size} frames are asked for, but {where} has {there}; ask for fewer, or all."
            )
        return size


def divide(target: Target, sets: DataSets, domains: dict[str, Domain]) -> TargetFrames:
    """Divide the frames of the target; see :class:`TargetFrames`.

    Raises
    ------
    DataError
        If a group or key does not exist, or a domain has no frame.
    """
    everything = list(sets.train)
    pool, selection = everything, []
    if target.selection is not None:
        how = target.selection
        split = split_frames(everything, how.fraction, how.seed, how.keys, how.block, how.stratify)
        pool = [everything[i] for i in split.train]
        selection = [everything[i] for i in split.holdout]
    members = {EVERYWHERE: np.arange(len(pool))}
    for name, domain in domains.items():
        members[name] = np.array(
            [i for i, frame in enumerate(pool) if _matches(frame, domain)], dtype=np.int64
        )
        if not len(members[name]):
            known = {key: sorted({str(frame.info.get(key)) for frame in pool}) for key in domain.where}
            raise DataError(
                f"domains.{name}: no frame of the pool is {domain.where}; values there: "
                + "; ".join(f"{key}: {', '.join(values)}" for key, values in known.items())
            )
    return TargetFrames(pool, selection, list(sets.validation), members)


def _matches(frame: Frame, domain: Domain) -> bool:
    return all(frame.info.get(key) in values for key, values in domain.where.items())


def _farthest(frames: Sequence[Frame], start: int) -> list[int]:
    """Return all frames, each the farthest from those before it in invariant descriptors."""
    # Imported here: only this kind of drawing needs them.
    from mlpot.checking.survey import measure
    from mlpot.sampling.select import farthest_points

    rows = []
    for frame in frames:
        descriptors = measure(frame, weighted=True).descriptors
        rows.append(np.concatenate([descriptors.mean(axis=0), descriptors.std(axis=0)]))
    features = np.array(rows, dtype=float)
    width = features.std(axis=0)
    used = width > 1e-6 * np.abs(features).max()
    scaled = (features[:, used] - features[:, used].mean(axis=0)) / width[used]
    return farthest_points(scaled, len(frames), start)
