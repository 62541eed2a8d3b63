"""How many frames of a baseline do what some frames of another arm do: the data-equivalence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mlpot.evidence.estimates import Estimate, geometric, number
from mlpot.studies.curves import Run, learning_curve

SIGNS = {"": "", ">=": "≥ ", "<=": "≤ "}


@dataclass(frozen=True)
class Equivalent:
    """A number of frames; ``bound`` is ``>=`` or ``<=`` where the sizes tried only bound it."""

    frames: float
    bound: str = ""

    def __str__(self) -> str:
        return SIGNS[self.bound] + number(self.frames)


@dataclass(frozen=True)
class Equivalence:
    """How many frames of the baseline do what ``size`` frames of an arm do.

    Attributes
    ----------
    size : int
        Frames of the arm.
    by_seed : dict
        Frames of the baseline, by seed.
    bound : str
        Of the mean over seeds, which is a bound if one seed's is. Those of both kinds bound nothing.
    frames : Estimate or None
        Geometric mean over seeds, without an interval where it is a bound.
    """

    size: int
    by_seed: dict[int, Equivalent]
    bound: str
    frames: Estimate | None

    @property
    def ratio(self) -> Estimate | None:
        """Frames of the baseline by frames of the arm; ``None`` for no mean, or an arm of no frames."""
        if self.frames is None or self.size == 0:
            return None
        low, high = (None if end is None else end / self.size for end in (self.frames.low, self.frames.high))
        return Estimate(self.frames.value / self.size, low, high, self.frames.n)

    def __str__(self) -> str:
        if self.frames is not None:
            return SIGNS[self.bound] + str(self.frames)
        ends = sorted(self.by_seed.values(), key=lambda one: one.frames)
        return f"{ends[0]} to {ends[-1]}"


def equivalence(
    runs: Sequence[Run],
    arm: str,
    baseline: str,
    metric: str = "forces_mae",
    domain: str = "all",
    group: str = "all",
) -> list[Equivalence]:
    """Return the data-equivalence of an arm at each of its sizes.

    Seed by seed, the baseline's learning curve is interpolated linearly in the logarithms of
    frames and error, and read where it first comes down to the arm's error. (A curve that goes
    up again is thus read in the baseline's favour.) Outside the sizes the baseline was run at
    nothing is extrapolated: the result is a bound.
    """
    curves: dict[int, list[tuple[int, float]]] = {}
    for point in learning_curve(runs, baseline, metric, domain, group):
        if point.size == 0:  # has no logarithm
            continue
        for seed, error in point.by_seed.items():
            curves.setdefault(seed, []).append((point.size, error))
    found = []
    for point in learning_curve(runs, arm, metric, domain, group):
        by_seed = {
            seed: _first_reaching(curves[seed], error)
            for seed, error in point.by_seed.items()
            if seed in curves
        }
        if by_seed:
            found.append(_pooled(point.size, by_seed))
    return found


def _first_reaching(curve: Sequence[tuple[int, float]], error: float) -> Equivalent:
    size, first = curve[0]
    if first <= error:
        return Equivalent(float(size), "" if first == error else "<=")
    for (low, above), (high, below) in pairwise(curve):
        if below <= error:
            share = math.log(above / error) / math.log(above / below)
            return Equivalent(low * (high / low) ** share)
    return Equivalent(float(curve[-1][0]), ">=")


def _pooled(size: int, by_seed: dict[int, Equivalent]) -> Equivalence:
    bounds = {one.bound for one in by_seed.values()} - {""}
    if len(bounds) > 1:
        return Equivalence(size, by_seed, "", None)
    frames = geometric(one.frames for one in by_seed.values())
    if bounds:
        frames = replace(frames, low=None, high=None)
    return Equivalence(size, by_seed, "".join(bounds), frames)
