"""Sentences about lattice studies whose outcome is known."""

from __future__ import annotations

import math

import pytest
from lattice_laws import LAWS, OFF, lattice_results

from mlpot.lattice.outcomes import compare, critical_temperatures, curves, has_sequence, truth
from mlpot.lattice.published import CRITICAL_TEMPERATURE, MOST_SAMPLES, aims
from mlpot.lattice.verdict import contests, reached, verdict


def outcome(found, text):
    (one,) = [one for one in found if one.aim.text.startswith(text)]
    return one


def test_a_baseline_that_wins_is_said_first_and_plainly() -> None:
    results = lattice_results()
    first = verdict(results)[0]
    assert first.startswith("A baseline wins, by the score on 8x8: T0 = 4, 10,000 samples: pseudo_likelihood")
    assert "against joint" in first
    found = contests(results)
    assert [(one.temperature, one.count) for one in found] == [
        (4.0, 10_000), (4.0, 100_000), (8.0, 10_000), (8.0, 100_000)
    ]  # fmt: skip
    for one in found:
        assert one.comparison.effect is not None and one.comparison.effect.n == 3
        assert one.comparison.effect.value == pytest.approx(0.5 / 0.9, rel=0.02)
        assert one.comparison.outcome == "better"


def test_a_sequence_model_that_wins_is_said() -> None:
    sentences = verdict(lattice_results(LAWS | {"joint": 0.2}))
    assert sentences[0].startswith("A sequence model wins over every baseline")
    assert not any(sentence.startswith("A baseline") for sentence in sentences)


def test_equal_arms_are_not_told_apart() -> None:
    results = lattice_results(LAWS | {"joint": 0.5})
    assert verdict(results)[0].startswith("Neither a baseline nor a sequence model is significantly better")


def test_two_seeds_give_no_interval() -> None:
    results = lattice_results(seeds=(0, 1))
    sentences = verdict(results)
    assert sentences[0].startswith("A baseline is ahead (fewer than 3 seeds)")
    assert "[" not in " ".join(sentences)
    one = compare(results, ("joint", 4.0, 10_000), ("direct", 4.0, 10_000), "8x8")
    assert one.effect is not None and one.effect.low is None and one.adjusted is None
    assert any("nothing can be said about significance" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("kept", "said"),
    [(("joint",), "No baseline was run"), (("direct", "screening"), "No arm with a sequence model was run")],
)
def test_only_one_kind_of_arm(kept, said) -> None:
    assert verdict(lattice_results({arm: LAWS[arm] for arm in kept}))[0].startswith(said)


def test_best_arm_at_each_count_and_size() -> None:
    sentences = verdict(lattice_results())
    (best,) = [one for one in sentences if one.startswith("Best score on 16x16, T0 = 8")]
    assert best.count("pseudo_likelihood") == 2
    assert "ratio to screening, the next: 0.8" in best


def test_what_is_reached_of_the_issue() -> None:
    results = lattice_results()
    found = reached(results)
    score = outcome(found, "score (RMSE of the total energy), 8x8, trained at T0 = 4")
    assert score.outcome == "met" and score.best == ("pseudo_likelihood", 4.0, 100_000)
    assert score.sequence == ("joint", 4.0, 100_000)
    assert score.value.value == pytest.approx(0.5 * math.sqrt(0.1) * 1.05, rel=0.02)
    assert outcome(found, "score (RMSE of the total energy), 8x8, trained at T0 = 2").outcome == "not tried"
    small, large = (outcome(found, f"largest error of |M|, {n}") for n in ("8x8", "24x24"))
    assert small.value.value == pytest.approx(OFF["magnetisation"])
    assert small.outcome == large.outcome == "met"
    assert small.about == "over 9 temperatures from 0.5 to 4.9"
    assert outcome(found, "error of the free energy").value.value == pytest.approx(OFF["free_energy"])
    entropy = outcome(found, "error of the entropy")
    assert entropy.outcome == "not met" and entropy.value.value == pytest.approx(OFF["entropy"])
    critical = outcome(found, "relative error of T_c")
    assert critical.outcome == "met" and critical.value.value < 0.002
    told = [one for one in verdict(results) if one.startswith("Error of the entropy per site")]
    assert len(told) == 1 and "aim ≤ 0.005 k_B: not met (" in told[0]


def test_mean_below_the_aim_but_interval_beyond_it() -> None:
    results = lattice_results(LAWS | {"pseudo_likelihood": 1.13, "direct": 9, "screening": 9, "joint": 9})
    one = outcome(reached(results), "score (RMSE of the total energy), 8x8, trained at T0 = 4")
    assert one.value.value < 0.4 < one.value.high
    assert one.outcome == "met in the mean only"


def test_more_samples_than_allowed_reach_nothing() -> None:
    results = lattice_results()
    for one in results["learned"]:
        one["count"] *= MOST_SAMPLES
    assert (
        outcome(reached(results), "score (RMSE of the total energy), 8x8, trained at T0 = 4").outcome
        == "not tried"
    )


def test_glass_is_judged_by_total_energy_and_recovery() -> None:
    results = lattice_results(model={"name": "edwards_anderson", "parameters": {"seed": 0}})
    energy, recovery = reached(results)
    assert energy.value.value == pytest.approx(64 * OFF["energy"])
    assert energy.outcome == "met" and recovery.outcome == "met"
    for one in results["learned"]:
        one["recovery"]["correlation"] = 0.9896
    assert reached(results)[1].outcome == "not met"
    assert any("aim ≥ 0.99: not met (" in one and ": 0.9896 [" in one for one in verdict(results))


def test_models_without_published_numbers_have_no_aims() -> None:
    assert aims(lattice_results(model={"name": "ising", "parameters": {"J": 2.0}})) == ()
    assert aims(lattice_results() | {"model": None}) == ()


def test_exact_truth_goes_before_sampled_and_fills_in() -> None:
    results = lattice_results()
    assert truth(results, "8x8", "energy").kind == "kaufman"
    assert truth(results, "8x8", "binder").kind == "monte carlo"
    assert truth(results, "9x9", "energy") is None


def test_curves_deviate_by_what_was_put_in() -> None:
    for curve in curves(lattice_results(), "energy", "16x16"):
        assert curve.mean() == pytest.approx(OFF["energy"])
        assert curve.largest()[0] == pytest.approx(OFF["energy"])
        assert curve.near(3.9, 0.01) is None
    deviations = curves(lattice_results(), "magnetisation", "8x8")[0].deviations
    assert deviations[0.5][1] == pytest.approx(math.hypot(0.002, 0.001))


def test_crossings_of_the_truth_and_of_every_seed() -> None:
    found = critical_temperatures(lattice_results())
    assert {one.sizes for one in found} == {("8x8", "16x16"), ("16x16", "24x24"), ("24x24", "128x128")}
    assert sum(one.setting is None for one in found) == 3
    for one in found:
        assert one.value == pytest.approx(CRITICAL_TEMPERATURE, abs=5 * one.error)


def test_cumulants_that_do_not_cross_are_said_not_to() -> None:
    results = lattice_results({"direct": 1.0}, lengths=(64, 128))
    for one in results["extrapolation"]:
        one["points"] = [point for point in one["points"] if point["temperature"] < 2.25]
    one = outcome(reached(results), "relative error of T_c")
    assert one.value is None and one.outcome == "not met"
    sentences = verdict(results)
    assert "Binder's cumulants do not cross between the temperatures: direct 64x64/128x128." in sentences
    assert any("not met (no crossing between the temperatures)." in sentence for sentence in sentences)
    assert any("but not tried: score (RMSE of the total energy), 8x8, tra" in one for one in sentences)


def test_sizes_without_common_temperatures_are_not_compared() -> None:
    results = lattice_results({"direct": 1.0}, lengths=(24, 64, 128)) | {"truth": []}
    for one in results["extrapolation"]:
        for point in one["points"] if one["shape"] == [24, 24] else []:
            point["temperature"] += 0.01
    assert {one.sizes for one in critical_temperatures(results)} == {("64x64", "128x128")}


def test_failures_and_scores_that_are_not_finite_are_told() -> None:
    results = lattice_results()
    results["learned"][0]["scores"]["8x8"] = math.inf
    sentences = " ".join(verdict(results))
    assert (
        "Not finite, and in no mean: 1 scores (two_stage, T0 = 4, 10,000 samples, seed 0, 8x8)" in sentences
    )
    assert "Could not be done, and in no mean: 1 of the tasks (joint seed 7: training diverged)." in sentences


def test_nothing_learned() -> None:
    sentences = verdict(lattice_results() | {"learned": []})
    assert sentences[0] == "Nothing was learned: nothing can be said."


def test_kinds_decide_which_arms_have_a_sequence_model() -> None:
    results = lattice_results({"mine": 1.0, "plain": 2.0})
    assert not has_sequence(results, "mine")
    results["kinds"] = {"mine": "joint", "plain": "direct"}
    assert has_sequence(results, "mine") and not has_sequence(results, "plain")
