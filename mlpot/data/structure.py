"""Unlabelled structures to compute on, in any format that ASE reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from mlpot.errors import DataError


def read_structure(path: str | Path, supercell: Sequence[int] = (1, 1, 1)) -> Atoms:
    """Return one structure, without calculator, repeated along its lattice vectors.

    Parameters
    ----------
    path
        Any format that ASE reads (extended XYZ, CIF, POSCAR, ...). Of several structures the
        first, unless the name ends in ``@index`` (``md.xyz@-1``: the last).
    supercell
        Repeats along each lattice vector.

    Raises
    ------
    DataError
        If the file is missing, cannot be read, holds no atoms or positions that are not finite;
        if a repeat is less than 1 or goes along a vector that the structure does not have.
    """
    text = str(path)
    name, _, index = text.rpartition("@")
    if Path(text).is_file() or not name:
        name, index = text, "0"
    if not Path(name).is_file():
        raise DataError(f"{name}: there is no such file; check the path (relative to {Path.cwd()}).")
    try:
        read = ase.io.read(name, index=index)
    except Exception as error:  # ASE raises whatever its readers stumble over
        raise DataError(
            f"{text}: ASE cannot read a structure here: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(read, Atoms):
        raise DataError(f"{text}: expected one structure, '@{index}' selects {len(read)}; give one number.")
    if len(read) == 0:
        raise DataError(f"{text}: the structure has no atoms.")
    if not np.isfinite(read.positions).all():
        raise DataError(f"{text}: the positions hold NaN or infinity.")
    read.calc = None
    repeats = tuple(int(count) for count in supercell)
    if min(repeats) < 1:
        raise DataError(f"supercell {repeats}: each repeat must be 1 or more.")
    for axis, count in enumerate(repeats):
        if count > 1 and not read.cell.array[axis].any():
            raise DataError(f"{text}: cannot be repeated along lattice vector {axis + 1}, it has none.")
    return read.repeat(repeats)
