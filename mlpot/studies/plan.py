"""Lay out what a study computes: donors, trainings and what is done with them, each under a name.

A task is named by a hash of all that decides its result, so that what was computed once is
found again, whatever else in the recipe changes: more seeds, sizes, arms.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import torch

from mlpot.data.files import read_frames
from mlpot.errors import DataError, RecipeError
from mlpot.model.file import read_header
from mlpot.studies.beyond import Judges
from mlpot.studies.checks import (
    check_arm,
    check_dynamics,
    check_elements,
    check_liquid,
    check_properties,
    check_sides,
    structure_frames,
)
from mlpot.studies.draws import divide
from mlpot.studies.recipe import EVERYWHERE, Arm, CarriedDonor, FileDonor, StudyRecipe
from mlpot.studies.tasks import (
    DonorTask,
    DynamicsTask,
    LiquidTask,
    Plan,
    PropertiesTask,
    TrainingTask,
    hashes,
)

#: Raised when the same recipe and data would give other results than before.
METHOD = 1


def make_plan(recipe: StudyRecipe) -> Plan:
    """Read the data and lay out all tasks; whatever cannot be is refused here, before any computing.

    Raises
    ------
    DataError
        For data that cannot be read or divided as asked, sizes larger than the set, elements out of
        place, frames on both sides.
    RecipeError
        For a donor of another architecture, or patterns that match nothing or everything.
    ElementError
        For a donor that cannot serve the target.
    """
    sets = recipe.target.data.load()
    if not sets.validation:
        raise DataError("target.data.validation: no frame is held out; give a larger fraction, or a file.")
    frames = divide(recipe.target, sets, recipe.domains)
    trained = {name: d for name, d in recipe.donors.items() if not isinstance(d, FileDonor)}
    donors = {name: donor.data.load() for name, donor in trained.items()}
    tests = {
        name: read_frames(donor.test, donor.data.labels.keys()) if donor.test else []
        for name, donor in trained.items()
    }
    files = dict(chain.from_iterable(part.files.items() for part in [sets, *donors.values()]))
    plan = Plan(recipe, frames, donors, tests, files)
    check_elements(plan)
    check_sides(plan)
    check_dynamics(plan)
    check_properties(plan)
    check_liquid(plan)
    for name, arm in recipe.arms.items():
        check_arm(plan, name, arm)
    keys: dict[tuple[str, int], str] = {}
    for seed in recipe.seeds:
        for name in trained:
            for link in recipe.chain(name):
                if link in trained and (link, seed) not in keys:
                    keys[link, seed] = plan.add(_donor_task(plan, link, seed, keys))
    for cell in _cells(plan):
        _add_trainings(plan, *cell, keys)
    _add_dynamics(plan)
    _add_properties(plan)
    _add_liquid(plan)
    return plan


def _cells(plan: Plan) -> Iterator[tuple[str, str, int]]:
    """Yield each arm, domain and size once."""
    recipe = plan.recipe
    wanted: list[tuple[str, str, Iterable[Any]]] = [
        (name, EVERYWHERE, arm.sizes or recipe.sizes) for name, arm in recipe.arms.items()
    ]
    for name, domain in recipe.domains.items():
        wanted += [(arm, name, domain.sizes) for arm in domain.arms]
    for arm_name, domain_name, sizes in wanted:
        for size in dict.fromkeys(plan.frames.size(domain_name, size) for size in sizes):
            if size == 0 and not _needs_no_frame(recipe.arms[arm_name]):
                raise RecipeError(
                    f"arms.{arm_name}.sizes: without a frame only an untrained arm (steps: 0) whose scales "
                    "are not fitted is possible; leave 0 out."
                )
            yield arm_name, domain_name, size


def _needs_no_frame(arm: Arm) -> bool:
    fitted = arm.scales == "fit" or (arm.scales is None and arm.properties is None)
    return arm.donor is not None and arm.steps == 0 and not fitted and arm.head is None


def _donor_task(plan: Plan, name: str, seed: int, keys: dict[tuple[str, int], str]) -> DonorTask:
    donor, sets = plan.recipe.donors[name], plan.donors[name]
    start = None
    source: Any = None
    if isinstance(donor, CarriedDonor):
        start = keys.get((donor.start, seed))
        source = start or _file_identity(plan.recipe, donor.start)
    said = {
        "recipe": donor.model_dump(mode="json", by_alias=True, exclude={"data"}),
        "network": plan.recipe.model.model_dump(mode="json"),
        "from": source,
        "train": hashes(sets.train),
        "validation": hashes(sets.validation),
        "test": hashes(plan.tests[name]),
        "seed": seed,
    }
    return DonorTask(f"donor-{name}-seed{seed}-{_digest(said)}", name, seed, start)


def _add_trainings(plan: Plan, name: str, domain: str, size: int, donors: dict[tuple[str, int], str]) -> None:
    """Lay out the runs of an arm, domain and size for all seeds."""
    recipe, arm = plan.recipe, plan.recipe.arms[name]
    steps = _steps(plan, arm)
    rivals: tuple[str, ...] = ()
    for seed in recipe.seeds:
        indices = tuple(plan.order(domain, seed)[:size])
        donor = donors.get((arm.donor, seed)) if arm.donor is not None else None
        said = _decisive(plan, arm, steps, indices, donor) | {"seed": seed}
        run = TrainingTask(
            f"{name}-{domain}-{size}-seed{seed}", name, domain, size, seed, indices, donor, steps, 1.0
        )
        if recipe.search is None or not steps:
            tasks = [run]
        elif not rivals:
            tasks = [replace(run, factor=factor) for factor in recipe.search.factors]
        else:
            tasks = [replace(run, factor=None, candidates=rivals)]
        keys = tuple(plan.add(_named(task, said)) for task in tasks)
        rivals = rivals or (keys if len(keys) > 1 else ())
        plan.runs[name, domain, size, seed] = keys


def _named(task: TrainingTask, said: dict[str, Any]) -> TrainingTask:
    digest = _digest(said | {"factor": task.factor, "candidates": task.candidates})
    return replace(task, key=f"{task.key}-{digest}")


def _decisive(plan: Plan, arm: Arm, steps: int, indices: Sequence[int], donor: str | None) -> dict[str, Any]:
    """Return all that decides the result of a training, but its seed and rates."""
    recipe, frames = plan.recipe, plan.frames
    said = {
        "arm": arm.model_dump(mode="json", exclude={"sizes", "donor", "steps", "like_donor"}),
        "donor": donor or (arm.donor and _file_identity(recipe, arm.donor)),
        "elements": recipe.target.elements,
        "network": recipe.model.model_dump(mode="json"),
        "steps": steps,
        "checks": recipe.budget.checks,
        "group_by": recipe.target.group_by,
        "train": hashes([frames.pool[i] for i in indices]),
        **plan.judges,
    }
    if arm.replay is not None and arm.donor is not None:
        said["replay"] = hashes(plan.donors[arm.donor].train)
    return said


def _steps(plan: Plan, arm: Arm) -> int:
    """Return the gradient steps of an arm."""
    if isinstance(arm.steps, int):
        return arm.steps
    steps = plan.recipe.budget.steps
    if arm.like_donor is not None:
        for name in plan.recipe.chain(arm.like_donor):
            donor = plan.recipe.donors[name]
            if isinstance(donor, FileDonor):
                raise RecipeError(
                    f"like_donor: how many steps the file {donor.file} took is not known; give `steps`."
                )
            steps += donor.fit.epochs * math.ceil(len(plan.donors[name].train) / donor.fit.batch_size)
    return steps


def _judged(plan: Plan, where: str, section: Judges) -> Iterator[tuple[str, int, int, tuple[str, ...]]]:
    """Yield arm, size, seed and trainings of the potentials that a section of the recipe is about."""
    size = plan.frames.size(EVERYWHERE, section.size)
    for arm in section.arms:
        for seed in plan.recipe.seeds:
            trainings = plan.runs.get((arm, EVERYWHERE, size, seed))
            if trainings is None:
                raise RecipeError(
                    f"{where}.size: {arm} is not trained on {size} frames; choose one of its sizes."
                )
            yield arm, size, seed, trainings


def _add_dynamics(plan: Plan) -> None:
    recipe, dynamics = plan.recipe, plan.recipe.dynamics
    if dynamics is None:
        return
    said = dynamics.model_dump(mode="json", exclude={"arms", "size"}) | {"elements": recipe.target.elements}
    truth = None
    if dynamics.reference is not None:
        truth = plan.add(DynamicsTask(f"dynamics-reference-{_digest(said)}", None, 0, (), None))
    for arm, size, seed, trainings in _judged(plan, "dynamics", dynamics):
        key = f"dynamics-{arm}-{size}-seed{seed}-{_digest(said | {'of': trainings})}"
        plan.add(DynamicsTask(key, arm, seed, trainings, truth))


def _add_properties(plan: Plan) -> None:
    recipe, section = plan.recipe, plan.recipe.properties
    if section is None:
        return
    # What they are compared with is no part of it, nor which quantities of a property are looked at.
    said = {
        "properties": [one.name for one in section.computed()],
        "settings": section.settings.model_dump(mode="json"),
        "element": section.of(recipe.target.elements),
    }
    if section.reference is not None:
        key = f"properties-reference-{_digest(said | {'reference': section.reference})}"
        plan.add(PropertiesTask(key, None, 0, ()))
    for arm, size, seed, trainings in _judged(plan, "properties", section):
        key = f"properties-{arm}-{size}-seed{seed}-{_digest(said | {'of': trainings})}"
        plan.add(PropertiesTask(key, arm, seed, trainings))


def _add_liquid(plan: Plan) -> None:
    section = plan.recipe.liquid
    if section is None:
        return
    said = section.model_dump(mode="json", exclude={"arms", "size", "where"})
    said["frames"] = hashes(structure_frames(plan))
    for arm, size, seed, trainings in _judged(plan, "liquid", section):
        key = f"liquid-{arm}-{size}-seed{seed}-{_digest(said | {'of': trainings})}"
        plan.add(LiquidTask(key, arm, seed, trainings))


def _file_identity(recipe: StudyRecipe, name: str) -> Any:
    donor = recipe.donors[name]
    return read_header(donor.file)["checksum"] if isinstance(donor, FileDonor) else None


def _digest(said: dict[str, Any]) -> str:
    about = {"method": METHOD, "torch": torch.__version__.split("+")[0], **said}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
