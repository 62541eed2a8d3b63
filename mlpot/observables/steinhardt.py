"""Bond order: parameters of Steinhardt, and their means over neighbours."""

from __future__ import annotations

from functools import cache

import numpy as np
from ase import Atoms
from scipy.special import sph_harm_y

from mlpot.data.neighbours import Neighbours, find_neighbours
from mlpot.errors import GeometryError, RecipeError

#: Radius (Å) in which the nearest neighbours are first looked for, its growth, and where it ends.
_RADIUS, _GROWTH, _FARTHEST = 4.0, 1.5, 40.0


class BondOrder:
    r"""Bond order parameters of every atom of a structure.

    .. math::
        q_{lm}(i) = \frac{1}{N_i} \sum_{j} Y_{lm}(\hat r_{ij}), \quad
        q_l(i) = \sqrt{\frac{4 \pi}{2 l + 1} \sum_m |q_{lm}(i)|^2}

    (Steinhardt, Nelson and Ronchetti, Phys. Rev. B 28, 784 (1983)), and the same of
    :math:`\bar q_{lm}(i)`, the mean of :math:`q_{lm}` over atom i and its neighbours (Lechner and
    Dellago, J. Chem. Phys. 129, 114707 (2008)).

    Parameters
    ----------
    atoms
        The structure; boundaries may be of any kind.
    cutoff
        Å; atoms closer than this are neighbours. Give this or ``nearest``.
    nearest
        How many of the nearest atoms are neighbours.

    Raises
    ------
    RecipeError
        Unless exactly one of ``cutoff`` and ``nearest`` is given, and positive.
    GeometryError
        If there are not so many atoms around one, or atoms overlap.
    """

    def __init__(self, atoms: Atoms, cutoff: float | None = None, nearest: int | None = None) -> None:
        if (cutoff is None) == (nearest is None) or not 0 < (cutoff or nearest or 0) < np.inf:
            raise RecipeError(
                "bond order needs either a cutoff (Å) or the number of nearest neighbours, above zero; "
                f"got cutoff {cutoff}, nearest {nearest}."
            )
        found, vectors = _around(atoms, cutoff) if cutoff is not None else _closest(atoms, nearest or 0)
        self._atoms = len(atoms)
        self._centre, self._neighbour = found.centre, found.neighbour
        #: Neighbours of each atom, (N,).
        self.coordination = np.bincount(self._centre, minlength=self._atoms)
        radii = np.linalg.norm(vectors, axis=1)
        self._polar = np.arccos(np.clip(vectors[:, 2] / radii, -1.0, 1.0))
        self._azimuth = np.arctan2(vectors[:, 1], vectors[:, 0])

    def components(self, degree: int, averaged: bool = False) -> np.ndarray:
        """Return q_lm, (N, 2 l + 1) complex, m from -l to l; zero for an atom without neighbours."""
        _require_degree(degree)
        orders = np.arange(-degree, degree + 1)
        values = sph_harm_y(degree, orders[None], self._polar[:, None], self._azimuth[:, None])
        components = self._sum(values) / np.maximum(self.coordination, 1)[:, None]
        if not averaged:
            return components
        together = components + self._sum(components[self._neighbour])
        return np.asarray(together / (self.coordination + 1)[:, None])

    def q(self, degree: int, averaged: bool = False) -> np.ndarray:
        """Return q_l, or its averaged form, of every atom, (N,)."""
        squares = (np.abs(self.components(degree, averaged)) ** 2).sum(axis=1)
        return np.asarray(np.sqrt(4.0 * np.pi / (2 * degree + 1) * squares))

    def w(self, degree: int, averaged: bool = False) -> np.ndarray:
        r"""Return w_l of every atom, (N,), normalised.

        .. math::
            \hat w_l = \Big(\sum_m |q_{lm}|^2\Big)^{-3/2} \sum_{m_1 + m_2 + m_3 = 0}
            \begin{pmatrix} l & l & l \\ m_1 & m_2 & m_3 \end{pmatrix} q_{lm_1} q_{lm_2} q_{lm_3}

        Zero where all :math:`q_{lm}` are. For odd l it vanishes by symmetry.
        """
        components = self.components(degree, averaged)
        squares = (np.abs(components) ** 2).sum(axis=1)
        total = np.zeros(self._atoms)
        for first, second, third, symbol in _wigner(degree):
            total += symbol * (components[:, first] * components[:, second] * components[:, third]).real
        some = squares > 1e-12
        return np.where(some, total / np.where(some, squares, 1.0) ** 1.5, 0.0)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Return sums (N, M) over the bonds (E, M) of each atom."""
        total = np.zeros((self._atoms, values.shape[1]), dtype=values.dtype)
        occupied = np.flatnonzero(self.coordination)
        if len(occupied):
            starts = np.searchsorted(self._centre, occupied)
            total[occupied] = np.add.reduceat(values, starts, axis=0)
        return total


def _around(atoms: Atoms, cutoff: float) -> tuple[Neighbours, np.ndarray]:
    cell = atoms.cell.array
    found = find_neighbours(atoms.positions, cell, atoms.pbc, cutoff)
    return found, found.vectors(atoms.positions, cell)


def _closest(atoms: Atoms, nearest: int) -> tuple[Neighbours, np.ndarray]:
    """Return the nearest neighbours of each atom (which need not be mutual) and their bond vectors."""
    radius = _RADIUS
    while True:
        found, vectors = _around(atoms, radius)
        counts = np.bincount(found.centre, minlength=len(atoms))
        if len(atoms) and counts.min() >= nearest:
            break
        if radius > _FARTHEST:
            raise GeometryError(
                f"an atom has only {counts.min() if len(atoms) else 0} others within {radius:.0f} Å, not "
                f"{nearest}; ask for fewer neighbours."
            )
        radius *= _GROWTH
    order = np.lexsort((np.linalg.norm(vectors, axis=1), found.centre))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = order[rank < nearest]
    chosen = Neighbours(found.centre[kept], found.neighbour[kept], found.shift[kept], np.empty(0, np.int64))
    return chosen, vectors[kept]


@cache
def _wigner(degree: int) -> tuple[tuple[int, int, int, float], ...]:
    """Return the places of m1, m2, m3 and Wigner's 3j symbol wherever it is not zero."""
    from sympy.physics.wigner import wigner_3j  # type: ignore[import-untyped]  # slow; comes with torch

    orders = range(-degree, degree + 1)
    entries = []
    for first in orders:
        for second in orders:
            third = -first - second
            if abs(third) <= degree:
                symbol = float(wigner_3j(degree, degree, degree, first, second, third))
                if symbol:
                    entries.append((first + degree, second + degree, third + degree, symbol))
    return tuple(entries)


def _require_degree(degree: int) -> None:
    if not 0 <= degree <= 12:
        raise RecipeError(f"bond order of degree l = {degree}: choose l from 0 to 12 (4 and 6 are usual).")
