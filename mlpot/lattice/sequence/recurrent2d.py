"""Recurrent network in the dimensions of the lattice.

The hidden state of a site is made from those of the neighbours that the path has visited, one along
each axis, and from the states of all visited neighbours across the periodic boundaries (after
Hibat-Allah et al., Phys. Rev. Research 2, 023358, 2020, eq. 24, with a gate).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpot.lattice.sequence.model import Autoregressive
from mlpot.lattice.sequence.paths import visited_window


class LatticeRecurrent(Autoregressive):
    """Logits of a site from a gated cell that reads its visited neighbours.

    Parameters
    ----------
    shape, q, order, coupled
        See :class:`~mlpot.lattice.sequence.model.Autoregressive`.
    width
        Hidden units.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        q: int,
        order: npt.NDArray[np.int64],
        coupled: npt.NDArray[np.bool_] | None,
        width: int,
    ) -> None:
        super().__init__(shape, q, order, coupled)
        self.width = width
        self.before: list[list[int]] = _predecessors(self.shape, order).tolist()
        window = visited_window(self.shape, order, 1, diamond=True)
        self.near: list[list[int]] = window.tolist()
        axes = len(self.shape)
        self.read = nn.Linear(window.shape[1] * q, 2 * width)
        self.turn = nn.Linear(axes * width, 2 * width, bias=False)
        self.merge = nn.Linear(axes * width, width, bias=False)
        self.place = nn.Parameter(torch.zeros(self.sites, 2 * width))
        self.last = nn.Linear(width, q)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def _cell(self, step: int, states: Tensor, hidden: list[Tensor]) -> Tensor:
        past = torch.cat([hidden[i] for i in self.before[step]], dim=-1)
        gate, candidate = (states + self.turn(past)).chunk(2, dim=-1)
        gate = gate.sigmoid()
        return gate * candidate.tanh() + (1 - gate) * self.merge(past)

    def network(self, sequence: Tensor) -> Tensor:
        """Return logits ``(B, N, q)``."""
        codes = [*self.encode(sequence.T).unbind(0), self.bias.new_zeros(len(sequence), self.q)]
        near = torch.stack([torch.cat([codes[i] for i in steps], dim=-1) for steps in self.near])
        states = (self.read(near) + self.place.unsqueeze(1)).unbind(0)
        nothing = self.bias.new_zeros(len(sequence), self.width)
        hidden: list[Tensor] = []
        for step in range(self.sites):
            hidden.append(self._cell(step, states[step], [*hidden, nothing]))
        return self.last(torch.stack(hidden, dim=1))

    def begin(self, n: int) -> Any:
        """Return codes and hidden states of no steps, and the zeros that stand for the others."""
        return [[], [], self.bias.new_zeros(n, self.q), self.bias.new_zeros(n, self.width)]

    def advance(self, memory: Any, step: int, previous: Tensor | None) -> Tensor:
        """Work out the hidden state of one site more."""
        codes, hidden, blank, nothing = memory
        if previous is not None:
            codes.append(self.encode(previous))
        near = torch.cat([codes[i] if i < len(codes) else blank for i in self.near[step]], dim=-1)
        states = self.read(near) + self.place[step]
        hidden.append(self._cell(step, states, [*hidden, nothing]))
        return self.last(hidden[-1])


def _predecessors(shape: tuple[int, ...], order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the visited neighbour along each axis, shape ``(N, d)``, as steps; -1 where there is none.

    Of two that are visited, the later one.
    """
    window = visited_window(shape, order, 1, diamond=True)
    here = np.stack(np.unravel_index(order, shape), axis=-1)
    before = np.full((len(order), len(shape)), -1)
    for step, steps in enumerate(window):
        for other in steps[steps < len(order)]:
            axis = int(np.flatnonzero(here[other] != here[step])[0])
            before[step, axis] = max(before[step, axis], other)
    return before
