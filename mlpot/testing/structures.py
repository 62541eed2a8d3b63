"""Structures that potentials are checked on: distorted crystals of any elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.data import atomic_numbers, covalent_radii

#: The same lattice from other, skewed vectors: integer rows, determinant 1.
SKEW = np.array([[1, 1, 0], [0, 1, 0], [-1, 1, 1]])


def default_spacing(symbols: Sequence[str]) -> float:
    """Return a distance (Å) at which atoms of these elements bond: their mean covalent diameter."""
    return 2.0 * float(np.mean([covalent_radii[atomic_numbers[symbol]] for symbol in symbols]))


def distorted_crystal(
    symbols: Sequence[str], spacing: float, rng: np.random.Generator, primitive: bool = False
) -> Atoms:
    """Return a diamond crystal, atoms shaken and cell strained, so that no symmetry is left.

    Parameters
    ----------
    symbols
        Elements, handed out to the atoms in turn.
    spacing
        Nearest-neighbour distance, Å.
    rng
        Source of the distortion.
    primitive
        Two atoms in a rhombohedral cell instead of eight in a cubic one.
    """
    atoms = bulk("Si", "diamond", a=4.0 / np.sqrt(3.0) * spacing, cubic=not primitive)
    atoms.symbols[:] = [symbols[i % len(symbols)] for i in range(len(atoms))]
    strain = np.eye(3) + rng.uniform(-0.02, 0.02, (3, 3))
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += rng.normal(scale=0.03 * spacing, size=(len(atoms), 3))
    return atoms


def skewed(atoms: Atoms) -> Atoms:
    """Return the same crystal described by other, skewed lattice vectors."""
    copy = atoms.copy()
    copy.set_cell(SKEW @ atoms.cell.array)
    return copy


def ideal_crystal(symbols: Sequence[str], spacing: float) -> Atoms:
    """Return diamond without distortion, two atoms of the elements in turn; ``spacing`` in Å.

    Of more than two elements the conventional cell of eight atoms.
    """
    atoms = bulk("Si", "diamond", a=4.0 / np.sqrt(3.0) * spacing, cubic=len(set(symbols)) > 2)
    atoms.symbols[:] = [symbols[i % len(symbols)] for i in range(len(atoms))]
    return atoms


def distorted_cluster(symbols: Sequence[str], spacing: float, rng: np.random.Generator) -> Atoms:
    """Return four atoms at the corners of a shaken tetrahedron, edges about ``spacing`` (Å), open."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * spacing / np.sqrt(8.0)
    kinds = [symbols[i % len(symbols)] for i in range(4)]
    return Atoms(kinds, positions=corners + rng.normal(scale=0.05 * spacing, size=(4, 3)))


def pairs_of(symbols: Sequence[str]) -> list[tuple[str, str]]:
    """Return all pairs of elements, each with itself too."""
    kinds = list(dict.fromkeys(symbols))
    return [(a, b) for i, a in enumerate(kinds) for b in kinds[i:]]


def boxed(atoms: Atoms, vacuum: float) -> Atoms:
    """Return a molecule in the middle of a periodic box, ``vacuum`` (Å) from its images."""
    copy = atoms.copy()
    copy.center(vacuum=0.5 * vacuum)
    copy.pbc = True
    return copy
