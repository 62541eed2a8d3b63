"""Crystal structures of silicon and germanium: symmetry, sites and proportions from the literature.

They are stored with a lattice constant of 1; :func:`prototype` brings them to a volume.

=====================  ==========================  ======================================================
phase                  space group, sites          proportions and parameters
=====================  ==========================  ======================================================
``diamond``            Fd-3m, 8a
``beta_tin``           I4_1/amd, 4a                c/a = 0.552 (Si-II, 2.585/4.686: Jamieson, Science 139,
                                                   762 (1963))
``sc`` ``bcc`` ``fcc``  cubic                       1, 2 and 4 atoms in the cubic cell
``hcp``                P6_3/mmc, 2c                c/a = (8/3)^1/2
``hexagonal_diamond``  P6_3/mmc, 4f                c/a = (8/3)^1/2, z = 1/16: all bonds equal, all angles
                                                   tetrahedral (Bundy and Kasper, J. Chem. Phys. 46, 3437
                                                   (1967), for carbon)
``bc8``                Ia-3, 16c                   x = 0.1003 (Si-III: Kasper and Richards, Acta Cryst. 17,
                                                   752 (1964))
``st12``               P4_3 2_1 2, 4a and 8b       c/a = 6.98/5.93; x = 0.0912; 0.1730, 0.3784, 0.2486
                                                   (Ge-III: Kasper and Richards, ibid.)
=====================  ==========================  ======================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

Phase = Literal["diamond", "beta_tin", "sc", "bcc", "fcc", "hcp", "hexagonal_diamond", "bc8", "st12"]

_IDEAL = float(np.sqrt(8 / 3))


def _sites(
    group: int, c_over_a: float, angle: float, *sites: tuple[float, float, float]
) -> Callable[[str], Atoms]:
    def build(element: str) -> Atoms:
        cell = [1.0, 1.0, c_over_a, 90.0, 90.0, angle]
        made = crystal([element] * len(sites), list(sites), spacegroup=group, cellpar=cell)
        # A plain structure: the space group and its kinds of sites stay behind.
        return Atoms(
            numbers=made.numbers, cell=made.cell, scaled_positions=made.get_scaled_positions(), pbc=True
        )

    return build


_PROTOTYPES: dict[Phase, Callable[[str], Atoms]] = {
    "diamond": lambda element: bulk(element, "diamond", a=1.0, cubic=True),
    "beta_tin": _sites(141, 0.552, 90.0, (0, 0, 0)),
    "sc": lambda element: bulk(element, "sc", a=1.0),
    "bcc": lambda element: bulk(element, "bcc", a=1.0, cubic=True),
    "fcc": lambda element: bulk(element, "fcc", a=1.0, cubic=True),
    "hcp": lambda element: bulk(element, "hcp", a=1.0, c=_IDEAL),
    "hexagonal_diamond": _sites(194, _IDEAL, 120.0, (1 / 3, 2 / 3, 1 / 16)),
    "bc8": _sites(206, 1.0, 90.0, (0.1003, 0.1003, 0.1003)),
    "st12": _sites(96, 6.98 / 5.93, 90.0, (0.0912, 0.0912, 0.0), (0.1730, 0.3784, 0.2486)),
}


def prototype(element: str, phase: Phase, volume: float) -> Atoms:
    """Return the conventional cell of a phase at a volume per atom (Å³)."""
    atoms = _PROTOTYPES[phase](element)
    scale = (volume * len(atoms) / atoms.get_volume()) ** (1 / 3)
    atoms.set_cell(atoms.cell * scale, scale_atoms=True)
    return atoms


def diamond(element: str, a: float) -> Atoms:
    """Return the conventional cell of diamond, 8 atoms, with lattice constant ``a`` (Å)."""
    return bulk(element, "diamond", a=a, cubic=True)


def repeated(atoms: Atoms, min_atoms: int) -> Atoms:
    """Return the most compact repetition with at least so many atoms, and at most a quarter more.

    Compact: the smallest distance between opposite faces of the cell is as large as it can be,
    then the second smallest, then the third; of equals, the one with fewer atoms.
    """
    least = -(-min_atoms // len(atoms))
    most = int(1.25 * least)
    vectors = atoms.cell.array
    faces = np.cross(vectors[[1, 2, 0]], vectors[[2, 0, 1]])
    heights = atoms.get_volume() / np.linalg.norm(faces, axis=1)
    choices = [
        (n1, n2, n3)
        for n1 in range(1, most + 1)
        for n2 in range(1, most // n1 + 1)
        for n3 in range(-(-least // (n1 * n2)), most // (n1 * n2) + 1)
    ]

    def rank(repeats: tuple[int, int, int]) -> tuple[float, ...]:
        return (*np.sort(heights * repeats).round(6).tolist(), -float(np.prod(repeats)))

    return atoms.repeat(max(choices, key=rank))
