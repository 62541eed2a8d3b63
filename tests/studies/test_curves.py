"""Means, paired ratios, equivalent frames, costs and signs, against values known otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import fisher_exact, t, ttest_1samp
from synthetic import synthetic_results

from mlpot.evidence.comparisons import holm, ratio
from mlpot.evidence.estimates import geometric, number
from mlpot.studies.cost import cost
from mlpot.studies.curves import (
    RESOLUTION,
    diverged,
    learning_curve,
    paired,
    paired_over_sizes,
    reference_size,
)
from mlpot.studies.equivalence import equivalence
from mlpot.studies.signs import alive_fraction, signs


def runs_of(arm, by_size, **keys):
    """Return runs from force errors by size, each a list over seeds (``None``: no label)."""
    return [
        {"arm": arm, "domain": "all", "size": size, "seed": seed, "holdout": {"all": {"forces_mae": error}}}
        | keys
        for size, errors in by_size.items()
        for seed, error in enumerate(errors)
        if error != "absent"
    ]


def test_geometric_mean_and_student_interval_on_logarithms():
    values = [80.0, 100.0, 130.0, 90.0]
    logs = np.log(values)
    low, high = t.interval(0.95, 3, logs.mean(), logs.std(ddof=1) / 2.0)
    found = geometric(values)
    assert (found.value, found.low, found.high) == pytest.approx(
        (math.exp(logs.mean()), math.exp(low), math.exp(high))
    )
    assert found.n == 4
    assert (geometric([7.0]).low, geometric([7.0]).high) == (None, None)
    assert str(geometric([7.0])) == "7.00"


def test_paired_ratio_is_a_paired_t_test_on_logarithms():
    ours, theirs = [50.0, 60.0, 45.0, 70.0], [80.0, 70.0, 50.0, 65.0]
    one = paired(runs_of("a", {5: ours}) + runs_of("b", {5: theirs}), "a", "b", "forces_mae", 5)
    logs = np.log(np.array(ours) / theirs)
    assert one.effect.value == pytest.approx(math.exp(logs.mean()))
    assert one.p == pytest.approx(ttest_1samp(logs, 0.0).pvalue)
    assert (one.better, one.n) == (3, 4)
    assert one.significant == (one.effect.high < 1.0) is False


@pytest.mark.parametrize("shift", [0.7, 0.86, 0.87, 0.95, 1.1, 1.2, 1.5])
def test_alone_significance_is_that_the_interval_excludes_one(shift):
    ours = shift * np.array([90.0, 105.0, 98.0, 112.0])
    one = ratio("x", "", 1, ("a", "b"), dict(enumerate(ours)), dict.fromkeys(range(4), 100.0))
    assert one.significant == (one.effect.low > 1.0 or one.effect.high < 1.0)


def test_only_seeds_of_both_are_paired():
    runs = runs_of("a", {5: [50.0, 60.0, "absent", None]}) + runs_of("b", {5: ["absent", 120.0, 90.0, 80.0]})
    one = paired(runs, "a", "b", "forces_mae", 5)
    assert (one.n, one.effect.value) == (1, pytest.approx(0.5))
    assert one.outcome == "one seed"
    assert (one.ours.n, one.theirs.n) == (2, 3)
    missing = paired(runs, "a", "b", "forces_mae", 7)
    assert (missing.effect, missing.outcome, missing.n) == (None, "cannot be compared", 0)
    assert paired(runs, "a", "b", "energy_mae", 5).ours is None


def test_equal_errors_are_no_difference_and_no_win():
    runs = runs_of("a", {5: [50.0, 60.0, 70.0]}) + runs_of("b", {5: [50.0, 60.0, 70.0]})
    one = paired(runs, "a", "b", "forces_mae", 5)
    assert (one.effect.low, one.effect.value, one.effect.high) == (1.0, 1.0, 1.0)
    assert (one.better, one.p, one.outcome) == (0, 1.0, "no significant difference")


def test_errors_that_are_rounding_are_equal():
    runs = runs_of("a", {5: [0.0, 1e-6]}) + runs_of("b", {5: [3e-5, 0.0]})
    one = paired(runs, "a", "b", "forces_mae", 5)
    assert one.effect.value == 1.0
    assert one.ours.value == pytest.approx(RESOLUTION)


def test_holm_corrects_stepwise_and_passes_over_what_was_not_tested():
    def with_p(p):
        one = ratio("x", "", 1, ("a", "b"), {0: 1.0, 1: 1.0}, {0: 2.0, 1: 2.0})
        return type(one)(**{**vars(one), "p": p, "adjusted": p})

    found = holm([with_p(p) for p in (0.04, 0.01, None, 0.03, 0.005)])
    assert [one.adjusted for one in found] == [
        pytest.approx(p) if p is not None else None for p in (0.06, 0.03, None, 0.06, 0.02)
    ]
    assert [one.outcome for one in found[:2]] == ["no significant difference", "better"]


def test_sizes_compared_are_those_of_both_and_one_family():
    rng = np.random.default_rng(0)
    ours = {n: list(50.0 * np.exp(0.1 * rng.normal(size=4))) for n in (1, 5, 10)}
    theirs = {n: list(60.0 * np.exp(0.1 * rng.normal(size=4))) for n in (5, 10, 50)}
    runs = runs_of("a", ours) + runs_of("b", theirs)
    found = paired_over_sizes(runs, "a", "b", "forces_mae")
    assert [one.size for one in found] == [5, 10]
    lowest = min(found, key=lambda one: one.p)
    assert lowest.adjusted == pytest.approx(min(1.0, 2 * lowest.p))


def test_learning_curve_leaves_out_what_is_not_there():
    runs = runs_of("a", {10: [40.0, 50.0], 1: [100.0], 5: [None, None]})
    points = learning_curve(runs, "a", "forces_mae")
    assert [point.size for point in points] == [1, 10]
    assert points[0].error.low is None
    assert points[1].by_seed == {0: 40.0, 1: 50.0}


def test_equivalence_inverts_a_power_law():
    sizes = (1, 2, 5, 10, 25, 50, 100)
    scratch = {n: [200.0 * n**-0.5, 260.0 * n**-0.5] for n in sizes}
    runs = runs_of("scratch", scratch) + runs_of("transfer", {5: [200.0 * 37.0**-0.5, 260.0 * 37.0**-0.5]})
    (one,) = equivalence(runs, "transfer", "scratch")
    assert [each.frames for each in one.by_seed.values()] == pytest.approx([37.0, 37.0])
    assert one.ratio.value == pytest.approx(37.0 / 5.0)
    assert one.ratio.low == pytest.approx(one.ratio.high)
    same = equivalence(runs, "scratch", "scratch")
    assert [entry.frames.value for entry in same] == pytest.approx(sizes)
    assert not any(entry.bound for entry in same)


def test_equivalence_beyond_the_sizes_tried_is_a_bound():
    runs = runs_of("scratch", {2: [100.0, 100.0], 50: [40.0, 40.0]})
    runs += runs_of("transfer", {1: [150.0, 70.0], 5: [39.0, 60.0], 10: [39.0, 150.0]})
    low, high, both = equivalence(runs, "transfer", "scratch")
    assert (low.by_seed[0].frames, low.by_seed[0].bound) == (2.0, "<=")
    assert low.bound == "<="
    assert low.frames.low is None
    assert (high.by_seed[0].frames, high.by_seed[0].bound, high.bound) == (50.0, ">=", ">=")
    assert str(high).startswith("≥ ")
    assert (both.frames, both.ratio, str(both)) == (None, None, "≤ 2.00 to ≥ 50.0")


def test_equivalence_reads_a_curve_that_goes_up_again_at_its_first_crossing():
    runs = runs_of("scratch", {1: [100.0], 10: [50.0], 50: [80.0], 100: [30.0]})
    runs += runs_of("transfer", {1: [60.0]})
    (one,) = equivalence(runs, "transfer", "scratch")
    assert 1.0 < one.frames.value < 10.0


def test_equivalence_of_an_arm_without_frames_has_no_ratio():
    runs = runs_of("scratch", {1: [100.0], 10: [50.0]}) + runs_of("zero", {0: [70.0]})
    (one,) = equivalence(runs, "zero", "scratch")
    assert 1.0 < one.frames.value < 10.0
    assert one.ratio is None
    assert equivalence(runs, "zero", "nobody") == []


def test_runs_that_diverged_are_in_no_mean_and_can_be_named():
    runs = runs_of("a", {5: [50.0, float("nan"), float("inf")]})
    assert learning_curve(runs, "a", "forces_mae")[0].error.n == 1
    assert [run["seed"] for run in diverged(runs)] == [1, 2]


def test_reference_size_is_where_most_arms_are():
    results = synthetic_results(seeds=1, dynamics=False)
    assert reference_size(results) == 10
    results["runs"] = [
        run for run in results["runs"] if run["arm"] in ("scratch", "transfer") or run["size"] == 25
    ]
    assert reference_size(results) == 25
    assert reference_size(results | {"reference_size": 50}) == 50


def test_cost_keeps_donors_apart_and_does_not_guess():
    results = synthetic_results(["scratch", "transfer"], [1, 10], seeds=2, dynamics=False)
    results["chains"]["si"] = ["classical", "si"]
    results["donors"] += [results["donors"][0] | {"donor": "classical", "seed": 0, "seconds": 20.0}]
    scratch, transfer = cost(results)
    assert scratch.donors.seconds == 0.0
    assert (transfer.run.steps, transfer.run.seconds, transfer.runs) == (1000.0, 201.0, 8)
    assert transfer.donors.seconds == 200.0
    assert transfer.donors.steps == 8000.0
    assert transfer.donors.joules is None
    assert transfer.total.seconds == pytest.approx(8 * 201.0)
    results["runs"][0]["joules"] = None
    results["chains"]["si"] = []  # a model file
    scratch, transfer = cost(results)
    assert (scratch.total.joules, transfer.donors) == (None, None)
    assert cost(results, size=5)[0].run is None


def test_signs_hold_every_quantity_the_worst_first():
    found = signs(synthetic_results())
    what = {f"{q} of {g}" for q in ("forces", "energy") for g in ("300K", "900K", "liquid")}
    what |= {"energy", "stress"}
    what |= {f"{q} at {k} K" for q in ("survival", "radial distribution") for k in (300, 900, 1200)}
    assert {one.what for one in found} == what
    assert [one.harm for one in found] == sorted((one.harm for one in found), reverse=True)
    assert (found[0].what, found[0].outcome) == ("energy of liquid", "worse")
    assert {one.what: one.outcome for one in found}["stress"] == "better"


def test_what_one_arm_lacks_is_shown_and_not_compared():
    results = synthetic_results(["scratch", "transfer"], [10], seeds=3)
    for report in results["dynamics"]["scratch"].values():
        for entry in report["temperatures"]:
            entry["radial"] = None
    for run in results["runs"]:
        for errors in run["holdout"].values():
            errors["stress_mae"] = None
    found = {one.what: one for one in signs(results)}
    assert "stress" not in found
    assert found["radial distribution at 300 K"].outcome == "cannot be compared"
    assert found["radial distribution at 300 K"].theirs is None


@pytest.mark.parametrize(("ours", "theirs"), [(5, 0), (4, 0), (3, 0), (5, 2), (0, 5), (3, 3)])
def test_survival_of_one_run_a_potential_is_fishers_exact_test(ours, theirs):
    def report(alive):
        runs = [{"censored": alive, "survived_ps": 1.0, "reason": None}]
        return {"temperatures": [{"temperature_K": 300.0, "runs": runs, "radial": None}]}

    results = synthetic_results(["scratch", "transfer"], [10], seeds=5, dynamics=False)
    results["dynamics"] = {
        arm: {str(seed): report(seed < alive) for seed in range(5)}
        for arm, alive in (("transfer", ours), ("scratch", theirs))
    }
    (one,) = (one for one in signs(results) if one.what == "survival at 300 K")
    expected = fisher_exact([[ours, 5 - ours], [theirs, 5 - theirs]]).pvalue
    assert one.p == pytest.approx(expected)
    assert one.effect.value == pytest.approx((ours - theirs) / 5)
    assert one.effect.low <= one.effect.value <= one.effect.high
    assert (one.effect.low > 0.0 or one.effect.high < 0.0) == (expected < 0.05)
    assert np.sign(one.harm) == np.sign(theirs - ours)


def test_runs_of_one_potential_count_as_one():
    low, high = alive_fraction({0: 0.5, 1: 0.5}).low, alive_fraction({0: 0.5, 1: 0.5}).high
    assert (low, high) == (alive_fraction({0: 1.0, 1: 0.0}).low, alive_fraction({0: 1.0, 1: 0.0}).high)
    assert alive_fraction({0: 1.0, 1: 1.0, 2: 1.0}).low == pytest.approx(0.025 ** (1 / 3))


def test_numbers_as_text():
    texts = [number(value) for value in (None, 0.0, 1234.4, 123.4, 12.34, 1.234, 0.6234, 0.06234, -0.5)]
    assert texts == ["–", "0", "1234", "123", "12.3", "1.23", "0.62", "0.062", "-0.50"]
