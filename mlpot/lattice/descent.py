"""Stochastic descent, shared by everything that fits an extensive network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mlpot.errors import LatticeError


@dataclass(frozen=True)
class Descent:
    """How to descend.

    Parameters
    ----------
    steps
        Updates.
    learning_rate
        Of AdamW, at its highest: it rises linearly over the first 5 % and falls as a cosine to zero.
    weight_decay
        Of AdamW (decoupled), on matrices only.
    average
        Decay per step of the exponential moving average of the weights, which is what is kept;
        0 keeps the last weights.
    clip
        Largest norm of the gradient.
    """

    steps: int = 2000
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    average: float = 0.99
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.learning_rate <= 0 or self.weight_decay < 0 or not 0 <= self.average < 1:
            raise LatticeError(
                f"descent: steps {self.steps}, learning rate {self.learning_rate}, weight decay "
                f"{self.weight_decay}, average {self.average}; expected >= 1, > 0, >= 0, 0 to 1."
            )


def descend(
    models: Iterable[nn.Module],
    loss: Callable[[int], Tensor],
    settings: Descent,
    progress: Callable[[int, int, float], None] | None = None,
    each: Callable[[int], None] | None = None,
    rates: Iterable[float] | None = None,
) -> list[float]:
    """Minimise a stochastic loss; afterwards the models hold the averaged weights.

    Parameters
    ----------
    models
        Their parameters are changed in place.
    loss
        Called with the number of the step; returns a scalar with gradients.
    settings
        How.
    progress
        Called after each step with (steps done, all steps, loss).
    each
        Called before each step with its number, for what has to be renewed now and then.
    rates
        Factors on the learning rate, one for each model; 1 by default.

    Returns
    -------
    list of float
        The loss of each step.

    Raises
    ------
    LatticeError
        If the loss is no longer a number.
    """
    models = list(models)
    rates = [1.0] * len(models) if rates is None else list(rates)
    groups: list[dict[str, Any]] = []
    for model, rate_of in zip(models, rates, strict=True):
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for matrices in (True, False):
            groups.append(
                {
                    "params": [parameter for parameter in trained if (parameter.ndim > 1) == matrices],
                    "weight_decay": settings.weight_decay if matrices else 0.0,
                    "lr": settings.learning_rate * rate_of,
                }
            )
    parameters = [parameter for group in groups for parameter in group["params"]]
    optimiser = torch.optim.AdamW([group for group in groups if group["params"]])
    warm = max(1, settings.steps // 20)

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, settings.steps - warm)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    averages = [parameter.detach().clone() for parameter in parameters]
    history: list[float] = []
    for step in range(settings.steps):
        if each is not None:
            each(step)
        optimiser.zero_grad()
        value = loss(step)
        value.backward()  # type: ignore[no-untyped-call]
        history.append(float(value.detach()))
        if not math.isfinite(history[-1]):
            raise LatticeError(
                f"training: the loss is {history[-1]} after {step} steps; take a smaller learning rate than "
                f"{settings.learning_rate:g}."
            )
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimiser.step()
        schedule.step()
        # Young averages forget faster, so that the initial weights do not linger.
        decay = min(settings.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for average, parameter in zip(averages, parameters, strict=True):
                average.lerp_(parameter, 1 - decay)
        if progress is not None:
            progress(step + 1, settings.steps, history[-1])
    if settings.average:
        with torch.no_grad():
            for average, parameter in zip(averages, parameters, strict=True):
                parameter.copy_(average)
    return history


class Minibatches:
    """Endless minibatches of an array, shuffled anew every epoch, drawn by a generator of their own."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        self.count, self.batch = count, min(batch, count)
        self.generator = torch.Generator().manual_seed(seed)
        self._order = torch.empty(0, dtype=torch.int64)

    def __next__(self) -> Any:
        """Return the numbers of the next batch, (batch,) int64."""
        if len(self._order) < self.batch:
            self._order = torch.randperm(self.count, generator=self.generator)
        chosen, self._order = self._order[: self.batch], self._order[self.batch :]
        return chosen
