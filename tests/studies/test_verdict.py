"""The verdict says what the numbers say, harms included."""

from __future__ import annotations

import pytest
from synthetic import synthetic_results

from mlpot.studies.verdict import verdict

SIZES = [1, 5, 10, 50]


def errors(forces, energy=2.0, stress=0.1):
    return {"forces_mae": forces, "energy_mae": energy, "stress_mae": stress}


def study(ratios, seeds=5, sizes=SIZES, **keys):
    """Return results in which transfer has ``ratios`` (by size) of scratch's force error."""
    runs = []
    for size in sizes:
        for seed in range(seeds):
            base = 100.0 * size**-0.4 * (1.0 + 0.01 * seed)
            for arm in ("scratch", "transfer"):
                factor = 1.0 if arm == "scratch" else ratios[size] * (1.0 + 0.002 * (seed % 3 - 1))
                own = {"arm": arm, "domain": "all", "size": size, "seed": seed, "steps": 100}
                runs.append(own | {"holdout": {"all": errors(base * factor)}})
    head = {"arms": ["scratch", "transfer"], "baseline": "scratch", "favourite": "transfer"}
    return (
        head
        | {"domains": ["all"], "sizes": sizes, "seeds": list(range(seeds)), "runs": runs, "donors": []}
        | keys
    )


def forces(results):
    return verdict(results)[0].removeprefix("Forces, transfer against scratch: ")


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ([0.5, 0.5, 0.5, 0.5], ["transfer helps at every size tried (1 to 50 frames) (ratio 0.50"]),
        ([0.5, 0.5, 0.5, 1.0], ["transfer helps for n ≤ 10 (", "no significant difference at 50 frames ("]),
        (
            [0.5, 1.0, 0.5, 0.5],
            ["transfer helps at 1, 10 and 50 frames (", "no significant difference at 5 fr"],
        ),
        ([1.0, 1.0, 0.5, 0.5], ["transfer helps for n ≥ 10 (", "no significant difference for n ≤ 5 ("]),
        ([0.5, 0.5, 2.0, 2.0], ["transfer helps for n ≤ 5 (", "transfer harms for n ≥ 10 (ratio 2.00"]),
        ([1.0, 1.0, 1.0, 1.0], ["no significant difference at every size tried (1 to 50 frames)"]),
    ],
)
def test_where_it_helps(ratios, words):
    said = forces(study(dict(zip(SIZES, ratios, strict=True))))
    assert all(each in said for each in words), said
    assert ("helps" in said, "harms" in said) == (min(ratios) < 1.0, max(ratios) > 1.0)


def test_the_ratio_shown_has_its_interval_its_seeds_and_its_size():
    said = forces(study({1: 0.5, 5: 0.5, 10: 0.5, 50: 1.0}))
    assert "(ratio 0.50 [0.50, 0.50], better in 5 of 5 seeds, at 5 frames)" in said


def test_one_size_is_said_as_one():
    assert forces(study({10: 0.5}, sizes=[10])).startswith("transfer helps at 10 frames (ratio 0.50")


def test_one_seed_claims_nothing():
    sentences = verdict(study(dict.fromkeys(SIZES, 0.3), seeds=1))
    assert sentences[-1].startswith("One seed: nothing can be said about significance")
    assert sentences[0] == (
        "Forces, transfer against scratch: one seed of transfer and scratch to compare at every size tried "
        "(1 to 50 frames) (ratio 0.30, better in 1 of 1 seed, at 5 frames)."
    )
    assert not any(
        word in " ".join(sentences) for word in ("helps", "harms transfer", "gains: e", "harms: e")
    )


def test_equivalent_frames_are_told_and_bounded():
    (said,) = (s for s in verdict(study(dict.fromkeys(SIZES, 0.5))) if s.startswith("For the force"))
    # 5 * 0.5 ** (-1 / 0.4) = 28.3
    assert said.startswith("For the force error of transfer at 5 frames, scratch needs 28.3 [")
    assert "times as many" in said
    (said,) = (s for s in verdict(study(dict.fromkeys(SIZES, 0.05))) if s.startswith("For the force"))
    assert said.endswith("scratch needs ≥ 50.0 frames; scratch was run at 1 to 50.")


def test_harms_are_named_beside_gains():
    results = study(dict.fromkeys(SIZES, 0.5))
    for run in results["runs"]:
        if run["arm"] == "transfer":
            run["holdout"]["all"] |= {"energy_mae": 4.0, "stress_mae": 0.05}
    sentences = verdict(results)
    assert "Out of target, at 5 frames, harms: energy (ratio 2.00 [2.00, 2.00])." in sentences
    assert "Out of target, at 5 frames, gains: stress (ratio 0.50 [0.50, 0.50])." in sentences


def test_no_harm_is_said_and_missing_labels_are_none():
    results = study(dict.fromkeys(SIZES, 0.5))
    for run in results["runs"]:
        run["holdout"]["all"]["energy_mae"] = None
    sentences = verdict(results)
    assert "Out of target, at 5 frames, harms: none." in sentences
    assert not any("energy" in sentence for sentence in sentences)


def test_what_needs_no_training_is_told():
    results = study(dict.fromkeys(SIZES, 0.5))
    results["arms"].append("reduced")
    for seed in range(5):
        own = {"arm": "reduced", "domain": "all", "size": 0, "seed": seed, "steps": 0}
        results["runs"].append(own | {"holdout": {"all": errors(60.0)}})
    (said,) = (s for s in verdict(results) if s.startswith("Without a step"))
    assert said.startswith(
        "Without a step of training, reduced has a force error of 60.0 [60.0, 60.0] meV/Å with 0 "
    )
    assert "scratch needs 3." in said


def test_other_arms_are_ranked_against_both():
    sentences = verdict(synthetic_results(dynamics=False))
    (said,) = (s for s in sentences if s.startswith("Force error of the other arms at 10 frames"))
    assert "worse: plain (" in said
    assert "no significant difference: scratch-long (" in said
    assert "Better than transfer there: none of them." in sentences


def test_domains_are_told_for_both_arms():
    sentences = verdict(synthetic_results(dynamics=False))
    (cold,) = (s for s in sentences if s.startswith("Trained on cold only (10 frames)"))
    assert all(f"{group} " in cold for group in ("300K", "900K", "liquid"))
    assert cold.count(" against ") == 4
    assert cold.count("ratio") == 3


def test_dynamics_are_told_for_each_arm():
    sentences = verdict(synthetic_results())
    (said,) = (
        s for s in sentences if s.startswith("Molecular dynamics with 5 potentials (seeds) of scratch")
    )
    assert "10 ps a run" in said
    assert said.endswith("0 of 10 at 300 K, 0 of 10 at 900 K, 0 of 10 at 1200 K.")


def test_arms_that_never_meet_are_said_not_to():
    results = study(dict.fromkeys(SIZES, 0.5))
    results["runs"] = [r for r in results["runs"] if (r["arm"] == "scratch") == (r["size"] == 50)]
    sentences = verdict(results)
    assert sentences[0] == "Forces: transfer and scratch are compared at no size."


def test_favourite_that_is_the_baseline_makes_no_comparison():
    results = study(dict.fromkeys(SIZES, 0.5)) | {"favourite": "scratch"}
    assert verdict(results)[0] == "Forces: scratch and scratch are compared at no size."
    assert not any(sentence.startswith("Out of target") for sentence in verdict(results))


def test_errors_that_are_not_finite_are_told():
    results = study(dict.fromkeys(SIZES, 0.5))
    results["runs"][0]["holdout"]["all"]["forces_mae"] = float("nan")
    assert verdict(results)[-1] == (
        "Not finite, and in no mean: errors of 1 of 40 runs (scratch at 1 frame, seed 0)."
    )


def test_tasks_that_failed_are_told():
    results = study(dict.fromkeys(SIZES, 0.5))
    results["failed"] = [{"task": f"scratch-{i}", "reason": "the loss is not finite."} for i in range(5)]
    assert verdict(results)[-1].startswith(
        "Could not be done, and in no mean: 5 of the tasks (scratch-0: the loss is not finite; scratch-1"
    )
    assert verdict(results)[-1].endswith("; ...).")
