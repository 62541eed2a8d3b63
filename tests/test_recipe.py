"""Recipes are refused with the place of the mistake and, where it can be guessed, its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from mlpot.active.recipe import ActiveRecipe
from mlpot.errors import RecipeError
from mlpot.labelling.dft.convergence import ConvergenceRecipe
from mlpot.labelling.recipe import LabelRecipe
from mlpot.lattice.recipe import LatticeRecipe, load_lattice
from mlpot.recipe import Recipe, dump_recipe, load_recipe, parse_recipe, read_yaml
from mlpot.sampling.plan import SamplingPlan
from mlpot.studies.recipe import StudyRecipe, load_study
from mlpot.training.run import TrainRecipe
from mlpot.training.settings import FitSettings
from mlpot.transfer.run import TransferRecipe


class Nested(Recipe):
    fit: FitSettings = FitSettings()
    stages: tuple[FitSettings, ...] = ()


def test_misspelt_key_at_the_top_is_named_with_the_likely_one():
    with pytest.raises(RecipeError, match=r"^run\.yaml: unknown key 'epoch'; did you mean 'epochs'\?$"):
        parse_recipe(FitSettings, {"epoch": 3}, "run.yaml")


def test_misspelt_nested_key_is_named_with_its_place():
    data = {"fit": {"loss": {"energy": {"weigth": 1.0, "unit": 0.1}}}}
    with pytest.raises(RecipeError) as caught:
        parse_recipe(Nested, data, "run.yaml")
    assert str(caught.value) == "run.yaml: fit.loss.energy: unknown key 'weigth'; did you mean 'weight'?"


def test_key_that_resembles_nothing_lists_what_there_is():
    with pytest.raises(RecipeError, match=r"unknown key 'zzz'; known keys: weight, unit\."):
        parse_recipe(Nested, {"fit": {"loss": {"forces": {"zzz": 1}}}}, "x")


def test_key_that_is_no_string_is_refused():
    with pytest.raises(RecipeError, match="unknown key '3'"):
        parse_recipe(Nested, {3: 1}, "x")


def test_place_in_a_list_is_named():
    with pytest.raises(RecipeError, match=r"x: stages\.1\.epochs: "):
        parse_recipe(Nested, {"stages": [{}, {"epochs": -1}]}, "x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"epochs": "many"}, r"x: epochs: .*integer"),
        ({"rate": 0.0}, r"x: rate: .*greater than 0"),
        ({"rate": float("nan")}, r"x: rate: "),
        ({"precision": "half"}, r"x: precision: .*'float32' or 'float64'"),
        ({"loss": {"kind": "square"}}, r"x: loss\.kind: .*'huber' or 'squared'"),
        ({"loss": 3}, r"x: loss: "),
        ({"loss": {"energy": {"weight": 1.0}}}, r"x: loss\.energy\.unit: Field required"),
    ],
)
def test_wrong_values_name_their_place(data, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(FitSettings, data, "x")


def test_all_mistakes_are_told_at_once():
    with pytest.raises(RecipeError, match=r"epochs: .*; batch_size: "):
        parse_recipe(FitSettings, {"epochs": -1, "batch_size": 0}, "x")


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError, match="frozen"):
        FitSettings().epochs = 3


def test_missing_file(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.yaml: no such recipe; check the path"):
        read_yaml(tmp_path / "none.yaml")


def test_directory_instead_of_a_file(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read as YAML"):
        read_yaml(tmp_path)


@pytest.mark.parametrize("content", [b"a: [1, 2", b"\xff\xfe\x00\x01", b"a: b: c"])
def test_not_yaml(tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"bad\.yaml: cannot be read as YAML"):
        read_yaml(path)


@pytest.mark.parametrize(("text", "kind"), [("- 1\n- 2\n", "list"), ("hello\n", "str"), ("", "NoneType")])
def test_not_a_mapping(tmp_path, text, kind):
    path = tmp_path / "list.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=f"mapping of keys to values, this is {kind}"):
        read_yaml(path)


def test_yaml_cannot_run_python(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(RecipeError, match="cannot be read as YAML"):
        read_yaml(path)


def test_what_is_written_is_complete_and_read_back(tmp_path):
    recipe = Nested(fit=FitSettings(epochs=7, rate=1e-3))
    dump_recipe(recipe, tmp_path / "r.yaml")
    assert load_recipe(Nested, tmp_path / "r.yaml") == recipe
    written = yaml.safe_load((tmp_path / "r.yaml").read_text())
    assert set(written["fit"]) == set(FitSettings.model_fields)


def test_message_of_a_loaded_recipe_names_its_file(tmp_path):
    (tmp_path / "r.yaml").write_text("fit:\n  epoch: 3\n")
    with pytest.raises(RecipeError, match=r"r\.yaml: fit: unknown key 'epoch'; did you mean 'epochs'"):
        load_recipe(Nested, tmp_path / "r.yaml")


SHIPPED = {
    "demo.yaml": StudyRecipe,
    "active/sw_ge.yaml": ActiveRecipe,
    "active/ge_first.yaml": SamplingPlan,
    **{f"label/{name}.yaml": LabelRecipe for name in ("slurm", "sw_si")},
    **{f"dft/{code}_pbe.yaml": LabelRecipe for code in ("gpaw", "espresso", "cp2k", "vasp")},
    **{f"dft/convergence_{element}.yaml": ConvergenceRecipe for element in ("si", "ge")},
    **{f"data/{form}_{element}.yaml": SamplingPlan for form in ("sw", "tersoff") for element in ("si", "ge")},
    **{f"pbe/{element}_structures.yaml": SamplingPlan for element in ("si", "ge")},
    **{
        f"lattice/{name}.yaml": LatticeRecipe
        for name in ("ising", "ising_nnn", "potts", "edwards_anderson", "all_to_all")
    },
    **{f"studies/{name}_si_to_ge.yaml": StudyRecipe for name in ("sw", "pbe", "mlearn")},
    **{f"{folder}/train_si.yaml": TrainRecipe for folder in ("sw_si_to_ge", "mlearn_si_to_ge")},
    **{f"sige/{name}.yaml": TrainRecipe for name in ("pretrain", "unpretrained")},
    **{
        f"sige/{name}.yaml": TransferRecipe
        for name in ("joint", "distilled", "si", "ten_ge", "unknown_zero", "only_si", "only_ge")
    },
    "score/sw_si.yaml": TrainRecipe,
    **{f"score/{name}.yaml": SamplingPlan for name in ("snapshots", "judge")},
    **{f"sige/teacher_{element}.yaml": SamplingPlan for element in ("si", "ge")},
    **{f"{folder}/transfer_ge.yaml": TransferRecipe for folder in ("sw_si_to_ge", "mlearn_si_to_ge")},
}


def test_every_shipped_recipe_is_known():
    folder = Path(__file__).resolve().parents[1] / "recipes"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_are_valid(name):
    folder = Path(__file__).resolve().parents[1] / "recipes"
    if SHIPPED[name] in (StudyRecipe, LatticeRecipe):
        load = load_study if SHIPPED[name] is StudyRecipe else load_lattice
        for profile in (None, *read_yaml(folder / name).get("profiles", {})):
            assert isinstance(load(folder / name, profile), SHIPPED[name])
    else:
        assert isinstance(load_recipe(SHIPPED[name], folder / name), SHIPPED[name])
