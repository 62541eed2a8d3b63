"""Angles between bonds, and how many bonds atoms have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mlpot.data.neighbours import find_neighbours
from mlpot.errors import DataError, RecipeError


def angular_distribution(
    frames: Sequence[Atoms],
    cutoff: float,
    bins: int = 180,
    triple: tuple[str, str, str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the distribution of the angles j-i-k of bonds shorter than a cutoff.

    It is normalised to :math:`\int_0^{180°} P(\theta)\, d\theta = 1` over all angles of all frames
    and not divided by :math:`\sin \theta`: without order it is :math:`\tfrac{1}{2} \sin \theta`
    (per radian).

    Parameters
    ----------
    frames
        Structures, with any boundaries.
    cutoff
        Å.
    bins
        Of equal width in angle.
    triple
        Chemical symbols of j, i (in the middle) and k; by default all atoms.

    Returns
    -------
    theta, p : (bins,)
        Midpoints (degrees) and density per degree.

    Raises
    ------
    RecipeError
        For no frames, or a cutoff or bins that are not positive.
    DataError
        If no atom has two such bonds.
    """
    _check(frames, cutoff)
    if bins < 1:
        raise RecipeError(f"an angular distribution needs bins above zero, got {bins}.")
    edges = np.linspace(0.0, 180.0, bins + 1)
    counts = np.zeros(bins, dtype=np.int64)
    for index, atoms in enumerate(frames):
        counts += np.histogram(_angles(atoms, cutoff, triple, f"frame {index}"), bins=edges)[0]
    if not counts.any():
        what = f"{'-'.join(triple)}: " if triple else ""
        raise DataError(f"{what}no atom has two bonds shorter than {cutoff:.3g} Å; raise the cutoff.")
    return 0.5 * (edges[1:] + edges[:-1]), counts / counts.sum() / (edges[1] - edges[0])


def _angles(atoms: Atoms, cutoff: float, triple: tuple[str, str, str] | None, where: str) -> np.ndarray:
    """Return the angles (degrees) of a frame, each once."""
    cell = atoms.cell.array
    found = find_neighbours(atoms.positions, cell, atoms.pbc, cutoff, where)
    unit = found.vectors(atoms.positions, cell)
    unit /= np.linalg.norm(unit, axis=1)[:, None]
    counts = np.bincount(found.centre, minlength=len(atoms))
    if not len(unit):
        return np.empty(0)
    # Bonds in a padded table (N, K): all pairs of columns are the angles of an atom.
    rank = np.arange(len(found)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((len(atoms), counts.max()), -1)
    table[found.centre, rank] = np.arange(len(found))
    first, second = np.triu_indices(table.shape[1], k=1)
    one, other = table[:, first].ravel(), table[:, second].ravel()
    there = (one >= 0) & (other >= 0)
    one, other = one[there], other[there]
    if triple is not None:
        symbols = np.array(atoms.get_chemical_symbols())
        middle = symbols[found.centre[one]] == triple[1]
        ends = symbols[found.neighbour]
        straight = (ends[one] == triple[0]) & (ends[other] == triple[2])
        crossed = (ends[one] == triple[2]) & (ends[other] == triple[0])
        chosen = middle & (straight | crossed)
        one, other = one[chosen], other[chosen]
    cosines = np.einsum("ea,ea->e", unit[one], unit[other])
    return np.asarray(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))))


def coordination_numbers(
    frames: Sequence[Atoms], cutoff: float, pair: tuple[str, str] | None = None
) -> np.ndarray:
    """Return how many neighbours within a cutoff each atom has.

    Parameters
    ----------
    frames
        Structures of the same atoms, with any boundaries.
    cutoff
        Å; :func:`~mlpot.observables.radial.first_minimum` is usual.
    pair
        Chemical symbols of the atoms that are counted around, and of those that are counted; by
        default all atoms.

    Returns
    -------
    (F, N) int
        N: the atoms that are counted around.

    Raises
    ------
    RecipeError
        For no frames, a cutoff that is not positive, frames of different atoms, or an element
        that does not occur.
    """
    _check(frames, cutoff)
    numbers = []
    for index, atoms in enumerate(frames):
        found = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, f"frame {index}")
        symbols = np.array(atoms.get_chemical_symbols())
        if pair is not None and not {*pair} <= {*symbols}:
            raise RecipeError(
                f"frame {index} holds {', '.join(sorted({*symbols}))}; choose the pair among them."
            )
        counted = np.ones(len(found), dtype=bool) if pair is None else symbols[found.neighbour] == pair[1]
        counts = np.bincount(found.centre[counted], minlength=len(atoms))
        numbers.append(counts if pair is None else counts[symbols == pair[0]])
    if len({len(row) for row in numbers}) > 1:
        raise RecipeError("coordination numbers need frames of the same atoms; these differ in their number.")
    return np.array(numbers)


def _check(frames: Sequence[Atoms], cutoff: float) -> None:
    if not frames or not 0.0 < cutoff < np.inf:
        raise RecipeError(f"needs frames and a cutoff above zero; got {len(frames)} frames, {cutoff} Å.")
