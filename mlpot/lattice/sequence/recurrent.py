"""Recurrent networks over a path: the published architecture, and the LSTM.

Sprague et al. (Mach. Learn.: Sci. Technol. 2, 02LT02, 2021) used one GRU layer of 378 units on a
spiral path, without couplings.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpot.lattice.sequence.model import Autoregressive


class Recurrent(Autoregressive):
    """Logits of a step from a GRU or LSTM that has read the states of the steps before.

    Parameters
    ----------
    shape, q, order, coupled
        See :class:`~mlpot.lattice.sequence.model.Autoregressive`.
    cell
        ``gru`` or ``lstm``.
    width, layers
        Hidden units, and layers on top of each other.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        q: int,
        order: npt.NDArray[np.int64],
        coupled: npt.NDArray[np.bool_] | None,
        cell: Literal["gru", "lstm"],
        width: int,
        layers: int,
    ) -> None:
        super().__init__(shape, q, order, coupled)
        self.cells = (nn.GRU if cell == "gru" else nn.LSTM)(q, width, layers)
        self.last = nn.Linear(width, q)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def network(self, sequence: Tensor) -> Tensor:
        """Return logits ``(B, N, q)``."""
        read = self.encode(sequence[:, :-1].T)
        start = read.new_zeros(1, len(sequence), self.q)
        hidden, _ = self.cells(torch.cat([start, read]))
        return self.last(hidden).transpose(0, 1)

    def begin(self, n: int) -> Any:
        """Return the hidden state: none."""
        return [None, n]

    def advance(self, memory: Any, step: int, previous: Tensor | None) -> Tensor:
        """Read one state more."""
        state, n = memory
        read = self.bias.new_zeros(n, self.q) if previous is None else self.encode(previous)
        hidden, memory[0] = self.cells(read.unsqueeze(0), state)
        return self.last(hidden[0])
