"""Run a study from its recipe to its report."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from matplotlib.figure import Figure

from mlpot.atomic import replacing
from mlpot.data.files import read_frames
from mlpot.data.structure import read_structure
from mlpot.errors import RecipeError
from mlpot.recipe import recipe_text
from mlpot.reference.classical import classical_calculator, force_field, lattice_constant
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.simulation.stability import stability
from mlpot.studies import report
from mlpot.studies.compare import ARMS, Stage, TargetFrames, scratch_arm, train_donor, transfer_arms
from mlpot.studies.recipe import DynamicsSection, StudyRecipe
from mlpot.training.run import provenance

Say = Callable[[str], None]


def run_study(
    recipe: StudyRecipe, out: str | Path, say: Say = lambda text: None, progress: bool = False
) -> dict[str, Any]:
    """Carry out a study; what an earlier, interrupted call finished is not done again.

    Parameters
    ----------
    recipe
        What to compare.
    out
        Run directory: ``seed-N/ARM/`` with models and records, ``results.json``,
        ``report.html``, ``recipe.yaml``, ``split.json``.
    say
        Called with a line for every step begun.
    progress
        Show a progress bar for every fit.

    Returns
    -------
    dict
        The content of ``results.json``.

    Raises
    ------
    RecipeError
        If ``out`` holds another study, or the recipe asks for what cannot be.
    DataError
        For data that cannot be read or divided as asked.
    """
    started = time.monotonic()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    plan = recipe_text(recipe)
    _keep(
        out / "recipe.yaml",
        plan,
        f"{out}: holds a study of another recipe; choose another --out or remove it.",
    )
    donor = recipe.donor.data.load()
    target = recipe.target.data.load()
    if not target.validation:
        raise RecipeError("target.data.validation: a study needs a hold-out; give a fraction or a file.")
    test = read_frames(recipe.donor.test, recipe.donor.data.labels.keys()) if recipe.donor.test else []
    _keep(
        out / "split.json",
        json.dumps({"donor": donor.membership(), "target": target.membership()}, indent=1),
        f"{out / 'split.json'}: the data have changed since this study began; restore them, or choose "
        "another --out.",
    )
    start = _start(recipe.dynamics, recipe.target.element) if recipe.dynamics is not None else None
    frames = TargetFrames(target.train, target.validation, tuple(recipe.target.data.stratify))
    config = recipe.model.network()
    seeds = []
    made = {"kind": "study", **provenance(recipe, None), "data": {**donor.files, **target.files}}
    for seed in recipe.seeds:
        stage = Stage(out / f"seed-{seed}", say, made, progress)
        few, rest = frames.draw(recipe.target.frames, seed)
        learning = recipe.donor.fit.model_copy(update={"seed": seed})
        record = train_donor(
            stage, donor.train, donor.validation, test, [recipe.donor.element], config, learning
        )
        tuning = recipe.target.fine_tuning.model_copy(update={"seed": seed})
        arms = transfer_arms(stage, few, frames.holdout, recipe.target.element, tuning)
        fresh = recipe.target.scratch.fit.model_copy(update={"seed": seed})
        rates = recipe.target.scratch.rates
        arms["scratch"] = scratch_arm(
            stage, few, rest, frames.holdout, recipe.target.element, config, fresh, rates
        )
        seeds.append({"seed": seed, "frames": [f.source for f in few], "donor": record, "arms": arms})
    results: dict[str, Any] = {"title": recipe.title, "seeds": seeds}
    if recipe.dynamics is not None and start is not None:
        stage = Stage(out / f"seed-{recipe.seeds[0]}", say)
        results["dynamics"] = _dynamics(recipe.dynamics, start, stage)
    results["verdict"] = verdict(recipe, results)
    results["seconds"] = time.monotonic() - started
    results["recipe"] = plan
    with replacing(out / "results.json") as partial:
        partial.write_text(json.dumps(results, indent=1))
    say("report")
    report.write_report(out / "report.html", results, _figures(recipe, out, results, frames))
    return results


def _keep(path: Path, text: str, refusal: str) -> None:
    """Write down what a study rests on, or refuse if something else was written there before."""
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise RecipeError(refusal)
    path.write_text(text, encoding="utf-8")


def _start(dynamics: DynamicsSection, element: str) -> Atoms:
    """Return the structure dynamics start from; refuse, before any computing, what cannot be."""
    unknown = sorted(set(dynamics.arms) - set(ARMS))
    if unknown:
        raise RecipeError(f"dynamics.arms: {', '.join(unknown)} is no arm; choose among {', '.join(ARMS)}.")
    if dynamics.structure is not None:
        return read_structure(dynamics.structure)
    if dynamics.reference is None:
        raise RecipeError("dynamics: give `structure` (a file) or `reference` (a classical force field).")
    if force_field(dynamics.reference).element != element:
        raise RecipeError(f"dynamics.reference: {dynamics.reference} is not a force field of {element}.")
    crystal = bulk(element, "diamond", a=lattice_constant(dynamics.reference), cubic=True)
    return crystal.repeat(dynamics.repeat)


def _dynamics(dynamics: DynamicsSection, atoms: Atoms, stage: Stage) -> dict[str, Any]:
    """Return stability records of the arms of a seed."""
    records = {}
    for arm in dynamics.arms:
        path = stage.directory / arm / "dynamics.json"
        if not path.exists():
            stage.say(f"{stage.directory.name}: molecular dynamics, {arm}")
            result = stability(
                MLPotCalculator(stage.model(arm)),
                atoms,
                dynamics.temperatures,
                dynamics.seeds,
                dynamics.time_ps,
                timestep_fs=dynamics.timestep_fs,
                reference=classical_calculator(dynamics.reference) if dynamics.reference else None,
            )
            with replacing(path) as partial:
                partial.write_text(json.dumps(result.to_dict(), indent=1))
        records[arm] = json.loads(path.read_text())
    return records


def verdict(recipe: StudyRecipe, results: dict[str, Any]) -> list[str]:
    """Return what the numbers say, in sentences computed from them."""
    mae = {
        arm: [seed["arms"][arm]["holdout"]["all"]["forces_mae"] for seed in results["seeds"]] for arm in ARMS
    }
    mean = {arm: float(np.mean(values)) for arm, values in mae.items()}
    wins = sum(t < s for t, s in zip(mae["transfer"], mae["scratch"], strict=True))
    few, count = recipe.target.frames, len(results["seeds"])
    source, element = recipe.donor.element, recipe.target.element
    sentences = [
        f"With {few} frames of {element}, transfer from {source} leaves a force error of "
        f"{mean['transfer']:.0f} meV/Å on the hold-out, training from scratch {mean['scratch']:.0f} meV/Å "
        f"(mean absolute, {count} seed{'s' if count > 1 else ''}); transfer is better in {wins} of {count}.",
        f"Before any fine-tuning, two scalars fitted to the same frames bring the {source} potential from "
        f"{mean['plain']:.0f} to {mean['reduced']:.0f} meV/Å.",
    ]
    worse = []
    for label, key, unit, digits in (
        ("forces", "forces_mae", "meV/Å", 1),
        ("energy", "energy_mae", "meV/atom", 2),
        ("stress", "stress_mae", "GPa", 2),
    ):
        pairs = [
            [seed["arms"][arm]["holdout"]["all"][key] for seed in results["seeds"]]
            for arm in ("transfer", "scratch")
        ]
        if None not in pairs[0] and np.mean(pairs[0]) > np.mean(pairs[1]):
            ours, theirs = (f"{np.mean(pair):.{digits}f}" for pair in pairs)
            worse.append(f"{label} ({ours} against {theirs} {unit})")
    groups = set.intersection(*(set(seed["arms"]["transfer"]["holdout"]) for seed in results["seeds"])) - {
        "all"
    }
    for group in sorted(groups):
        t, s = (
            float(np.mean([seed["arms"][arm]["holdout"][group]["forces_mae"] for seed in results["seeds"]]))
            for arm in ("transfer", "scratch")
        )
        if t > s:
            worse.append(f"forces of {group} ({t:.1f} against {s:.1f} meV/Å)")
    dynamics = results.get("dynamics") or {}
    survival = {
        arm: [run["censored"] for entry in record["temperatures"] for run in entry["runs"]]
        for arm, record in dynamics.items()
    }
    if {"transfer", "scratch"} <= survival.keys() and sum(survival["transfer"]) < sum(survival["scratch"]):
        worse.append(
            f"survival in molecular dynamics ({sum(survival['transfer'])} against "
            f"{sum(survival['scratch'])} of {len(survival['scratch'])} runs)"
        )
    sentences.append(
        f"Worse with transfer: {'; '.join(worse)}."
        if worse
        else "Nothing measured here is worse with transfer."
    )
    for arm, record in dynamics.items():
        sentences.append(
            f"Molecular dynamics, {report.NAMES[arm]}: {sum(survival[arm])} of {len(survival[arm])} runs of "
            f"{record['protocol']['time_ps']:g} ps survive, up to "
            f"{max(entry['temperature_K'] for entry in record['temperatures']):g} K."
        )
    return sentences


def _figures(
    recipe: StudyRecipe, out: Path, results: dict[str, Any], frames: TargetFrames
) -> dict[str, tuple[str, Figure]]:
    first = out / f"seed-{recipe.seeds[0]}"
    with (first / "donor" / "fit" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    element = recipe.target.element
    caption = (
        f"Force error on {len(frames.holdout)} held-out frames of {element}; one point a seed, bars: mean."
    )
    figures = {"forces": (caption, report.force_figure(results["seeds"]))}
    if rows and "forces_mae" in rows[-1]:
        learning = report.learning_figure(rows, recipe.donor.element)
        figures["learning"] = ("The donor learns (first seed).", learning)
    stage, pairs = Stage(first, lambda text: None), {}
    labelled = [frame for frame in frames.holdout if frame.forces is not None]
    true = np.concatenate([frame.forces.ravel() for frame in labelled if frame.forces is not None])
    for arm in ("scratch", "reduced", "transfer"):
        predicted = stage.model(arm).predict(labelled)
        pairs[arm] = (true, np.concatenate([prediction.forces.ravel() for prediction in predicted]))
    caption = "Predicted against true forces on the hold-out (first seed)."
    figures["parity"] = (caption, report.parity_figure(pairs))
    if results.get("dynamics"):
        survival = report.survival_figure(results["dynamics"])
        figures["survival"] = ("Survival in molecular dynamics (Kaplan-Meier, first seed).", survival)
        if recipe.dynamics is not None and recipe.dynamics.reference:
            caption = f"Radial distribution against the true dynamics ({recipe.dynamics.reference})."
            figures["radial"] = (caption, report.radial_figure(results["dynamics"]))
    return figures
