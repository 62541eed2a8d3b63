"""A study from its recipe to its report: stopped, continued, changed, spread over processes."""

from __future__ import annotations

import copy
import json
import re
import shutil

import numpy as np
import pytest

from mlpot.data.files import read_frames
from mlpot.errors import DataError, ElementError, Interrupted, MLPotError, RecipeError
from mlpot.model.file import load_model, read_header, save_model
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.recipe import parse_recipe
from mlpot.studies import checks
from mlpot.studies.plan import make_plan
from mlpot.studies.recipe import StudyRecipe, load_study
from mlpot.studies.run import run_study
from mlpot.studies.tasks import TrainingTask
from mlpot.studies.work import MODEL
from mlpot.training.errors import errors_by_group

DROP = object()


def without_times(value):
    """Return results without what the clock put there."""
    if isinstance(value, dict):
        return {
            k: without_times(v)
            for k, v in value.items()
            if "seconds" not in k and k not in ("joules", "recipe")
        }
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def varied(raw, *changes):
    """Return the recipe with values at paths such as ``"target.data.train"`` changed."""
    raw = copy.deepcopy(raw)
    for path, value in changes:
        section = raw
        *parents, last = path.split(".")
        for key in parents:
            section = section.setdefault(key, {})
        if value is DROP:
            section.pop(last)
        else:
            section[last] = value
    return parse_recipe(StudyRecipe, raw, "plan")


def run_of(results, arm, size, seed, domain="all"):
    (found,) = (
        run
        for run in results["runs"]
        if (run["arm"], run["size"], run["seed"], run["domain"]) == (arm, size, seed, domain)
    )
    return found


def test_results_hold_every_run_once(study):
    out, results, _ = study
    assert json.loads((out / "results.json").read_text()) == results
    cells = {(run["arm"], run["domain"], run["size"], run["seed"]) for run in results["runs"]}
    expected = {
        (arm, "all", size, seed)
        for arm in ("scratch", "zero_shot", "transfer", "frozen")
        for size in ((3,) if arm == "frozen" else (2, 3))
        for seed in (0, 1)
    }
    expected |= {(arm, "calm", 2, seed) for arm in ("scratch", "transfer") for seed in (0, 1)}
    assert cells == expected
    assert len(results["runs"]) == len(expected)
    assert results["failed"] == []
    for run in results["runs"]:
        assert set(run["holdout"]) == {"all", "calm", "shaken"}
        assert run["holdout"]["all"]["frames"] == 8
        assert len(run["frames"]) == len(set(run["frames"])) == run["size"]
        assert run["steps"] == (0 if run["arm"] == "zero_shot" else 4)
        assert run["joules"] == pytest.approx(10.0 * run["cpu_seconds"])
    assert [(donor["donor"], donor["seed"], donor["steps"]) for donor in results["donors"]] == [
        ("si", 0, 8),
        ("si", 1, 8),
    ]
    assert results["donors"][0]["test"]["all"]["frames"] == 4
    assert set(results["dynamics"]) == {"scratch", "transfer"}
    assert set(results["dynamics"]["transfer"]) == {"0", "1"}
    reports = results["dynamics"]["transfer"]["0"]["temperatures"]
    assert [report["temperature_K"] for report in reports] == [300.0, 400.0]
    assert all(report["radial"]["reference"] for report in reports)
    assert results["verdict"]


def test_numbers_are_those_of_the_models_that_were_kept(study, recipe):
    out, results, _ = study
    plan = make_plan(recipe)
    for cell in [("frozen", "all", 3, 1), ("transfer", "calm", 2, 1)]:
        (key,) = plan.runs[cell]
        model = load_model(out / "runs" / key / MODEL)
        errors = errors_by_group(model, plan.frames.holdout, ["group"])
        run = run_of(results, cell[0], cell[2], cell[3], cell[1])
        for name, summary in errors.items():
            assert summary.forces_mae == pytest.approx(run["holdout"][name]["forces_mae"], rel=1e-4)
            assert summary.energy_mae == pytest.approx(run["holdout"][name]["energy_mae"], rel=1e-4)


def test_subsets_are_nested_and_the_same_for_every_arm(study, recipe):
    _, results, _ = study
    split = json.loads((study[0] / "split.json").read_text())["target"]
    assert not set(split["holdout"]) & set(split["pool"])
    assert not set(split["selection"]) & {*split["holdout"], *split["pool"]}
    for seed in (0, 1):
        small, large = (run_of(results, "scratch", size, seed)["frames"] for size in (2, 3))
        assert large[:2] == small
        assert run_of(results, "transfer", 3, seed)["frames"] == large
        assert set(large) <= set(split["pool"])
    frames = {f.source: f for f in read_frames(recipe.target.data.train[0])}
    for seed in (0, 1):
        calm = run_of(results, "scratch", 2, seed, "calm")["frames"]
        assert {frames[source].info["group"] for source in calm} == {"calm"}


def test_search_chooses_by_the_selection_frames_for_all_seeds(study, recipe):
    out, results, _ = study
    plan = make_plan(recipe)
    tried = [e for e in results["search"] if (e["arm"], e["size"], e["domain"]) == ("scratch", 3, "all")]
    assert sorted(entry["rate_factor"] for entry in tried) == [0.1, 1.0]
    assert all(entry["steps"] == 4 and entry["joules"] == 10.0 * entry["cpu_seconds"] for entry in tried)
    assert [entry["rate_factor"] for entry in tried if entry["chosen"]] == [
        run_of(results, "scratch", 3, 0)["rate_factor"]
    ]
    for key in plan.runs["scratch", "all", 3, 0]:
        task = plan.tasks[key]
        assert isinstance(task, TrainingTask)
        errors = errors_by_group(load_model(out / "runs" / key / MODEL), plan.frames.selection)["all"]
        (entry,) = (entry for entry in tried if entry["rate_factor"] == task.factor)
        assert entry["forces_mae"] == pytest.approx(errors.forces_mae, rel=1e-4)
    best = min(tried, key=lambda entry: entry["forces_mae"])["rate_factor"]
    assert [run_of(results, "scratch", 3, seed)["rate_factor"] for seed in (0, 1)] == [best, best]


def test_strategies_do_what_they_say(study, recipe):
    out, results, _ = study
    plan = make_plan(recipe)
    (key,) = plan.runs["frozen", "all", 3, 1]
    donor = load_model(out / "runs" / plan.tasks[key].donor / MODEL).state_dict()
    tuned = load_model(out / "runs" / key / MODEL).state_dict()
    same = [name for name in tuned if tuned[name].equal(donor[name])]
    assert "network.layers.0.update.weight" in same
    assert "network.layers.1.factors.weight" not in same
    zero = run_of(results, "zero_shot", 2, 0)
    assert zero["rate_factor"] is None
    assert zero["scales"]["Ge"]["length"] < 1.0


def test_models_say_where_they_come_from(study, recipe):
    (key,) = make_plan(recipe).runs["transfer", "all", 3, 1]
    provenance = read_header(study[0] / "runs" / key / MODEL)["provenance"]
    assert provenance["kind"] == "study"
    assert provenance["arm"] == "transfer"
    assert provenance["recipe"]["title"] == "Silicon <to> germanium"
    assert provenance["transfer"]["donors"] == {"Ge": "Si"}


def test_report_is_one_page_without_network(study):
    out, _, _ = study
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(list((out / "figures").glob("*.png"))) >= 5
    assert not re.search(r"(src|href)=['\"]?http", page)
    assert "Silicon &lt;to&gt; germanium" in page
    assert "Silicon <to> germanium" not in page


def test_second_call_computes_nothing(study, recipe, tmp_path):
    finished, results, _ = study
    out = shutil.copytree(finished, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}
    said: list[str] = []
    again = run_study(recipe, out, said.append)
    assert re.fullmatch(r"(\d+) of \1 tasks are done already", said[0])
    assert said[1:] == ["report"]
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")} == before
    assert without_times(again) == without_times(results)


def test_a_changed_recipe_computes_only_what_is_new(study, raw, tmp_path):
    finished, results, _ = study
    out = shutil.copytree(finished, tmp_path / "out")
    said: list[str] = []
    arm = {"donor": "si", "scales": "none", "head": {"strength": 1.0}, "steps": 0, "sizes": [3]}
    again = run_study(varied(raw, ("arms.head", arm), ("seeds", [0])), out, said.append)
    computed = [line for line in said if line.startswith("[")]
    assert len(computed) == 1
    assert "head-all-3-seed0" in computed[0]
    assert run_of(again, "head", 3, 0)["head"]["strength"] == 1.0
    old = [run for run in results["runs"] if run["seed"] == 0]
    kept = [run for run in again["runs"] if run["arm"] != "head"]
    assert without_times(kept) == without_times(old)


@pytest.mark.parametrize("lost", ["record", "everything"])
def test_interrupted_study_goes_on_to_the_same_numbers(study, recipe, tmp_path, lost):
    finished, results, _ = study
    out = shutil.copytree(finished, tmp_path / "out")
    plan = make_plan(recipe)
    for key in [*plan.runs["transfer", "all", 3, 1], *plan.runs["scratch", "all", 2, 0][:1]]:
        if lost == "everything":
            shutil.rmtree(out / "runs" / key)
        else:
            (out / "runs" / key / "record.json").unlink()
    said: list[str] = []
    again = run_study(recipe, out, said.append)
    assert len([line for line in said if line.startswith("[")]) == 2
    assert without_times(again) == without_times(results)


def test_ctrl_c_keeps_what_is_finished(recipe, tmp_path):
    def stop(line):
        if "zero_shot" in line:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        run_study(recipe, tmp_path / "out", stop)
    assert not (tmp_path / "out" / "results.json").exists()
    plan = make_plan(recipe)
    kept = {path.parent.name for path in (tmp_path / "out" / "runs").glob("*/record.json")}
    assert kept
    assert kept < set(plan.tasks)


def test_processes_side_by_side_give_the_same_numbers(study, raw, tmp_path):
    changes = [("seeds", [0]), ("sizes", [2]), ("dynamics", DROP), ("domains", DROP), ("arms.frozen", DROP)]
    spread = varied(raw, *changes, ("engine.workers", 2))
    results = run_study(spread, tmp_path / "out")
    expected = [run for run in study[1]["runs"] if (run["seed"], run["size"], run["domain"]) == (0, 2, "all")]
    key = lambda run: run["arm"]  # noqa: E731
    assert sorted(without_times(results["runs"]), key=key) == sorted(without_times(expected), key=key)


def test_a_chain_of_donors_and_a_control_with_its_steps(raw, tmp_path):
    donors = {**raw["donors"], "again": {**raw["donors"]["si"], "from": "si", "scales": "none"}}
    arms = {
        "scratch": {"steps": "with_donors", "like_donor": "again"},
        "transfer": {"donor": "again", "scales": "none", "replay": {"ratio": 0.5}},
        "slow": {
            "donor": "si",
            "scales": "none",
            "fit": {"rate_factors": {"network.layers.0.*": 0.1}, "pull": 0.1},
            "adapters": {"rank": 2},
        },
    }
    changes = [("seeds", [0]), ("sizes", [2]), ("dynamics", DROP), ("domains", DROP), ("search", DROP)]
    recipe = varied(raw, ("donors", donors), ("arms", arms), *changes)
    results = run_study(recipe, tmp_path / "out")
    assert load_study(tmp_path / "out" / "recipe.yaml") == recipe  # what workers read
    assert [donor["donor"] for donor in results["donors"]] == ["si", "again"]
    assert run_of(results, "scratch", 2, 0)["steps"] == 4 + 8 + 8
    (key,) = make_plan(recipe).runs["transfer", "all", 2, 0]
    assert run_of(results, "transfer", 2, 0)["replayed"] == 1
    assert load_model(tmp_path / "out" / "runs" / key / MODEL).symbols == ("Ge", "Si")
    assert np.isfinite(run_of(results, "slow", 2, 0)["holdout"]["all"]["forces_mae"])


def test_diverse_subsets_are_nested_and_differ_from_random(raw):
    plan = make_plan(varied(raw, ("target.draw", "diverse")))
    other = make_plan(varied(raw))
    for seed in (0, 1):
        order = plan.frames.order(plan.recipe.target, "all", seed)
        assert sorted(order) == list(range(len(plan.frames.pool)))
        (_, *_), (key, *_) = plan.runs["scratch", "all", 2, seed], plan.runs["scratch", "all", 3, seed]
        assert list(plan.tasks[key].indices) == order[:3]
    assert any(
        plan.frames.order(plan.recipe.target, "all", seed)
        != other.frames.order(other.recipe.target, "all", seed)
        for seed in (0, 1)
    )


def test_rates_that_diverge_are_told_and_not_chosen(raw, tmp_path):
    changes = [("seeds", [0, 1]), ("sizes", [2]), ("dynamics", DROP), ("domains", DROP)]
    recipe = varied(raw, *changes, ("search.factors", [1e12, 1.0]), ("arms.frozen", DROP))
    results = run_study(recipe, tmp_path / "out")
    assert {run_of(results, "scratch", 2, seed)["rate_factor"] for seed in (0, 1)} == {1.0}
    assert results["failed"]
    assert all("diverged" in entry["reason"] for entry in results["failed"])


@pytest.mark.parametrize(
    ("path", "value", "error", "message"),
    [
        ("target.data.validation", None, RecipeError, "target.*: data.validation: a study needs a hold-out"),
        ("sizes", [99], DataError, "sizes: 99 frames are asked for, but the pool has 6"),
        ("target.data.train", "none.xyz", DataError, "none.xyz"),
        ("target.elements", "Si", DataError, "target: .*ge.xyz#.* contains Ge, but elements are Si"),
        ("target.elements", ["Ge", "Xx"], RecipeError, "'Xx' is no chemical element"),
        ("arms.transfer.donor", "sl", RecipeError, "arms.transfer.donor: 'sl' is no donor; there are: si"),
        (
            "arms.transfer.donors",
            {"Ge": "C"},
            ElementError,
            "the donor of Ge is C, but the model knows only Si",
        ),
        ("arms.frozen.freeze", ["nothing*"], RecipeError, "arms.frozen: .*'nothing\\*' matches no weight"),
        ("arms.frozen.freeze", ["*"], RecipeError, "arms.frozen: .*every weight"),
        ("arms.scratch.freeze", ["*"], RecipeError, "arms.scratch: freeze: nothing to carry"),
        (
            "arms.transfer.fit",
            {"epochs": 3},
            RecipeError,
            "fit.epochs: trainings that are compared count gradient steps",
        ),
        ("arms.transfer.sizes", [0], RecipeError, "arms.transfer.sizes: without a frame only"),
        ("domains.calm.where", {"group": "wild"}, DataError, "no frame of the pool.*calm, shaken"),
        ("donors.si.from", "si", RecipeError, "si from si is a circle"),
        ("target.selection", DROP, RecipeError, "search: rates are chosen by frames of their own"),
        ("favourite", "best", RecipeError, "favourite: 'best' is no arm"),
        ("dynamics.reference", "sw-si", DataError, "dynamics.reference: sw-si is not a force field of Ge"),
        ("dynamics.reference", "sw-gee", MLPotError, "did you mean 'sw-ge'"),
        ("dynamics.reference", None, RecipeError, "give `structure`"),
        ("dynamics.size", 7, (RecipeError, DataError), "7 frames"),
        ("properties", {"size": 2}, RecipeError, "dynamics.size 3 and properties.size 2.*give one size"),
        ("properties", {"size": 3, "arms": ["best"]}, RecipeError, "properties.arms: 'best' is no arm"),
        (
            "properties",
            {"size": 3, "arms": ["transfer", "zero_shot"], "quantities": ["C14"]},
            RecipeError,
            "properties.*'C14' is no quantity; did you mean 'C44'",
        ),
        (
            "properties",
            {"size": 3, "reference": "sw-si"},
            DataError,
            "properties.reference: sw-si is not a force field of Ge",
        ),
        (
            "properties",
            {"size": 3, "references": ["PBEsol"]},
            RecipeError,
            "properties.references: of Ge there are none of the kind PBEsol; there are: experiment, PBE",
        ),
        (
            "properties",
            {"size": 3, "values": {"C44": {"value": 55.0, "source": "me"}}, "quantities": ["C11"]},
            RecipeError,
            "values: C44 is not among the quantities",
        ),
        ("properties", {"size": 3, "element": "Si"}, RecipeError, "properties.element: Si is not among"),
        ("properties", {"size": 3, "reference": "sw-ge", "references": ["PBE"]}, RecipeError, "not both"),
        (
            "liquid",
            {"size": 3, "where": {"group": "wild"}, "temperature": 300},
            DataError,
            "liquid.where: no frame of target.data is",
        ),
    ],
)
def test_study_that_cannot_be_is_refused_before_any_computing(raw, tmp_path, path, value, error, message):
    with pytest.raises(error, match=message):
        run_study(varied(raw, (path, value)), tmp_path / "out")
    assert not (tmp_path / "out" / "runs").exists()


def test_batches_without_torch_sim_are_refused_before_any_computing(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"dynamics.batched: torch-sim must be installed.*simulation"):
        run_study(varied(raw), tmp_path / "out")
    assert not (tmp_path / "out" / "runs").exists()


def test_the_same_frame_on_two_sides_is_refused(raw, tmp_path):
    train = raw["donors"]["si"]["data"]["train"]
    with pytest.raises(
        DataError, match=r"donors.si: .* is also in donors.si.test .*; remove it from one side"
    ):
        run_study(varied(raw, ("donors.si.test", train)), tmp_path / "out")


def test_a_donor_of_another_architecture_is_refused(raw, tmp_path):
    save_model(Potential(["Si"], NetworkConfig(channels=5)), tmp_path / "si.safetensors")
    recipe = varied(raw, ("donors.si", {"file": str(tmp_path / "si.safetensors")}))
    with pytest.raises(RecipeError, match=r"donors.si: the architecture of .*'channels': 5.*give `model:`"):
        run_study(recipe, tmp_path / "out")


def test_a_model_file_as_donor(raw, tmp_path):
    save_model(Potential(["Si"], NetworkConfig(channels=4, hidden=4)), tmp_path / "si.safetensors")
    arms = {
        "scratch": {},
        "transfer": {"donor": "si", "scales": "none", "steps": 0},
        "tabulated": {"donor": "si", "scales": "properties", "steps": 0, "sizes": [0]},
    }
    changes = [("seeds", [0]), ("sizes", [2]), ("dynamics", DROP), ("domains", DROP), ("search", DROP)]
    recipe = varied(raw, ("donors.si", {"file": str(tmp_path / "si.safetensors")}), ("arms", arms), *changes)
    results = run_study(recipe, tmp_path / "out")
    assert results["donors"] == []
    assert run_of(results, "tabulated", 0, 0)["frames"] == []
    assert run_of(results, "transfer", 2, 0)["scales"]["Ge"]["length"] == 1.0
