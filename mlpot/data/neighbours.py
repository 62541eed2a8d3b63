"""Neighbour lists of any cell, through vesin, in the one layout the models read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from vesin import NeighborList

from mlpot.errors import GeometryError

#: Below this distance (Å) two atoms are one atom written twice, not chemistry.
OVERLAP = 0.05


@dataclass(frozen=True)
class Neighbours:
    """All directed pairs ``i -> j`` within a cutoff, sorted by ``i``.

    Attributes
    ----------
    centre, neighbour : (E,) int64
        Atoms ``i`` and ``j``; the bond vector is ``r[j] - r[i] + shift @ cell``.
    shift : (E, 3) int32
        Lattice translations of ``j``.
    reverse : (E,) int64
        Index of the pair ``j -> i`` of each pair: ``reverse[reverse[e]] == e``.
    """

    centre: np.ndarray
    neighbour: np.ndarray
    shift: np.ndarray
    reverse: np.ndarray

    def __len__(self) -> int:
        return len(self.centre)

    def vectors(self, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Return bond vectors, (E, 3), Å."""
        return positions[self.neighbour] - positions[self.centre] + self.shift @ cell

    def select(self, keep: np.ndarray) -> Neighbours:
        """Return the pairs of a mask (E,) that holds for a pair and its reverse alike."""
        renumbered = np.cumsum(keep) - 1
        return Neighbours(
            self.centre[keep], self.neighbour[keep], self.shift[keep], renumbered[self.reverse[keep]]
        )


def find_neighbours(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float, where: str = "structure"
) -> Neighbours:
    """Find all pairs closer than ``cutoff`` (Å), periodic images included.

    Works for skewed cells, cells smaller than the cutoff, and mixed boundary conditions.

    Raises
    ------
    GeometryError
        If positions or cell are not finite, or two atoms lie on top of each other.
    """
    if not (np.isfinite(positions).all() and np.isfinite(cell).all()):
        raise GeometryError(
            f"{where}: positions or cell hold NaN or infinity; the run has probably diverged."
        )
    # Half of the pairs from the library; the other half by reversal, which also gives `reverse`.
    half = NeighborList(cutoff=cutoff, full_list=False, n_threads=1)
    i, j, shift, distance = half.compute(
        positions, cell, np.asarray(pbc, dtype=bool), quantities="ijSd", copy=True
    )
    if len(distance) and distance.min() < OVERLAP:
        worst = int(np.argmin(distance))
        raise GeometryError(
            f"{where}: atoms {int(i[worst])} and {int(j[worst])} overlap (distance {distance[worst]:.3f} Å); "
            "remove the duplicate atom or check cell and boundary conditions."
        )
    centre = np.concatenate([i, j]).astype(np.int64)
    neighbour = np.concatenate([j, i]).astype(np.int64)
    shifts = np.concatenate([shift, -shift.astype(np.int32)]).astype(np.int32)
    order = np.argsort(centre, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    mirror = np.concatenate([np.arange(len(i)) + len(i), np.arange(len(i))])
    return Neighbours(centre[order], neighbour[order], shifts[order], place[mirror[order]])
