r"""Energies and their slopes without autograd: layer by layer, chunk by chunk of centres.

Per layer but the last, atoms are brought forward and send messages along their bonds; the last
layer goes forward and back; then the slopes by messages return along the bonds and the earlier
layers go back, their forward results computed again (kept, where one chunk holds all atoms).
What exists for all atoms at once are the basis functions and one message per bond, some
kilobytes an atom; everything wider exists for one chunk.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpot.model.environment import FAR, Bonds
from mlpot.model.kernels import (
    Basis,
    LayerWeights,
    MessageTape,
    ProductTape,
    Scratch,
    bond_slopes,
    emit,
    emit_slopes,
    evaluate_basis,
    evaluate_products,
    first_factors,
    first_slopes,
    message_factors,
    message_slopes,
    pack_layer,
    product_slopes,
    send,
)
from mlpot.model.network import DensityNetwork

#: Centres per chunk: enough to hide the cost of calling an operation, few enough for a cache.
CHUNK = 128
#: Up to so many atoms are one chunk, so that nothing is computed twice.
WHOLE = 512
#: Centres per chunk where launching an operation costs more and memory is wide.
DEVICE_CHUNK = 8192

_threads = threading.local()


class PackedWeights:
    """The packed weights of a network, packed again whenever a parameter or scale has changed.

    Changes are found by comparing values, a fifth of the cost of packing: version counters miss
    those made through ``.data``, as averages of weights are swapped in and out.
    """

    def __init__(self) -> None:
        self._kept: tuple[list[Tensor], list[LayerWeights]] = [], []

    def get(self, network: DensityNetwork) -> list[LayerWeights]:
        """Return the packed weights of all layers."""
        current = _tensors(network)
        values, layers = self._kept
        if len(values) != len(current) or not all(
            new.dtype == old.dtype and new.device == old.device and torch.equal(new, old)
            for new, old in zip(current, values, strict=True)
        ):
            scale = network.radial.scale
            layers = [pack_layer(layer, index, scale) for index, layer in enumerate(network.layers)]
            # In one assignment: another thread sees the old or the new, never a mixture.
            self._kept = [value.detach().clone() for value in current], layers
        return layers


@torch.no_grad()
def energies_and_slopes(
    network: DensityNetwork,
    layers: list[LayerWeights],
    bonds: Bonds,
    seeds: Tensor,
    chunk: int | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Return local energies and the slopes of their weighted sum by the bond vectors.

    Parameters
    ----------
    network
        Its shape and basis functions.
    layers
        Its packed weights (:class:`PackedWeights`), or others of the same shape.
    bonds
        In the network's units and precision.
    seeds : (N,)
        Weights :math:`w_i` of the local energies.
    chunk
        Centres per chunk; results differ by rounding only. Default on a CPU: all up to
        :data:`WHOLE` atoms, :data:`CHUNK` beyond; elsewhere :data:`DEVICE_CHUNK`.

    Returns
    -------
    energies : (N,)
    slopes : (E, 3)
        :math:`\partial \sum_i w_i \varepsilon_i / \partial r_{ij}`.
    """
    if not hasattr(_threads, "scratch"):
        _threads.scratch = Scratch()
    if chunk is None and seeds.device.type == "cpu":
        chunk = WHOLE if len(seeds) <= WHOLE else CHUNK
    chunk = chunk or DEVICE_CHUNK
    return _Evaluation(network, layers, bonds, seeds, chunk, _threads.scratch).run()


def _tensors(module: nn.Module) -> list[Tensor]:
    """Return all parameters and buffers; several times faster than ``parameters()``."""
    own = [*module._parameters.values(), *module._buffers.values()]
    tensors = [tensor for tensor in own if tensor is not None]
    for child in module._modules.values():
        if child is not None:
            tensors += _tensors(child)
    return tensors


@dataclass(frozen=True)
class Chunk:
    """Atoms ``start`` to ``stop`` with ``width`` slots each, the first of which is ``slot``."""

    start: int
    stop: int
    slot: int
    width: int

    @property
    def atoms(self) -> slice:
        """Rows of the atoms."""
        return slice(self.start, self.stop)

    def view(self, table: Tensor) -> Tensor:
        """Return the slots of this chunk in a table over all slots (S, ...), as (n, width, ...)."""
        n = self.stop - self.start
        return table[self.slot : self.slot + n * self.width].view(n, self.width, *table.shape[1:])


@dataclass(frozen=True)
class Slots:
    """Bonds in tables of S slots, padded to equal numbers for the atoms of a chunk.

    Attributes
    ----------
    chunks : list of Chunk
    bond : (E,) int64
        Slot of every bond.
    reverse : (S,) int64
        Slot of the opposite bond (in empty slots: the slot itself).
    """

    chunks: list[Chunk]
    bond: Tensor
    reverse: Tensor


def lay_out(bonds: Bonds, size: int) -> Slots:
    """Give every bond a slot, in chunks of ``size`` centres."""
    counts, n = bonds.counts, len(bonds.species)
    starts = range(0, n, size)
    padded = functional.pad(counts, (0, len(starts) * size - n)).view(-1, size)
    # Not zero slots: where no atom has bonds, an empty slot each keeps the shapes of tables.
    width = padded.amax(1).clamp_(min=1)
    chunks, slot = [], 0
    for start, k in zip(starts, width.tolist(), strict=True):
        chunks.append(Chunk(start, min(start + size, n), slot, k))
        slot += (chunks[-1].stop - start) * k
    room = width.repeat_interleave(size)[:n]
    shift = (torch.cumsum(room, 0) - room) - (torch.cumsum(counts, 0) - counts)
    bond = shift.index_select(0, bonds.centre)
    bond += torch.arange(len(bond), device=bond.device)
    reverse = torch.arange(slot, device=bond.device)
    return Slots(chunks, bond, reverse.index_copy_(0, bond, bond.index_select(0, bonds.reverse)))


@dataclass(frozen=True)
class _Forward:
    """What a layer gives on a chunk, and what its backward pass needs."""

    energies: Tensor
    features: Tensor
    products: ProductTape
    messages: MessageTape | None


class _Evaluation:
    """One evaluation: tables over all slots, and the passes that fill them."""

    def __init__(
        self,
        network: DensityNetwork,
        weights: list[LayerWeights],
        bonds: Bonds,
        seeds: Tensor,
        size: int,
        scratch: Scratch,
    ) -> None:
        self.radial, self.scratch, self.species = network.radial, scratch, bonds.species
        self.weights = weights
        self.normalisation = len(self.weights) ** -0.5
        self.seeds = seeds * self.normalisation
        self.slots = slots = lay_out(bonds, size)
        vectors = bonds.vectors.new_zeros(len(slots.reverse), 3)
        vectors[:, 0] = FAR
        self.vectors = vectors.index_copy_(0, slots.bond, bonds.vectors)
        self.neighbours: Tensor | None = None
        if self.weights[0].centre is not None:
            neighbours = bonds.species.index_select(0, bonds.neighbour)
            self.neighbours = torch.zeros_like(slots.reverse).index_copy_(0, slots.bond, neighbours)
        # Between layers t and t + 1: messages as sent, and slopes by messages as received.
        shape = (len(self.weights) - 1, len(slots.reverse), network.config.channels)
        self.sent, self.received = vectors.new_empty(shape), vectors.new_empty(shape)

    def run(self) -> tuple[Tensor, Tensor]:
        """Return energies (N,) and slopes (E, 3)."""
        last, chunks = len(self.weights) - 1, self.slots.chunks
        energies = self.vectors.new_zeros(len(self.species))
        slopes = torch.empty_like(self.vectors)
        bases = [evaluate_basis(chunk.view(self.vectors), self.radial) for chunk in chunks]
        kept: dict[int, _Forward] = {}
        for t in range(last):
            for chunk, basis in zip(chunks, bases, strict=True):
                forward = self.forward(t, chunk, basis)
                energies[chunk.atoms] += forward.energies
                sent = send(basis, emit(self.weights[t + 1], forward.features))
                chunk.view(self.sent[t]).copy_(sent)
                if len(chunks) == 1:
                    kept[t] = forward
        sums = []
        for chunk, basis in zip(chunks, bases, strict=True):
            forward = self.forward(last, chunk, basis)
            energies[chunk.atoms] += forward.energies
            sums.append(self.backward(last, chunk, basis, forward, None))
        for t in reversed(range(last)):
            for chunk, basis, (by_radial, by_harmonics) in zip(chunks, bases, sums, strict=True):
                forward = kept.pop(t) if t in kept else self.forward(t, chunk, basis)
                emitted = emit(self.weights[t + 1], forward.features)
                slope_sent = self.exchanged(self.received[t], chunk)
                slope_features, by_sent = emit_slopes(self.weights[t + 1], basis, emitted, slope_sent)
                by_harmonics[..., : by_sent.shape[2]] += by_sent
                further = self.backward(t, chunk, basis, forward, slope_features)
                by_radial += further[0]
                by_harmonics += further[1]
        for chunk, basis, (by_radial, by_harmonics) in zip(chunks, bases, sums, strict=True):
            chunk.view(slopes).copy_(bond_slopes(basis, by_radial, by_harmonics))
        return energies * self.normalisation, slopes.index_select(0, self.slots.bond)

    def exchanged(self, table: Tensor, chunk: Chunk) -> Tensor:
        """Return what the other ends of a chunk's bonds put into a table over all slots."""
        rows = table.index_select(0, chunk.view(self.slots.reverse).flatten())
        return rows.view(chunk.stop - chunk.start, chunk.width, -1)

    def onehot(self, chunk: Chunk) -> Tensor | None:
        """Return the species of the neighbours as (n, K, elements); None for a single element."""
        if self.neighbours is None or self.weights[0].centre is None:
            return None
        rows = torch.arange(len(self.weights[0].centre), device=self.neighbours.device)
        return (chunk.view(self.neighbours)[..., None] == rows).to(self.vectors.dtype)

    def forward(self, t: int, chunk: Chunk, basis: Basis) -> _Forward:
        """Bring layer ``t`` forward on a chunk."""
        weights, messages = self.weights[t], None
        if t == 0:
            factors = first_factors(weights, basis, self.onehot(chunk))
        else:
            incoming = self.exchanged(self.sent[t - 1], chunk)
            factors, messages = message_factors(weights, basis, incoming, self.scratch)
        if weights.centre is not None:
            factors *= weights.centre[self.species[chunk.atoms]].t()
        return _Forward(*evaluate_products(weights, factors, self.scratch), messages)

    def backward(
        self, t: int, chunk: Chunk, basis: Basis, forward: _Forward, slope_features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return the slopes by radial functions and harmonics of a layer; note those by messages."""
        weights, seeds = self.weights[t], self.seeds[chunk.atoms]
        slope = product_slopes(weights, forward.products, seeds, slope_features, self.scratch)
        if weights.centre is not None:
            slope *= weights.centre[self.species[chunk.atoms]].t()
        if forward.messages is None:
            return first_slopes(weights, basis, self.onehot(chunk), slope)
        by_radial, by_harmonics, by_messages = message_slopes(
            weights, basis, forward.messages, slope, self.scratch
        )
        chunk.view(self.received[t - 1]).copy_(by_messages)
        return by_radial, by_harmonics
