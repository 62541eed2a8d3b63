"""Learning curves of a study, and what they prove of two arms.

Both arms of a seed saw the same frames, so they are paired by seed
(:mod:`mlpot.evidence.comparisons`). ``runs`` are those of ``results.json``: ``arm``, ``domain``,
``size``, ``seed`` and ``holdout``, which holds the errors of each group of the hold-out, and of
``"all"``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlpot.evidence.comparisons import Comparison, holm, ratio
from mlpot.evidence.estimates import Estimate, geometric

Run = Mapping[str, Any]

#: Errors below this (meV/Å, meV/atom, GPa) are rounding; they count as this.
RESOLUTION = 1e-3
UNITS = {"forces": "meV/Å", "energy": "meV/atom", "stress": "GPa"}


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


def paired(
    runs: Sequence[Run],
    arm: str,
    baseline: str,
    metric: str,
    size: int,
    domain: str = "all",
    group: str = "all",
) -> Comparison:
    """Compare an error of two arms at a size: one comparison alone, of several :func:`holm` makes a family.

    ``effect`` is ``None`` where no seed has the error in both.
    """
    quantity = metric.split("_")[0]
    what = quantity if group == "all" else f"{quantity} of {group}"
    ours, theirs = (errors_by_seed(runs, name, metric, size, domain, group) for name in (arm, baseline))
    return ratio(what, UNITS[quantity], size, (arm, baseline), ours, theirs)


def paired_over_sizes(
    runs: Sequence[Run], arm: str, baseline: str, metric: str, domain: str = "all", group: str = "all"
) -> list[Comparison]:
    """Compare two arms at every size at which both have the error of some seed: one family."""
    sizes = sorted(set(sizes_of(runs, arm, domain)) & set(sizes_of(runs, baseline, domain)))
    compared = [paired(runs, arm, baseline, metric, size, domain, group) for size in sizes]
    return holm([one for one in compared if one.effect is not None])
