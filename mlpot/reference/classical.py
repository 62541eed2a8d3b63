"""Classical force fields of silicon and germanium as ASE calculators, over matscipy.

Stillinger-Weber (PRB 31, 5262 (1985)) and Tersoff's third parametrisation, T3 (PRB 39, 5566
(1989)). Their zero of energy is free atoms.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import all_changes
from matscipy.calculators.manybody import Manybody
from matscipy.calculators.manybody.explicit_forms import StillingerWeber, TersoffBrenner
from scipy.optimize import brentq

from mlpot.errors import ElementError, RecipeError


@dataclass(frozen=True)
class ForceField:
    """A classical force field: element, functional form, parameters and their source.

    Parameters are named as in the papers (energies eV, lengths Å, inverse lengths 1/Å).
    """

    element: str
    form: Literal["stillinger-weber", "tersoff"]
    parameters: dict[str, float]
    source: str

    def matscipy_form(self) -> dict[str, Any]:
        """Return the functions that matscipy's ``Manybody`` is made of."""
        p = self.parameters
        if self.form == "stillinger-weber":
            # matscipy's costheta0 enters as (cos + costheta0)²: the opposite sign of the paper's.
            own = {key: p[key] for key in ("epsilon", "sigma", "A", "B", "p", "a", "gamma")}
            return StillingerWeber(
                {"el": self.element, **own, "lambda1": p["lambda"], "costheta0": -p["cos_theta0"]}
            )
        # matscipy cuts off between r1 and r2 as the paper does between R and S; LAMMPS states
        # the same as middle and half width, R ± D. matscipy's h is the paper's h (LAMMPS cosθ₀).
        lists = {key: [p[key]] for key in ("A", "B", "lambda", "mu", "beta", "n", "c", "d", "h")}
        return TersoffBrenner(
            {
                "style": "Tersoff",
                "el": [self.element],
                **lists,
                "r1": [p["R"]],
                "r2": [p["S"]],
                "lambda3": [0.0],
                "chi": [1.0],
            }
        )


def _stillinger_weber(epsilon: float, sigma: float, lam: float) -> dict[str, float]:
    return {
        "epsilon": epsilon, "sigma": sigma, "a": 1.80, "lambda": lam, "gamma": 1.20, "cos_theta0": -1 / 3,
        "A": 7.049556277, "B": 0.6022245584, "p": 4, "q": 0,
    }  # fmt: skip


_T3 = "J. Tersoff, Phys. Rev. B 39, 5566 (1989)"

#: The force fields by name.
FORCE_FIELDS: dict[str, ForceField] = {
    "sw-si": ForceField(
        "Si",
        "stillinger-weber",
        _stillinger_weber(2.1683, 2.0951, 21.0),
        "F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985)",
    ),
    "sw-ge": ForceField(
        "Ge",
        "stillinger-weber",
        _stillinger_weber(1.93, 2.181, 31.0),
        "K. Ding and H. C. Andersen, Phys. Rev. B 34, 6987 (1986)",
    ),
    "t3-si": ForceField(
        "Si",
        "tersoff",
        {
            "A": 1830.8, "B": 471.18, "lambda": 2.4799, "mu": 1.7322, "beta": 1.1000e-6, "n": 0.78734,
            "c": 1.0039e5, "d": 16.217, "h": -0.59825, "R": 2.70, "S": 3.00,
        },
        _T3,
    ),
    "t3-ge": ForceField(
        "Ge",
        "tersoff",
        {
            "A": 1769.0, "B": 419.23, "lambda": 2.4451, "mu": 1.7047, "beta": 9.0166e-7, "n": 0.75627,
            "c": 1.0643e5, "d": 15.652, "h": -0.43884, "R": 2.80, "S": 3.10,
        },
        _T3,
    ),
}  # fmt: skip


def force_field(name: str) -> ForceField:
    """Return a force field by its name.

    Raises
    ------
    RecipeError
        For an unknown name.
    """
    if name not in FORCE_FIELDS:
        close = difflib.get_close_matches(name.lower().replace("_", "-"), FORCE_FIELDS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise RecipeError(
            f"unknown classical calculator {name!r}; {hint}there are: {', '.join(FORCE_FIELDS)}."
        )
    return FORCE_FIELDS[name]


class ClassicalCalculator(Manybody):
    """ASE calculator of a classical force field for one element.

    Energy, per-atom energies (their sum is the energy), forces, and, for structures with a
    cell of full rank, stress (eV/Å³, tensile positive, ASE's Voigt order).

    Raises
    ------
    ElementError
        On calculation, for other elements than the force field's own.
    """

    def __init__(self, name: str) -> None:
        self.force_field = force_field(name)
        super().__init__(**self.force_field.matscipy_form())
        self.name = name

    def calculate(
        self,
        atoms: Atoms,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Calculate all properties at once (ASE's interface)."""
        others = set(atoms.symbols) - {self.force_field.element}
        if others:
            raise ElementError(
                f"calculator {self.name} knows {self.force_field.element} only, "
                f"but the structure has {', '.join(sorted(others))}; there are: "
                + ", ".join(f"{name} ({field.element})" for name, field in FORCE_FIELDS.items())
                + "."
            )
        whole = atoms.cell.rank == 3
        if not whole:  # matscipy wants a cell; along open directions its size does not matter
            completed = atoms.copy()
            completed.cell = atoms.cell.complete()
        with warnings.catch_warnings():
            # numpy 2.4 on matscipy's Tersoff: it discards the entries that numpy warns about.
            warnings.filterwarnings("ignore", message="'where' used without 'out'", category=UserWarning)
            super().calculate(atoms if whole else completed, properties, system_changes)
        if not whole:
            self.atoms = atoms.copy()
            for name in ("stress", "stresses"):  # the second is not there in older matscipy
                self.results.pop(name, None)


def classical_calculator(name: str) -> ClassicalCalculator:
    """Return a calculator by its name: ``sw-si``, ``sw-ge``, ``t3-si`` or ``t3-ge``.

    Raises
    ------
    RecipeError
        For an unknown name.
    """
    return ClassicalCalculator(name)


def lattice_constant(name: str) -> float:
    """Return the lattice constant (Å) at which diamond has no pressure at 0 K.

    Raises
    ------
    RecipeError
        For an unknown name.
    """
    calculator = classical_calculator(name)
    element = calculator.force_field.element

    def tension(a: float) -> float:
        crystal = bulk(element, "diamond", a=a, cubic=True)
        crystal.calc = calculator
        return float(np.sum(crystal.get_stress()[:3]))

    measured = {"Si": 5.431, "Ge": 5.658}[element]  # brackets the root; not the answer
    return float(brentq(tension, 0.95 * measured, 1.05 * measured, xtol=1e-10))
