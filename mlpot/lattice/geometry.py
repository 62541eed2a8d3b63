"""Periodic hypercubic lattices in one to three dimensions: sites, displacements, neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from mlpot.errors import LatticeError


@dataclass(frozen=True)
class Lattice:
    """A periodic hypercubic lattice; sites are numbered in C order of their coordinates.

    Parameters
    ----------
    shape
        Sites along each of one to three axes, at least 2 each.

    Raises
    ------
    LatticeError
        For another number of axes or an axis shorter than 2.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        try:
            shape = tuple(int(length) for length in self.shape)
        except TypeError:
            raise LatticeError(f"shape: {self.shape!r} is not a list of lengths such as (8, 8).") from None
        if any(length != given for length, given in zip(shape, self.shape, strict=True)):
            raise LatticeError(f"shape: {self.shape} has a length that is not an integer.")
        if not 1 <= len(shape) <= 3:
            raise LatticeError(f"shape: {shape} has {len(shape)} axes; lattices have one to three.")
        if min(shape) < 2:
            raise LatticeError(f"shape: {shape} has an axis shorter than 2; leave an axis of length 1 out.")
        object.__setattr__(self, "shape", shape)

    @property
    def dimensions(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @cached_property
    def sites(self) -> int:
        """Number of sites N."""
        return int(np.prod(self.shape))

    def coordinates(self) -> np.ndarray:
        """Return the coordinates of all sites, (N, d) int64, in the order of their numbers."""
        return np.stack(np.unravel_index(np.arange(self.sites), self.shape), axis=-1)

    def index(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the numbers of sites at coordinates (..., d), wrapped into the lattice; (...) int64."""
        coordinates = np.asarray(coordinates)
        if coordinates.shape[-1:] != (self.dimensions,):
            raise LatticeError(
                f"coordinates: shape {coordinates.shape}; the last axis has length {self.dimensions}."
            )
        wrapped = coordinates % np.array(self.shape)
        return np.ravel_multi_index(tuple(np.moveaxis(wrapped, -1, 0)), self.shape)

    def shift(self, displacement: tuple[int, ...] | np.ndarray) -> np.ndarray:
        """Return, for each site, the number of the site a displacement (d,) away; (N,) int64."""
        return self.index(self.coordinates() + np.asarray(displacement))

    def displacements(self, shell: int = 1) -> np.ndarray:
        """Return the displacement vectors of a shell of neighbours, (K, d) int64.

        Shells are numbered from 1 by distance on the infinite lattice: on the square lattice 1 is
        the four nearest, 2 the four diagonals, 3 the four at distance two. The first K/2 vectors
        have a positive first non-zero component, the last K/2 are their negatives in the same order:
        the first half names each bond once.

        Raises
        ------
        LatticeError
            If ``shell`` is not a positive integer.
        """
        if shell < 1 or shell != int(shell):
            raise LatticeError(f"shell: {shell} is not a positive integer; 1 is the nearest neighbours.")
        reach = int(shell)  # the axis vectors alone have that many distinct lengths
        vectors = np.array(list(product(range(-reach, reach + 1), repeat=self.dimensions)))
        lengths = (vectors**2).sum(axis=1)
        chosen = vectors[lengths == np.unique(lengths)[shell]]
        first = chosen[np.arange(len(chosen)), (chosen != 0).argmax(axis=1)]
        # By axis for the nearest: (1, 0) before (0, 1).
        half = np.array(sorted(chosen[first > 0].tolist(), reverse=True))
        return np.concatenate([half, -half])

    def neighbours(self, shell: int = 1) -> np.ndarray:
        """Return the neighbours of each site in a shell, (N, K) int64, in the order of :meth:`displacements`.

        Pairs are named by displacement vectors. Where two displacements lead to the same site, as
        +1 and -1 along an axis of length 2, the site is listed once for each and its bond counts
        twice: the usual meaning of periodic boundaries.

        Raises
        ------
        LatticeError
            If a displacement of the shell leads from a site to itself.
        """
        table = np.stack([self.shift(vector) for vector in self.displacements(shell)], axis=-1)
        if (table[0] == 0).any():
            raise LatticeError(
                f"shell: {shell} reaches around {self.shape} to the site itself; take a larger lattice."
            )
        return table

    def bonds(self, shell: int = 1) -> np.ndarray:
        """Return each bond of a shell once, (N K/2, 2) int64: site by site, within it by displacement."""
        table = self.neighbours(shell)
        half = table[:, : table.shape[1] // 2]
        return np.stack([np.repeat(np.arange(self.sites), half.shape[1]), half.ravel()], axis=-1)

    def colours(self) -> np.ndarray | None:
        """Return the checkerboard colour (0 or 1) of each site, (N,) int8, None if an axis is odd."""
        if any(length % 2 for length in self.shape):
            return None
        return (self.coordinates().sum(axis=1) % 2).astype(np.int8)
