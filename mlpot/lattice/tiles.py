"""Tiles of an extensive network: which sites each one sees, and the symmetries of a tile.

K. Mills, K. Ryczko, I. Luchak, A. Domurad, C. Beeler and I. Tamblyn, Chem. Sci. 10, 4129 (2019):
the lattice is cut into foci of f^d sites that do not overlap; the network sees each focus with a
context of c more sites on every side, periodically.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from typing import Literal

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import check_q
from mlpot.lattice.geometry import Lattice

StateSymmetry = Literal["none", "cyclic", "full"]

#: Largest alphabet whose permutations are all listed (5! = 120).
_LARGEST_FULL = 5


@dataclass(frozen=True)
class Tiling:
    """Where the tiles of a lattice are.

    Parameters
    ----------
    shape
        Of the lattice.
    focus
        f, sites along each axis of the part that belongs to one tile alone; it divides the lattice.
    context
        c, sites seen beyond the focus on each side. The tile of f + 2c fits into the lattice.
    everywhere
        A tile starts at every site instead of every f-th, and each weighs 1/f^d: the average over
        the f^d ways to lay the tiles, which makes the sum invariant under all translations.

    Raises
    ------
    LatticeError
        If f does not divide a length, or the tile would see a site twice.
    """

    shape: tuple[int, ...]
    focus: int = 2
    context: int = 1
    everywhere: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", Lattice(self.shape).shape)
        if self.focus < 1 or self.context < 0:
            raise LatticeError(
                f"focus {self.focus}, context {self.context}: a focus has 1 site or more along an axis, "
                "a context 0 or more."
            )
        for length in self.shape:
            if length % self.focus:
                raise LatticeError(
                    f"focus: {self.focus} does not divide the length {length} of the lattice {self.shape}; "
                    "take a divisor of every length."
                )
            if self.width > length:
                raise LatticeError(
                    f"focus {self.focus} with context {self.context}: tiles of {self.width} sites wrap onto "
                    f"themselves on the lattice {self.shape}; take less context, a smaller focus or a larger "
                    "lattice."
                )

    @property
    def width(self) -> int:
        """Sites of a tile along each axis, f + 2c."""
        return self.focus + 2 * self.context

    @property
    def dimensions(self) -> int:
        """Number of axes d."""
        return len(self.shape)

    @property
    def slots(self) -> int:
        """Sites of a tile, S = (f + 2c)^d."""
        return self.width**self.dimensions

    @property
    def weight(self) -> float:
        """Share of a tile's energy in the total: 1, or 1/f^d with a tile at every site."""
        return self.focus**-self.dimensions if self.everywhere else 1.0

    @property
    def count(self) -> int:
        """Number of tiles T."""
        return int(np.prod([length // self.step for length in self.shape]))

    @property
    def step(self) -> int:
        """Sites between the starts of neighbouring tiles."""
        return 1 if self.everywhere else self.focus

    @property
    def reach(self) -> int:
        """Sites along an axis up to which any two are seen together by a tile, f + 2c less the step."""
        return self.width - self.step

    @cached_property
    def sites(self) -> np.ndarray:
        """Number of the site in each slot of each tile, (T, S) int64; both in C order."""
        lattice = Lattice(self.shape)
        starts = np.array(list(product(*(range(0, length, self.step) for length in self.shape))))
        offsets = np.array(
            list(product(range(-self.context, self.focus + self.context), repeat=len(self.shape)))
        )
        return lattice.index(starts[:, None] + offsets)

    @cached_property
    def of_site(self) -> tuple[np.ndarray, np.ndarray]:
        """Tiles that contain each site and its slot in them, both (N, K) int64, padded with -1.

        K does not depend on the size of the lattice: that is why turning a site costs O(1).
        """
        count = int(np.prod(self.shape))
        flat = self.sites.ravel()
        order = np.argsort(flat, kind="stable")
        counts = np.bincount(flat, minlength=count)
        place = np.arange(flat.size) - np.repeat(np.cumsum(counts) - counts, counts)
        tiles = np.full((count, counts.max()), -1)
        slots = tiles.copy()
        tiles[flat[order], place] = order // self.slots
        slots[flat[order], place] = order % self.slots
        return tiles, slots

    def resized(self, shape: Sequence[int]) -> Tiling:
        """Return the same tiles on another lattice; :class:`LatticeError` where they do not fit."""
        if len(shape) != self.dimensions:
            raise LatticeError(
                f"shape: {tuple(shape)} has {len(shape)} axes, the tiles have {self.dimensions}."
            )
        return Tiling(tuple(shape), self.focus, self.context, self.everywhere)

    def symmetries(self) -> np.ndarray:
        """Return the rotations and reflections of a tile, (G, S) slots; G = 2, 8 (D4) or 48."""
        grid = np.arange(self.slots).reshape((self.width,) * self.dimensions)
        images = {
            tuple(
                np.flip(grid.transpose(axes), tuple(i for i, flip in enumerate(flips) if flip))
                .ravel()
                .tolist()
            )
            for axes in permutations(range(self.dimensions))
            for flips in product((False, True), repeat=self.dimensions)
        }
        return np.array(sorted(images))


def state_symmetries(q: int, kind: StateSymmetry) -> np.ndarray:
    """Return the permutations of the states under which an energy stays the same, (P, q).

    ``"full"``: all of them, S_q (Potts; Z2 for q = 2); ``"cyclic"``: rotations and reflections of
    the clock; ``"none"``: a field is present, only the identity.

    Raises
    ------
    LatticeError
        For all permutations of more than five states, or another kind.
    """
    states = np.arange(check_q(q))
    if kind == "none":
        return states[None]
    if kind == "cyclic":
        turned = (states + states[:, None]) % q
        return np.unique(np.concatenate([turned, turned[:, ::-1]]), axis=0)
    if kind == "full":
        if q > _LARGEST_FULL:
            raise LatticeError(
                f"symmetry of states: full has {q}! permutations; up to q = {_LARGEST_FULL} they are "
                "averaged over. Take cyclic or none."
            )
        return np.array(list(permutations(range(q))))
    raise LatticeError(f"symmetry of states: {kind!r} is unknown; known: none, cyclic, full.")


def simplex(q: int) -> np.ndarray:
    r"""Return each state as a vector, (q, q - 1) float64: the spin -1, 1 for q = 2, corners of a simplex.

    Unit vectors with :math:`\phi_a\cdot\phi_b = (q\delta_{ab} - 1)/(q - 1)`, along the Fourier
    components of the clock, so that for q = 3 they are cosine and sine of its angle. A one-hot
    input less its redundant direction: whatever is linear in them is in the zero-sum gauge.
    """
    states = np.arange(check_q(q))
    columns = []
    for m in range(1, (q - 1) // 2 + 1):
        angle = 2 * np.pi * m * states / q
        columns += [np.sqrt(2 / (q - 1)) * np.cos(angle), np.sqrt(2 / (q - 1)) * np.sin(angle)]
    if q % 2 == 0:
        columns.append(-np.sqrt(1 / (q - 1)) * (-1.0) ** states)
    return np.stack(columns, axis=-1)
