"""What every sequence model is: an exactly normalised distribution over lattice states.

A path visits the sites one after the other; the probability of a state is the product of the
conditional probabilities of its sites given those before (Wu, Wang & Zhang, Phys. Rev. Lett. 122,
080602, 2019). In ``logits`` and below, states are in the order of the path.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpot.errors import DataError

States = npt.NDArray[np.integer] | Tensor


class SequenceModel(nn.Module, ABC):
    """A normalised distribution over the ``q**N`` states of a lattice, to evaluate and to draw from.

    Attributes
    ----------
    shape, q, sites
        Sides of the lattice, number of states of a site, number of sites.
    """

    def __init__(self, shape: tuple[int, ...], q: int) -> None:
        super().__init__()
        self.shape = tuple(int(length) for length in shape)
        self.q = int(q)
        self.sites = math.prod(self.shape)
        self.settings: Any = None

    @abstractmethod
    def log_prob_flat(self, states: Tensor) -> Tensor:
        """Return ln p, shape ``(B,)``, float64, of checked flat states ``(B, N)``, int64, row-major."""

    @abstractmethod
    def sample_flat(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Return ``n`` states drawn from p, shape ``(n, N)``, int64, row-major."""

    def log_prob(self, states: States) -> Tensor:
        """Return ln p(s), exactly normalised; it can be differentiated in the weights.

        Parameters
        ----------
        states
            Integers 0..q-1 of shape ``(B, *shape)``, an array or a tensor.

        Returns
        -------
        Natural logarithms, shape ``(B,)``, float64.

        Raises
        ------
        DataError
            For states of another lattice or alphabet.
        """
        return self.log_prob_flat(self.flat(states))

    def flat(self, states: States) -> Tensor:
        """Return states as int64 of shape ``(B, N)``; :class:`DataError` for those of another model."""
        tensor = torch.as_tensor(states)
        if tensor.dtype.is_floating_point or tensor.dtype == torch.bool:
            raise DataError(
                f"states are integers 0..{self.q - 1}, these are {tensor.dtype}; convert them first."
            )
        if tuple(tensor.shape[1:]) != self.shape:
            raise DataError(
                f"states of shape {tuple(tensor.shape)} given to a sequence model of the lattice "
                f"{self.shape}; give (samples, {', '.join(map(str, self.shape))}), or train another model."
            )
        tensor = tensor.reshape(-1, self.sites).long()
        if tensor.numel() and (int(tensor.min()) < 0 or int(tensor.max()) >= self.q):
            raise DataError(
                f"states from {int(tensor.min())} to {int(tensor.max())} given to a sequence model of "
                f"{self.q} states, 0..{self.q - 1}; is it the model of another alphabet?"
            )
        return tensor

    @torch.no_grad()
    def evaluate(self, states: States, batch: int = 2048) -> npt.NDArray[np.float64]:
        """Return ln p(s) of many states, shape ``(B,)``, without gradients and in pieces.

        See :meth:`log_prob` for the errors.
        """
        flat = self.flat(states)
        parts = [self.log_prob_flat(part).numpy() for part in flat.split(batch)]
        return np.concatenate(parts) if parts else np.zeros(0)

    @torch.no_grad()
    def sample(
        self, n: int, generator: torch.Generator | None = None, batch: int = 4096
    ) -> npt.NDArray[np.int8]:
        """Return independent states drawn from p, int8 of shape ``(n, *shape)``.

        Parameters
        ----------
        n
            Number of states.
        generator
            Source of random numbers, torch's own by default.
        batch
            Drawn at once.
        """
        parts = [
            self.sample_flat(min(batch, n - first), generator).to(torch.int8) for first in range(0, n, batch)
        ]
        drawn = torch.cat(parts) if parts else torch.zeros(0, self.sites, dtype=torch.int8)
        return drawn.reshape(n, *self.shape).numpy()


class Autoregressive(SequenceModel):
    """A path, a network that sees the sites before, and couplings that do so linearly.

    The logits of a site are those of the network plus ``b + sum W x`` over the states ``x`` of
    earlier sites, with weights of each pair of sites. In an Ising model the conditional of a site
    whose neighbours have all been visited is exactly of this form, and at high temperature the
    others nearly are: the network, whose last layer starts from zero, has only the rest to learn.

    Parameters
    ----------
    shape, q
        Of the lattice.
    order
        The path, shape ``(N,)``.
    coupled
        Boolean ``(N, N)``, in steps of the path: which earlier step (column) each one is coupled to;
        ``None`` for no couplings.
    """

    order: Tensor
    steps: Tensor
    mask: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        q: int,
        order: npt.NDArray[np.int64],
        coupled: npt.NDArray[np.bool_] | None,
    ) -> None:
        super().__init__(shape, q)
        self.register_buffer("order", torch.as_tensor(order.copy()), persistent=False)
        self.register_buffer("steps", torch.argsort(self.order), persistent=False)
        self.bias = nn.Parameter(torch.zeros(self.sites * q))
        self.couplings: nn.Parameter | None = None
        if coupled is not None:
            mask = torch.as_tensor(np.tril(coupled, -1)).repeat_interleave(q, 0).repeat_interleave(q, 1)
            self.register_buffer("mask", mask.to(self.bias.dtype), persistent=False)
            self.couplings = nn.Parameter(torch.zeros_like(self.mask))
        codes = (torch.eye(q, dtype=torch.float64) * q - 1) / math.sqrt(q - 1)
        self.register_buffer("codes", codes.to(self.bias.dtype), persistent=False)

    codes: Tensor

    @abstractmethod
    def network(self, sequence: Tensor) -> Tensor:
        """Return logits ``(B, N, q)`` of states ``(B, N)`` in path order, of earlier steps only."""

    @abstractmethod
    def begin(self, n: int) -> Any:
        """Return what the network remembers before the first step, of ``n`` states."""

    @abstractmethod
    def advance(self, memory: Any, step: int, previous: Tensor | None) -> Tensor:
        """Return the network's logits ``(n, q)`` of a step; ``previous`` is the state before, ``(n,)``.

        The memory is updated in place. ``previous`` is ``None`` at the first step.
        """

    def encode(self, sequence: Tensor) -> Tensor:
        """Return states as vectors of unit mean square, shape ``(..., q)``: one-hot, centred, scaled.

        For two states they are (1, -1) and (-1, 1).
        """
        return self.codes[sequence]

    def linear(self, sequence: Tensor) -> Tensor:
        """Return the part of the logits that couplings and biases give, ``(B, N, q)`` or ``(1, N, q)``."""
        linear: Tensor = self.bias
        if self.couplings is not None:
            codes = self.encode(sequence).flatten(1)
            linear = nn.functional.linear(codes, self.couplings * self.mask, self.bias)
        return linear.view(-1, self.sites, self.q)

    def logits(self, sequence: Tensor) -> Tensor:
        """Return logits ``(B, N, q)`` of states ``(B, N)`` in path order; each depends on earlier steps."""
        return self.network(sequence) + self.linear(sequence)

    def loss(self, states: Tensor) -> Tensor:
        """Return -ln p in the weights' precision, shape ``(B,)``, of flat states ``(B, N)``: for training."""
        sequence = states[:, self.order]
        logits = self.logits(sequence).flatten(0, 1)
        entropy = nn.functional.cross_entropy(logits, sequence.flatten(), reduction="none")
        return entropy.view(len(states), self.sites).sum(1)

    def log_prob_flat(self, states: Tensor) -> Tensor:
        """Return ln p, shape ``(B,)``, float64."""
        sequence = states[:, self.order]
        logs = self.logits(sequence).double().log_softmax(-1)
        return logs.gather(-1, sequence.unsqueeze(-1)).squeeze(-1).sum(-1)

    def sample_flat(self, n: int, generator: torch.Generator | None) -> Tensor:
        """Return ``n`` states drawn site after site along the path."""
        sequence = torch.zeros(n, self.sites, dtype=torch.int64)
        linear = self.bias.repeat(n, 1)
        weights = (
            None if self.couplings is None else (self.couplings * self.mask).T.reshape(self.sites, self.q, -1)
        )
        memory = self.begin(n)
        previous: Tensor | None = None
        for step in range(self.sites):
            here = slice(step * self.q, (step + 1) * self.q)
            logits = self.advance(memory, step, previous) + linear[:, here]
            cumulative = logits.double().softmax(-1).cumsum(-1)
            draw = torch.rand(n, 1, generator=generator, dtype=torch.float64)
            previous = (draw >= cumulative[:, :-1]).sum(-1)
            sequence[:, step] = previous
            if weights is not None:
                linear = linear + self.encode(previous) @ weights[step]
        return sequence[:, self.steps]
