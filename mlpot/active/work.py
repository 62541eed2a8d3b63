"""What one task of a round does: train a potential, or run a trajectory with all of them.

Everything that later steps use is read back from the files of earlier ones, so that a run that
was stopped and continued does not differ from one that was not.

Layout::

    OUT/recipe.yaml, identity.json      what is done here
    OUT/round-R/member-K/               a training; model.safetensors, record.json when done
    OUT/round-R/trajectory-T/           dynamics; candidates.xyz, record.json when done
    OUT/round-R/test.json               errors on the test frames
    OUT/round-R/chosen.json             which candidates are to be labelled
    OUT/round-R/labelled.xyz, labels.json   those that were, and what became of the others
    OUT/labels/                         run directory of the labelling, of all rounds
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlpot import atomic
from mlpot.active.plan import Plan, make_plan
from mlpot.active.recipe import ActiveRecipe, CommitteeSection, PosteriorSection
from mlpot.atomic import read_json
from mlpot.data.files import read_frames, write_frames
from mlpot.data.frame import Frame, LabelKeys
from mlpot.data.section import file_sha256
from mlpot.errors import DataError, GeometryError
from mlpot.model.file import load_model, save_model
from mlpot.model.potential import Potential
from mlpot.model.uncertainty import add_uncertainty
from mlpot.recipe import load_recipe
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.simulation.dynamics import Sample, run_langevin
from mlpot.simulation.stopping import StopCriteria, StopMonitor
from mlpot.training.fit import fit
from mlpot.training.initialise import new_potential
from mlpot.training.run import provenance
from mlpot.transfer.ridge import SquaredLoss, label_scales
from mlpot.transfer.steps import SteppedFit, in_steps
from mlpot.transfer.strategy import begin, fine_tune

#: Nothing in the record of a run may be undefined.
write_json = partial(atomic.write_json, allow_nan=False)

RECORD = "record.json"
MODEL = "model.safetensors"
CANDIDATES = "candidates.xyz"
LABELLED = "labelled.xyz"

#: In so many passes a training is cut where the frames are few: after each it can be resumed, and
#: held-out frames are looked at.
_PASSES = 10
#: What random numbers are for, beside the seed of the recipe.
_WEIGHTS, _DYNAMICS, RANDOM_CHOICE = range(3)


def carry_out(folder: str, kind: str, number: int, index: int) -> dict[str, Any]:
    """Do one task of the run in a folder, unless it is done; a training that was stopped goes on.

    Parameters
    ----------
    folder
        Of the run, with its ``recipe.yaml``.
    kind
        ``member`` or ``trajectory``.
    number
        Of the round.
    index
        Of the potential or of the trajectory.

    Returns
    -------
    dict
        The record of the task, as kept in ``record.json``.

    Raises
    ------
    MLPotError
        As training and dynamics raise them.
    """
    path = Path(folder) / "recipe.yaml"
    return Worker(_plan(path, path.read_text(encoding="utf-8")), Path(folder)).do(kind, number, index)


@cache
def _plan(path: Path, text: str) -> Plan:
    return make_plan(load_recipe(ActiveRecipe, path))


def round_folder(out: Path, number: int) -> Path:
    """Return the folder of a round."""
    return out / f"round-{number}"


def model_files(out: Path, recipe: ActiveRecipe, number: int) -> list[Path]:
    """Return the model files of a round."""
    return [round_folder(out, number) / f"member-{index}" / MODEL for index in range(recipe.members)]


def labelled_in(out: Path, number: int) -> list[Frame]:
    """Return the frames that were labelled in a round."""
    path = round_folder(out, number) / LABELLED
    return read_frames(path, LabelKeys(missing="allow")) if path.exists() else []


class Worker:
    """Does the tasks of a run.

    Parameters
    ----------
    plan
        Of the run.
    out
        Its folder.
    progress
        Show a progress bar for every fit.
    """

    def __init__(self, plan: Plan, out: Path, progress: bool = False) -> None:
        self.plan, self.out, self.progress = plan, out, progress

    def record(self, kind: str, number: int, index: int) -> dict[str, Any] | None:
        """Return the record of a task, ``None`` if it is not done."""
        return read_json(round_folder(self.out, number) / f"{kind}-{index}" / RECORD)

    def do(self, kind: str, number: int, index: int) -> dict[str, Any]:
        """Do one task; see :func:`carry_out`."""
        known = self.record(kind, number, index)
        if known is not None:
            return known
        folder = round_folder(self.out, number) / f"{kind}-{index}"
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        result = (self._train if kind == "member" else self._explore)(folder, number, index)
        result |= {"seconds": time.monotonic() - started}
        write_json(folder / RECORD, result)
        return result

    def labelled(self, number: int) -> list[Frame]:
        """Return the frames to train on in a round: the first ones and what was labelled before it."""
        return [*self.plan.first, *(frame for r in range(number) for frame in labelled_in(self.out, r))]

    def calculator(self, number: int) -> MLPotCalculator:
        """Return the mean potential of a round, with its uncertainty."""
        return MLPotCalculator(model_files(self.out, self.plan.recipe, number), uncertainty=True)

    def _train(self, folder: Path, number: int, index: int) -> dict[str, Any]:
        """Train one potential: from the donor, not from the round before.

        A fit that starts from earlier weights generalises worse than a fresh one on the same
        frames (Ash & Adams, NeurIPS 2020), and the potential would depend on the order in which
        its frames came; scales and offsets are estimated anew as well.
        """
        recipe, plan, training = self.plan.recipe, self.plan, self.plan.recipe.training
        seed = int(np.random.SeedSequence([recipe.seed, _WEIGHTS, index]).generate_state(1)[0])
        frames = self.labelled(number)
        drawn: Sequence[Frame] = frames
        if isinstance(recipe.uncertainty, CommitteeSection) and recipe.uncertainty.resample:
            chosen = np.random.default_rng([seed, len(frames)]).integers(len(frames), size=len(frames))
            drawn = [frames[i] for i in chosen]
        run, held_out = folder / "fit", plan.validation
        if training.donor:
            donor = load_model(training.donor[index % len(training.donor)])
            replayed = training.replay.draw(plan.replayed, len(frames), seed) if training.replay else []
            begun = begin(donor, recipe.elements, plan.donors, frames, training, replayed)
            # Scales and offsets come from all frames: a drawing may lack an element.
            begun = replace(begun, frames=[*drawn, *replayed])
            model, (settings, repeats) = begun.model, self._settings(seed, len(begun.frames))
            done = fine_tune(begun, held_out, settings, run, True, self.progress, repeats=repeats)
        else:
            model = new_potential(
                frames, recipe.elements, recipe.model.network(), recipe.model.repulsion, seed=seed
            )
            settings, repeats = self._settings(seed, len(frames))
            done = fit(model, list(drawn) * repeats, held_out, settings, run, True, self.progress)
        result: dict[str, Any] = {"seed": seed, "steps": done.steps, "frames": len(frames)}
        if isinstance(recipe.uncertainty, PosteriorSection):
            # As others will read it; a fitted network is no plain copy of its tensors.
            model = load_model(run / "model.safetensors", model.dtype)
            scales = label_scales(SquaredLoss(**settings.loss.model_dump(exclude={"kind"})))
            posterior = add_uncertainty(model, frames, held_out, scales, recipe.uncertainty.heads, seed)
            result["posterior"] = posterior.asdict()
        self._save(model, folder, number)
        return result

    def _settings(self, seed: int, frames: int) -> tuple[SteppedFit, int]:
        """Return settings that take the steps asked for, and how often a frame comes in an epoch."""
        training = self.plan.recipe.training
        settings = training.fit.model_copy(update={"seed": seed})
        return in_steps(settings, training.steps, _PASSES, frames)

    def _save(self, model: Potential, folder: Path, number: int) -> None:
        made = {
            "kind": "active",
            **provenance(self.plan.recipe, None),
            "data": dict(self.plan.files),
            "round": number,
        }
        for earlier in range(number):
            path = round_folder(self.out, earlier) / LABELLED
            if path.exists():
                made["data"][str(path)] = file_sha256(str(path))
        model.provenance = {**model.provenance, **made}
        save_model(model, folder / MODEL)

    def _explore(self, folder: Path, number: int, index: int) -> dict[str, Any]:
        """Run one trajectory; keep the frames on its way that could be labelled."""
        start, section = self.plan.starts[index], self.plan.recipe.dynamics
        stop = StopCriteria(
            min_distance=section.min_distance,
            max_force=section.max_force,
            max_forces_std=section.max_forces_std,
        )
        monitor = StopMonitor(stop.model_copy(update={"max_forces_std": None}), None, section.timestep_fs)
        calculator = self.calculator(number)
        candidates: list[Frame] = []
        dropped = Counter[str]()
        about = {"round": number, "trajectory": index, "temperature_K": start.temperature}

        def consider(atoms: Atoms, time_ps: float, beyond: float = 0.0) -> bool:
            """Take a frame whose uncertainty is beyond a limit, or count why not."""
            deviation = largest_deviation(calculator, atoms)
            reason = _unusable(monitor, calculator, atoms, deviation)
            if reason is None and deviation < beyond:
                reason = "temperature ran away"
            if reason is not None:
                dropped[reason] += 1
                return False
            info = {**about, "time_ps": time_ps, "max_forces_std": deviation}
            candidates.append(replace(Frame.from_atoms(atoms), info=info))
            return True

        def sampled(sample: Sample) -> None:
            atoms = start.atoms.copy()
            atoms.positions = sample.positions
            consider(atoms, sample.time_ps)

        result = run_langevin(
            start.atoms, calculator, start.temperature, section.time_ps, stop=stop,
            timestep_fs=section.timestep_fs, friction_per_ps=section.friction_per_ps,
            log_interval=section.interval, callback=sampled,
            seed=np.random.SeedSequence([self.plan.recipe.seed, _DYNAMICS, number, index]),
        )  # fmt: skip
        ended = "completed"
        if result.reason is not None:
            # A frame that is merely too uncertain is what the potential should learn.
            uncertain = consider(result.atoms, result.survived_ps, section.max_forces_std)
            ended = "uncertain" if uncertain else "failed"
        if candidates:
            write_frames(folder / CANDIDATES, candidates)
        return {
            **start.asdict(),
            "survived_ps": result.survived_ps,
            "ended": ended,
            "reason": result.reason,
            "candidates": len(candidates),
            "dropped": dict(dropped),
        }

    def candidates(self, number: int) -> list[Frame]:
        """Return what the trajectories of a round met, in their order."""
        found: list[Frame] = []
        for index in range(len(self.plan.starts)):
            path = round_folder(self.out, number) / f"trajectory-{index}" / CANDIDATES
            record = self.record("trajectory", number, index)
            if record is not None and record["candidates"]:
                frames = read_frames(path, None)
                if len(frames) != record["candidates"]:
                    raise DataError(
                        f"{path}: changed since it was written; remove {path.parent} and run again."
                    )
                found += frames
        return found


def largest_deviation(calculator: Calculator, atoms: Atoms) -> float:
    """Return the largest predicted standard deviation of the force on an atom, eV/Å; NaN if there is none."""
    try:
        return float(np.linalg.norm(calculator.get_property("forces_std", atoms), axis=1).max())
    except GeometryError:
        return math.nan


def _unusable(monitor: StopMonitor, calculator: Calculator, atoms: Atoms, deviation: float) -> str | None:
    """Return in a word why a frame must not be labelled, or ``None``."""
    if not math.isfinite(deviation):
        return "not computable"
    forces = calculator.get_property("forces", atoms)
    if not np.isfinite(forces).all():
        return "not finite"
    if monitor.check_distances(atoms):
        return "atoms too close"
    if np.linalg.norm(forces, axis=1).max() > monitor.criteria.max_force:
        return "force too large"
    return None
