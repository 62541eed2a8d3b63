"""What a worker of a lattice study does: one task, whose results stay in its folder."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlpot.atomic import read_json, write_json
from mlpot.errors import DataError, LatticeError
from mlpot.lattice.alphabet import order_parameter
from mlpot.lattice.coupling.two_stage import log_probabilities
from mlpot.lattice.learned_mc import scan_temperatures
from mlpot.lattice.pairwise import PairwiseEnergy
from mlpot.lattice.reweighting import Anchor, log_z_from_probabilities
from mlpot.lattice.samples import Samples, load_samples
from mlpot.lattice.sampling import sample
from mlpot.lattice.sequence.build import build_sequence, load_sequence, save_sequence
from mlpot.lattice.sequence.fit import Progress, fit_sequence
from mlpot.lattice.sequence.model import SequenceModel
from mlpot.lattice.study.energies import load_energy, parameters, save_energy
from mlpot.lattice.study.judging import SequenceEnergy, judged, seen_anew
from mlpot.lattice.study.learning import Update, learn
from mlpot.lattice.study.plan import (
    ArmTask,
    ExtrapolationTask,
    Plan,
    SamplesTask,
    ScoreTask,
    SequenceTask,
    TruthTask,
    make_plan,
)
from mlpot.lattice.study.points import curve, hot_anchor, ladder
from mlpot.lattice.study.truth import exact_entropy, mean_random_energy, truth
from mlpot.lattice.thermodynamics import default_form
from mlpot.recipe import load_recipe

RECORD = "record.json"
FOLDER = "runs"

#: States drawn from a sequence model to find ln Z.
_DRAWN = 10_000


def record(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the record of a task, ``None`` if it is not done."""
    found: dict[str, Any] | None = read_json(folder / FOLDER / key / RECORD)
    return found


def carry_out(folder: str, key: str) -> dict[str, Any]:
    """Do one task of the study in a folder and return its record; called in worker processes."""
    path = Path(folder) / "recipe.yaml"
    plan = _plan(path, path.read_text(encoding="utf-8"))
    if key not in plan.tasks:
        raise DataError(f"{folder}: the samples or the recipe have changed meanwhile; start it again.")
    return Worker(plan, Path(folder)).do(key)


@cache
def _plan(path: Path, text: str) -> Plan:
    from mlpot.lattice.recipe import LatticeRecipe

    return make_plan(load_recipe(LatticeRecipe, path))


class Worker:
    """Carries out tasks of a plan in a folder."""

    def __init__(self, plan: Plan, folder: Path, update: Update = lambda part, text: None) -> None:
        self.plan, self.folder, self.update = plan, folder, update

    def do(self, key: str) -> dict[str, Any]:
        """Do a task, unless it is done; return its record."""
        done = record(self.folder, key)
        if done is not None:
            return done
        task = self.plan.tasks[key]
        begin, cpu = time.monotonic(), time.process_time()
        said: dict[str, Any]
        match task:
            case SamplesTask():
                said = self._samples(task)
            case SequenceTask():
                said = self._sequence(task)
            case ArmTask():
                said = self._arm(task)
            case ScoreTask():
                said = self._score(task)
            case ExtrapolationTask():
                said = self._curve(task)
            case TruthTask():
                said = self._truth(task)
        said |= {"seconds": time.monotonic() - begin, "cpu_seconds": time.process_time() - cpu}
        write_json(self._place(key) / RECORD, said)
        return said

    def _place(self, key: str) -> Path:
        return self.folder / FOLDER / key

    def _samples(self, task: SamplesTask) -> dict[str, Any]:
        assert self.plan.model is not None
        settings, count = self.plan.recipe.sampling, max(self.plan.recipe.counts)
        samples = sample(
            self.plan.model, task.temperature, count, settings.method, settings.order, task.seed,
            settings.stream, settings.chains, settings.burn_in, settings.hottest,
            lambda done, total: self.update(done / total, task.key),
        )  # fmt: skip
        drift = samples.require_equilibrium()
        samples.save(self._place(task.key) / "samples.npz")
        return {"temperature": task.temperature, "seed": task.seed} | _told(samples, drift.p_value)

    def samples(self, key: str | None, count: int) -> Samples:
        """Return the first samples of a task, or of the file."""
        if key is None:
            assert self.plan.samples is not None
            return self.plan.samples.take(count)
        return load_samples(self._place(key) / "samples.npz").take(count)

    def _sequence(self, task: SequenceTask) -> dict[str, Any]:
        recipe, plan = self.plan.recipe, self.plan
        samples = self.samples(task.samples, task.count)
        model = build_sequence(plan.shape, plan.q, recipe.sequence, task.seed)
        settings = recipe.fit.model_copy(update={"seed": task.seed})

        def progress(now: Progress) -> None:
            self.update(now.step / now.steps, f"sequence model, {now.held_out:.3f} nats")

        fit = fit_sequence(model, samples, settings, self._place(task.key) / "fit", True, progress)
        held = settings.holdout
        nats, error = fit.record["held_out"], fit.record["held_out_error"]
        entropy = exact_entropy(plan.model, task.temperature)
        return {
            "temperature": task.temperature, "count": task.count, "seed": task.seed,
            "sequence": {
                "nll": nats, "nll_error": error, "exact_entropy": entropy,
                "kl": None if entropy is None else nats - entropy, "held_out": held,
                "parameters": sum(p.numel() for p in fit.model.parameters()),
            },
        }  # fmt: skip

    def _load_sequence(self, key: str) -> SequenceModel:
        path = self._place(key) / "fit" / "model.safetensors"
        return load_sequence(path, self.plan.shape, self.plan.q)[0]

    def _sequence_of(self, task: ArmTask) -> SequenceModel:
        """Return the sequence model of an arm: its own, or the one that it started from."""
        own = self._place(task.key) / "sequence.safetensors"
        if own.exists():
            return load_sequence(own, self.plan.shape, self.plan.q)[0]
        return self._load_sequence(task.sequence or "")

    def _arm(self, task: ArmTask) -> dict[str, Any]:
        plan = self.plan
        samples = self.samples(task.samples, task.count)
        outcome = learn(
            plan.recipe, task.arm, samples, task.seed, partial(self._load_sequence, task.sequence or ""),
            self.update,
        )  # fmt: skip
        energy = outcome.energy
        place = self._place(task.key)
        save_energy(energy, place)
        sequence = None
        if task.sequence is not None:
            before = record(self.folder, task.sequence) or {}
            sequence = before["sequence"]
        if outcome.sequence is not None:
            save_sequence(outcome.sequence, place / "sequence.safetensors")
            sequence = seen_anew(outcome.sequence, samples, sequence or {})
        learned = outcome.facts.get("free") if isinstance(energy, PairwiseEnergy) else parameters(energy)
        return {
            "arm": task.arm, "temperature": task.temperature, "count": task.count, "seed": task.seed,
            "parameters": learned, "sequence": sequence, "facts": outcome.facts,
        }  # fmt: skip

    def _score(self, task: ScoreTask) -> dict[str, Any]:
        learned = self.plan.learning[task.learned]
        assert isinstance(learned, ArmTask)
        energy = load_energy(self._place(task.learned))
        sequence = None
        if learned.sequence is not None:
            sequence = SequenceEnergy(self._sequence_of(learned), learned.temperature)
        samples = self.samples(learned.samples, learned.count)
        return judged(self.plan, energy, sequence, samples)

    def _curve(self, task: ExtrapolationTask) -> dict[str, Any]:
        plan, section = self.plan, self.plan.recipe.extrapolation[task.section]
        learned = plan.learning[task.learned]
        assert isinstance(learned, ArmTask)
        energy = load_energy(self._place(task.learned))
        if task.shape != plan.shape:
            energy = energy.resized(task.shape)  # type: ignore[assignment]
        sites = int(np.prod(task.shape))
        # Energies are zero on average over random states; the true model's zero may be another.
        model = plan.model
        if model is not None and task.shape != plan.shape:
            model = model.resized(task.shape)
        shift = mean_random_energy(model)
        anchor, reason = None, "there is no sequence model of this lattice"
        if task.sequence is not None and section.free_energy:
            sequence = self._sequence_of(replace(learned, sequence=task.sequence))
            states = sequence.sample(_DRAWN, torch.Generator().manual_seed(learned.seed))
            try:
                anchor = log_z_from_probabilities(
                    log_probabilities(sequence, states), energy.energy(states) + shift, learned.temperature
                )
            except LatticeError as error:
                reason = f"the sequence model and the energy do not belong together ({error})"
        anchored = None if anchor is None else anchor.temperature
        rungs = ladder(section.temperatures, anchored, section.free_energy)
        form = default_form(model)
        start = np.zeros((section.chains, *task.shape), dtype=np.int8) if section.start == "uniform" else None
        scan = scan_temperatures(
            energy, rungs, chains=section.chains, steps=section.steps, burn_in=section.burn_in,
            every=section.every, seed=learned.seed, start=start, moves=section.moves,
            observe=lambda states: order_parameter(states, plan.q, form),
            progress=lambda done, total: self.update(done / total, task.key),
        )  # fmt: skip
        assert scan.observed is not None
        energies = [series.ravel() + shift for series in scan.energies]
        kind = "sequence model"
        if anchor is None and section.free_energy:
            anchor, kind = hot_anchor(energies[-1], sites, plan.q), "infinite temperature"
        observed = [series.ravel() for series in scan.observed]
        points, missing = curve(
            rungs, energies, observed, section.chains, sites, section.temperatures, anchor
        )
        return {
            "arm": learned.arm, "temperature": learned.temperature, "count": learned.count,
            "seed": learned.seed, "shape": list(task.shape), "points": points, "missing": missing,
            "anchor": None if anchor is None else _anchor(anchor, kind, reason),
            "acceptance": scan.acceptance.tolist(),
            "clusters_turned": None if scan.turned is None else [_known(share) for share in scan.turned],
        }  # fmt: skip

    def _truth(self, task: TruthTask) -> dict[str, Any]:
        assert self.plan.model is not None
        section = self.plan.recipe.extrapolation[task.section]
        model = self.plan.model
        if task.shape != self.plan.shape:
            model = model.resized(task.shape)
        curves = truth(model, section.temperatures, section.truth, 0, section.free_energy)
        return {"shape": list(task.shape), "curves": curves}


def _told(samples: Samples, drift: float) -> dict[str, Any]:
    facts = samples.autocorrelation or {}
    return {
        "samples": len(samples), "chains": samples.chains, "method": samples.provenance.get("method"),
        "stream": samples.provenance.get("stream"), "burn_in": samples.provenance.get("burn_in"),
        "spacing": facts.get("spacing"), "steps": facts.get("steps", {}),
        "in_samples": facts.get("samples", {}), "drift_p": None if math.isnan(drift) else drift,
    }  # fmt: skip


def told_of_file(samples: Samples) -> dict[str, Any]:
    """Return what is known of the correlations in a sample file, in the form of a record."""
    known = {"temperature": samples.temperature, "seed": None, "file": samples.source}
    return known | _told(samples, samples.drift_test().p_value)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _anchor(anchor: Anchor, kind: str, reason: str) -> dict[str, Any]:
    reason = "" if kind == "sequence model" else reason
    return {
        "from": kind, "temperature": anchor.temperature, "log_z": anchor.log_z, "error": anchor.error,
        "reason": reason,
    }  # fmt: skip
