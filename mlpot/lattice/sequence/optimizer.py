"""Optimizers, learning rate and averaged weights of a training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mlpot.lattice.sequence.model import Autoregressive
from mlpot.lattice.sequence.settings import FitSettings

#: Iterations of L-BFGS over all states of the start.
_ITERATIONS = 60
#: Learning rate of couplings that such a start has fitted, relative to that of the network.
_FITTED = 0.1


class swapped:
    """Give parameters other values, those of a dictionary, for the length of a block."""

    def __init__(self, parameters: dict[str, nn.Parameter], values: dict[str, Tensor]) -> None:
        self.parameters, self.values = parameters, values

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.data, self.values[name] = self.values[name], parameter.data

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()


def make_optimizers(
    parameters: dict[str, nn.Parameter], settings: FitSettings
) -> list[torch.optim.Optimizer]:
    """Return AdamW, and Muon for the matrices inside networks where asked for; ``peak`` is the rate."""
    inner = ("hidden", "blocks", "cells", "turn", "merge")
    linear: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, value in parameters.items():
        if settings.start and name in ("bias", "couplings"):
            linear.append(value)
        elif settings.optimizer == "muon" and value.ndim == 2 and name.split(".")[0] in inner:
            matrices.append(value)
        else:
            others.append(value)
    rate, decay = settings.learning_rate, settings.weight_decay
    groups = [{"params": others, "peak": rate}, {"params": linear, "peak": _FITTED * rate}]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), weight_decay=decay, foreach=True)
    ]
    if matrices:
        group = {"params": matrices, "peak": rate}
        optimizers.append(
            torch.optim.Muon([group], lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        )
    return optimizers


def schedule(step: int, settings: FitSettings) -> float:
    """Return the factor of the learning rate: linear warm-up, then half a cosine to zero."""
    warm = min(settings.warm_up, settings.steps // 2)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (settings.steps - warm)))


def fit_couplings(model: Autoregressive, states: Tensor) -> None:
    """Fit couplings and biases alone, without the network, by L-BFGS.

    It is a logistic regression of each step on those before, convex but ill-conditioned where sites
    are strongly correlated: there the gradient steps that suit the network need many thousands.

    Parameters
    ----------
    model
        Whose network still gives zero.
    states
        Flat, ``(B, N)``, int64.
    """
    parameters = [model.bias] if model.couplings is None else [model.bias, model.couplings]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=_ITERATIONS, history_size=20, line_search_fn="strong_wolfe"
    )
    sequence = states[:, model.order]

    def closure() -> float:
        optimizer.zero_grad()
        logits = model.linear(sequence).expand(len(sequence), -1, -1).flatten(0, 1)
        loss = nn.functional.cross_entropy(logits, sequence.flatten())
        # A trace of decay: what few states do not determine stays small.
        loss = loss + 0.5 / sequence.numel() * sum((value**2).sum() for value in parameters)
        loss.backward()
        return float(loss.detach())

    optimizer.step(closure)
