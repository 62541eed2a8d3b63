"""What the runs of a study prove: means and paired comparisons.

Errors are positive and differ by factors over sizes and arms, so their logarithms are averaged:
means are geometric, comparisons are ratios, paired by seed (both arms of a seed saw the same
frames). The deviation of a property from its reference is the size of a number that can have either
sign, and may be next to nothing by chance, so that its logarithm says little: it is averaged as it
is, and compared by the difference. Intervals are 95 % Student's t over seeds; from one seed there
is none. Where several comparisons are made together, verdicts hold Holm's corrected p below 0.05
(Holm, Scand. J. Statist. 6, 65, 1979); the intervals shown are not corrected.

``runs`` are those of ``results.json``: ``arm``, ``domain``, ``size``, ``seed`` and ``holdout``,
which holds the errors of each group of the hold-out, and of ``"all"``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy.special import stdtr, stdtrit

Run = Mapping[str, Any]

#: Errors below this (meV/Å, meV/atom, GPa) are rounding; they count as this.
RESOLUTION = 1e-3
#: Of a corrected p: below it a difference is called significant.
LEVEL = 0.05
UNITS = {"forces": "meV/Å", "energy": "meV/atom", "stress": "GPa"}


def number(value: float | None) -> str:
    """Return a number as text of two or three digits, or a dash."""
    if value is None:
        return "–"
    size = math.floor(math.log10(abs(value))) if value else 2
    return f"{value:.{max(1 - size, 0) if size < 0 else max(2 - size, 0)}f}"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % interval, ``None`` if there is none."""

    value: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return number(self.value)
        return f"{number(self.value)} [{number(self.low)}, {number(self.high)}]"


def geometric(values: Iterable[float]) -> Estimate:
    """Return the geometric mean of positive values, and Student's interval on their logarithms."""
    logs = np.log(list(values))
    mean, width = float(logs.mean()), _width(logs)
    if width is None:
        return Estimate(math.exp(mean), None, None, len(logs))
    return Estimate(math.exp(mean), math.exp(mean - width), math.exp(mean + width), len(logs))


def arithmetic(values: Iterable[float]) -> Estimate:
    """Return the mean of numbers, and Student's interval."""
    numbers = np.array(list(values), dtype=float)
    mean, width = float(numbers.mean()), _width(numbers)
    if width is None:
        return Estimate(mean, None, None, len(numbers))
    return Estimate(mean, mean - width, mean + width, len(numbers))


def _width(values: np.ndarray) -> float | None:
    n = len(values)
    if n < 2:
        return None
    return float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))


def _p(values: np.ndarray) -> float | None:
    """Return the two-sided p that the mean is zero."""
    n = len(values)
    if n < 2:
        return None
    mean, error = abs(values.mean()), values.std(ddof=1) / math.sqrt(n)
    if error == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    return float(2.0 * stdtr(n - 1, -mean / error))


def errors_by_seed(
    runs: Iterable[Run], arm: str, metric: str, size: int, domain: str = "all", group: str = "all"
) -> dict[int, float]:
    """Return the error of each seed; seeds without one, or with one that is not finite, are left out."""
    found = {}
    for run in runs:
        if (run["arm"], run["size"], run["domain"]) == (arm, size, domain):
            value = run["holdout"].get(group, {}).get(metric)
            if value is not None and math.isfinite(value):
                found[run["seed"]] = max(float(value), RESOLUTION)
    return found


def diverged(runs: Iterable[Run]) -> list[Run]:
    """Return the runs with an error that is not finite: they are in no mean, and must be told."""
    return [
        run
        for run in runs
        if not all(
            math.isfinite(value)
            for errors in run["holdout"].values()
            for value in errors.values()
            if value is not None
        )
    ]


def sizes_of(runs: Iterable[Run], arm: str, domain: str = "all") -> list[int]:
    """Return the sizes at which an arm was run, ascending."""
    return sorted({run["size"] for run in runs if (run["arm"], run["domain"]) == (arm, domain)})


def main_domain(results: Mapping[str, Any]) -> str:
    """Return the domain of the learning curves: ``all``, or the first if that was not run."""
    return "all" if "all" in results["domains"] else results["domains"][0]


def reference_size(results: Mapping[str, Any]) -> int:
    """Return the size at which all arms are compared.

    The one ``results`` names as ``reference_size``, or else the one at which most arms were run;
    of several, the middle (the lower of two).
    """
    if results.get("reference_size") is not None:
        return int(results["reference_size"])
    domain = main_domain(results)
    own = [sizes_of(results["runs"], arm, domain) for arm in results["arms"]]
    count = Counter(size for sizes in own for size in sizes)
    most = sorted(size for size, arms in count.items() if arms == max(count.values()))
    return most[(len(most) - 1) // 2]


@dataclass(frozen=True)
class Point:
    """A point of a learning curve: the mean over seeds, and each seed's error."""

    size: int
    error: Estimate
    by_seed: dict[int, float]


def learning_curve(
    runs: Sequence[Run], arm: str, metric: str, domain: str = "all", group: str = "all"
) -> list[Point]:
    """Return the error of an arm over the number of frames; sizes without an error are left out.

    Parameters
    ----------
    runs
        See the module.
    arm, domain, group
        Of the runs, and of the hold-out.
    metric
        A key of an error summary, such as ``forces_mae``; in its unit.
    """
    points = []
    for size in sizes_of(runs, arm, domain):
        values = errors_by_seed(runs, arm, metric, size, domain, group)
        if values:
            points.append(Point(size, geometric(values.values()), values))
    return points


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
    p = _p(logs)
    return Comparison(
        what=what,
        unit=unit,
        size=size,
        arm=names[0],
        baseline=names[1],
        ours=geometric(ours.values()) if ours else None,
        theirs=geometric(theirs.values()) if theirs else None,
        kind="ratio",
        effect=geometric(np.exp(logs)) if seeds else None,
        better=sum(ours[seed] < theirs[seed] for seed in seeds),
        p=p,
        adjusted=p,
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
    differences = np.array([ours[seed] - theirs[seed] for seed in seeds])
    p = _p(differences)
    return Comparison(
        what=what,
        unit="%",
        size=size,
        arm=names[0],
        baseline=names[1],
        ours=arithmetic(ours.values()) if ours else None,
        theirs=arithmetic(theirs.values()) if theirs else None,
        kind="points",
        effect=arithmetic(differences) if seeds else None,
        better=sum(ours[seed] < theirs[seed] for seed in seeds),
        p=p,
        adjusted=p,
    )


def paired(
    runs: Sequence[Run],
    arm: str,
    baseline: str,
    metric: str,
    size: int,
    domain: str = "all",
    group: str = "all",
) -> Comparison:
    """Compare an error of two arms at a size; one comparison alone, see :func:`holm` for several.

    ``effect`` is ``None`` where no seed has the error in both.
    """
    quantity = metric.split("_")[0]
    what = quantity if group == "all" else f"{quantity} of {group}"
    ours, theirs = (errors_by_seed(runs, name, metric, size, domain, group) for name in (arm, baseline))
    return ratio(what, UNITS[quantity], size, (arm, baseline), ours, theirs)


def holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return a family of comparisons with their p corrected for its size, in the same order."""
    tested = sorted((one.p, i) for i, one in enumerate(comparisons) if one.p is not None)
    found, highest = list(comparisons), 0.0
    for place, (p, i) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - place) * p))
        found[i] = replace(comparisons[i], adjusted=highest)
    return found


def paired_over_sizes(
    runs: Sequence[Run], arm: str, baseline: str, metric: str, domain: str = "all", group: str = "all"
) -> list[Comparison]:
    """Compare two arms at every size at which both have the error of some seed: one family."""
    sizes = sorted(set(sizes_of(runs, arm, domain)) & set(sizes_of(runs, baseline, domain)))
    compared = [paired(runs, arm, baseline, metric, size, domain, group) for size in sizes]
    return holm([one for one in compared if one.effect is not None])
