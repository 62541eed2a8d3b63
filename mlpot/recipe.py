"""Recipes: YAML files checked against pydantic models before any computing starts.

Paths in a recipe are relative to the working directory, as on the command line.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mlpot.errors import RecipeError


class Recipe(BaseModel):
    """Base of all recipes and their sections: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in data:
                if key not in known:
                    close = get_close_matches(str(key), known, n=1)
                    hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}."
                    raise ValueError(f"unknown key '{key}'; {hint}")
        return data


R = TypeVar("R", bound=Recipe)


def parse_recipe(kind: type[R], data: Any, where: str) -> R:
    """Return the recipe that plain data describe.

    Raises
    ------
    RecipeError
        Naming the place in the recipe and, for a misspelt key, the likely one.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            place = _place(item["loc"], data)
            message = item["msg"].removeprefix("Value error, ")
            problems.append(f"{place}: {message}" if place else message)
        raise RecipeError(f"{where}: " + "; ".join(problems)) from None


def _place(location: tuple[int | str, ...], data: Any) -> str:
    """Return where in the recipe a mistake is, as its author wrote it: one item need not be a list."""
    parts = []
    for part in location:
        if isinstance(part, int) and not isinstance(data, list | tuple):
            continue
        parts.append(str(part))
        inside = (isinstance(part, int) and part < len(data)) or (isinstance(data, dict) and part in data)
        data = data[part] if inside else None
    return ".".join(parts)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises
    ------
    RecipeError
        If the file is missing, is not YAML, or does not hold a mapping.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe; check the path.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML: {error}") from None
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys to values, this is {type(data).__name__}.")
    return data


def read_profile(path: str | Path, profile: str | None = None) -> dict[str, Any]:
    """Return the mapping in a YAML file, changed by one of its ``profiles``, which are left out.

    A profile is a tree of keys with the values that they take in it; ``null`` takes a key out.

    Raises
    ------
    RecipeError
        As :func:`read_yaml`; for a profile that the file does not have.
    """
    raw = read_yaml(path)
    profiles = raw.pop("profiles", {})
    if profile is None:
        return raw
    if profile not in profiles:
        there = ", ".join(profiles) or "none"
        raise RecipeError(f"{path}: no profile '{profile}'; there are: {there}.")
    return _changed(raw, profiles[profile])


def _changed(raw: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(raw)
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _changed(merged[key], value)
        else:
            merged[key] = value
    return merged


def load_recipe(kind: type[R], path: str | Path) -> R:
    """Return the recipe in a YAML file; see :func:`parse_recipe` for the errors."""
    return parse_recipe(kind, read_yaml(path), str(path))


def recipe_text(recipe: BaseModel) -> str:
    """Return a recipe as YAML, all defaults spelled out."""
    return yaml.safe_dump(recipe.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


def dump_recipe(recipe: BaseModel, path: str | Path) -> None:
    """Write a recipe, all defaults spelled out."""
    Path(path).write_text(recipe_text(recipe), encoding="utf-8")
