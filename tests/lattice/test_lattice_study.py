"""A small lattice study from samples to curves: right, each task once, and with what failed named."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mlpot.errors import Interrupted, LatticeError, MLPotError, ModelFileError, RecipeError
from mlpot.lattice.baselines.pair_basis import by_displacement, every_pair
from mlpot.lattice.ednn import EDNN, EDNNSettings
from mlpot.lattice.ensemble import Ensemble
from mlpot.lattice.exact.enumeration import enumerate_states
from mlpot.lattice.hamiltonian import all_to_all, ising, potts
from mlpot.lattice.recipe import LatticeRecipe
from mlpot.lattice.reweighting import Anchor
from mlpot.lattice.samples import load_samples
from mlpot.lattice.study import work
from mlpot.lattice.study.energies import load_energy, save_energy
from mlpot.lattice.study.points import HOT, curve, hot_anchor, ladder
from mlpot.lattice.study.run import extrapolate_arms, learn_arms, read_results
from mlpot.lattice.study.truth import exact_kind, mean_random_energy, truth
from mlpot.recipe import parse_recipe

PAIRS = {"pl": {"kind": "pseudo_likelihood"}}
SHORT = {"steps": 20, "learning_rate": 0.01}
RECIPE = {
    "title": "small",
    "model": {"name": "ising"},
    "shape": [4, 4],
    "temperatures": [3.0],
    "counts": [2000],
    "seeds": [0],
    "network": {"hidden": [4]},
    "sequence": {"network": {"architecture": "dense", "width": 16}},
    "fit": {"steps": 60, "batch": 128, "evaluations": 2, "start": 2000},
    "arms": {
        "two_stage": {"kind": "two_stage", "states": 500, "rounds": 2, "descent": SHORT | {"steps": 40}},
        "joint": {"kind": "joint", "states": 256, "renew": 10, "descent": SHORT, "from_pairs": True},
        "direct": {"kind": "direct", "from_pairs": True, "beyond_pairs": 10.0, "descent": SHORT},
        "pl": {"kind": "pseudo_likelihood"},
        "ensemble": {"kind": "ensemble", "of": "direct", "members": 2},
    },
    "score": {"configurations": 200, "random_states": 500, "shapes": [[4, 4], [6, 4]]},
    "extrapolation": [
        {"shapes": [[4, 4]], "temperatures": [1.0, 2.0, 3.0, 4.0], "start": "uniform", "steps": 150,
         "burn_in": 50},
        {"shapes": [[6, 4]], "temperatures": [2.0, 4.0], "arms": ["pl"], "steps": 80, "burn_in": 50,
         "truth": 400},
        {"shapes": [[5, 5]], "temperatures": [2.0], "arms": ["pl"], "steps": 40, "burn_in": 20,
         "free_energy": False, "truth": 320},
    ],
    "engine": {"kind": "local", "workers": 1},
}  # fmt: skip


def recipe(**changes):
    return parse_recipe(LatticeRecipe, RECIPE | changes, "r.yaml")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "run"
    learn_arms(recipe(), folder)
    return folder, extrapolate_arms(folder)


def test_results_hold_every_arm_with_its_scores_and_costs(run):
    folder, results = run
    assert json.loads((folder / "results.json").read_text()) == results == read_results(folder)
    assert [one["arm"] for one in results["learned"]] == results["arms"] == list(RECIPE["arms"])
    assert results["failed"] == [] and results["sites"] == 16
    assert results["model"] == {"name": "ising", "shape": [4, 4], "parameters": {"J": 1.0, "field": 0.0}}
    for one in results["learned"]:
        assert set(one["scores"]) == {"4x4", "6x4"} and 0 < one["scores"]["4x4"] < 2.0, one["arm"]
        assert one["parameters"] > 0 and one["seconds"] > 0 and one["cpu_seconds"] > 0
        assert one["recovery"]["correlation"] is None and one["recovery"]["rmse"] < 0.2
        assert (one["sequence"] is not None) == (one["arm"] in ("two_stage", "joint"))
        assert (one["deviation"] is not None) == (one["arm"] == "ensemble")
    costs = {one["arm"]: one["cpu_seconds"] for one in results["learned"]}
    assert costs["two_stage"] > results["sequences"][0]["cpu_seconds"]


def test_the_sequence_model_is_held_against_the_exact_entropy(run):
    for one in run[1]["learned"][:2]:
        sequence = one["sequence"]
        entropy = enumerate_states(ising((4, 4))).at(3.0).entropy * 16
        assert sequence["exact_entropy"] == pytest.approx(entropy)
        assert sequence["kl"] == pytest.approx(sequence["nll"] - entropy)
        assert abs(sequence["kl"]) < 0.1 + 4 * sequence["nll_error"]
        assert 0 < sequence["rmse"] < 5


def test_correlations_of_the_samples_are_told(run):
    (facts,) = run[1]["autocorrelation"]
    assert facts["samples"] == 2000 and facts["method"] == "swendsen_wang" and facts["spacing"] >= 1
    assert set(facts["steps"]) == {"energy", "magnetisation"}


def test_curves_of_learned_energies_follow_the_exact_ones(run):
    results = run[1]
    kinds = {("x".join(map(str, t["shape"])), t["kind"]) for t in results["truth"] if t["shape"] != [5, 5]}
    assert kinds == {("4x4", "enumeration"), ("6x4", "kaufman"), ("6x4", "monte carlo")}
    exact = enumerate_states(ising((4, 4)))
    (pl,) = (one for one in results["extrapolation"] if one["arm"] == "pl" and one["shape"] == [4, 4])
    assert [point["temperature"] for point in pl["points"]] == [1.0, 2.0, 3.0, 4.0]
    for point in pl["points"]:
        true = exact.at(point["temperature"])
        assert point["energy"][0] == pytest.approx(true.energy, abs=0.1)
        assert point["magnetisation"][0] == pytest.approx(true.magnetisation, abs=0.08)
        assert point["free_energy"][0] == pytest.approx(true.free_energy, abs=0.05)
        assert point["entropy"][0] == pytest.approx(true.entropy, abs=0.04)
        assert all(point[name][1] >= 0 for name in point if name != "temperature")
    assert pl["anchor"]["from"] == "sequence model" and pl["anchor"]["temperature"] == 3.0
    assert pl["anchor"]["log_z"] == pytest.approx(exact.log_z(3.0), abs=0.25)
    (larger,) = (one for one in results["extrapolation"] if one["shape"] == [6, 4])
    assert larger["arm"] == "pl" and larger["anchor"]["from"] == "infinite temperature"


def test_without_free_energies_there_is_no_way_to_infinite_temperature(run):
    (one,) = (one for one in run[1]["extrapolation"] if one["shape"] == [5, 5])
    assert one["anchor"] is None and len(one["acceptance"]) == 1
    kaufman, sampled = (true for true in run[1]["truth"] if true["shape"] == [5, 5])
    for point in (*one["points"], *sampled["points"]):
        assert point["free_energy"] is None and point["entropy"] is None and point["binder"][0] > 0.5
    assert kaufman["points"][0]["free_energy"] is not None


def test_what_is_done_is_not_done_again(run, monkeypatch):
    folder, before = run
    lines = []
    monkeypatch.setattr(work, "learn", lambda *arguments: pytest.fail("learned again"))
    again = learn_arms(recipe(), folder, lines.append)
    assert lines == ["12 of 12 tasks are done already"]
    assert [one["scores"] for one in again["learned"]] == [one["scores"] for one in before["learned"]]
    assert again["extrapolation"] == before["extrapolation"]


def test_an_interrupted_study_goes_on(tmp_path):
    changed = recipe(arms=PAIRS | {"screening": {"kind": "screening"}}, score={"configurations": 100})

    def stop(text):
        if "[3/" in text:
            raise Interrupted("stop")

    with pytest.raises(Interrupted, match="the same command continues"):
        learn_arms(changed, tmp_path / "run", stop)
    lines = []
    results = learn_arms(changed, tmp_path / "run", lines.append)
    assert lines[0] == "3 of 5 tasks are done already" and len(lines) == 3
    assert len(results["learned"]) == 2 and all(one["scores"] for one in results["learned"])


def test_workers_learn_the_same(run, tmp_path):
    pairs = recipe(arms=PAIRS, engine={"kind": "local", "workers": 2})
    (alone,) = (one for one in run[1]["learned"] if one["arm"] == "pl")
    (one,) = learn_arms(pairs, tmp_path / "run")["learned"]
    assert one["scores"] == alone["scores"] and one["facts"] == alone["facts"]


def test_what_fails_is_named_and_the_rest_is_done(tmp_path):
    arms = PAIRS | {"wild": {"kind": "direct", "descent": {"steps": 30, "learning_rate": 1e30}}}
    results = learn_arms(recipe(arms=arms, score={"configurations": 100}), tmp_path / "run")
    assert [one["arm"] for one in results["learned"]] == ["pl"]
    assert [one["task"].split("-")[0] for one in results["failed"]] == ["wild", "score"]
    assert "smaller learning rate" in results["failed"][0]["reason"]
    assert results["failed"][1]["reason"].startswith("needs wild-")
    with pytest.raises(MLPotError, match=r"nothing could be learned: wild-.*smaller learning rate"):
        learn_arms(recipe(arms={"wild": arms["wild"]}, extrapolation=[]), tmp_path / "other")


def test_samples_of_an_unknown_model_give_energies_without_scores(run, tmp_path):
    (made,) = (run[0] / "runs").glob("samples-*/samples.npz")
    np.save(tmp_path / "own.npy", load_samples(made).states)
    section = {"shapes": [[6, 4]], "temperatures": [2.0, 4.0], "steps": 20, "burn_in": 10}
    own = recipe(
        model=None, q=2, samples=str(tmp_path / "own.npy"), arms=PAIRS, extrapolation=[section],
        score={"configurations": 100},
    )  # fmt: skip
    learn_arms(own, tmp_path / "run")
    results = extrapolate_arms(tmp_path / "run")
    (one,) = results["learned"]
    assert one["scores"] == {} and one["recovery"] is None
    assert one["facts"]["couplings"][0]["value"] == pytest.approx(1.0, abs=0.1)
    assert results["model"] is None and results["truth"] == []
    assert len(results["extrapolation"][0]["points"]) == 2
    assert results["autocorrelation"][0]["file"].endswith("own.npy")


def test_a_folder_where_nothing_was_learned_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="nothing was learned here; `mlpot lattice learn"):
        extrapolate_arms(tmp_path)
    learn_arms(recipe(arms=PAIRS, extrapolation=[], score={"configurations": 100}), tmp_path / "run")
    with pytest.raises(RecipeError, match="has no extrapolation"):
        extrapolate_arms(tmp_path / "run")


def test_energies_are_the_same_after_their_files(tmp_path):
    generator = np.random.default_rng(0)
    states = generator.integers(0, 2, (20, 4, 4), dtype=np.int8)
    network = EDNN(EDNNSettings((4, 4), focus=1, hidden=(4,)), seed=1)
    shells, glass = by_displacement((4, 4), shells=2), every_pair((4, 4))
    for name, energy in {
        "network": network,
        "ensemble": Ensemble((network, EDNN(EDNNSettings((4, 4), focus=1, hidden=(4,)), seed=2))),
        "shells": shells.energy(generator.normal(size=len(shells.names)), 2.0),
        "glass": glass.energy(generator.normal(size=len(glass.names)), 2.0),
    }.items():
        save_energy(energy, tmp_path / name)
        loaded = load_energy(tmp_path / name)
        np.testing.assert_allclose(loaded.energy(states), energy.energy(states), atol=1e-12)
        if name != "glass":
            assert loaded.resized((6, 6)).q == 2
    with pytest.raises(ModelFileError, match="holds no learned energy"):
        load_energy(tmp_path / "none")
    (tmp_path / "shells" / "energy.npz").write_bytes(b"damaged")
    with pytest.raises(ModelFileError, match="cannot be read as pair couplings"):
        load_energy(tmp_path / "shells")


@pytest.mark.parametrize(
    "model", [ising((3, 3), field=0.3), potts((3, 2), 3), potts((3, 2), 4, "clock"), all_to_all(8, seed=2)]
)
def test_the_zero_of_energies_and_log_z_near_infinite_temperature_are_exact(model):
    every = enumerate_states(model)
    assert mean_random_energy(model) == pytest.approx(every.energies.mean(), abs=1e-12)
    energies = np.random.default_rng(0).choice(every.energies, 200_000, p=every.probabilities(HOT))
    anchor = hot_anchor(energies, model.lattice.sites, model.q)
    assert anchor.log_z == pytest.approx(every.log_z(HOT), abs=3e-5)


def test_points_are_right_within_their_errors_both_ways():
    every = enumerate_states(ising((4, 4)))
    wanted = [2.0, 3.0]
    temperatures = ladder(wanted, 2.5)
    assert temperatures == sorted(temperatures) and {2.0, 2.5, 3.0, HOT} <= set(temperatures)
    generator = np.random.default_rng(0)
    drawn = [generator.choice(len(every.energies), 4000, p=every.probabilities(t)) for t in temperatures]
    energies = [every.energies[numbers] for numbers in drawn]
    magnetisations = [every.magnetisations[numbers] for numbers in drawn]
    for anchor in (Anchor(2.5, every.log_z(2.5)), hot_anchor(energies[-1], 16, 2)):
        points, missing = curve(temperatures, energies, magnetisations, 8, 16, wanted, anchor)
        assert missing == [] and [point["temperature"] for point in points] == wanted
        for point in points:
            true = every.at(point["temperature"])
            expected = {
                "energy": true.energy, "capacity": true.heat_capacity, "magnetisation": true.magnetisation,
                "susceptibility": true.susceptibility, "binder": true.binder,
                "free_energy": true.free_energy, "entropy": true.entropy,
            }  # fmt: skip
            for name, value in expected.items():
                assert abs(point[name][0] - value) < 4.5 * point[name][1] + 1e-4, name


def test_series_too_short_for_errors_are_named():
    steps = np.arange(64.0)
    points, missing = curve([1.0, HOT], [steps, steps], [steps, steps], 1, 4, [1.0], Anchor(HOT, 0.0))
    assert points == [] and missing[0].startswith("T = 1: samples: 64 with an autocorrelation time")


def test_truth_is_exact_where_it_can_be():
    assert exact_kind(ising((4, 4))) == "enumeration"
    assert exact_kind(ising((8, 8))) == "kaufman"
    assert exact_kind(ising((8, 8), field=0.1)) == "transfer matrix"
    assert exact_kind(potts((8, 8), 3)) is None
    (only,) = truth(ising((3, 3)), [2.0], 100, seed=0)
    assert only["kind"] == "enumeration" and only["points"][0]["magnetisation"][1] == 0
    exact, sampled = truth(ising((8, 8), field=0.1), [3.0], 400, seed=0)
    assert exact["points"][0]["magnetisation"] is None and sampled["kind"] == "monte carlo"
    one, other = exact["points"][0]["free_energy"], sampled["points"][0]["free_energy"]
    assert abs(one[0] - other[0]) < 5 * other[1] + 1e-3 and math.isfinite(other[1])
    (glass,) = truth(all_to_all(24, seed=1), [1.0, 2.0], 320, seed=0)
    assert glass["kind"] == "tempering" and len(glass["points"]) == 2


def test_a_sequence_model_has_no_other_size():
    from mlpot.lattice.sequence.build import build_sequence
    from mlpot.lattice.study.judging import SequenceEnergy

    energy = SequenceEnergy(build_sequence((2, 2), 2), 2.0)
    np.testing.assert_allclose(energy.energy(np.zeros((3, 2, 2), dtype=np.int8)), 8 * math.log(2), rtol=1e-6)
    with pytest.raises(LatticeError, match="its own lattice only"):
        energy.resized((4, 4))
