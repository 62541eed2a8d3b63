"""Causal transformer along a path, with positions in the dimensions of the lattice.

The token of a step is the state before it and the position of its own site, one learned vector per
coordinate; attention has a learned bias of the periodic displacement between the site of the query
and the site whose state the key holds (as Swin and T5 have of relative positions).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpot.lattice.sequence.model import Autoregressive


class Transformer(Autoregressive):
    """Logits from causal self-attention.

    Parameters
    ----------
    shape, q, order, coupled
        See :class:`~mlpot.lattice.sequence.model.Autoregressive`.
    width, heads, layers
        Size of a token, divisible by ``heads``; attention heads; blocks.
    """

    displacement: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        q: int,
        order: npt.NDArray[np.int64],
        coupled: npt.NDArray[np.bool_] | None,
        width: int,
        heads: int,
        layers: int,
    ) -> None:
        super().__init__(shape, q, order, coupled)
        coordinates = np.stack(np.unravel_index(order, self.shape), axis=-1)
        self.register_buffer("coordinates", torch.as_tensor(coordinates), persistent=False)
        held = np.roll(coordinates, 1, axis=0)
        between = (coordinates[:, None] - held[None]) % np.array(self.shape)
        flat = np.ravel_multi_index(tuple(np.moveaxis(between, -1, 0)), self.shape)
        flat[:, 0] = self.sites  # the first token holds no state
        self.register_buffer("displacement", torch.as_tensor(flat), persistent=False)
        later = torch.ones(self.sites, self.sites, dtype=torch.bool).triu(1)
        self.register_buffer("later", later, persistent=False)
        self.state = nn.Linear(q, width)
        self.places = nn.ParameterList(
            nn.Parameter(0.1 * torch.randn(length, width)) for length in self.shape
        )
        self.blocks = nn.ModuleList(_Block(width, heads, self.sites) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, q)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    coordinates: Tensor
    later: Tensor

    def _place(self) -> Tensor:
        columns = self.coordinates.unbind(-1)
        return torch.stack(
            [vectors[column] for vectors, column in zip(self.places, columns, strict=True)]
        ).sum(0)

    def network(self, sequence: Tensor) -> Tensor:
        """Return logits ``(B, N, q)``."""
        read = self.state(self.encode(sequence[:, :-1]))
        tokens = nn.functional.pad(read, (0, 0, 1, 0)) + self._place()
        for block in self.blocks:
            tokens = block(tokens, self.displacement, self.later)
        return self.last(self.norm(tokens))

    def begin(self, n: int) -> Any:
        """Return the places and the keys and values of no steps."""
        return [n, self._place(), [None] * len(self.blocks)]

    def advance(self, memory: Any, step: int, previous: Tensor | None) -> Tensor:
        """Attend from one step more."""
        n, place, kept = memory
        token = place[step].expand(n, 1, -1)
        if previous is not None:
            token = token + self.state(self.encode(previous)).unsqueeze(1)
        for i, block in enumerate(self.blocks):
            assert isinstance(block, _Block)
            token, kept[i] = block.extend(token, self.displacement[step : step + 1, : step + 1], kept[i])
        return self.last(self.norm(token[:, 0]))


class _Block(nn.Module):
    """Pre-norm attention and a two-layer network, both residual."""

    def __init__(self, width: int, heads: int, sites: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.gather = nn.Linear(width, width)
        self.between = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
        self.bias = nn.Parameter(torch.zeros(heads, sites + 1))

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.project(self.before(tokens)).chunk(3, dim=-1)
        )
        return query, key, value

    def _finish(self, tokens: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        tokens = tokens + self.gather(seen.transpose(1, 2).flatten(2))
        return tokens + self.inner(self.between(tokens))

    def forward(self, tokens: Tensor, displacement: Tensor, later: Tensor) -> Tensor:
        bias = self.bias[:, displacement].masked_fill(later, -torch.inf)
        return self._finish(tokens, *self._split(tokens), bias)

    def extend(
        self, token: Tensor, displacement: Tensor, kept: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the next token and the keys and values kept so far."""
        query, key, value = self._split(token)
        if kept is not None:
            key, value = torch.cat([kept[0], key], dim=2), torch.cat([kept[1], value], dim=2)
        return self._finish(token, query, key, value, self.bias[:, displacement]), (key, value)
