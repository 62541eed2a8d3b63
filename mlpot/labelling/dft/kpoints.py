"""Meshes of k-points from a spacing, so that cells of all shapes and sizes are sampled alike."""

from __future__ import annotations

import numpy as np
from ase import Atoms

#: A mesh of more points along one direction is taken for a mistake.
_MOST = 100


def mesh(atoms: Atoms, spacing: float) -> tuple[int, int, int]:
    r"""Return the number of k-points along each reciprocal lattice vector, for a mesh that holds Γ.

    n_i = ceil(\|b_i\| / spacing), where a_i · b_j = 2π δ_ij; 1 along directions that are not
    periodic.

    Parameters
    ----------
    atoms
        With a cell of nonzero volume.
    spacing
        Largest distance of neighbouring k-points, 1/Å (with the 2π).

    Raises
    ------
    ValueError
        For a spacing that is not positive, or one so small that it must be a mistake.
    """
    if not spacing > 0:
        raise ValueError(f"a k-point spacing is a positive number of 1/Å, not {spacing:g}")
    lengths = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal().array, axis=1)
    # A length that is a whole multiple of the spacing must not be rounded up by its last digit.
    numbers = np.maximum(np.ceil(lengths / spacing - 1e-9), 1)
    numbers = np.where(atoms.pbc, numbers, 1)
    if numbers.max() > _MOST:
        raise ValueError(
            f"a spacing of {spacing:g} 1/Å gives {' x '.join(f'{n:.0f}' for n in numbers)} k-points"
        )
    first, second, third = (int(number) for number in numbers)
    return first, second, third
