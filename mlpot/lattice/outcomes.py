"""What ``results.json`` of a lattice study holds, by arm and seed: scores, errors against the truth, T_c.

Means of scores are geometric and arms are compared by ratios paired by seed
(:mod:`mlpot.evidence.comparisons`); errors of curves are averaged as they are. Intervals are 95 %
Student's t over seeds, from three seeds on; from fewer there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlpot.errors import LatticeError
from mlpot.evidence.comparisons import Comparison, ratio
from mlpot.evidence.estimates import Estimate, arithmetic, geometric
from mlpot.lattice.crossing import binder_crossing

Results = Mapping[str, Any]

#: Seeds from which an interval is given.
FEWEST_SEEDS = 3
#: Kinds of arms with a sequence model.
SEQUENCE = ("two_stage", "joint")
#: Quantities of a point, and how they are shown.
QUANTITIES = {
    "energy": "E",
    "capacity": "C",
    "magnetisation": "|M|",
    "susceptibility": "χ",
    "binder": "Binder U",
    "free_energy": "F",
    "entropy": "S",
}
#: Of the kinds of truth, those with noise; all others are exact.
SAMPLED = ("monte carlo", "tempering")
#: Scores below this (J) are rounding; they count as this.
_RESOLUTION = 1e-9
#: Sizes of lattices on which Binder's cumulants are compared, the larger over the smaller one.
_FACTOR = 1.5
#: Temperatures that two sizes must have in common to be compared.
_COMMON = 4

Setting = tuple[str, float, int]


def size_name(shape: Iterable[int]) -> str:
    """Return a shape as ``8x8``."""
    return "x".join(str(length) for length in shape)


def _sites(size: str) -> int:
    return math.prod(int(length) for length in size.split("x"))


def sizes_scored(results: Results) -> list[str]:
    """Return the sizes with a score, ascending."""
    return sorted({size for one in results["learned"] for size in one.get("scores") or {}}, key=_sites)


def main_size(results: Results) -> str | None:
    """Return the size that was trained on, or the smallest scored; ``None`` without scores."""
    sizes = sizes_scored(results)
    own = size_name(results["shape"])
    return own if own in sizes else sizes[0] if sizes else None


def settings(results: Results) -> list[tuple[float, int]]:
    """Return the pairs of temperature and number of samples at which something was learned."""
    return sorted({(one["temperature"], one["count"]) for one in results["learned"]})


def arms(results: Results) -> list[str]:
    """Return the arms that learned something, in the order of the study."""
    there = {one["arm"] for one in results["learned"]}
    return [arm for arm in results["arms"] if arm in there]


def has_sequence(results: Results, arm: str) -> bool:
    """Return whether an arm has a sequence model; those without are the baselines.

    By its kind (its name, where ``results`` tell no ``kinds``), or because it learned with one: an
    ensemble is of the kind of its members.
    """
    kind = (results.get("kinds") or {}).get(arm, arm)
    there = any(one.get("sequence") for one in results["learned"] if one["arm"] == arm)
    return kind in SEQUENCE or there


def scores(results: Results, setting: Setting, size: str) -> dict[int, float]:
    """Return the score of each seed, units of J; what is missing or not finite is left out."""
    found = {}
    for one in results["learned"]:
        if (one["arm"], one["temperature"], one["count"]) == setting:
            value = (one.get("scores") or {}).get(size)
            if value is not None and math.isfinite(value):
                found[one["seed"]] = max(float(value), _RESOLUTION)
    return found


def diverged(results: Results) -> list[str]:
    """Return the scores that are not finite, as text: they are in no mean, and must be told."""
    return [
        f"{one['arm']}, T0 = {one['temperature']:g}, {one['count']:,} samples, seed {one['seed']}, {size}"
        for one in results["learned"]
        for size, value in (one.get("scores") or {}).items()
        if value is not None and not math.isfinite(value)
    ]


def _trusted(estimate: Estimate) -> Estimate:
    return estimate if estimate.n >= FEWEST_SEEDS else replace(estimate, low=None, high=None)


def mean_score(values: Iterable[float]) -> Estimate:
    """Return the geometric mean of scores, with an interval from three seeds on."""
    return _trusted(geometric(values))


def mean_error(values: Iterable[float]) -> Estimate:
    """Return the arithmetic mean of errors, with an interval from three seeds on."""
    return _trusted(arithmetic(values))


def compare(results: Results, ours: Setting, theirs: Setting, size: str) -> Comparison:
    """Compare scores by their ratio, paired by seed; without interval and p below three common seeds."""
    one = ratio(
        f"score on {size}", "J", ours[2], (ours[0], theirs[0]),
        scores(results, ours, size), scores(results, theirs, size),
    )  # fmt: skip
    if one.n < FEWEST_SEEDS:
        one = replace(one, p=None, adjusted=None)
    trim = {
        name: None if value is None else _trusted(value)
        for name, value in (("ours", one.ours), ("theirs", one.theirs), ("effect", one.effect))
    }
    return replace(one, **trim)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Truth:
    """What is held to be true of a quantity on a lattice.

    Attributes
    ----------
    kind
        Where it is from.
    values : dict
        By temperature: value and standard error, per site.
    """

    kind: str
    values: dict[float, tuple[float, float]]


def _key(temperature: float) -> float:
    return round(float(temperature), 6)


def _values(points: Iterable[Mapping[str, Any]], quantity: str) -> dict[float, tuple[float, float]]:
    found = {}
    for point in points:
        pair = point.get(quantity)
        if pair is not None and pair[0] is not None and math.isfinite(pair[0]):
            found[_key(point["temperature"])] = (float(pair[0]), float(pair[1] or 0.0))
    return found


def truth(results: Results, size: str, quantity: str) -> Truth | None:
    """Return the truth on a lattice, exact where there is one; ``None`` if there is none at all."""
    there = [one for one in results.get("truth") or [] if size_name(one["shape"]) == size]
    for one in sorted(there, key=lambda one: one["kind"] in SAMPLED):
        values = _values(one["points"], quantity)
        if values:
            return Truth(one["kind"], values)
    return None


def sizes_extrapolated(results: Results) -> list[str]:
    """Return the sizes of all curves, learned and true, ascending."""
    parts = [*(results.get("extrapolation") or []), *(results.get("truth") or [])]
    return sorted({size_name(one["shape"]) for one in parts}, key=_sites)


@dataclass(frozen=True)
class Curve:
    """A quantity over temperature, learned by an arm, one of its seeds.

    Attributes
    ----------
    setting, seed, size, quantity
        Of what: (arm, T0, samples).
    values : dict
        By temperature: value and standard error of the sampling, per site.
    deviations : dict
        By temperature: how far above the truth, and the standard error of both; empty without truth.
    """

    setting: Setting
    seed: int
    size: str
    quantity: str
    values: dict[float, tuple[float, float]]
    deviations: dict[float, tuple[float, float]]

    def largest(self, low: float = 0.0, high: float = math.inf) -> tuple[float, float] | None:
        """Return the largest absolute deviation between two temperatures and where; ``None`` if none."""
        there = {t: abs(d) for t, (d, _) in self.deviations.items() if low <= t <= high}
        return max((d, t) for t, d in there.items()) if there else None

    def mean(self) -> float | None:
        """Return the mean absolute deviation over the temperatures; ``None`` if there is none."""
        return float(np.mean([abs(d) for d, _ in self.deviations.values()])) if self.deviations else None

    def near(self, temperature: float, within: float) -> float | None:
        """Return the absolute deviation at the temperature next to one; ``None`` if none is close."""
        closest = min(self.deviations, key=lambda t: abs(t - temperature), default=None)
        if closest is None or abs(closest - temperature) > within:
            return None
        return abs(self.deviations[closest][0])


def curves(results: Results, quantity: str, size: str | None = None) -> list[Curve]:
    """Return all curves of a quantity that were learned, by arm, temperature, samples, seed and size."""
    found = []
    truths: dict[str, Truth | None] = {}
    for one in results.get("extrapolation") or []:
        name = size_name(one["shape"])
        values = _values(one["points"], quantity)
        if not values or size not in (None, name):
            continue
        if name not in truths:
            truths[name] = truth(results, name, quantity)
        true = truths[name]
        deviations = {}
        for t, (value, error) in values.items():
            if true is not None and t in true.values:
                exact, noise = true.values[t]
                deviations[t] = (value - exact, math.hypot(error, noise))
        setting = (one["arm"], one["temperature"], one["count"])
        found.append(Curve(setting, one["seed"], name, quantity, values, deviations))
    return found


@dataclass(frozen=True)
class Critical:
    """A critical temperature from Binder's cumulants of two sizes.

    Attributes
    ----------
    setting, seed
        Who learned it; ``None`` of the truth.
    sizes
        Smaller and larger.
    value, error
        The crossing; ``None`` where there is none.
    reason
        Why there is none.
    """

    setting: Setting | None
    seed: int | None
    sizes: tuple[str, str]
    value: float | None
    error: float | None
    reason: str = ""


def critical_temperatures(results: Results) -> list[Critical]:
    """Return the Binder crossings of the truth and of every arm, temperature, count and seed.

    Each size against the next smaller one that differs by a factor of 1.5 in length or more and was
    run at four of its temperatures or more.
    """
    owners: dict[tuple[Setting | None, int | None], dict[str, dict[float, tuple[float, float]]]] = {}
    for size in sizes_extrapolated(results):
        true = truth(results, size, "binder")
        if true is not None:
            owners.setdefault((None, None), {})[size] = true.values
    for curve in curves(results, "binder"):
        owners.setdefault((curve.setting, curve.seed), {})[curve.size] = curve.values
    found = []
    for (setting, seed), by_size in owners.items():
        ordered = sorted(by_size, key=_sites)
        for place, large in enumerate(ordered):
            smaller = [
                (one, common)
                for one in ordered[:place]
                if _length(large) >= _FACTOR * _length(one) * (1 - 1e-9)
                and len(common := sorted(by_size[one].keys() & by_size[large].keys())) >= _COMMON
            ]
            if not smaller:
                continue
            small, common = smaller[-1]
            pair = (small, large)
            try:
                estimate = binder_crossing(
                    common, [by_size[small][t] for t in common], [by_size[large][t] for t in common]
                )
                found.append(Critical(setting, seed, pair, estimate.value, estimate.error))
            except LatticeError as error:
                found.append(Critical(setting, seed, pair, None, None, str(error)))
    return found


def _length(size: str) -> float:
    return _sites(size) ** (1 / (size.count("x") + 1))
