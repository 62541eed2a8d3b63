"""Masked convolution on a periodic lattice (PixelCNN; van den Oord et al., ICML 2016).

The window of a site is periodic, and what the path has not visited is masked in it: near the
boundaries a site sees its visited neighbours across them. The path may be any.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpot.lattice.sequence.model import Autoregressive
from mlpot.lattice.sequence.paths import visited_window


class Convolution(Autoregressive):
    """Logits from a stack of masked convolutions with residual blocks and biases of each site.

    Parameters
    ----------
    shape, q, order, coupled
        See :class:`~mlpot.lattice.sequence.model.Autoregressive`.
    channels, layers
        Channels; residual blocks after the first convolution.
    reach
        Half width of the window: 2 is 5 sites wide.
    """

    window: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        q: int,
        order: npt.NDArray[np.int64],
        coupled: npt.NDArray[np.bool_] | None,
        channels: int,
        layers: int,
        reach: int,
    ) -> None:
        super().__init__(shape, q, order, coupled)
        window = visited_window(self.shape, order, reach)
        self.register_buffer("window", torch.as_tensor(window), persistent=False)
        size = window.shape[1]
        self.channels = channels
        self.first = nn.Linear(size * q, channels)
        self.place = nn.Parameter(torch.zeros(self.sites, channels))
        self.blocks = nn.ModuleList(_Block(channels, size + 1) for _ in range(layers))
        self.last = nn.Linear(channels, q)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def network(self, sequence: Tensor) -> Tensor:
        """Return logits ``(B, N, q)``."""
        hidden = self.first(self._look(self.encode(sequence.T))) + self.place.unsqueeze(1)
        for block in self.blocks:
            active = nn.functional.silu(hidden)
            around = torch.cat([active, self._look(active)], dim=-1)
            hidden = hidden + block(around)
        return self.last(nn.functional.silu(hidden)).transpose(0, 1)

    def _look(self, values: Tensor) -> Tensor:
        """Return what each step sees of ``values`` ``(N, B, C)``: shape ``(N, B, K C)``."""
        padded = torch.cat([values, values.new_zeros(1, *values.shape[1:])])
        return torch.cat([padded[column] for column in self.window.unbind(1)], dim=-1)

    def begin(self, n: int) -> Any:
        """Return codes and activations of no steps, with a row of zeros for what is not visited."""
        codes = self.bias.new_zeros(self.sites + 1, n, self.q)
        return [codes, *(self.bias.new_zeros(self.sites + 1, n, self.channels) for _ in self.blocks)]

    def advance(self, memory: Any, step: int, previous: Tensor | None) -> Tensor:
        """Work out the activations of one site more."""
        codes, *activations = memory
        if previous is not None:
            codes[step - 1] = self.encode(previous)
        window = self.window[step]
        hidden = self.first(codes[window].transpose(0, 1).flatten(1)) + self.place[step]
        for block, known in zip(self.blocks, activations, strict=True):
            known[step] = nn.functional.silu(hidden)
            around = torch.cat([known[step].unsqueeze(0), known[window]])
            hidden = hidden + block(around.transpose(0, 1).flatten(1))
        return self.last(nn.functional.silu(hidden))


class _Block(nn.Sequential):
    """Convolution and a layer within the site: the branch of a residual block, zero at the start."""

    def __init__(self, channels: int, size: int) -> None:
        last = nn.Linear(channels, channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(nn.Linear(size * channels, channels), nn.SiLU(), last)
