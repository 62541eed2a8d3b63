"""Tables of the committed studies, for README.md and docs/studies.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mlpot.recipe import parse_recipe, read_yaml
from mlpot.studies.curves import reference_size
from mlpot.studies.recipe import StudyRecipe, load_study
from mlpot.studies.report import (
    cost_table,
    donors_table,
    dynamics_table,
    equivalence_table,
    error_table,
    properties_table,
    signs_table,
)

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"
#: Pictures that are kept, where a study has them.
FIGURES = ("learning", "arms", "signs", "survival", "domains", "properties")
#: Sentences of a verdict that list more than this (characters) are in docs/studies.md alone.
LONGEST = 800
#: What README.md speaks of, first.
NAMES = ("mlearn_si_to_ge", "pbe_si_to_ge", "sw_si_to_ge")


def collect() -> None:
    """Keep the results and pictures of the studies that were run in ``runs/NAME``."""
    for name in NAMES:
        run = ROOT / "runs" / name
        if not (run / "results.json").exists():
            continue
        shutil.copy(run / "results.json", RESULTS / f"study_{name}.json")
        for figure in FIGURES:
            if (run / "figures" / f"{figure}.png").exists():
                IMAGES.mkdir(parents=True, exist_ok=True)
                shutil.copy(run / "figures" / f"{figure}.png", IMAGES / f"{name}_{figure}.png")


def studies() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and results of each committed study."""
    for name in NAMES:
        path = RESULTS / f"study_{name}.json"
        if path.exists():
            yield name, json.loads(path.read_text(encoding="utf-8"))


def summary() -> list[str]:
    """Return the lines of README.md."""
    lines: list[str] = []
    for name, results in studies():
        lines += [
            f"**{results['title']}**, {len(results['seeds'])} seeds, {results['frames']['holdout']} "
            f"held-out frames; {origin(name, results)}; more in [docs/studies.md](docs/studies.md):",
            "",
            *(f"- {sentence}" for sentence in results["verdict"] if len(sentence) < LONGEST),
            "",
        ]
    return lines


def page() -> str:
    """Return the section of docs/studies.md."""
    lines: list[str] = []
    for name, results in studies():
        lines += [f"### {results['title']}", "", f"Made by {origin(name, results)}.", ""]
        lines += [f"- {sentence}" for sentence in results["verdict"]]
        lines.append("")
        for figure in FIGURES:
            if (IMAGES / f"{name}_{figure}.png").exists():
                lines += [f"![{figure}: {results['title']}](images/{name}_{figure}.png)", ""]
        size = reference_size(results)
        for title, (header, rows) in (
            ("Force error on the hold-out, MAE in meV/Å", error_table(results)),
            ("Energy error, MAE in meV/atom", error_table(results, "energy_mae")),
            ("Equivalent frames", equivalence_table(results)),
            (f"Out of target, with {size} frames", signs_table(results)[:2]),
            ("Molecular dynamics", dynamics_table(results)),
            ("The liquid, against labelled frames", dynamics_table(results, "liquid")),
            ("Properties of the crystal", properties_table(results)),
            ("Cost", cost_table(results)),
            ("Donors", donors_table(results)),
        ):
            if rows:
                lines += [f"{title}:", "", *_markdown(header, rows), ""]
    return "\n".join(lines).rstrip()


def origin(name: str, results: dict[str, Any]) -> str:
    """Return what made the results of a study; ``made_by`` in them says what no recipe here does."""
    if "made_by" in results:
        return str(results["made_by"])
    path = ROOT / "recipes" / "studies" / f"{name}.yaml"
    ran = parse_recipe(StudyRecipe, yaml.safe_load(results["recipe"]), f"study_{name}.json")
    known = {f" --profile {profile}": profile for profile in read_yaml(path)["profiles"]}
    for words, profile in ({"": None} | known).items():
        recipe = load_study(path, profile)
        if recipe == ran.model_copy(update={"engine": recipe.engine}):  # how many workers changes nothing
            return f"`mlpot study recipes/studies/{name}.yaml{words} --out runs/{name}`"
    raise SystemExit(
        f"study_{name}.json: its recipe is none of {path} now; run the study again, or collect it."
    )


def _markdown(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return lines + ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
