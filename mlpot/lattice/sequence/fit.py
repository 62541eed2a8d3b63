"""Training of sequence models by cross-entropy.

A run's folder holds ``model.safetensors`` (the averaged weights, at the evaluation of lowest
held-out cross-entropy), ``record.json`` (the curve) and, until the run is over, ``last.safetensors``
(all that the next step depends on). Batches and transformations are functions of the seed and the
number of the step alone, so that a run that was stopped and resumed ends bit for bit as one that
was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpot.atomic import read_json, write_json
from mlpot.engine.guards import alone_in, interruptible
from mlpot.errors import DataError, RecipeError
from mlpot.lattice.samples import Samples
from mlpot.lattice.sequence.build import load_sequence, save_sequence
from mlpot.lattice.sequence.checkpoint import (
    load_checkpoint,
    optimizer_tensors,
    restore_optimizers,
    save_checkpoint,
)
from mlpot.lattice.sequence.model import Autoregressive, SequenceModel
from mlpot.lattice.sequence.optimizer import fit_couplings, make_optimizers, schedule, swapped
from mlpot.lattice.sequence.settings import FitSettings
from mlpot.lattice.sequence.symmetry import Averaged, Group

#: Most held-out states that an evaluation during the run looks at.
_GLANCE = 20_000


@dataclass(frozen=True)
class Progress:
    """Where a training is: after an evaluation.

    Attributes
    ----------
    step, steps
        Done and asked for.
    training, held_out
        Cross-entropy -ln p of a state in nats: mean over the batches since the last evaluation with
        the weights of that time, and over held-out states with the averaged weights.
    states_per_second
        Since the last evaluation.
    """

    step: int
    steps: int
    training: float
    held_out: float
    states_per_second: float


@dataclass(frozen=True)
class Fit:
    """A trained sequence model and its record.

    Attributes
    ----------
    model
        With the weights kept.
    record
        ``curve`` (an entry for each evaluation, the first before any step: ``step``, ``training``,
        ``held_out``, in nats for a state), ``best_step``, ``held_out`` and ``held_out_error`` of the
        final model (averaged over its group if it has one), ``held_out_states``, ``training_states``,
        ``seconds``.
    """

    model: SequenceModel
    record: dict[str, Any]


def fit_sequence(
    model: SequenceModel,
    samples: Samples | npt.NDArray[np.integer],
    settings: FitSettings,
    run: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Fit:
    """Train a sequence model on states, in place, and return it with the best weights.

    Parameters
    ----------
    model
        From :func:`~mlpot.lattice.sequence.build.build_sequence`. One that is averaged over a group
        is trained without averaging (declare the group in ``settings.augment``) and evaluated with it
        at the end.
    samples
        States ``(samples, *shape)``. The last ones are held out (see ``settings.holdout``).
    settings
        Of the training.
    run
        Folder for checkpoints, the model and the record; ``None`` keeps nothing.
    resume
        Continue the run in the folder; one that is over is returned as it is.
    progress
        Called after each evaluation.

    Raises
    ------
    DataError
        For samples of another lattice or alphabet, or too few to hold any out.
    RecipeError
        If the folder holds a run and ``resume`` is not set, or one of other settings.
    Interrupted
        On Ctrl-C or SIGTERM, with a message on how to continue.
    """
    states = samples.states if isinstance(samples, Samples) else np.asarray(samples)
    if isinstance(samples, Samples) and samples.q != model.q:
        raise DataError(
            f"samples of {samples.q} states per site given to a sequence model of {model.q}; "
            "build one of the samples' alphabet."
        )
    training, held_out = _split(model.flat(states).to(torch.int8), settings.holdout)
    inner = model.inner if isinstance(model, Averaged) else model
    assert isinstance(inner, Autoregressive)
    folder = Path(run) if run is not None else None
    notes: list[str] = []
    with ExitStack() as stack:
        if folder is not None:
            stack.enter_context(alone_in(folder, "training of a sequence model", "folder", notes))
            stack.enter_context(
                interruptible(f"{folder}: stopped; it continues from its last checkpoint with resume.")
            )
        trainer = _Trainer(inner, training, held_out, settings, folder)
        if folder is not None:
            done = _finished(folder, model, trainer, resume)
            if done is not None:
                return done
        if folder is not None and resume:
            trainer.restore()
        trainer.train(progress)
        trainer.keep_best()
        record = trainer.record(model, notes)
        if folder is not None:
            facts = {
                key: record[key] for key in ("held_out", "held_out_error", "held_out_states", "best_step")
            }
            save_sequence(model, folder / "model.safetensors", facts)
            write_json(folder / "record.json", record)
            (folder / "last.safetensors").unlink(missing_ok=True)
    return Fit(model, record)


def _split(states: Tensor, holdout: float) -> tuple[Tensor, Tensor]:
    held = math.ceil(holdout * len(states))
    if held >= len(states):
        raise DataError(
            f"{len(states)} samples are too few to train on some and hold out {holdout:g} of them; "
            "give more samples."
        )
    return states[: len(states) - held], states[len(states) - held :]


def _finished(folder: Path, model: SequenceModel, trainer: _Trainer, resume: bool) -> Fit | None:
    record = read_json(folder / "record.json")
    begun = record is not None or (folder / "last.safetensors").exists()
    if begun and not resume:
        raise RecipeError(
            f"{folder}: holds a training of a sequence model; resume it, or choose another folder."
        )
    if record is None:
        return None
    trainer.check(record)
    trained, _ = load_sequence(folder / "model.safetensors", model.shape, model.q)
    if trained.settings != model.settings:
        raise RecipeError(f"{folder}: holds a sequence model of other settings; choose another folder.")
    model.load_state_dict(trained.state_dict())
    return Fit(model, record)


class _Trainer:
    """One run, from its first step or a checkpoint to its last."""

    def __init__(
        self,
        model: Autoregressive,
        training: Tensor,
        held_out: Tensor,
        settings: FitSettings,
        folder: Path | None,
    ) -> None:
        self.model, self.settings, self.folder = model, settings, folder
        self.held_out = held_out
        self.count = len(training)
        self.states, self.weights = _distinct(training)
        self.group = None if settings.augment.trivial else Group(settings.augment, model.shape, model.q)
        self.parameters = dict(model.named_parameters())
        self.optimizers = make_optimizers(self.parameters, settings)
        self.average: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}
        self.curve: list[dict[str, Any]] = []
        self.step = 0
        self.seconds = 0.0

    def train(self, progress: Callable[[Progress], None] | None) -> None:
        """Go on to the last step, with an evaluation and a checkpoint at the end of each part of the run."""
        settings = self.settings
        ends = [
            math.ceil(settings.steps * (i + 1) / settings.evaluations) for i in range(settings.evaluations)
        ]
        if self.step == 0:
            if settings.start:
                fit_couplings(self.model, self._start())
            self.average = {name: value.detach().clone() for name, value in self.parameters.items()}
            self._evaluate(None)
        for end in ends:
            if end <= self.step:
                continue
            begin, losses, first = time.perf_counter(), 0.0, self.step
            for batch, weight in self._batches(end):
                losses += self._update(batch, weight)
                self.step += 1
            seconds = time.perf_counter() - begin
            done = self.step - first
            held_out = self._evaluate(losses / done)
            self.seconds += time.perf_counter() - begin
            if self.folder is not None:
                self._save()
            if progress is not None:
                rate = done * settings.batch / seconds
                progress(Progress(self.step, settings.steps, losses / done, held_out, rate))

    def _evaluate(self, training: float | None) -> float:
        """Enter the held-out cross-entropy of the averaged weights in the curve; keep the best weights."""
        held_out = float(self._held_out().mean())
        if not self.curve or held_out < min(entry["held_out"] for entry in self.curve):
            self.best = {name: value.clone() for name, value in self.average.items()}
        self.curve.append({"step": self.step, "training": training, "held_out": held_out})
        return held_out

    def _start(self) -> Tensor:
        """Return flat states for the couplings' start, each transformed; few are repeated."""
        generator = np.random.default_rng([self.settings.seed, 2])
        number = self.settings.start
        rows = generator.permutation(len(self.states))
        rows = np.resize(rows, number if self.group is not None else min(number, len(rows)))
        if self.weights is not None:
            chances = self.weights.double().numpy()
            rows = generator.choice(len(chances), number, p=chances / chances.sum())
        states = self.states[torch.as_tensor(rows)].long()
        if self.group is not None:
            numbers = torch.as_tensor(generator.random((2, len(rows))))
            states = self.group.random(states, numbers[0], numbers[1])
        return states

    def _batches(self, end: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the batches from the present step on: shuffled passes over the states, without a seam."""
        size, count, seed = self.settings.batch, len(self.states), self.settings.seed
        shuffled: dict[int, Tensor] = {}
        for step in range(self.step, end):
            passes = range(step * size // count, ((step + 1) * size - 1) // count + 1)
            shuffled = {
                i: shuffled[i]
                if i in shuffled
                else torch.as_tensor(np.random.default_rng([seed, 0, i]).permutation(count))
                for i in passes
            }
            start = step * size - passes[0] * count
            chosen = torch.cat([shuffled[i] for i in passes])[start : start + size]
            batch = self.states[chosen].long()
            if self.group is not None:
                numbers = torch.as_tensor(np.random.default_rng([seed, 1, step]).random((2, size)))
                batch = self.group.random(batch, numbers[0], numbers[1])
            yield batch, None if self.weights is None else self.weights[chosen]

    def _update(self, batch: Tensor, weight: Tensor | None) -> float:
        factor = schedule(self.step, self.settings)
        losses = self.model.loss(batch)
        loss = losses.mean() if weight is None else (weight * losses).mean()
        per_site = loss / self.model.sites
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        per_site.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip)
        for optimizer in self.optimizers:
            for options in optimizer.param_groups:
                options["lr"] = factor * options["peak"]
            optimizer.step()
        # Young averages forget the start sooner (as in Tensor2Tensor and timm).
        memory = max(1.0, self.settings.ema * self.settings.steps)
        decay = min(1 - 1 / memory, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(
            list(self.average.values()), [value.detach() for value in self.parameters.values()], 1 - decay
        )
        return float(loss.detach())

    @torch.no_grad()
    def _held_out(self) -> Tensor:
        """Return -ln p of held-out states, float64, with the averaged weights."""
        with swapped(self.parameters, self.average):
            some = self.held_out[:_GLANCE].long()
            return torch.cat([-self.model.log_prob_flat(part) for part in some.split(2048)])

    def keep_best(self) -> None:
        """Give the model the averaged weights of its best evaluation."""
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(self.best[name])

    def record(self, model: SequenceModel, notes: list[str]) -> dict[str, Any]:
        """Return the record of the run; the model has its final weights."""
        nats = -model.evaluate(self.held_out.view(-1, *model.shape))
        best = min(self.curve, key=lambda entry: entry["held_out"])
        return {
            "settings": self.settings.model_dump(mode="json"),
            "data": self._fingerprint(),
            "training_states": self.count,
            "held_out_states": len(nats),
            "curve": self.curve,
            "best_step": best["step"],
            "held_out": float(nats.mean()),
            "held_out_error": float(nats.std(ddof=1) / math.sqrt(len(nats))) if len(nats) > 1 else None,
            "seconds": self.seconds,
            "notes": notes,
        }

    def _save(self) -> None:
        assert self.folder is not None
        tensors = {
            "model": {name: value.detach() for name, value in self.parameters.items()},
            "average": self.average,
            "best": self.best,
            "optimizer": optimizer_tensors(self.optimizers),
        }
        facts = {
            "settings": self.settings.model_dump(mode="json"),
            "data": self._fingerprint(),
            "step": self.step,
            "curve": self.curve,
            "seconds": self.seconds,
        }
        save_checkpoint(self.folder / "last.safetensors", tensors, facts)

    def restore(self) -> None:
        """Take up the checkpoint in the folder, if there is one."""
        assert self.folder is not None
        file = self.folder / "last.safetensors"
        if not file.exists():
            return
        tensors, facts = load_checkpoint(file)
        self.check(facts)
        shapes = {name: list(value.shape) for name, value in self.parameters.items()}
        if {name: list(value.shape) for name, value in tensors["model"].items()} != shapes:
            raise RecipeError(f"{self.folder}: holds a training of another model; choose another folder.")
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(tensors["model"][name])
        # In the order of the parameters, which a file does not keep.
        self.average = {name: tensors["average"][name] for name in self.parameters}
        self.best = {name: tensors["best"][name] for name in self.parameters}
        restore_optimizers(self.optimizers, tensors["optimizer"])
        self.step, self.curve, self.seconds = facts["step"], facts["curve"], facts["seconds"]

    def check(self, facts: dict[str, Any]) -> None:
        """Refuse the record or checkpoint of a run with other settings or samples."""
        now = self.settings.model_dump(mode="json")
        changed = [key for key in now if facts["settings"].get(key) != now[key]]
        if changed:
            raise RecipeError(
                f"{self.folder}: was trained with other settings ({', '.join(changed)}); "
                "resume with the same ones, or choose another folder."
            )
        if facts["data"] != self._fingerprint():
            raise RecipeError(
                f"{self.folder}: was trained on other samples; resume with those, or choose another folder."
            )

    def _fingerprint(self) -> list[int]:
        places = torch.arange(1, self.states.shape[1] + 1)
        checks = [int((states.sum(0) * places).sum()) for states in (self.states, self.held_out)]
        return [self.count, *checks]


def _distinct(states: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return each state once with its weight (mean 1), where that saves at least half of them."""
    distinct, counts = np.unique(states.numpy(), axis=0, return_counts=True)
    if len(distinct) > len(states) // 2:
        return states, None
    weights = torch.as_tensor(counts / counts.mean(), dtype=torch.float32)
    return torch.as_tensor(distinct), weights
