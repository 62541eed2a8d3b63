"""The lattice constant of diamond under any calculator."""

from __future__ import annotations

import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers, covalent_radii
from scipy.optimize import brentq

from mlpot.errors import RecipeError

#: Where the search for the lattice constant of diamond begins: experiment, Å.
_MEASURED = {"C": 3.567, "Si": 5.431, "Ge": 5.658, "Sn": 6.489}


def lattice_constant(element: str, calculator: Calculator) -> float:
    """Return the lattice constant (Å) at which diamond has no pressure at 0 K.

    Raises
    ------
    RecipeError
        If there is none within a fifth of what the element's size suggests.
    """

    def tension(a: float) -> float:
        crystal = bulk(element, "diamond", a=a, cubic=True)
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
