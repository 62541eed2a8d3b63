"""The isometry that carries one periodic structure onto another, atom by atom, if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase.geometry import complete_cell

from mlpot.data.frame import Frame
from mlpot.data.neighbours import find_neighbours
from mlpot.data.split import COPY_CUTOFF, COPY_TOLERANCE

#: Atoms of copies lie on each other within this (Å); ten times what their distances may differ by,
#: because a rotation found from near neighbours acts over a whole cell.
POSITION_TOLERANCE = 10 * COPY_TOLERANCE


@dataclass(frozen=True)
class Isometry:
    """How a structure lies on another.

    Attributes
    ----------
    rotation : (3, 3)
        Orthogonal; a vector v of the first structure is ``v @ rotation`` in the second.
    image : (N,)
        The atom of the second structure on which each atom of the first lies.
    """

    rotation: np.ndarray
    image: np.ndarray

    @property
    def proper(self) -> bool:
        """Whether it is a rotation; if not, the structures are mirror images."""
        return bool(np.linalg.det(self.rotation) > 0)


class Structure:
    """A frame with the surroundings of its atoms at hand."""

    def __init__(self, frame: Frame, profiles: np.ndarray) -> None:
        self.frame = frame
        self.profiles = profiles
        self.cell = complete_cell(frame.cell)
        self.inverse = np.linalg.inv(self.cell)
        self.periods = frame.cell[frame.pbc]
        cutoff = COPY_CUTOFF + COPY_TOLERANCE
        pairs = find_neighbours(frame.positions, frame.cell, frame.pbc, cutoff, frame.source)
        self._first = np.searchsorted(pairs.centre, np.arange(len(frame) + 1))
        self._vectors = pairs.vectors(frame.positions, frame.cell)
        self._species = frame.numbers[pairs.neighbour]

    def surroundings(self, atom: int) -> tuple[np.ndarray, np.ndarray]:
        """Return vectors (Å) to the neighbours of an atom, nearest first, and their elements."""
        own = slice(self._first[atom], self._first[atom + 1])
        vectors, species = self._vectors[own], self._species[own]
        order = np.argsort((vectors**2).sum(axis=1))
        return vectors[order], species[order]

    def occupant(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest atom to each point (M, 3), and its distance in Å."""
        offsets = (points @ self.inverse)[:, None] - (self.frame.positions @ self.inverse)[None]
        offsets[..., self.frame.pbc] -= np.round(offsets[..., self.frame.pbc])
        distances = np.linalg.norm(offsets @ self.cell, axis=2)
        nearest = distances.argmin(axis=1)
        return nearest, distances[np.arange(len(points)), nearest]

    def repeats(self, vectors: np.ndarray) -> bool:
        """Say whether the structure is the same after each of these translations (M, 3)."""
        return all(self._holds(self.frame.positions + vector, self.frame.numbers) for vector in vectors)

    def _holds(self, points: np.ndarray, numbers: np.ndarray) -> bool:
        nearest, distances = self.occupant(points)
        return bool(distances.max() < POSITION_TOLERANCE and (self.frame.numbers[nearest] == numbers).all())


def find_isometry(one: Structure, other: Structure) -> Isometry | None:
    """Return how one structure lies on another; ``None`` if they are not the same.

    Rotations, reflections, translations, the order of atoms and the choice of cell (supercells
    too) make no difference. A rotation is returned where there is one, else a reflection. Candidates
    come from matching the surroundings of one atom; each is then tested on all atoms and lattice
    vectors, in both directions. Structures whose parts are farther than 6 Å from each other are
    only found if they have the same orientation.
    """
    limit = 2 * COPY_TOLERANCE
    alike = np.abs(one.profiles[:, None] - other.profiles[None]).max(axis=2) <= limit
    alike &= one.frame.numbers[:, None] == other.frame.numbers[None]
    if not (alike.any(axis=1).all() and alike.any(axis=0).all()):
        return None
    anchor = int(alike.sum(axis=1).argmin())  # the atom with the fewest that it can be
    vectors, species = one.surroundings(anchor)
    mirrored = None
    for candidate in np.flatnonzero(alike[anchor]):
        theirs = other.surroundings(int(candidate))
        for rotation in _rotations(vectors, species, *theirs):
            proper = np.linalg.det(rotation) > 0
            if mirrored is not None and not proper:
                continue
            found = _test(one, other, anchor, int(candidate), rotation)
            if found is not None and proper:
                return found
            mirrored = mirrored or found
    return mirrored


def _basis(vectors: np.ndarray) -> list[int]:
    """Return up to three near vectors that are well independent."""
    chosen: list[int] = []
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for index, unit in enumerate(units):
        rest = unit.copy()
        for other in np.linalg.qr(units[chosen].T)[0].T if chosen else []:
            rest -= (rest @ other) * other
        if np.linalg.norm(rest) > 0.3:
            chosen.append(index)
        if len(chosen) == 3:
            break
    return chosen


def _rotations(
    vectors: np.ndarray, species: np.ndarray, others: np.ndarray, kinds: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield the orthogonal matrices that carry the surroundings of one atom onto those of another."""
    basis = _basis(vectors)
    if not basis:
        yield np.eye(3)
        return
    lengths, far = np.linalg.norm(vectors, axis=1), np.linalg.norm(others, axis=1)
    loose = 5 * COPY_TOLERANCE
    fits = [
        np.flatnonzero((np.abs(far - lengths[b]) < loose) & (kinds == species[b])).tolist() for b in basis
    ]
    partial: list[list[int]] = [[]]
    for place, b in enumerate(basis):
        products = vectors[basis[:place]] @ vectors[b]
        reach = loose * 2 * lengths[b]
        partial = [
            [*chosen, k]
            for chosen in partial
            for k in fits[place]
            if not chosen or np.abs(others[chosen] @ others[k] - products).max() < reach
        ]
    inner = lengths < COPY_CUTOFF - 2 * loose  # a neighbour at the very cutoff may be lost
    for chosen in partial:
        for rotation in _completions(vectors[basis], others[chosen]):
            gaps = np.linalg.norm((vectors @ rotation)[inner][:, None] - others[None], axis=2)
            nearest = gaps.argmin(axis=1)
            if inner.any() and gaps.min(axis=1).max() > POSITION_TOLERANCE:
                continue
            if (kinds[nearest] == species[inner]).all():
                left, _, right = np.linalg.svd(vectors[inner].T @ others[nearest])
                # Refined by all neighbours (Kabsch, Acta Cryst. A 32, 922 (1976)), reflections allowed.
                yield left @ right if np.linalg.matrix_rank(vectors[inner], 0.1) == 3 else rotation


def _completions(own: np.ndarray, theirs: np.ndarray) -> Iterator[np.ndarray]:
    """Yield orthogonal matrices R with own @ R = theirs; two where fewer than three vectors fix it."""
    left, values, right = np.linalg.svd(own.T @ theirs)
    yield left @ right
    if (values > 1e-3 * values[0]).sum() < 3:
        left[:, -1] *= -1
        yield left @ right


def _test(
    one: Structure, other: Structure, anchor: int, candidate: int, rotation: np.ndarray
) -> Isometry | None:
    """Say whether a rotation about an atom carries all of one structure onto the other, and back."""
    here, there = one.frame.positions[anchor], other.frame.positions[candidate]
    image, distances = other.occupant((one.frame.positions - here) @ rotation + there)
    if distances.max() > POSITION_TOLERANCE or (other.frame.numbers[image] != one.frame.numbers).any():
        return None
    back, distances = one.occupant((other.frame.positions - there) @ rotation.T + here)
    if distances.max() > POSITION_TOLERANCE or (one.frame.numbers[back] != other.frame.numbers).any():
        return None
    if not (other.repeats(one.periods @ rotation) and one.repeats(other.periods @ rotation.T)):
        return None
    return Isometry(rotation, image)
