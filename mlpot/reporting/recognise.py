"""What a file or folder is, by the files in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpot.errors import DataError, RecipeError
from mlpot.recipe import read_yaml

#: What can be shown, by kind, and what it is recognised by.
KINDS = {
    "run": "a training or transfer run (recipe.yaml, model.safetensors, metrics.csv, transfer.json)",
    "model": "a model file (.safetensors) or the name of a shipped model",
    "study": "a study (results.json, recipe.yaml)",
    "stability": "a stability test (stability.json)",
    "properties": "properties (properties.json)",
    "observables": "observables (observables.json)",
    "melting": "a melting temperature (melting.json)",
    "doctor": "the JSON of mlpot doctor --out",
    "evaluation": "the JSON of mlpot evaluate --json",
}
#: Files that make a folder one of a kind, the document or what a run that has not ended leaves.
_MARKS = {
    "stability": ("stability.json",),
    "properties": ("properties.json", "unfinished.json"),
    "observables": ("observables.json",),
    "melting": ("melting.json", "stages/about.json"),
}
#: Keys that tell the recipe and the results of a study from those of other comparisons, as of lattice models.
_STUDY_RECIPE, _STUDY_RESULTS = {"arms", "target"}, {"arms", "favourite", "baseline"}
_OF_A_RUN = ("model.safetensors", "metrics.csv", "transfer.json", "recipe.yaml")


@dataclass(frozen=True)
class Source:
    """A file or folder, and its kind, of :data:`KINDS`."""

    kind: str
    path: Path


def recognise(name: str | Path) -> list[Source]:
    """Return what a file or folder is; a folder may be of several kinds at once.

    Raises
    ------
    DataError
        If it is nothing that can be shown, naming what can be; if it is damaged.
    """
    path = Path(name)
    if path.is_dir():
        found = [Source(kind, path) for kind in _kinds_of(path)]
    elif path.is_file():
        found = [Source(kind, path)] if (kind := _kind_of_file(path)) else []
    else:
        found = [Source("model", path)] if _is_shipped(str(name)) else []
    if not found:
        what = "not recognised" if path.exists() else "no such file or folder"
        own = path / "report.html"
        hint = f" It has a page of its own: {own}." if own.is_file() else ""
        raise DataError(f"{name}: {what}; expected {'; '.join(KINDS.values())}.{hint}")
    return found


def read_document(path: Path, kind: type = dict) -> Any:
    """Return a JSON document whose outermost value is of a kind, ``dict`` or ``list``.

    Raises
    ------
    DataError
        If it is not one.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}; make it again.") from None
    if not isinstance(document, kind):
        raise DataError(f"{path}: expected a JSON {kind.__name__}, this is a {type(document).__name__}.")
    return document


def _kinds_of(folder: Path) -> list[str]:
    kinds = [kind for kind, marks in _MARKS.items() if any((folder / mark).is_file() for mark in marks)]
    results, recipe = folder / "results.json", folder / "recipe.yaml"
    if results.is_file() and set(read_document(results)) >= _STUDY_RESULTS:
        return ["study", *kinds]
    content = set(read_yaml(recipe)) if recipe.is_file() else set()
    if content >= _STUDY_RECIPE and not results.is_file():
        return ["study", *kinds]
    if not any((folder / name).is_file() for name in _OF_A_RUN):
        return kinds
    alone = not any((folder / name).is_file() for name in _OF_A_RUN[:3])
    if alone and not {"data", "targets"} & content:
        return kinds  # the recipe of something else, such as mlpot generate
    return ["run", *kinds]


def _kind_of_file(path: Path) -> str | None:
    if path.suffix == ".safetensors":
        return "model"
    if path.suffix != ".json":
        return None
    document = read_document(path)
    if {"subject", "checks"} <= set(document):
        return "doctor"
    return "evaluation" if document.get("command") == "evaluate" and "errors" in document else None


def _is_shipped(name: str) -> bool:
    from mlpot.model.file import shipped_models

    return name in shipped_models()


def require_page(out: Path) -> None:
    """Refuse a name that no browser opens as a page.

    Raises
    ------
    RecipeError
        Naming the suffix.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise RecipeError(f"--out {out}: the report is a page; give a name that ends in .html.")
