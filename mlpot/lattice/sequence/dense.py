"""Masked dense network (MADE; Germain et al., ICML 2015) with residual layers.

Every hidden unit has a last step that it may see; weights that would look further are masked. One
pass is a few matrix products over the batch, by far the cheapest of the architectures on a CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpot.lattice.sequence.model import Autoregressive


class Dense(Autoregressive):
    """Logits from masked dense layers.

    Parameters
    ----------
    shape, q, order, coupled
        See :class:`~mlpot.lattice.sequence.model.Autoregressive`.
    width
        Hidden units of a layer, shared out evenly over the steps.
    layers
        Hidden layers; all but the first are residual.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        q: int,
        order: npt.NDArray[np.int64],
        coupled: npt.NDArray[np.bool_] | None,
        width: int,
        layers: int,
    ) -> None:
        super().__init__(shape, q, order, coupled)
        last = torch.arange(width) * max(self.sites - 1, 1) // width
        inputs = torch.arange(self.sites).repeat_interleave(q)
        self.first = _Masked(inputs, last, strict=False)
        self.hidden = nn.ModuleList(_Masked(last, last, strict=False) for _ in range(layers - 1))
        self.last = _Masked(last, inputs, strict=True)
        nn.init.zeros_(self.last.weight)
        edges = torch.searchsorted(last, torch.arange(self.sites + 1))
        self.edges: list[int] = edges.tolist()

    def network(self, sequence: Tensor) -> Tensor:
        """Return logits ``(B, N, q)``."""
        hidden = self.first(self.encode(sequence).flatten(1))
        for layer in self.hidden:
            hidden = hidden + layer(nn.functional.silu(hidden))
        return self.last(nn.functional.silu(hidden)).view(-1, self.sites, self.q)

    def begin(self, n: int) -> Any:
        """Return the inputs and hidden units, all unknown."""
        width = self.first.weight.shape[0]
        inputs = self.bias.new_zeros(n, self.sites * self.q)
        return [inputs, *(self.bias.new_zeros(n, width) for _ in range(len(self.hidden) + 1))]

    def advance(self, memory: Any, step: int, previous: Tensor | None) -> Tensor:
        """Work out the hidden units that the previous state completes, and the logits of the step."""
        inputs, *activations = memory
        if previous is not None:
            known = step * self.q
            inputs[:, known - self.q : known] = self.encode(previous)
            low, high = self.edges[step - 1], self.edges[step]
            hidden = self.first.part(inputs, known, low, high)
            activations[0][:, low:high] = nn.functional.silu(hidden)
            for below, layer, above in zip(activations, self.hidden, activations[1:], strict=False):
                assert isinstance(layer, _Masked)
                hidden = hidden + layer.part(below, high, low, high)
                above[:, low:high] = nn.functional.silu(hidden)
        return self.last.part(activations[-1], self.edges[step], step * self.q, (step + 1) * self.q)


class _Masked(nn.Linear):
    """A linear layer whose outputs see inputs of at most (or, strictly, less than) their own step."""

    mask: Tensor

    def __init__(self, inputs: Tensor, outputs: Tensor, strict: bool) -> None:
        super().__init__(len(inputs), len(outputs))
        mask = inputs[None] < outputs[:, None] if strict else inputs[None] <= outputs[:, None]
        self.register_buffer("mask", mask.to(self.weight.dtype), persistent=False)
        with torch.no_grad():
            self.weight.normal_().div_(mask.sum(1, keepdim=True).clamp(min=1).sqrt())
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.mask, self.bias)

    def part(self, x: Tensor, known: int, low: int, high: int) -> Tensor:
        """Return outputs low..high from the first inputs, ``known`` in number."""
        weight = (self.weight * self.mask)[low:high, :known]
        return nn.functional.linear(x[:, :known], weight, self.bias[low:high])
