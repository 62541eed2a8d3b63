"""What a lattice study found, in sentences computed from its results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlpot.evidence.comparisons import Comparison, holm
from mlpot.evidence.estimates import Estimate
from mlpot.lattice.outcomes import (
    FEWEST_SEEDS,
    Results,
    Setting,
    arms,
    compare,
    critical_temperatures,
    curves,
    diverged,
    has_sequence,
    main_size,
    mean_error,
    mean_score,
    scores,
    settings,
    size_name,
    sizes_scored,
)
from mlpot.lattice.published import (
    CITATION,
    CRITICAL_TEMPERATURE,
    MOST_SAMPLES,
    PUBLISHED_SAMPLES,
    RANGE,
    SAME_TEMPERATURE,
    Aim,
    aims,
)


@dataclass(frozen=True)
class Contest:
    """The best baseline against the best arm with a sequence model, where both learned.

    Attributes
    ----------
    temperature, count
        T0, and samples.
    comparison
        Ratio of their scores on the main size; the baseline's is on top.
    """

    temperature: float
    count: int
    comparison: Comparison


@dataclass(frozen=True)
class Reached:
    """An aim, and how near to it the best arm came.

    Attributes
    ----------
    aim
        The aim.
    best
        The arm that came nearest, its T0 and samples; ``None`` if nothing was tried.
    value
        Its mean over seeds.
    sequence, sequence_value
        The same among arms with a sequence model.
    about
        What the value is an extreme or a mean of, or why it is missing although it was tried.
    """

    aim: Aim
    best: Setting | None
    value: Estimate | None
    sequence: Setting | None
    sequence_value: Estimate | None
    about: str = ""

    @property
    def outcome(self) -> str:
        """``met``, ``met in the mean only``, ``met, from few seeds``, ``not met`` or ``not tried``."""
        if self.value is None:
            return "not met" if self.about else "not tried"
        if not self.aim.reached(self.value.value):
            return "not met"
        worst = self.value.low if self.aim.kind == "recovery" else self.value.high
        if worst is None:
            return f"met, from {_seeds(self.value.n)}"
        return "met" if self.aim.reached(worst) else "met in the mean only"


def shown(aim: Aim, value: Estimate | None) -> str:
    """Return the value of an aim as text; correlations, which are next to 1, with four digits."""
    if value is None:
        return "–"
    if aim.kind != "recovery":
        return str(value)
    interval = "" if value.low is None else f" [{value.low:.4f}, {value.high:.4f}]"
    return f"{value.value:.4f}{interval}"


def verdict(results: Results) -> list[str]:
    """Return what the results say.

    Parameters
    ----------
    results
        ``results.json``.

    Returns
    -------
    list of str
        Sentences: whether a baseline wins (first), the best arm at each number of samples, what of
        the published numbers and aims is reached, and what could not be done.
    """
    if not results["learned"]:
        return ["Nothing was learned: nothing can be said.", *_left_out(results)]
    sentences = [*_contest(results), *_best(results), *_aims(results), *_critical(results)]
    if len({one["seed"] for one in results["learned"]}) < FEWEST_SEEDS:
        sentences.append(
            f"Fewer than {FEWEST_SEEDS} seeds: nothing can be said about significance, and no interval is "
            "given."
        )
    return [*sentences, *_missing(results), *_left_out(results)]


def _seeds(n: int) -> str:
    return f"{n} seed" + ("" if n == 1 else "s")


def _samples(count: int) -> str:
    return f"{count:,} samples"


def _best_of(results: Results, names: Sequence[str], where: tuple[float, int], size: str) -> str | None:
    """Return the arm of lowest mean score; ``None`` if none has one."""
    found = {arm: scores(results, (arm, *where), size) for arm in names}
    means = {arm: mean_score(values.values()).value for arm, values in found.items() if values}
    return min(means, key=means.__getitem__, default=None)


def contests(results: Results) -> list[Contest]:
    """Return the best baseline against the best arm with a sequence model; p corrected for their number."""
    size = main_size(results)
    if size is None:
        return []
    sequence = [arm for arm in arms(results) if has_sequence(results, arm)]
    baselines = [arm for arm in arms(results) if not has_sequence(results, arm)]
    found = []
    for where in settings(results):
        ours, theirs = (_best_of(results, names, where, size) for names in (baselines, sequence))
        if ours is not None and theirs is not None:
            one = compare(results, (ours, *where), (theirs, *where), size)
            if one.effect is not None:
                found.append(Contest(*where, one))
    corrected = holm([one.comparison for one in found])
    return [
        Contest(one.temperature, one.count, comparison)
        for one, comparison in zip(found, corrected, strict=True)
    ]


def _contest(results: Results) -> list[str]:
    found = contests(results)
    if not found:
        kinds = {has_sequence(results, arm) for arm in arms(results)}
        if kinds == {True}:
            return ["No baseline was run: nothing is said about whether a sequence model is worth its cost."]
        if kinds == {False}:
            return ["No arm with a sequence model was run: only baselines are compared."]
        return ["Baselines and arms with a sequence model have no score in common."]
    groups: dict[str, list[Contest]] = {}
    for one in found:
        ahead = one.comparison.effect is not None and one.comparison.effect.value < 1.0
        if one.comparison.adjusted is None:
            key = "few, ahead" if ahead else "few, behind"
        else:
            key = one.comparison.outcome
        groups.setdefault(key, []).append(one)
    heads = {
        "better": "A baseline wins",
        "few, ahead": f"A baseline is ahead (fewer than {FEWEST_SEEDS} seeds)",
        "no significant difference": "Neither a baseline nor a sequence model is significantly better",
        "worse": "A sequence model wins over every baseline",
        "few, behind": f"A sequence model is ahead of every baseline (fewer than {FEWEST_SEEDS} seeds)",
    }
    sentences = []
    for key, head in heads.items():
        if key in groups:
            parts = "; ".join(_pair(one) for one in groups[key])
            sentences.append(f"{head}, by the score on {main_size(results)}: {parts}.")
    return sentences


def _pair(one: Contest) -> str:
    both = one.comparison
    return (
        f"T0 = {one.temperature:g}, {_samples(one.count)}: {both.arm} {both.ours} J against {both.baseline} "
        f"{both.theirs} J, the best with a sequence model (ratio {both.effect}, better in {both.better} of "
        f"{_seeds(both.n)})"
    )


def _best(results: Results) -> list[str]:
    """Return a sentence for each T0 and size: the best arm at each number of samples, and the next."""
    sentences = []
    for size in sizes_scored(results):
        for temperature in sorted({t for t, _ in settings(results)}):
            parts = []
            for where in [pair for pair in settings(results) if pair[0] == temperature]:
                best = _best_of(results, arms(results), where, size)
                if best is None:
                    continue
                rest = _best_of(results, [arm for arm in arms(results) if arm != best], where, size)
                mean = mean_score(scores(results, (best, *where), size).values())
                text = f"with {_samples(where[1])} {best} ({mean} J"
                if rest is not None:
                    one = compare(results, (best, *where), (rest, *where), size)
                    text += f"; ratio to {rest}, the next: {one.effect or 'no seed in common'}"
                parts.append(text + ")")
            if parts:
                sentences.append(f"Best score on {size}, T0 = {temperature:g}: {'; '.join(parts)}.")
    return sentences


def reached(results: Results) -> list[Reached]:
    """Return every aim of the model that was studied, and how near to it the results came."""
    return [_reached(results, aim) for aim in aims(results)]


def _reached(results: Results, aim: Aim) -> Reached:
    found = {
        setting: mean_score(values) if aim.kind == "score" else mean_error(values)
        for setting, values in _values(results, aim).items()
        if setting[2] <= MOST_SAMPLES
        and (aim.temperature is None or abs(setting[1] - aim.temperature) < SAME_TEMPERATURE)
    }

    def best(own: dict[Setting, Estimate]) -> Setting | None:
        sign = -1.0 if aim.kind == "recovery" else 1.0
        return min(own, key=lambda setting: sign * own[setting].value, default=None)

    first = best(found)
    second = best({setting: value for setting, value in found.items() if has_sequence(results, setting[0])})
    about = ""
    if aim.kind in ("magnetisation", "total_energy") and first is not None:
        own = [c for c in curves(results, _quantity(aim), _size(results, aim)) if c.setting == first]
        temperatures = sorted({t for curve in own for t in curve.deviations if _inside(aim, t)})
        about = f"over {len(temperatures)} temperatures from {temperatures[0]:g} to {temperatures[-1]:g}"
    if (
        aim.kind == "critical_temperature"
        and first is None
        and any(
            one.setting is not None and one.sizes[1] == aim.size for one in critical_temperatures(results)
        )
    ):
        about = "no crossing between the temperatures"
    return Reached(
        aim, first, found[first] if first else None, second, found[second] if second else None, about
    )


def _quantity(aim: Aim) -> str:
    return "energy" if aim.kind == "total_energy" else aim.kind


def _size(results: Results, aim: Aim) -> str:
    return aim.size or size_name(results["shape"])


def _inside(aim: Aim, temperature: float) -> bool:
    # The aim of the Ising model names its temperatures; the others mean all there are.
    return aim.size is None or RANGE[0] <= temperature <= RANGE[1]


def _values(results: Results, aim: Aim) -> dict[Setting, list[float]]:
    """Return the number an aim is about for each seed of each setting."""
    found: dict[Setting, list[float]] = {}
    if aim.kind == "score":
        for arm in arms(results):
            for where in settings(results):
                values = scores(results, (arm, *where), _size(results, aim))
                if values:
                    found[(arm, *where)] = list(values.values())
    elif aim.kind == "recovery":
        for one in results["learned"]:
            recovery = one.get("recovery")
            # Couplings that are all the same correlate with nothing: NaN, or null in JSON.
            if recovery and recovery["correlation"] is not None and math.isfinite(recovery["correlation"]):
                setting = (one["arm"], one["temperature"], one["count"])
                found.setdefault(setting, []).append(recovery["correlation"])
    elif aim.kind == "critical_temperature":
        for crossing in critical_temperatures(results):
            if crossing.setting is not None and crossing.sizes[1] == aim.size and crossing.value is not None:
                error = abs(crossing.value / CRITICAL_TEMPERATURE - 1)
                found.setdefault(crossing.setting, []).append(error)
    else:
        for curve in curves(results, _quantity(aim), _size(results, aim)):
            value: float | None
            if aim.kind == "magnetisation":
                largest = curve.largest(*(RANGE if aim.size else ()))
                value = None if largest is None else largest[0]
            elif aim.kind == "total_energy":
                mean = curve.mean()
                value = None if mean is None else mean * results["sites"]
            else:
                value = curve.near(CRITICAL_TEMPERATURE, SAME_TEMPERATURE)
            if value is not None:
                found.setdefault(curve.setting, []).append(value)
    return found


def _aims(results: Results) -> list[str]:
    sentences, untried = [], []
    for one in reached(results):
        aim = one.aim
        if one.outcome == "not tried":
            untried.append(aim.text)
            continue
        cited = "" if aim.published is None else f"; original {aim.published}"
        head = f"{aim.text[0].upper()}{aim.text[1:]}, aim {aim.bound}"
        if one.best is None or one.value is None:
            sentences.append(f"{head}: {one.outcome} ({one.about}{cited}).")
            continue
        kind = "" if has_sequence(results, one.best[0]) else ", a baseline"
        where = "" if aim.temperature is not None else f", T0 = {one.best[1]:g}"
        text = f"{one.best[0]}{kind}{where}, {_samples(one.best[2])}: {shown(aim, one.value)}"
        if one.about:
            text += f" {one.about}"
        if one.sequence is not None and one.sequence != one.best:
            arm, t0, count = one.sequence
            where = "" if aim.temperature is not None else f", T0 = {t0:g}"
            beside = shown(aim, one.sequence_value)
            text += f"; best with a sequence model: {arm}{where}, {_samples(count)}: {beside}"
        sentences.append(f"{head}: {one.outcome} ({text}{cited}).")
    if untried:
        sentences.append(f"To be reached, but not tried: {'; '.join(untried)}.")
    if sentences:
        sentences.append(
            f"Original: {CITATION}, from {PUBLISHED_SAMPLES:,} samples; cited, not measured again."
        )
    return sentences


def _critical(results: Results) -> list[str]:
    """Return the sentence on crossings that could not be found; the others are among the aims."""
    lost = [one for one in critical_temperatures(results) if one.setting is not None and one.value is None]
    if not lost or (results.get("model") or {}).get("name") not in ("ising", "ising_nnn", "potts"):
        return []
    names = sorted({f"{one.setting[0]} {one.sizes[0]}/{one.sizes[1]}" for one in lost if one.setting})
    return [f"Binder's cumulants do not cross between the temperatures: {', '.join(names)}."]


def _missing(results: Results) -> list[str]:
    """Return which parts the results do not have."""
    parts = []
    if not sizes_scored(results):
        parts.append("no learned energy has a score")
    if not results.get("extrapolation"):
        parts.append("nothing was extrapolated to other temperatures")
    elif not results.get("truth"):
        parts.append("there is no truth to hold the curves against")
    return [f"Not there: {'; '.join(parts)}."] if parts else []


def _left_out(results: Results) -> list[str]:
    """Return what is in no mean: a failure is no result, but it must be told."""
    lost, failed = diverged(results), results.get("failed") or []
    lists = {
        f"Not finite, and in no mean: {len(lost)} scores": lost,
        f"Could not be done, and in no mean: {len(failed)} of the tasks": [
            f"{one['task']}: {one['reason'].rstrip('.')}" for one in failed
        ],
    }
    return [
        f"{head} ({'; '.join(names[:4])}{'; ...' if len(names) > 4 else ''})."
        for head, names in lists.items()
        if names
    ]
