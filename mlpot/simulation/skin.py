"""A neighbour list that outlives the step it was built in (Verlet, Phys. Rev. 159, 98, 1967)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlpot.data.neighbours import OVERLAP, Neighbours, find_neighbours
from mlpot.errors import RecipeError


@dataclass(frozen=True)
class _Build:
    """The structure a list was built for, and the list itself."""

    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    neighbours: Neighbours


def require_skin(cutoff: float, skin: float) -> None:
    """Refuse a cutoff or skin (Å) that is negative or not finite, or a cutoff of zero."""
    if not (0.0 <= skin < np.inf and 0.0 < cutoff < np.inf):
        raise RecipeError(
            f"neighbour list with cutoff {cutoff} Å and skin {skin} Å: "
            "the cutoff must be positive, the skin zero or positive."
        )


class SkinnedNeighbours:
    r"""Neighbour list built with a skin, reused while no pair can have come in unseen.

    Let the cell have been deformed by the matrix F since the build, and let atom i be at
    :math:`r_i = r_i^0 F + u_i`. A pair now within the cutoff :math:`r_c` was within
    :math:`(r_c + 2 \max_i |u_i|) / s_\mathrm{min}(F)` at the build (:math:`s_\mathrm{min}`: the
    smallest singular value). While this is no more than cutoff + skin the list is complete;
    with a constant cell this is the familiar rule that no atom moved more than skin / 2. An
    atom that was wrapped across the boundary has moved by a lattice vector: the list is
    rebuilt.

    Parameters
    ----------
    cutoff
        Å.
    skin
        Å; 0 rebuilds whenever anything moved.

    Attributes
    ----------
    builds : int
        How many lists have been built so far.

    Raises
    ------
    RecipeError
        For a cutoff or skin that is negative or not finite.
    """

    def __init__(self, cutoff: float, skin: float = 0.5) -> None:
        require_skin(cutoff, skin)
        self.cutoff, self.skin, self.builds = cutoff, skin, 0
        self._build: _Build | None = None

    def forget(self) -> None:
        """Drop the list: the next call builds a new one."""
        self._build = None

    def find(self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> Neighbours:
        """Return the pairs closer than the cutoff, as :func:`find_neighbours` would find them.

        Raises
        ------
        GeometryError
            If positions or cell are not finite, or two atoms lie on top of each other.
        """
        build = self._build
        if build is None or not self._complete(build, positions, cell, pbc):
            neighbours = find_neighbours(positions, cell, pbc, self.cutoff + self.skin)
            build = _Build(positions.copy(), cell.copy(), pbc.copy(), neighbours)
            self._build = build
            self.builds += 1
        vectors = build.neighbours.vectors(positions, cell)
        squares = np.einsum("ea,ea->e", vectors, vectors)
        keep = squares < self.cutoff**2
        if keep.any() and squares.min() < OVERLAP**2:
            # Raises, with the names of the atoms.
            return find_neighbours(positions, cell, pbc, self.cutoff)
        return build.neighbours.select(keep)

    def _complete(self, build: _Build, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> bool:
        if positions.shape != build.positions.shape or not np.array_equal(pbc, build.pbc):
            return False
        moved, stretch = positions - build.positions, 1.0
        if pbc.any() and not np.array_equal(cell, build.cell):
            if not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 1e-6:
                return False
            try:
                deformation = np.linalg.solve(build.cell, cell)
            except np.linalg.LinAlgError:
                # Built without a third lattice vector (a slab), which now is there.
                return False
            moved = positions - build.positions @ deformation
            stretch = np.linalg.svd(deformation, compute_uv=False)[-1]
        largest = np.sqrt(np.einsum("ia,ia->i", moved, moved).max(initial=0.0))
        # NaN compares false: positions that are not finite lead to a rebuild, which refuses them.
        return bool(self.cutoff + 2.0 * largest <= stretch * (self.cutoff + self.skin))
