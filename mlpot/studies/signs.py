"""Every quantity a study measures beside its target, each with the sign of the effect on it.

Survival is no error: its unit is the potential (a seed), its value the fraction of that
potential's runs alive at the end, and the comparison a difference. p is that of the exact
permutation test over potentials. The interval of an arm is Clopper and Pearson's with the
potentials as trials, as if all runs of a potential told the same, which can only widen it; that of
the difference follows from both (Newcombe, Stat. Med. 17, 873, 1998, method 10, with these
intervals). Whether a property can be computed at all is compared in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import betaincinv
from scipy.stats import permutation_test

from mlpot.evidence.comparisons import Comparison, holm, points, ratio
from mlpot.evidence.estimates import Estimate
from mlpot.studies.curves import RESOLUTION, main_domain, paired, reference_size

Names = tuple[str, str]


def signs(
    results: Mapping[str, Any],
    arm: str | None = None,
    baseline: str | None = None,
    size: int | None = None,
) -> list[Comparison]:
    """Compare two arms in all that is not the target (forces on the whole hold-out).

    Energy and stress, forces and energy of each group of the hold-out, survival in molecular
    dynamics and radial distribution at each temperature and of the liquid, the deviation of every
    property from its reference. Errors, dynamics and properties are a family each for Holm's
    correction: with five seeds the p of survival cannot fall below 0.008, so that in one family with
    dozens of errors no collapse could ever count.

    Parameters
    ----------
    results
        ``results.json``.
    arm, baseline
        The favourite and the baseline by default.
    size
        Frames trained on; the reference size by default. Dynamics and properties are those there are.

    Returns
    -------
    list of Comparison
        The worst first; what only one of the arms has is there, and cannot be compared.
    """
    names = (arm or results["favourite"], baseline or results["baseline"])
    size = reference_size(results) if size is None else size
    families = [
        _errors(results, names, size),
        [
            *_dynamics(results.get("dynamics") or {}, names, size),
            *_dynamics(results.get("liquid") or {}, names, size, " of the liquid"),
        ],
        _properties(results.get("properties"), names, size),
    ]
    return sorted((one for family in families for one in holm(family)), key=lambda one: -one.harm)


def _errors(results: Mapping[str, Any], names: Names, size: int) -> list[Comparison]:
    runs, domain = results["runs"], main_domain(results)
    groups = hold_out_groups(results)
    quantities = [("energy_mae", "all"), ("stress_mae", "all")]
    if len(groups) > 1:
        quantities += [(metric, group) for group in groups for metric in ("forces_mae", "energy_mae")]
    compared = [paired(runs, *names, metric, size, domain, group) for metric, group in quantities]
    return [one for one in compared if one.ours is not None or one.theirs is not None]


def hold_out_groups(results: Mapping[str, Any]) -> list[str]:
    """Return the groups of the hold-out, in the order they are first met, without ``all``."""
    names = dict.fromkeys(name for run in results["runs"] for name in run["holdout"])
    return [name for name in names if name != "all"]


def temperatures(dynamics: Mapping[str, Mapping[str, Any]]) -> list[float]:
    """Return all temperatures of dynamics, K, ascending."""
    reports = [report for by_seed in dynamics.values() for report in by_seed.values()]
    return sorted({entry["temperature_K"] for report in reports for entry in report["temperatures"]})


def entries(dynamics: Mapping[str, Any], arm: str, temperature: float) -> dict[int, dict[str, Any]]:
    """Return what dynamics found for an arm at a temperature, by seed of the potential."""
    return {
        int(seed): entry
        for seed, report in dynamics.get(arm, {}).items()
        for entry in report["temperatures"]
        if entry["temperature_K"] == temperature
    }


def _dynamics(dynamics: Mapping[str, Any], names: Names, size: int, of: str = "") -> list[Comparison]:
    found = []
    for temperature in temperatures(dynamics):
        ours, theirs = (entries(dynamics, name, temperature) for name in names)
        alive = [{seed: _alive(entry) for seed, entry in one.items()} for one in (ours, theirs)]
        radial = [
            {
                seed: max(entry["radial"]["error"], RESOLUTION)
                for seed, entry in one.items()
                if entry["radial"]
            }
            for one in (ours, theirs)
        ]
        if any(alive):
            found.append(_fractions(f"survival{of} at {temperature:g} K", size, names, *alive))
        if any(radial):
            found.append(ratio(f"radial distribution{of} at {temperature:g} K", "", size, names, *radial))
    return found


def _properties(properties: Mapping[str, Any] | None, names: Names, size: int) -> list[Comparison]:
    """Compare deviations from references, and whether there is a value, where one is missing."""
    found = []
    for name in [quantity["name"] for quantity in properties["quantities"]] if properties else ():
        assert properties is not None
        ours, theirs = (values(properties, one, name) for one in names)
        if any(value is None for value in [*ours.values(), *theirs.values()]):
            there = [{seed: float(v is not None) for seed, v in one.items()} for one in (ours, theirs)]
            found.append(_fractions(f"{name} can be computed", size, names, *there))
        reference = properties["references"].get(name)
        if reference is not None:
            away = [deviations(one, reference["value"]) for one in (ours, theirs)]
            if any(away):
                found.append(points(f"{name}, deviation from {reference['kind']}", size, names, *away))
    return found


def values(properties: Mapping[str, Any], arm: str, name: str) -> dict[int, float | None]:
    """Return a quantity of an arm by seed; ``None`` where it could not be computed."""
    return {
        int(seed): found[name]["value"]
        for seed, found in properties["arms"].get(arm, {}).items()
        if name in found
    }


def deviations(found: Mapping[int, float | None], reference: float) -> dict[int, float]:
    """Return the size of the deviation from a reference in percent, of the seeds that have a value."""
    return {
        seed: 100.0 * abs(value - reference) / abs(reference)
        for seed, value in found.items()
        if value is not None
    }


def _alive(entry: Mapping[str, Any]) -> float:
    return sum(run["censored"] for run in entry["runs"]) / len(entry["runs"])


def alive_fraction(fractions: Mapping[int, float]) -> Estimate:
    """Return the mean fraction alive over potentials, and its interval (see the module)."""
    n, value = len(fractions), float(np.mean(list(fractions.values())))
    alive = value * n
    low = float(betaincinv(alive, n - alive + 1.0, 0.025)) if alive > 0.0 else 0.0
    high = float(betaincinv(alive + 1.0, n - alive, 0.975)) if alive < n else 1.0
    return Estimate(value, low, high, n)


def _fractions(
    what: str, size: int, names: Names, ours: Mapping[int, float], theirs: Mapping[int, float]
) -> Comparison:
    seeds = sorted(ours.keys() & theirs.keys())
    effect, p = None, None
    if seeds:
        pair = [np.array([one[seed] for seed in seeds]) for one in (ours, theirs)]
        a, b = (alive_fraction({seed: one[seed] for seed in seeds}) for one in (ours, theirs))
        effect, p = _difference(a, b), _permuted(*pair)
    return Comparison(
        what=what,
        unit="",
        size=size,
        arm=names[0],
        baseline=names[1],
        ours=alive_fraction(ours) if ours else None,
        theirs=alive_fraction(theirs) if theirs else None,
        kind="difference",
        effect=effect,
        better=sum(ours[seed] > theirs[seed] for seed in seeds),
        p=p,
        adjusted=p,
    )


def _difference(a: Estimate, b: Estimate) -> Estimate:
    value = a.value - b.value
    if a.low is None or a.high is None or b.low is None or b.high is None or a.n < 2:
        return Estimate(value, None, None, a.n)
    down, up = math.hypot(a.value - a.low, b.high - b.value), math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, value - down, value + up, a.n)


def _permuted(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """Return the two-sided p of an exact test that exchanges potentials between the arms."""
    if len(ours) < 2:
        return None
    if np.ptp([*ours, *theirs]) == 0.0:
        return 1.0
    result = permutation_test(
        (ours, theirs),
        lambda a, b, axis: np.mean(a, axis=axis) - np.mean(b, axis=axis),
        vectorized=True,
        n_resamples=20_000,  # all of them up to 8 potentials an arm
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)
