"""Volumes and positions at which a calculator has no pressure and no forces."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers, covalent_radii
from ase.optimize import BFGS
from scipy.optimize import brentq, minimize_scalar

from mlpot.errors import RecipeError
from mlpot.sampling.prototypes import Phase, diamond, prototype

#: Where the search for the lattice constant of diamond begins: experiment, Å.
_MEASURED = {"C": 3.567, "Si": 5.431, "Ge": 5.658, "Sn": 6.489}

#: Volumes of other phases are searched between these multiples of diamond's.
_VOLUMES = np.geomspace(0.45, 1.6, 40)


def lattice_constant(element: str, calculator: Calculator) -> float:
    """Return the lattice constant (Å) at which diamond has no pressure at 0 K.

    Raises
    ------
    RecipeError
        If there is none within a fifth of what the element's size suggests.
    """

    def tension(a: float) -> float:
        crystal = diamond(element, a)
        crystal.calc = calculator
        return float(np.sum(crystal.get_stress()[:3]))

    guess = _MEASURED.get(element, 8 / np.sqrt(3) * covalent_radii[atomic_numbers[element]])
    for width in (0.05, 0.1, 0.2):
        low, high = (1 - width) * guess, (1 + width) * guess
        if tension(low) < 0 < tension(high):
            return float(brentq(tension, low, high, xtol=1e-10))
    raise RecipeError(
        f"diamond {element} has no lattice constant without pressure between {low:.3g} and {high:.3g} Å "
        "with this calculator; give lattice_constant."
    )


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
