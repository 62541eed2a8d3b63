"""Atomic environments: the bonds of every atom side by side in one padded table.

A table (N atoms, K slots) instead of a list of pairs turns every sum over neighbours into a
batched matrix product and needs no scatter: what arrives at atom i over bond (i, k) is what
left atom j at the slot ``reverse[i, k]``, and a gather through ``reverse`` is its own inverse.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

#: Length (Å) of the bonds in empty slots: beyond every cutoff, so that they contribute nothing.
FAR = 1.0e3


@dataclass(frozen=True)
class Bonds:
    """The bonds of N atoms as a list of directed pairs, sorted by centre.

    Attributes
    ----------
    vectors : (E, 3)
        Bond vectors from the centre to the neighbour.
    centre, neighbour : (E,) int64
        Indices of the atoms.
    reverse : (E,) int64
        Index of the opposite pair.
    species : (N,) int64
        Row of each atom in the element tables of the model.
    counts : (N,) int64
        Bonds of each atom.
    """

    vectors: Tensor
    centre: Tensor
    neighbour: Tensor
    reverse: Tensor
    species: Tensor
    counts: Tensor


@dataclass(frozen=True)
class Environments:
    """Bonds of N atoms, at most K each.

    Attributes
    ----------
    vectors : (N, K, 3)
        Bond vectors from the centre to the neighbour; empty slots hold a vector of length
        :data:`FAR`.
    neighbour : (N, K) int64
        Index of the neighbour (in empty slots: of the centre itself).
    reverse : (N, K) int64
        Flat slot of the opposite bond (in empty slots: the slot itself).
    species : (N,) int64
        Row of each atom in the element tables of the model.
    """

    vectors: Tensor
    neighbour: Tensor
    reverse: Tensor
    species: Tensor

    @property
    def distances(self) -> Tensor:
        """Bond lengths, (N, K)."""
        return torch.linalg.vector_norm(self.vectors, dim=-1)

    def exchange(self, outgoing: Tensor) -> Tensor:
        """Return, for every bond, what its other end sends along it; (N, K, ...) to the same."""
        n, k = self.reverse.shape
        flat = _Exchange.apply(outgoing.reshape(n * k, -1), self.reverse.reshape(-1))
        return flat.view(outgoing.shape)

    def scaled(self, factors: Tensor) -> Environments:
        """Return the environments with bond (i, k) stretched by ``factors`` (N, K)."""
        return replace(self, vectors=self.vectors * factors[..., None])


class _Exchange(torch.autograd.Function):
    """Gather rows through an involution: the backward pass is the same gather."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(reverse)
        return values.index_select(0, reverse)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (reverse,) = ctx.saved_tensors
        return _Exchange.apply(gradients[0], reverse), None


def gather_environments(bonds: Bonds) -> Environments:
    """Lay bonds out as environments."""
    n, vectors = len(bonds.species), bonds.vectors
    device = vectors.device
    k = max(int(bonds.counts.max()), 1) if n else 1
    first = torch.cumsum(bonds.counts, 0) - bonds.counts
    slot = bonds.centre * k + torch.arange(len(vectors), device=device) - first[bonds.centre]
    table = vectors.new_zeros(n * k, 3)
    table[:, 0] = FAR
    neighbours = torch.arange(n, device=device).repeat_interleave(k)
    opposite = torch.arange(n * k, device=device)
    return Environments(
        vectors=table.index_copy(0, slot, vectors).view(n, k, 3),
        neighbour=neighbours.index_copy(0, slot, bonds.neighbour).view(n, k),
        reverse=opposite.index_copy(0, slot, slot[bonds.reverse]).view(n, k),
        species=bonds.species,
    )
