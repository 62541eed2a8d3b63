"""Units, signs and orders used everywhere in mlpot.

=============  ==========================================================
energy         eV (of a whole frame unless "per atom" is said)
length         Å
force          eV/Å, ``F = -dE/dr``
stress         eV/Å³, ``sigma = (1/V) dE/d(strain)``, tensile positive
Voigt order    xx, yy, zz, yz, xz, xy (ASE)
time           fs in interfaces, ps where a name says so
temperature    K
mass           u
=============  ==========================================================
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from ase import units

#: eV/Å³ per GPa.
GPA: float = units.GPa
#: eV/Å³ per kBar.
KBAR: float = 0.1 * units.GPa
#: Boltzmann's constant, eV/K.
KB: float = units.kB

#: Rows and columns of the ASE Voigt order.
_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
#: Rows and columns of VASP's order xx, yy, zz, xy, yz, zx.
_VASP = ((0, 1, 2, 0, 1, 2), (0, 1, 2, 1, 2, 0))


def _fill(components: npt.ArrayLike, order: tuple[tuple[int, ...], ...]) -> np.ndarray:
    values = np.asarray(components, dtype=float)
    matrix = np.empty((3, 3))
    matrix[order[0], order[1]] = values
    matrix[order[1], order[0]] = values
    return matrix


def voigt_to_matrix(components: npt.ArrayLike) -> np.ndarray:
    """Return the symmetric 3x3 tensor of six components in ASE's Voigt order."""
    return _fill(components, _VOIGT)


def matrix_to_voigt(matrix: npt.ArrayLike) -> np.ndarray:
    """Return the six components, in ASE's Voigt order, of a symmetric 3x3 tensor."""
    return np.asarray(matrix, dtype=float)[_VOIGT[0], _VOIGT[1]]


def vasp_stress_to_matrix(components: npt.ArrayLike) -> np.ndarray:
    """Return the stress (eV/Å³, tensile positive) of VASP's six numbers.

    VASP prints kBar, compressive positive, in the order xx, yy, zz, xy, yz, zx.
    """
    return -KBAR * _fill(components, _VASP)
