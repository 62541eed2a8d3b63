"""Comparisons of two arms, paired by seed, alone and in families.

Positive quantities are compared by their ratio, on logarithms. The deviation of a property from its
reference is the size of a number that can have either sign, and may be next to nothing by chance,
so that its logarithm says little: it is averaged as it is, and compared by the difference.
Where several comparisons are made together, verdicts hold Holm's corrected p below 0.05
(Holm, Scand. J. Statist. 6, 65, 1979); the intervals shown are not corrected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mlpot.evidence.estimates import Estimate, arithmetic, geometric, p_of_no_mean

#: Of a corrected p: below it a difference is called significant.
LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """A quantity of an arm against the same of a baseline, paired by seed.

    Attributes
    ----------
    what, unit : str
        The quantity.
    size : int
        Frames trained on.
    arm, baseline : str
        What is compared.
    ours, theirs : Estimate or None
        Of both, over all their seeds; ``None`` where there is none.
    kind : str
        ``ratio`` of errors (less than 1 is better), ``difference`` of fractions (above 0 is
        better), or difference of deviations in percentage ``points`` (below 0 is better).
    effect : Estimate or None
        Ratio or difference over the seeds of both; ``None`` without such a seed.
    better : int
        Seeds in which the arm is better.
    p, adjusted : float or None
        Of no effect, alone and corrected for the family tested with it; ``None`` from one seed.
    """

    what: str
    unit: str
    size: int
    arm: str
    baseline: str
    ours: Estimate | None
    theirs: Estimate | None
    kind: Literal["ratio", "difference", "points"]
    effect: Estimate | None
    better: int
    p: float | None
    adjusted: float | None

    @property
    def n(self) -> int:
        """Seeds of both."""
        return 0 if self.effect is None else self.effect.n

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below 0.05; for a single ratio: the interval excludes 1."""
        return self.adjusted is not None and self.adjusted < LEVEL

    @property
    def harm(self) -> float:
        """How much worse: logarithm of the ratio, fraction lost or added; negative where better."""
        if self.effect is None:
            return 0.0
        if self.kind == "points":
            return self.effect.value / 100.0
        return math.log(self.effect.value) if self.kind == "ratio" else -self.effect.value

    @property
    def shown(self) -> str:
        """The effect as text."""
        if self.effect is None:
            return "–"
        return f"difference {self.effect} points" if self.kind == "points" else f"{self.kind} {self.effect}"

    @property
    def outcome(self) -> str:
        """The verdict in words."""
        if self.effect is None:
            return "cannot be compared"
        if self.adjusted is None:
            return "one seed"
        if not self.significant:
            return "no significant difference"
        return "worse" if self.harm > 0.0 else "better"


def ratio(
    what: str,
    unit: str,
    size: int,
    names: tuple[str, str],
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
) -> Comparison:
    """Compare positive quantities, the less the better, of (arm, baseline) by seed."""
    seeds = sorted(ours.keys() & theirs.keys())
    logs = np.array([math.log(ours[seed] / theirs[seed]) for seed in seeds])
    effect = geometric(np.exp(logs)) if seeds else None
    return _of_means(
        "ratio", geometric, (what, unit, size), names, (ours, theirs), effect, p_of_no_mean(logs)
    )


def points(
    what: str,
    size: int,
    names: tuple[str, str],
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
) -> Comparison:
    """Compare deviations in percent, not negative, the less the better, of (arm, baseline) by seed."""
    seeds = sorted(ours.keys() & theirs.keys())
    less = np.array([ours[seed] - theirs[seed] for seed in seeds])
    effect = arithmetic(less) if seeds else None
    return _of_means(
        "points", arithmetic, (what, "%", size), names, (ours, theirs), effect, p_of_no_mean(less)
    )


def _of_means(
    kind: Literal["ratio", "points"],
    mean: Callable[[Iterable[float]], Estimate],
    quantity: tuple[str, str, int],
    names: tuple[str, str],
    values: tuple[Mapping[int, float], Mapping[int, float]],
    effect: Estimate | None,
    p: float | None,
) -> Comparison:
    ours, theirs = values
    return Comparison(
        *quantity,
        *names,
        ours=mean(ours.values()) if ours else None,
        theirs=mean(theirs.values()) if theirs else None,
        kind=kind,
        effect=effect,
        better=sum(ours[seed] < theirs[seed] for seed in ours.keys() & theirs.keys()),
        p=p,
        adjusted=p,
    )


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return a family of comparisons with their p corrected for its size, in the same order."""
    tested = sorted((one.p, i) for i, one in enumerate(comparisons) if one.p is not None)
    found, highest = list(comparisons), 0.0
    for place, (p, i) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - place) * p))
        found[i] = replace(comparisons[i], adjusted=highest)
    return found
