"""A study from its recipe to its report, stopped and continued."""

from __future__ import annotations

import base64
import copy
import html
import json
import re
import shutil

import pytest

from mlpot.data.files import read_frames
from mlpot.errors import DataError, RecipeError
from mlpot.model.file import load_model, read_header
from mlpot.recipe import parse_recipe
from mlpot.studies.compare import ARMS
from mlpot.studies.recipe import StudyRecipe
from mlpot.studies.run import run_study
from mlpot.training.errors import errors_by_group


def without_times(value):
    """Return results without what the clock put there."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if "seconds" not in k}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def varied(plan, *path, value):
    plan = copy.deepcopy(plan)
    section = plan
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    return parse_recipe(StudyRecipe, plan, "plan")


def test_results_hold_every_arm_and_the_dynamics(study):
    out, results, said = study
    assert json.loads((out / "results.json").read_text()) == results
    (seed,) = results["seeds"]
    assert set(seed["arms"]) == set(ARMS)
    for arm in ARMS:
        holdout = seed["arms"][arm]["holdout"]
        assert set(holdout) == {"all", "calm", "shaken"}
        assert holdout["all"]["frames"] == 8
    assert seed["donor"]["test"]["all"]["frames"] == 4
    assert seed["donor"]["validation"]["all"]["frames"] == 2
    assert len(seed["arms"]["scratch"]["rates"]) == 2
    assert set(results["dynamics"]) == {"scratch", "transfer"}
    assert results["verdict"]
    assert next(line for line in said if line.startswith("seed-0: ")) == "seed-0: donor"


def test_numbers_are_those_of_the_models_that_were_kept(study):
    out, results, _ = study
    split = json.loads((out / "split.json").read_text())["target"]
    (path,) = split["files"]
    holdout = [frame for frame in read_frames(path) if frame.source in split["validation"]]
    for arm in ARMS:
        model = load_model(out / "seed-0" / arm / "model.safetensors")
        assert model.symbols == ("Ge",)
        errors = errors_by_group(model, holdout, "group")
        for name, summary in errors.items():
            expected = results["seeds"][0]["arms"][arm]["holdout"][name]
            assert summary.forces_mae == pytest.approx(expected["forces_mae"], rel=1e-6)
            assert summary.energy_mae == pytest.approx(expected["energy_mae"], rel=1e-4)


def test_scratch_keeps_the_rate_that_is_best_on_the_rest(study):
    out, results, _ = study
    scratch = results["seeds"][0]["arms"]["scratch"]
    split = json.loads((out / "split.json").read_text())["target"]
    rest = set(split["train"]) - set(results["seeds"][0]["frames"])
    (path,) = split["files"]
    unused = [frame for frame in read_frames(path) if frame.source in rest]
    assert len(unused) == 5
    for entry in scratch["rates"]:
        run = out / "seed-0" / "scratch" / f"rate-{entry['rate']:g}-{entry['matrix_rate']:g}"
        errors = errors_by_group(load_model(run / "model.safetensors"), unused)["all"]
        assert entry["forces_mae"] == pytest.approx(errors.forces_mae, rel=1e-6)
    best = min(scratch["rates"], key=lambda entry: entry["forces_mae"])
    run = out / "seed-0" / "scratch" / f"rate-{best['rate']:g}-{best['matrix_rate']:g}"
    kept, made = (load_model(p / "model.safetensors") for p in (run.parent, run))
    assert all((a == b).all() for a, b in zip(kept.parameters(), made.parameters(), strict=True))


def test_holdout_is_never_trained_on(study):
    out, results, _ = study
    split = json.loads((out / "split.json").read_text())
    for side in split.values():
        assert not set(side["train"]) & set(side["validation"])
    (path,) = split["target"]["files"]
    frames = {frame.source: frame for frame in read_frames(path)}
    drawn = results["seeds"][0]["frames"]
    assert len(drawn) == len(set(drawn)) == 3
    assert set(drawn) <= set(split["target"]["train"])
    held_out = {frames[source].content_hash for source in split["target"]["validation"]}
    assert len(held_out) == 8
    assert not held_out & {frames[source].content_hash for source in split["target"]["train"]}


def test_models_say_where_they_come_from(study):
    out, _, _ = study
    provenance = read_header(out / "seed-0" / "transfer" / "model.safetensors")["provenance"]
    assert provenance["arm"] == "transfer"
    assert provenance["kind"] == "study"
    assert provenance["recipe"]["title"] == "Silicon <to> germanium"
    assert len(provenance["data"]) == 2
    assert provenance["transfer"]["donors"] == {"Ge": "Si"}


def test_report_is_one_page_with_its_plots_and_its_verdict(study):
    out, results, _ = study
    page = (out / "report.html").read_text()
    images = re.findall(r"src='data:image/png;base64,([^']+)'", page)
    assert len(images) == len(list((out / "figures").glob("*.png"))) == 5
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    assert not re.search(r"(src|href)=['\"]?http", page)
    for sentence in results["verdict"]:
        assert f"<p>{html.escape(sentence)}</p>" in page
    assert "Silicon &lt;to&gt; germanium" in page
    assert "Silicon <to> germanium" not in page
    for arm in ("from scratch", "donor as is", "two scalars", "transferred"):
        assert page.count(f"<td>{arm}</td>") >= 1
    assert "timestep_fs: 2.0" in page


def test_second_call_computes_nothing(study, recipe, tmp_path):
    finished, results, _ = study
    out = shutil.copytree(finished, tmp_path / "out")
    kept = [*out.rglob("*.safetensors"), *out.rglob("*.ckpt"), *out.rglob("record.json")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    said = []
    again = run_study(recipe, out, said.append)
    assert said == ["report"]
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert without_times(again) == without_times(results)


def test_another_study_does_not_go_in_its_place(study, plan):
    out, _, _ = study
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = varied(plan, "target", "frames", value=4)
    with pytest.raises(
        RecipeError, match="holds a study of another recipe; choose another --out or remove it"
    ):
        run_study(other, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "lost",
    [
        ["transfer/record.json"],
        ["transfer", "transfer/record.json"],
        ["scratch/rate-0.001-0.005", "scratch/record.json", "scratch/model.safetensors"],
        ["reduced/record.json", "scratch/dynamics.json"],
    ],
)
def test_interrupted_study_goes_on_to_the_same_numbers(study, recipe, tmp_path, lost):
    out, results, _ = study
    shutil.copytree(out, tmp_path / "out")
    for name in lost:
        path = tmp_path / "out" / "seed-0" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    said = []
    again = run_study(recipe, tmp_path / "out", said.append)
    assert len(said) > 1
    assert "seed-0: donor" not in said
    assert without_times(again) == without_times(results)


def test_donor_is_not_trained_again_after_a_stop(recipe, study, tmp_path):
    class Stopped(Exception):
        pass

    def stop(line):
        if line.endswith(": plain"):
            raise Stopped

    with pytest.raises(Stopped):
        run_study(recipe, tmp_path / "out", stop)
    assert not (tmp_path / "out" / "results.json").exists()
    before = (tmp_path / "out" / "seed-0" / "donor" / "model.safetensors").stat().st_mtime_ns
    again = run_study(recipe, tmp_path / "out")
    assert (tmp_path / "out" / "seed-0" / "donor" / "model.safetensors").stat().st_mtime_ns == before
    assert without_times(again) == without_times(study[1])


@pytest.mark.parametrize(
    ("path", "value", "error", "message"),
    [
        (("target", "data", "validation"), None, RecipeError, "target.data.validation: a study needs a hold"),
        (("target", "frames"), 9, DataError, "cannot draw 9 frames from 8"),
        (("target", "data", "train"), "none.xyz", DataError, "none.xyz"),
    ],
)
def test_study_that_cannot_be(plan, tmp_path, path, value, error, message):
    plan = copy.deepcopy(plan)
    plan["donor"]["fit"]["epochs"] = 0
    recipe = varied(plan, *path, value=value)
    with pytest.raises(error, match=message):
        run_study(recipe, tmp_path / "out")


@pytest.mark.parametrize(
    ("dynamics", "message"),
    [
        ({"reference": "sw-si"}, "dynamics.reference: sw-si is not a force field of Ge"),
        ({"reference": "sw-gee"}, "unknown classical calculator 'sw-gee'; did you mean 'sw-ge'"),
        ({}, "dynamics: give `structure`"),
        ({"reference": "sw-ge", "arms": ["donor"]}, "dynamics.arms: donor is no arm; choose among scratch"),
    ],
)
def test_dynamics_that_cannot_be(study, plan, tmp_path, dynamics, message):
    out, _, _ = study
    shutil.copytree(out, tmp_path / "out")
    (tmp_path / "out" / "recipe.yaml").unlink()
    with pytest.raises(RecipeError, match=re.escape(message)):
        run_study(varied(plan, "dynamics", value=dynamics), tmp_path / "out")


def test_changed_data_are_noticed(study, recipe, tmp_path):
    shutil.copytree(study[0], tmp_path / "study")
    path = tmp_path / "study" / "split.json"
    path.write_text(path.read_text().replace("#0", "#99", 1))
    with pytest.raises(RecipeError, match=r"split\.json: the data have changed since this study began"):
        run_study(recipe, tmp_path / "study")
