"""Volumes and positions at which a calculator has no pressure and no forces."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS
from scipy.optimize import minimize_scalar

from mlpot.errors import RecipeError
from mlpot.sampling.prototypes import Phase, prototype

#: Volumes of other phases are searched between these multiples of diamond's.
_VOLUMES = np.geomspace(0.45, 1.6, 40)


def relaxed_volume(element: str, phase: Phase, calculator: Calculator, a: float) -> float:
    """Return the volume per atom (Å³) of lowest energy, proportions and sites as they are.

    Parameters
    ----------
    element, phase
        See :mod:`mlpot.sampling.prototypes`.
    calculator
        An ASE calculator.
    a
        Lattice constant of diamond (Å): around its volume per atom the search goes.

    Raises
    ------
    RecipeError
        If the energy has no minimum between 0.45 and 1.6 of diamond's volume.
    """
    unit = a**3 / 8

    def energy(ratio: float) -> float:
        atoms = prototype(element, phase, ratio * unit)
        atoms.calc = calculator
        return float(atoms.get_potential_energy()) / len(atoms)

    energies = [energy(ratio) for ratio in _VOLUMES]
    lowest = int(np.argmin(energies))
    if lowest in (0, len(_VOLUMES) - 1):
        raise RecipeError(
            f"{phase} {element} has no volume of lowest energy between {_VOLUMES[0] * unit:.3g} and "
            f"{_VOLUMES[-1] * unit:.3g} Å³/atom with this calculator; give volume."
        )
    bounds = (_VOLUMES[lowest - 1], _VOLUMES[lowest + 1])
    return unit * float(minimize_scalar(energy, bounds=bounds, method="bounded", options={"xatol": 1e-7}).x)


def relax_positions(atoms: Atoms, calculator: Calculator, what: str) -> None:
    """Move atoms, in place and in their cell, until no force is above 0.01 eV/Å.

    Raises
    ------
    RecipeError
        If 500 steps do not suffice; ``what`` names the structure.
    """
    atoms.calc = calculator
    if not BFGS(atoms, logfile=None).run(fmax=0.01, steps=500):
        raise RecipeError(
            f"{what}: 500 steps did not bring its forces below 0.01 eV/Å with this calculator; "
            "leave out relax."
        )
    atoms.calc = None
