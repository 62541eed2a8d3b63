"""What a worker of a study does: one donor, one training, or what is done with a trained potential."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator

from mlpot.atomic import read_json, write_json
from mlpot.data.frame import Frame
from mlpot.data.structure import read_structure
from mlpot.errors import DataError, ElementError, RecipeError
from mlpot.model.file import load_model, save_model
from mlpot.model.potential import Potential
from mlpot.observables.radial import radial_distribution, radial_distribution_error
from mlpot.properties.compute import compute
from mlpot.recipe import load_recipe
from mlpot.reference.classical import classical_calculator, force_field, lattice_constant
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.simulation.stability import stability, true_radials
from mlpot.studies.beyond import Dynamics, Liquid
from mlpot.studies.checks import structure_frames
from mlpot.studies.plan import make_plan
from mlpot.studies.recipe import Arm, FileDonor, StudyRecipe, TrainedDonor
from mlpot.studies.tasks import DonorTask, DynamicsTask, LiquidTask, Plan, PropertiesTask, TrainingTask
from mlpot.training.errors import errors_by_group
from mlpot.training.fit import fit
from mlpot.training.initialise import new_potential
from mlpot.training.module import Diverged
from mlpot.training.run import provenance
from mlpot.transfer.donor import complete_donors
from mlpot.transfer.steps import SteppedFit, in_steps
from mlpot.transfer.strategy import Strategy, begin, fine_tune

RECORD = "record.json"
MODEL = "model.safetensors"
FOLDER = "runs"


def carry_out(folder: str, key: str) -> dict[str, Any]:
    """Do one task of the study in a folder, unless it is done; a training that was stopped goes on.

    Parameters
    ----------
    folder
        Of the study, with its ``recipe.yaml``.
    key
        Of the task; its results are left in ``runs/KEY``.

    Returns
    -------
    dict
        The record of the task, as kept in ``record.json``.

    Raises
    ------
    DataError
        If the data are no longer those of the study's plan.
    MLPotError
        As training, transfer and dynamics raise them.
    """
    path = Path(folder) / "recipe.yaml"
    plan = _plan(path, path.read_text(encoding="utf-8"))
    if key not in plan.tasks:
        raise DataError(
            f"{folder}: the data or the recipe have changed since this study was started; start it again."
        )
    return Worker(plan, Path(folder)).do(key)


@cache
def _plan(path: Path, text: str) -> Plan:
    return make_plan(load_recipe(StudyRecipe, path))


def record(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the record of a task, ``None`` if it is not done."""
    return read_json(folder / FOLDER / key / RECORD)


def best(folder: Path, keys: Sequence[str]) -> str:
    """Return which of the finished trainings of a run is best on the selection frames.

    With one there is nothing to choose; what diverged is not chosen.

    Raises
    ------
    DataError
        If all have diverged.
    """
    records = {key: record(folder, key) or {} for key in keys}
    usable = [key for key in keys if not records[key].get("diverged")]
    if not usable:
        raise DataError(
            f"{keys[0]}: training diverged with every rate; give lower ones (fit, search.factors)."
        )
    return (
        min(usable, key=lambda key: records[key]["selection"]["forces_mae"]) if len(usable) > 1 else usable[0]
    )


class Worker:
    """Does the tasks of a plan.

    Parameters
    ----------
    plan
        Of the study.
    folder
        Of the study.
    progress
        Show a progress bar for every fit.
    """

    def __init__(self, plan: Plan, folder: Path, progress: bool = False) -> None:
        self.plan, self.folder, self.progress = plan, folder, progress

    def do(self, key: str) -> dict[str, Any]:
        """Do one task whose needs are done; see :func:`carry_out`."""
        known = record(self.folder, key)
        if known is not None:
            return known
        directory = self.folder / FOLDER / key
        directory.mkdir(parents=True, exist_ok=True)
        task = self.plan.tasks[key]
        with _clock() as spent:
            if isinstance(task, DonorTask):
                result = self._donor(task, directory)
            elif isinstance(task, TrainingTask):
                try:
                    result = self._training(task, directory)
                except Diverged as error:  # a result too: of rates that are too high
                    result = self._about(task) | {"diverged": str(error), "steps": 0, "holdout": {}}
            elif isinstance(task, DynamicsTask):
                result = self._dynamics(task)
            elif isinstance(task, PropertiesTask):
                result = self._properties(task)
            else:
                result = self._liquid(task)
        result |= spent
        write_json(directory / RECORD, result)
        return result

    def _donor(self, task: DonorTask, directory: Path) -> dict[str, Any]:
        """Train a donor, from scratch or from another one."""
        donor, sets = self.plan.recipe.donors[task.name], self.plan.donors[task.name]
        assert not isinstance(donor, FileDonor)
        settings = donor.fit.model_copy(update={"seed": task.seed})
        result: dict[str, Any] = {"donor": task.name, "seed": task.seed, "frames": len(sets.train)}
        if isinstance(donor, TrainedDonor):
            model = self._new(sets.train, donor.elements, task.seed)
            done = fit(model, sets.train, sets.validation, settings, directory / "fit", True, self.progress)
        else:
            start = self._potential(donor.start, task.start)
            symbols = complete_donors(start.symbols, donor.elements, donor.donors)
            begun = begin(start, donor.elements, symbols, sets.train, donor)
            model = begun.model
            done = fine_tune(begun, sets.validation, settings, directory / "fit", True, self.progress)
            result["scales"] = {symbol: own.asdict() for symbol, own in begun.carried.scales.items()}
        result["steps"] = done.steps
        result["validation"] = judge(model, sets.validation)["all"] if sets.validation else None
        tests = self.plan.tests[task.name]
        result["test"] = judge(model, tests, self._keys(tests)) if tests else None
        self._save(model, directory, f"donor {task.name}")
        return result

    def _training(self, task: TrainingTask, directory: Path) -> dict[str, Any]:
        """Train one arm on one subset, and judge it."""
        recipe, arm = self.plan.recipe, self.plan.recipe.arms[task.arm]
        frames = [self.plan.frames.pool[i] for i in task.indices]
        result = self._about(task)
        factor = result["rate_factor"] or 1.0
        elements = recipe.target.elements
        selection = self.plan.frames.selection
        if arm.donor is None:
            model = self._new(frames, elements, task.seed)
            settings, training = _settings(arm, task, factor, len(frames), recipe.budget.checks)
            done = fit(model, frames * training, selection, settings, directory / "fit", True, self.progress)
        else:
            donor = self._potential(arm.donor, task.donor)
            replayed = self._replayed(arm, len(frames), task.seed)
            symbols = complete_donors(donor.symbols, elements, arm.donors)
            begun = begin(donor, elements, symbols, frames, arm, replayed)
            model = begun.model
            result["scales"] = {symbol: own.asdict() for symbol, own in begun.carried.scales.items()}
            result["head"] = begun.head.asdict() if begun.head is not None else None
            result["replayed"] = len(replayed)
            done = None
            if task.steps:
                settings, training = _settings(arm, task, factor, len(begun.frames), recipe.budget.checks)
                done = fine_tune(
                    begun, selection, settings, directory / "fit", True, self.progress, repeats=training
                )
            result["report"] = begun.carried.report.asdict()
        result["steps"] = done.steps if done is not None else 0
        result["selection"] = judge(model, selection)["all"] if selection else None
        result["holdout"] = judge(model, self.plan.frames.holdout, recipe.target.group_by)
        self._save(model, directory, task.arm)
        return result

    def _about(self, task: TrainingTask) -> dict[str, Any]:
        """Return what is known of a training before it."""
        factor = task.factor
        if factor is None:
            factor = (record(self.folder, best(self.folder, task.candidates)) or {})["rate_factor"]
        return {
            "arm": task.arm, "domain": task.domain, "size": task.size, "seed": task.seed,
            "frames": [self.plan.frames.pool[i].source for i in task.indices],
            "rate_factor": factor if task.steps else None,
        }  # fmt: skip

    def _dynamics(self, task: DynamicsTask) -> dict[str, Any]:
        """Run dynamics with the potential of an arm, or the reference's own."""
        dynamics = self.plan.recipe.dynamics
        assert dynamics is not None
        reference = classical_calculator(dynamics.reference) if dynamics.reference else None
        atoms = starting_structure(dynamics, self.plan.recipe.target.elements)
        protocol: dict[str, Any] = {"timestep_fs": dynamics.timestep_fs}
        runs = (atoms, dynamics.temperatures, dynamics.seeds, dynamics.time_ps)
        if task.arm is None:
            assert reference is not None
            return {"radials": true_radials(reference, *runs, **protocol)}
        truth = record(self.folder, task.truth) if task.truth is not None else None
        report = stability(
            MLPotCalculator(self._trained(task.trainings)),
            *runs,
            reference=reference,
            truth=truth["radials"] if truth else None,
            batch_size=len(dynamics.temperatures) * len(dynamics.seeds) if dynamics.batched else None,
            **protocol,
        )
        return {"arm": task.arm, "seed": task.seed, "stability": report.to_dict()}

    def _properties(self, task: PropertiesTask) -> dict[str, Any]:
        """Compute properties with the potential of an arm, or the reference."""
        section = self.plan.recipe.properties
        assert section is not None
        element, names = (
            section.of(self.plan.recipe.target.elements),
            [one.name for one in section.computed()],
        )
        if task.arm is None:
            assert section.reference is not None
            calculator: Calculator = classical_calculator(section.reference)
        else:
            # Small strains and displacements need all digits.
            calculator = MLPotCalculator(self._trained(task.trainings, torch.float64))
        try:
            records = compute(calculator, element, names, section.settings)
        except (RecipeError, ElementError) as error:  # a result too: of a potential that is none
            return self._whose(task) | {"records": [], "unusable": str(error)}
        return self._whose(task) | {"records": [one.to_dict() for one in records], "unusable": None}

    def _liquid(self, task: LiquidTask) -> dict[str, Any]:
        """Run the potential of an arm where frames tell the structure."""
        section = self.plan.recipe.liquid
        assert section is not None
        frames = [frame.to_atoms() for frame in structure_frames(self.plan)]
        known = structure(frames, section)
        report = stability(
            MLPotCalculator(self._trained(task.trainings)),
            Atoms(frames[0].symbols, frames[0].positions, cell=frames[0].cell, pbc=True),
            [section.temperature],
            section.seeds,
            section.time_ps,
            timestep_fs=section.timestep_fs,
            r_max=section.r_max,
            bins=section.bins,
            truth=[known["radial"]],
        )
        about = {"frames": len(frames), "noise": known["noise"]}
        return self._whose(task) | {"stability": report.to_dict(), "structure": about}

    def _whose(self, task: PropertiesTask | LiquidTask) -> dict[str, Any]:
        return {"arm": task.arm, "seed": task.seed}

    def _trained(self, trainings: Sequence[str], dtype: torch.dtype = torch.float32) -> Potential:
        return load_model(self.folder / FOLDER / best(self.folder, trainings) / MODEL, dtype=dtype)

    def _new(self, frames: Sequence[Frame], elements: Sequence[str], seed: int) -> Potential:
        shape = self.plan.recipe.model
        return new_potential(frames, elements, shape.network(), shape.repulsion, seed=seed)

    def _potential(self, name: str, key: str | None) -> Potential:
        """Return a donor: the model of a task, or a file."""
        if key is not None:
            return load_model(self.folder / FOLDER / key / MODEL)
        donor = self.plan.recipe.donors[name]
        assert isinstance(donor, FileDonor)
        return load_model(donor.file)

    def _replayed(self, arm: Strategy, targets: int, seed: int) -> list[Frame]:
        if arm.replay is None:
            return []
        assert isinstance(arm, Arm) and arm.donor is not None
        return arm.replay.draw(self.plan.donors[arm.donor].train, targets, seed)

    def _keys(self, frames: Sequence[Frame]) -> list[str]:
        """Return the keys to group by that these frames have."""
        return [key for key in self.plan.recipe.target.group_by if any(key in frame.info for frame in frames)]

    def _save(self, model: Potential, directory: Path, what: str) -> None:
        made = {"kind": "study", **provenance(self.plan.recipe, None), "data": self.plan.files}
        model.provenance = {**model.provenance, **made, "arm": what}
        save_model(model, directory / MODEL)


def judge(model: Potential, frames: Sequence[Frame], keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return error summaries as plain values, over all frames and by info keys."""
    with model.natively():
        return {name: summary.asdict() for name, summary in errors_by_group(model, frames, keys).items()}


def starting_structure(dynamics: Dynamics, elements: Sequence[str]) -> Atoms:
    """Return the structure that dynamics start from.

    Raises
    ------
    DataError
        If a crystal is asked for of several elements, or of an element that the reference does not know.
    """
    if dynamics.structure is not None:
        return read_structure(dynamics.structure)
    if len(elements) > 1:
        raise DataError("dynamics: a crystal of several elements is not built; give `structure` (a file).")
    constant = dynamics.lattice_constant
    if dynamics.reference is not None and force_field(dynamics.reference).element != elements[0]:
        raise DataError(f"dynamics.reference: {dynamics.reference} is not a force field of {elements[0]}.")
    if constant is None:
        assert dynamics.reference is not None
        constant = lattice_constant(dynamics.reference)
    return bulk(elements[0], "diamond", a=constant, cubic=True).repeat(dynamics.repeat)


def structure(frames: Sequence[Atoms], section: Liquid) -> dict[str, Any]:
    """Return the radial distribution of frames, and the error that a perfect potential would seem to have.

    The two halves of the frames differ by twice the noise of all of them: variances add up, and a half
    has twice that of the whole. ``None`` from a single frame.
    """
    r, g = radial_distribution(frames, section.r_max, section.bins)
    noise = None
    if len(frames) > 1:
        halves = [radial_distribution(frames[i::2], section.r_max, section.bins)[1] for i in (0, 1)]
        noise = radial_distribution_error(*halves) / 2
    radial = {"temperature_K": section.temperature, "r": r.tolist(), "g": g.tolist(), "failures": []}
    return {"radial": radial, "noise": noise}


def _settings(
    arm: Arm, task: TrainingTask, factor: float, frames: int, checks: int
) -> tuple[SteppedFit, int]:
    """Return the settings of a training, and how often a frame comes in an epoch."""
    rates = {"rate": factor * arm.fit.rate, "matrix_rate": factor * arm.fit.matrix_rate}
    scaled = arm.fit.model_copy(update={"seed": task.seed, **rates})
    return in_steps(scaled, task.steps, checks, frames)


@contextmanager
def _clock() -> Iterator[dict[str, float]]:
    """Measure the time on the wall and of the processor."""
    spent: dict[str, float] = {}
    wall, processor = time.monotonic(), time.process_time()
    yield spent
    spent |= {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - processor}
