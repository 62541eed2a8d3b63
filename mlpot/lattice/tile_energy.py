"""Energies that are sums over tiles, as plain arrays: for Monte Carlo and everything without gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import check_states
from mlpot.lattice.tiles import Tiling, simplex

#: Tiles looked up or evaluated at once.
_CHUNK = 1 << 16


class LearnedEnergy(Protocol):
    """What every energy learned from samples can do."""

    @property
    def q(self) -> int:
        """States of a site."""

    def energy(self, states: np.ndarray) -> np.ndarray:
        r"""Return the energy of states (samples, \*shape): (samples,) float64, units of J."""

    def resized(self, shape: Sequence[int]) -> LearnedEnergy:
        """Return the energy on another lattice; :class:`LatticeError` if it has no other size."""


@dataclass(frozen=True, eq=False)
class TileEnergy(ABC):
    """What both forms have in common: the sum over tiles."""

    tiling: Tiling
    q: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the lattice."""
        return self.tiling.shape

    @property
    @abstractmethod
    def networks(self) -> int:
        """1 where all tiles share one function, otherwise the number of tiles."""

    @abstractmethod
    def _of_tiles(self, digits: np.ndarray) -> np.ndarray:
        """Return the energies of tiles (B, T, S) of states: (B, T)."""

    def energy(self, states: np.ndarray) -> np.ndarray:
        r"""Return the energy of states (samples, \*shape): (samples,) float64, units of J.

        Raises
        ------
        DataError
            For another shape or alphabet.
        """
        states = check_states(states, self.q, self.tiling.shape)
        flat = states.reshape(len(states), -1)
        step = max(1, _CHUNK // self.tiling.count)
        energies = [
            self._of_tiles(flat[i : i + step][:, self.tiling.sites]).sum(1) for i in range(0, len(flat), step)
        ]
        return np.concatenate(energies) * self.tiling.weight

    def _check_resized(self) -> None:
        if self.networks > 1:
            raise LatticeError("energy: has one function per tile, and no other size.")


@dataclass(frozen=True, eq=False)
class TableEnergy(TileEnergy):
    """The energy of every configuration of a tile, listed.

    Parameters
    ----------
    tiling, q
        Where the tiles are, and the states of a site.
    table : (R, q^S) float64
        For each of R = 1 or T functions, by the number of the configuration: sum of state q^slot.

    Raises
    ------
    LatticeError
        For a table of another size.
    """

    table: np.ndarray

    def __post_init__(self) -> None:
        table = np.ascontiguousarray(self.table, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != self.q**self.tiling.slots:
            raise LatticeError(
                f"table: shape {table.shape}, expected (1 or tiles, {self.q}^{self.tiling.slots})."
            )
        if table.shape[0] not in (1, self.tiling.count):
            raise LatticeError(f"table: {table.shape[0]} functions for {self.tiling.count} tiles.")
        object.__setattr__(self, "table", table)

    @property
    def networks(self) -> int:
        """1 where all tiles share one table, otherwise the number of tiles."""
        return len(self.table)

    def _of_tiles(self, digits: np.ndarray) -> np.ndarray:
        codes = digits.astype(np.int64) @ self.q ** np.arange(self.tiling.slots)
        return self.table[np.arange(self.tiling.count) if self.networks > 1 else 0, codes]

    def resized(self, shape: Sequence[int]) -> TableEnergy:
        """Return the same table on another lattice; :class:`LatticeError` if tiles have their own."""
        self._check_resized()
        return replace(self, tiling=self.tiling.resized(shape))


@dataclass(frozen=True, eq=False)
class NetworkEnergy(TileEnergy):
    """The mean of perceptrons of a tile: images under symmetries, members of an ensemble, or one.

    Parameters
    ----------
    tiling, q
        Where the tiles are, and the states of a site.
    first : (R, M, S, q, H)
        What each state in each slot adds to the first hidden layer, for each of R = 1 or T
        functions and M images; inputs of rotated tiles and exchanged states are already sorted in.
    stack : (M,)
        Which set of later layers an image uses.
    layers : (R, D, L, H, H)
        Later layers of D sets, from rows to columns, padded with zeros to the widest.
    biases : (R, D, L + 1, H)
        Of the first and the later layers.
    widths : (L + 1,)
        Of the first and the later layers, without padding; the last is 1.
    pairs : (R, S, S, q, q)
        A pair energy added to the perceptrons, slots in order.
    constant : (R,)
        Added to each tile.
    """

    first: np.ndarray
    stack: np.ndarray
    layers: np.ndarray
    biases: np.ndarray
    widths: tuple[int, ...]
    pairs: np.ndarray
    constant: np.ndarray

    @property
    def networks(self) -> int:
        """1 where all tiles share one network, otherwise the number of tiles."""
        return len(self.first)

    @classmethod
    def of_images(
        cls,
        tiling: Tiling,
        q: int,
        weights: Sequence[np.ndarray],
        biases: Sequence[np.ndarray],
        form: np.ndarray | None,
        turns: np.ndarray,
        swaps: np.ndarray,
        offset: np.ndarray,
    ) -> NetworkEnergy:
        """Sort the symmetries of an EDNN into its first layer.

        Parameters
        ----------
        tiling, q
            Where the tiles are, and the states of a site.
        weights, biases
            Of each layer, (R, in, out) and (R, out); none without a perceptron.
        form
            (R, S (q-1), S (q-1)) quadratic form, ``None`` without.
        turns, swaps
            (G, S) slots and (P, q) states of the images.
        offset
            (R,), subtracted from each tile.
        """
        phi, s, r = simplex(q), tiling.slots, len(offset)
        images = [(turn, swap) for turn in turns for swap in swaps]
        width = max((bias.shape[1] for bias in biases), default=1)
        first = np.zeros((r, len(images) if weights else 0, s, q, width))
        layers = np.zeros((r, 1, max(len(weights) - 1, 0), width, width))
        padded = np.zeros((r, 1, max(len(weights), 1), width))
        pairs = np.zeros((r, s, s, q, q))
        for index, (turn, swap) in enumerate(images):
            if weights:
                # Input slot k of the image holds swap[state of slot turn[k]].
                wide = weights[0].reshape(r, s, q - 1, -1)
                first[:, index, turn, :, : wide.shape[-1]] = np.einsum("ac,rkch->rkah", phi[swap], wide)
            if form is not None:
                blocks = form.reshape(r, s, q - 1, s, q - 1)
                turned = np.einsum("ac,rkcld,bd->rklab", phi[swap], blocks, phi[swap])
                pairs[:, turn[:, None], turn] += turned / len(images)
        for level, weight in enumerate(weights[1:]):
            layers[:, 0, level, : weight.shape[1], : weight.shape[2]] = weight
        for level, bias in enumerate(biases):
            padded[:, 0, level, : bias.shape[1]] = bias
        # Both orders of a pair on the upper triangle.
        upper = np.triu(np.ones((s, s)), 1)[:, :, None, None]
        pairs = (pairs + pairs.transpose(0, 2, 1, 4, 3)) * upper
        stack = np.zeros(first.shape[1], dtype=np.int64)
        widths = tuple(bias.shape[1] for bias in biases) or (1,)
        return cls(tiling, q, first, stack, layers, padded, widths, np.ascontiguousarray(pairs), -offset)

    def _of_tiles(self, digits: np.ndarray) -> np.ndarray:
        _, count, slots = digits.shape
        own = self.networks > 1
        which = np.arange(count) if own else np.zeros(count, dtype=np.int64)
        result = np.zeros(digits.shape[:2]) + self.constant[which]
        for i in range(slots):
            for j in range(i + 1, slots):
                result += self.pairs[which, i, j, digits[..., i], digits[..., j]]
        images = self.first.shape[1]
        for image, stack in enumerate(self.stack):
            x = self.biases[which, stack, 0] + sum(
                self.first[which, image, slot, digits[..., slot]] for slot in range(slots)
            )
            for level in range(self.layers.shape[2]):
                x = x / (1 + np.exp(-x))
                layer = self.layers[:, stack, level]
                x = np.einsum("bth,thk->btk", x, layer, optimize=True) if own else x @ layer[0]
                x += self.biases[which, stack, level + 1]
            result += x[..., 0] / images
        return result

    def resized(self, shape: Sequence[int]) -> NetworkEnergy:
        """Return the same network on another lattice; :class:`LatticeError` if tiles have their own."""
        self._check_resized()
        return replace(self, tiling=self.tiling.resized(shape))
