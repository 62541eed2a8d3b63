"""Active learning from its recipe to its record: what is learned, dropped, continued and refused."""

from __future__ import annotations

import json
import os
import shutil
import signal

import numpy as np
import pytest
from stand_ins import InlineWorkers

from mlpot.active import run as run_module
from mlpot.active import work
from mlpot.active.plan import make_plan
from mlpot.active.run import run_active
from mlpot.data.files import read_frames
from mlpot.data.frame import LabelKeys
from mlpot.engine.guards import Interrupted
from mlpot.errors import DataError, ElementError, GeometryError, MLPotError, RecipeError
from mlpot.model.file import load_model, read_header
from mlpot.reference.classical import classical_calculator
from mlpot.simulation.calculator import MLPotCalculator


def without_times(value):
    """Return results without what the clock and the folder put there."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in ("seconds", "recipe", "models")}
    return [without_times(item) for item in value] if isinstance(value, list) else value


TEMPERAMENTAL = {"kind": "calculator", "calculator": {"import": "temperamental:Temperamental"}}


def test_the_record_tells_every_round(finished):
    out, results = finished
    assert json.loads((out / "results.json").read_text()) == results
    assert [entry["round"] for entry in results["rounds"]] == [0, 1, 2]
    assert [entry["labels"] for entry in results["rounds"]] == [4, 6, 8] and results["labels"] == 8
    assert results["stopped"] == "rounds: frames were labelled 2 times"
    for entry in results["rounds"]:
        assert entry["test"]["frames"] == 3 and entry["test"]["forces_mae"] > 0.0
        assert [run["volume"] for run in entry["trajectories"]] == [1.0, 1.05]
        dynamics = entry["dynamics"]
        assert dynamics["completed"] == dynamics["trajectories"] == 2
        assert dynamics["survived_ps"] == pytest.approx(dynamics["time_ps"]) == pytest.approx(0.06)
        assert dynamics["candidates"] == 2 * 6 and dynamics["dropped"] == {}
        assert 0.0 < dynamics["median_forces_std"] <= dynamics["largest_forces_std"]
    *labelled, last = results["rounds"]
    assert "chosen" not in last and "labelled" not in last
    for entry in labelled:
        assert entry["labelled"] == 2 and entry["unlabelled"] == [] and entry["before"]["frames"] == 2
        distances = [frame["distance"] for frame in entry["chosen"]["frames"]]
        assert distances == sorted(distances, reverse=True) and distances[-1] >= 1e-3


def test_what_is_chosen_is_uncertain_and_truly_labelled(finished):
    out, results = finished
    truth = classical_calculator("sw-ge")
    for entry in results["rounds"][:2]:
        met = [
            float(frame.info["max_forces_std"])
            for index in range(2)
            for frame in read_frames(out / f"round-{entry['round']}/trajectory-{index}/candidates.xyz", None)
        ]
        for chosen in entry["chosen"]["frames"]:
            assert chosen["forces_std"] == met[chosen["index"]] >= np.quantile(met, 0.5)
        for frame in read_frames(out / f"round-{entry['round']}/labelled.xyz"):
            atoms = frame.to_atoms()
            np.testing.assert_allclose(frame.forces, truth.get_property("forces", atoms), atol=1e-6)


def test_the_potentials_are_of_the_target_and_know_their_data(finished):
    out, results = finished
    assert len(results["models"]) == 2
    calculator = MLPotCalculator(results["models"], uncertainty=True)
    (frame,) = read_frames(out / "round-0/trajectory-0/candidates.xyz", None, "0")
    atoms = frame.to_atoms()
    # Forces are those of another round's potentials; this is about elements and an uncertainty above zero.
    assert np.abs(calculator.get_property("forces_std", atoms)).max() > 0.0
    for path in results["models"]:
        assert load_model(path).symbols == ("Ge",)
        data = read_header(path)["provenance"]["data"]
        assert {str(out / f"round-{r}/labelled.xyz") for r in (0, 1)} <= set(data)
    assert len(read_frames(out / "labelled.xyz")) == 8


def test_uncertainty_of_candidates_is_that_of_the_round(finished):
    out, _ = finished
    models = [out / f"round-0/member-{k}/model.safetensors" for k in (0, 1)]
    calculator = MLPotCalculator(models, uncertainty=True)
    for frame in read_frames(out / "round-0/trajectory-1/candidates.xyz", None):
        std = np.linalg.norm(calculator.get_property("forces_std", frame.to_atoms()), axis=1).max()
        assert frame.info["max_forces_std"] == pytest.approx(std, rel=1e-2)


def test_a_finished_run_computes_nothing_again(finished, varied, monkeypatch):
    out, results = finished

    def never(*arguments, **named):
        raise AssertionError("computed again")

    for name in ("_train", "_explore"):
        monkeypatch.setattr(work.Worker, name, never)
    for name in ("label", "choose", "frame_features"):
        monkeypatch.setattr(run_module, name, never)
    again = run_active(varied(), out)
    assert without_times(again) == without_times(results)


@pytest.mark.parametrize(
    "lost",
    [
        ["round-2/member-1"],
        ["round-1/trajectory-0", "round-1/test.json"],
        ["round-1/chosen.json"],
        ["round-0/labels.json", "round-0/labelled.xyz"],
        ["round-1/labels.json", "labels"],
    ],
)
def test_what_was_lost_is_made_again_and_the_same(finished, varied, tmp_path, lost):
    out, results = finished
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    for name in lost:
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert without_times(run_active(varied(), copy)) == places(without_times(results), out, copy)
    assert (copy / "round-1/labelled.xyz").read_bytes() == (out / "round-1/labelled.xyz").read_bytes()


def places(value, old, new):
    """Return results with one folder in the place of another."""
    return json.loads(json.dumps(value).replace(str(old), str(new)))


def test_killed_before_every_record_it_ends_the_same(fixed, varied, tmp_path, monkeypatch):
    recipe = varied(("rounds", 1), ("dynamics.volumes", [1.0]))
    whole = run_active(recipe, tmp_path / "whole")
    real, seen = run_module.write_json, set()

    class Killed(BaseException):
        pass

    def kill_first(path, value):
        name = str(path)
        if name not in seen:
            seen.add(name)
            raise Killed
        real(path, value)

    monkeypatch.setattr(run_module, "write_json", kill_first)
    monkeypatch.setattr(work, "write_json", kill_first)
    parts, kills = tmp_path / "parts", 0
    while True:
        try:
            results = run_active(recipe, parts)
            break
        except Killed:
            kills += 1
    # identity; in 2 rounds 2 members, a trajectory and a test; what was chosen, labels, results
    assert kills == 1 + 2 * 4 + 3
    assert without_times(results) == places(without_times(whole), tmp_path / "whole", parts)


def test_more_rounds_continue_and_other_changes_are_refused(fixed, varied, tmp_path):
    whole = run_active(varied(), tmp_path / "whole")
    run_active(varied(("rounds", 1)), tmp_path / "parts")
    longer = run_active(varied(("title", "longer")), tmp_path / "parts")
    assert without_times(longer["rounds"]) == places(
        without_times(whole["rounds"]), tmp_path / "whole", tmp_path / "parts"
    )
    with pytest.raises(RecipeError, match=r"a run that differs in selection; choose another --out"):
        run_active(varied(("selection.frames", 1)), tmp_path / "parts")
    with pytest.raises(RecipeError, match=r"a run that differs in label\.method"):
        run_active(varied(("label.method.calculator", "t3-ge")), tmp_path / "parts")


def test_random_meets_the_same_dynamics_in_the_first_round(fixed, varied, tmp_path):
    by_std = run_active(varied(("rounds", 1)), tmp_path / "std")
    at_random = run_active(varied(("rounds", 1), ("selection.choose", "random")), tmp_path / "random")
    first = (tmp_path / "std" / "round-0/trajectory-1/candidates.xyz").read_bytes()
    assert (tmp_path / "random" / "round-0/trajectory-1/candidates.xyz").read_bytes() == first
    indices = [[one["index"] for one in r["rounds"][0]["chosen"]["frames"]] for r in (by_std, at_random)]
    assert indices[0] != indices[1] and at_random["rounds"][0]["chosen"]["eligible"] == 12


def test_workers_do_what_one_process_does(fixed, varied, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "start_workers", lambda engine, folder: InlineWorkers())
    alone = run_active(varied(("rounds", 1)), tmp_path / "alone")
    spread = run_active(varied(("rounds", 1), ("engine.workers", 2)), tmp_path / "spread")
    assert without_times(spread) == places(without_times(alone), tmp_path / "alone", tmp_path / "spread")


def test_dynamics_end_where_the_uncertainty_exceeds_its_limit(fixed, varied, tmp_path):
    results = run_active(varied(("rounds", 1), ("dynamics.max_forces_std", 1e-6)), tmp_path)
    dynamics = results["rounds"][0]["dynamics"]
    assert dynamics["uncertain"] == 2 and dynamics["survived_ps"] == 0.0
    # The frame that ended a trajectory may be chosen.
    assert dynamics["candidates"] == 2 and len(results["rounds"][0]["chosen"]["frames"]) >= 1
    assert "predicted deviation" in results["rounds"][0]["trajectories"][0]["reason"]


def test_exploded_frames_are_dropped_and_counted(fixed, varied, tmp_path):
    usual = run_active(varied(("rounds", 1)), tmp_path / "usual")
    frames = read_frames(tmp_path / "usual/round-0/trajectory-0/candidates.xyz", None)
    models = [tmp_path / f"usual/round-0/member-{k}/model.safetensors" for k in (0, 1)]
    calculator = MLPotCalculator(models)

    def force(frame):
        return np.linalg.norm(calculator.get_property("forces", frame.to_atoms()), axis=1).max()

    limit = 0.9 * max(map(force, frames))
    strict = run_active(varied(("rounds", 1), ("dynamics.max_force", float(limit))), tmp_path / "strict")
    first = strict["rounds"][0]
    assert usual["rounds"][0]["dynamics"]["failed"] == 0 and first["dynamics"]["failed"] >= 1
    assert first["dynamics"]["dropped"] == {"force too large": first["dynamics"]["failed"]}
    for index in range(2):
        path = tmp_path / f"strict/round-0/trajectory-{index}/candidates.xyz"
        if path.exists():
            assert max(map(force, read_frames(path, None))) <= 1.001 * limit


def test_it_ends_when_nothing_is_uncertain_or_labels_are_enough(fixed, varied, tmp_path):
    certain = run_active(varied(("selection.threshold", 99.0)), tmp_path / "certain")
    assert len(certain["rounds"]) == 1 and "stayed below 99 eV/Å in all dynamics" in certain["stopped"]
    enough = run_active(varied(("max_labels", 5)), tmp_path / "enough")
    assert [entry["labels"] for entry in enough["rounds"]] == [4, 5]
    assert enough["stopped"] == "max_labels: 5 frames are labelled"
    copies = run_active(varied(("selection.separation", 50.0)), tmp_path / "copies")
    assert "near-duplicates" in copies["stopped"] and copies["rounds"][0]["chosen"]["near_duplicates"] > 0


def test_frames_without_labels_are_listed_and_all_failing_can_be_repaired(fixed, varied, tmp_path):
    method = TEMPERAMENTAL | {
        "calculator": TEMPERAMENTAL["calculator"] | {"arguments": {"folder": str(tmp_path)}}
    }
    recipe = varied(("label.method", method))
    (tmp_path / "mood").write_text("all")
    with pytest.raises(MLPotError, match=r"none of the 2 chosen frames could be labelled.*it went wrong"):
        run_active(recipe, tmp_path / "run")
    (tmp_path / "calls").unlink()
    (tmp_path / "mood").write_text("first")
    results = run_active(recipe, tmp_path / "run")
    (failure,) = results["rounds"][0]["unlabelled"]
    assert "it went wrong" in failure["reason"] and failure["attempts"] == 2
    assert [entry["labels"] for entry in results["rounds"]] == [4, 5, 7]


def test_interrupted_it_says_how_to_continue(fixed, varied, tmp_path, monkeypatch):
    real = work.Worker._explore

    def stop(self, folder, number, index):
        os.kill(os.getpid(), signal.SIGINT)
        return real(self, folder, number, index)

    with monkeypatch.context() as patch:
        patch.setattr(work.Worker, "_explore", stop)
        with pytest.raises(Interrupted, match="the same command continues") as caught:
            run_active(varied(("rounds", 1)), tmp_path)
    assert caught.value.exit_status == 130
    assert run_active(varied(("rounds", 1)), tmp_path)["labels"] == 6


@pytest.mark.parametrize(
    "changes",
    [
        [("training", {"steps": 4}), ("model", {"channels": 4, "hidden": 4})],
        [("uncertainty", {"kind": "posterior", "heads": 4}), ("data.validation", {"fraction": 0.3})],
    ],
    ids=["scratch", "posterior"],
)
def test_from_scratch_and_with_a_posterior(varied, tmp_path, changes):
    if "validation" in changes[1][0]:
        changes = [*changes, ("data.train", str(more(varied, tmp_path)))]
    results = run_active(varied(("rounds", 1), *changes), tmp_path / "run")
    assert len(results["rounds"]) == 2 and results["rounds"][0]["dynamics"]["largest_forces_std"] > 0.0
    members = results["rounds"][1]["members"]
    assert len(members) == len(results["models"]) == (1 if "posterior" in members[0] else 2)


def more(varied, folder):
    """Return a file of eight frames, enough to hold some out."""
    from mlpot.data.files import write_frames

    frames = read_frames(varied().data.train[0], LabelKeys())
    rng, truth = np.random.default_rng(0), classical_calculator("sw-ge")
    made = []
    for frame in frames + frames:
        atoms = frame.to_atoms(LabelKeys(None, None, None))
        atoms.positions += rng.normal(scale=0.05, size=(8, 3))
        atoms.info["REF_energy"] = truth.get_property("energy", atoms)
        atoms.arrays["REF_forces"] = truth.get_property("forces", atoms)
        made.append(type(frame).from_atoms(atoms, LabelKeys()))
    write_frames(folder / "more.xyz", made)
    return folder / "more.xyz"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ([("elements", "Gx")], RecipeError, "'Gx' is no chemical element"),
        ([("elements", "Si")], ElementError, "data: the frames have Ge, not among elements: Si"),
        ([("elements", ["Ge", "Sn"])], ElementError, "data: no frame to train on has Sn"),
        ([("uncertainty.members", 1)], RecipeError, "a committee has two or more members"),
        ([("uncertainty", {"kind": "posterior"})], RecipeError, "posterior is scaled on frames.*validation"),
        ([("dynamics.temperatures", [0])], RecipeError, r"dynamics\.temperatures\.0: .*greater than 0"),
        ([("training.fit", {"epochs": 3})], RecipeError, "give `steps`"),
        ([("training.donor", None), ("training.freeze", ["*"])], RecipeError, "freeze.*: nothing to carry"),
        ([("label.method.calculator", "sw-si")], ElementError, "method.calculator knows Si, .* have Ge"),
        ([("dynamics.structures", "data/sw/si.xyz")], ElementError, "has Si, not among elements: Ge"),
        ([("dynamics.structures", "none.xyz")], DataError, "there is no such file"),
        ([("dynamics.min_distance", 0.99)], GeometryError, "relax it or lower min_distance"),
        ([("dynamics.timestep_fs", 30.0)], RecipeError, "no vibration is resolved"),
        ([("dynamics.interval", 100)], RecipeError, "but a trajectory has 15"),
        ([("max_labels", 4)], RecipeError, "max_labels: 4, but data has 4 labelled frames"),
        ([("label", "none.yaml")], RecipeError, "no such recipe"),
        ([("selection.choose", "best")], RecipeError, "'uncertainty' or 'random'"),
    ],
)
def test_mistakes_are_told_before_anything_is_computed(varied, changes, error, message):
    with pytest.raises(error, match=message):
        make_plan(varied(*changes))


def test_what_judges_is_neither_trained_on_nor_started_from(varied, files):
    with pytest.raises(DataError, match="is also a test frame"):
        make_plan(varied(("test", str(files / "first.xyz"))))
    with pytest.raises(DataError, match=r"is the test frame .* start from another structure"):
        make_plan(varied(("dynamics.structures", f"{files / 'test.xyz'}@1")))


def test_strains_and_volumes_deform_the_cell(varied):
    strain = [0.01, 0.0, 0.0, 0.0, 0.0, 0.02]
    plan = make_plan(varied(("dynamics.strains", [strain]), ("dynamics.temperatures", [300, 900])))
    assert [(start.volume, start.temperature) for start in plan.starts] == [
        (1.0, 300), (1.0, 900), (1.05, 300), (1.05, 900)
    ]  # fmt: skip
    before = plan.first[0].cell
    tensor = np.array([[0.01, 0.02, 0.0], [0.02, 0.0, 0.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(plan.starts[0].atoms.cell.array, before @ (np.eye(3) + tensor), atol=1e-12)
    ratio = plan.starts[2].atoms.get_volume() / plan.starts[0].atoms.get_volume()
    assert ratio == pytest.approx(1.05)
