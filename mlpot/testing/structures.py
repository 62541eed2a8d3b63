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
