"""Help, imports, and the parsing that is our own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

import mlpot
from mlpot.cli.options import override, spread
from mlpot.errors import RecipeError

COMMANDS = [
    "active", "calibrate", "generate", "train", "transfer", "evaluate", "md", "stability", "info",
    "observe", "melt", "report",
]  # fmt: skip
# Not pydantic: some versions of Typer load it themselves to parse a command.
HEAVY = {"torch", "numpy", "ase", "lightning", "matscipy", "scipy", "matplotlib"}


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["stability", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    program = (
        "import sys\nfrom mlpot.cli.main import app\n"
        f"try: app({arguments!r})\nexcept SystemExit as end: assert end.code == 0\n"
        "print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root)
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split("LOADED")[1].split())
    assert not loaded & HEAVY


def test_status_and_streams_of_the_program(tmp_path):
    root = Path(__file__).resolve().parents[2]
    program = "from mlpot.cli.main import app; app()"
    result = subprocess.run(
        [sys.executable, "-c", program, "info", str(tmp_path / "no.safetensors")],
        capture_output=True, text=True, cwd=root,
    )  # fmt: skip
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("mlpot: error: ") and "Traceback" not in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_json(command, run):
    text = run(command, "--help").stdout
    assert f"mlpot {command} " in text and "--json" in text


def test_version(run):
    assert run("--version").stdout.strip() == f"mlpot {mlpot.__version__}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("m --t 1 2 3 --s 4", "m --t 1 --t 2 --t 3 --s 4"),
        ("--t 300 900 model --s 4", "--t 300 --t 900 model --s 4"),
        ("--t 1 --t 2", "--t 1 --t 2"),
        ("--t 300 -5", "--t 300 --t -5"),
        ("--t 1e3", "--t 1e3"),
        ("--s 1 2", "--s 1 2"),
        ("--t", "--t"),
    ],
)
def test_several_values_after_one_option(given, expected):
    assert spread(given.split(), "--t") == expected.split()


def test_flags_override_a_recipe_without_changing_it():
    recipe = {"fit": {"epochs": 3, "rate": 0.1}}
    changed = override(recipe, {"fit.epochs": 5, "fit.seed": None, "data.train": ["a"]})
    assert changed == {"fit": {"epochs": 5, "rate": 0.1}, "data": {"train": ["a"]}}
    assert recipe == {"fit": {"epochs": 3, "rate": 0.1}}
    with pytest.raises(RecipeError, match="fit: expected a section of keys in the recipe, got 3"):
        override({"fit": 3}, {"fit.epochs": 1})


def fields(model: type[BaseModel]) -> set[str]:
    """Return the names of all fields of a recipe and its sections."""
    names = set()
    for name, field in model.model_fields.items():
        names.add(name)
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names |= fields(kind)
    return names


def test_every_key_is_in_the_readme_of_the_recipes():
    from mlpot.active.recipe import (
        ActiveRecipe,
        Choosing,
        CommitteeSection,
        Exploration,
        PosteriorSection,
        Training,
    )
    from mlpot.engine.settings import LocalEngine, SlurmEngine
    from mlpot.labelling.dft.convergence import ConvergenceRecipe
    from mlpot.labelling.dft.cp2k import CP2KMethod
    from mlpot.labelling.dft.espresso import EspressoMethod
    from mlpot.labelling.dft.gpaw import GPAWMethod
    from mlpot.labelling.dft.vasp import VaspMethod
    from mlpot.labelling.recipe import LabelRecipe
    from mlpot.lattice import arms, recipe
    from mlpot.lattice.sequence import settings
    from mlpot.studies.recipe import StudyRecipe
    from mlpot.training.run import TrainRecipe
    from mlpot.transfer.run import TransferRecipe

    text = (Path(__file__).resolve().parents[2] / "recipes" / "README.md").read_text()
    names = fields(TrainRecipe) | fields(TransferRecipe) | fields(StudyRecipe)
    names |= set(LabelRecipe.model_fields) | fields(LocalEngine) | fields(SlurmEngine)
    names |= set(ActiveRecipe.model_fields)
    active = (Choosing, CommitteeSection, Exploration, PosteriorSection, Training)
    for kind in (GPAWMethod, EspressoMethod, CP2KMethod, VaspMethod, ConvergenceRecipe, *active):
        names |= fields(kind)
    for module in (arms, recipe, settings):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names |= fields(kind)
    assert {"cutoff", "missing", "fraction", "weight", "lattice_constants"} <= names
    assert not [name for name in names if f"`{name}`" not in text]
