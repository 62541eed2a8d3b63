"""What a lattice study computes: its tasks, named by what they rest on, all checked before any runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlpot.errors import RecipeError
from mlpot.lattice.hamiltonian import Hamiltonian
from mlpot.lattice.recipe import LatticeRecipe
from mlpot.lattice.samples import Samples, load_samples
from mlpot.lattice.study.checks import check_arms, check_extrapolation, check_sequence


@dataclass(frozen=True)
class SamplesTask:
    """Make samples at one temperature with one seed."""

    key: str
    temperature: float
    seed: int
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class SequenceTask:
    """Train a sequence model; ``samples``: the task that makes them, ``None``: the file."""

    key: str
    temperature: float
    count: int
    seed: int
    samples: str | None

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return (self.samples,) if self.samples else ()


@dataclass(frozen=True)
class ArmTask:
    """Learn an energy; ``sequence``: the task of the sequence model that it starts from."""

    key: str
    arm: str
    temperature: float
    count: int
    seed: int
    samples: str | None
    sequence: str | None

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return tuple(key for key in (self.samples, self.sequence) if key)


@dataclass(frozen=True)
class ScoreTask:
    """Judge what an arm learned by the true model."""

    key: str
    learned: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return (self.learned,)


@dataclass(frozen=True)
class ExtrapolationTask:
    """Monte Carlo with one learned energy on one lattice; ``sequence``: the model that gives log Z."""

    key: str
    section: int
    shape: tuple[int, ...]
    learned: str
    sequence: str | None

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return (self.learned,)


@dataclass(frozen=True)
class TruthTask:
    """What is known of the true model on one lattice."""

    key: str
    section: int
    shape: tuple[int, ...]
    needs: tuple[str, ...] = ()


Task = SamplesTask | SequenceTask | ArmTask | ScoreTask | ExtrapolationTask | TruthTask


@dataclass(frozen=True, eq=False)
class Plan:
    """The tasks of a study.

    Attributes
    ----------
    recipe
        Of the study.
    model
        The true Hamiltonian, ``None`` if it is unknown.
    q
        States of a site.
    samples
        Of the file, if there is one.
    learning, extrapolation
        Tasks by key, each after what it needs.
    """

    recipe: LatticeRecipe
    model: Hamiltonian | None
    q: int
    samples: Samples | None
    learning: dict[str, Task] = field(default_factory=dict)
    extrapolation: dict[str, Task] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """The lattice that is learned from."""
        return tuple(self.recipe.shape)

    @property
    def tasks(self) -> dict[str, Task]:
        """All of them."""
        return self.learning | self.extrapolation

    def arm_tasks(self) -> list[ArmTask]:
        """Return the tasks that learn energies."""
        return [task for task in self.learning.values() if isinstance(task, ArmTask)]


def make_plan(recipe: LatticeRecipe) -> Plan:
    """Return the tasks of a recipe, after looking for everything that cannot work.

    Raises
    ------
    RecipeError, LatticeError, DataError
        For a sample file of another lattice, alphabet, temperature or Hamiltonian, too short or
        visibly not in equilibrium; for tiles that do not fit; for symmetries that the model does
        not have; for energies that have no other size where one is asked for.
    """
    model = recipe.model.build(recipe.shape) if recipe.model is not None else None
    samples, origin = None, None
    if recipe.samples is not None:
        samples, origin = _file(recipe, model)
        model = model or samples.model
    q = samples.q if samples is not None else model.q if model is not None else 0
    if recipe.q is not None and recipe.q != q:
        raise RecipeError(f"q: {recipe.q}, but the model has q = {q}; leave it out.")
    shape = tuple(recipe.shape)
    check_sequence(recipe, model, shape, q)
    check_arms(recipe, model, shape, q)
    check_extrapolation(recipe, model, shape, q)
    plan = Plan(recipe, model, q, samples)
    _add_learning(plan, origin)
    _add_extrapolation(plan)
    return plan


def _file(recipe: LatticeRecipe, model: Hamiltonian | None) -> tuple[Samples, str]:
    path = Path(recipe.samples or "")
    q = model.q if model is not None else recipe.q
    stamp = path.stat().st_mtime_ns if path.exists() else 0
    samples, digest = _read(path, stamp, recipe.temperatures[0], q, tuple(recipe.shape))
    own = samples.model
    if model is not None and own is not None and own.to_dict() != model.to_dict():
        raise RecipeError(
            f"{path}: its samples are of {own.name} {own.parameters}, the recipe's model is {model.name} "
            f"{model.parameters}; take samples of the same model."
        )
    if max(recipe.counts) > len(samples):
        raise RecipeError(
            f"counts: {max(recipe.counts)}, but {path} has {len(samples)} samples; take fewer, or make more."
        )
    return samples, digest


@lru_cache(maxsize=4)
def _read(
    path: Path, stamp: int, temperature: float, q: int | None, shape: tuple[int, ...]
) -> tuple[Samples, str]:
    samples = load_samples(path, temperature, q, shape)
    samples.require_equilibrium()
    return samples, hashlib.sha256(path.read_bytes()).hexdigest()


def _add_learning(plan: Plan, origin: str | None) -> None:
    recipe = plan.recipe
    about: dict[str, Any] = {"shape": recipe.shape, "q": plan.q}
    if plan.model is not None:
        about["model"] = plan.model.to_dict()
    if origin is None:
        about |= {"sampling": recipe.sampling.model_dump(mode="json"), "most": max(recipe.counts)}
    else:
        about["file"] = origin
    for t in recipe.temperatures:
        for seed in recipe.seeds:
            here = about | {"temperature": t}
            made = None
            if origin is None:
                made = f"samples-T{t:g}-seed{seed}-{_digest(here | {'seed': seed})}"
                plan.learning[made] = SamplesTask(made, t, seed)
            for count in recipe.counts:
                _add_arms(plan, here | {"seed": seed, "count": count}, t, count, seed, made)


def _add_arms(plan: Plan, about: dict[str, Any], t: float, count: int, seed: int, made: str | None) -> None:
    recipe = plan.recipe
    where = f"T{t:g}-n{count}-seed{seed}"
    sequence, trained = None, {}
    if recipe.needs_sequence:
        trained = {
            "sequence": recipe.sequence.model_dump(mode="json"), "fit": recipe.fit.model_dump(mode="json")
        }  # fmt: skip
        sequence = f"sequence-{where}-{_digest(about | trained)}"
        plan.learning[sequence] = SequenceTask(sequence, t, count, seed, made)
    for name in recipe.arms:
        base = recipe.base(name)
        said = about | {
            "arm": recipe.arms[name].model_dump(mode="json"),
            "base": base.model_dump(mode="json"),
        }
        said["network"] = recipe.network.model_dump(mode="json")
        if base.uses_sequence:
            said |= trained
        key = f"{name}-{where}-{_digest(said)}"
        needed = sequence if base.uses_sequence else None
        plan.learning[key] = ArmTask(key, name, t, count, seed, made, needed)
        judged = f"score-{key}-{_digest({'learned': key} | recipe.score.model_dump(mode='json'))}"
        plan.learning[judged] = ScoreTask(judged, key)


def _add_extrapolation(plan: Plan) -> None:
    recipe = plan.recipe
    sequences = {
        (task.temperature, task.count, task.seed): task.key
        for task in plan.learning.values()
        if isinstance(task, SequenceTask)
    }
    for index, section in enumerate(recipe.extrapolation):
        temperatures = section.learned_at or recipe.temperatures[:1]
        counts = section.counts or [max(recipe.counts)]
        seeds = section.seeds or recipe.seeds
        said = section.model_dump(mode="json")
        for name in ("shapes", "arms", "truth", "learned_at", "counts", "seeds"):
            said.pop(name)
        for shape in map(tuple, section.shapes):
            place = "x".join(map(str, shape))
            if plan.model is not None:
                about = {
                    "model": plan.model.to_dict(), "shape": shape, "truth": section.truth,
                    "temperatures": section.temperatures, "free_energy": section.free_energy,
                }  # fmt: skip
                key = f"truth-{place}-{_digest(about)}"
                plan.extrapolation[key] = TruthTask(key, index, shape)
            for task in plan.arm_tasks():
                if (
                    task.arm in (section.arms or recipe.arms)
                    and task.temperature in temperatures
                    and task.count in counts
                    and task.seed in seeds
                ):
                    sequence = sequences.get((task.temperature, task.count, task.seed))
                    sequence = sequence if shape == plan.shape else None
                    about = said | {"shape": shape, "learned": task.key, "sequence": sequence}
                    key = f"curve-{place}-{task.key}-{_digest(about)}"
                    plan.extrapolation[key] = ExtrapolationTask(key, index, shape, task.key, sequence)


def _digest(said: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
