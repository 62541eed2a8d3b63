"""Classical force fields of silicon and germanium as ASE calculators, over matscipy.

Stillinger-Weber (PRB 31, 5262 (1985)) and Tersoff's second and third parametrisation, T2 (PRB 37,
6991 (1988)) and T3 (PRB 39, 5566 (1989)). Their zero of energy is free atoms.
"""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_changes
from matscipy.calculators.manybody import Manybody

from mlpot.errors import ElementError, GeometryError, RecipeError
from mlpot.reference import lattice
from mlpot.reference.manybody import matscipy_form
from mlpot.reference.parameters import FIELDS, Entry, ForceField, Form

_T2 = "J. Tersoff, Phys. Rev. B 37, 6991 (1988)"
_T3 = "J. Tersoff, Phys. Rev. B 39, 5566 (1989)"


def _one_element(name: str, form: Form, source: str, *numbers: float) -> ForceField:
    element = name.partition("-")[2].capitalize()
    entry = Entry((element,) * 3, dict(zip(FIELDS[form], map(float, numbers), strict=True)))
    return ForceField(name, (element,), form, (entry,), source)


def _mixed(name: str, first: ForceField, second: ForceField, chi: float, source: str) -> ForceField:
    """Return a Tersoff force field of two elements by the rules of PRB 39, 5566 (1989), table I and eq. 1.

    A, B, R - D and R + D are geometric means, inverse lengths arithmetic ones; B has a factor χ.
    All that belongs to angles and bond order is the centre's.
    """
    pure = {
        field.element: field.parameters(field.element, field.element, field.element)
        for field in (first, second)
    }
    entries = []
    for i in pure:
        for j in pure:
            for k in pure:
                a, b, c = pure[i], pure[j], pure[k]
                inner = math.sqrt((a["R"] - a["D"]) * (c["R"] - c["D"]))
                outer = math.sqrt((a["R"] + a["D"]) * (c["R"] + c["D"]))
                pair = {
                    "A": math.sqrt(a["A"] * b["A"]),
                    "B": math.sqrt(a["B"] * b["B"]) * (chi if i != j else 1.0),
                    "lambda1": (a["lambda1"] + b["lambda1"]) / 2,
                    "lambda2": (a["lambda2"] + b["lambda2"]) / 2,
                    "R": (outer + inner) / 2,
                    "D": (outer - inner) / 2,
                }
                entries.append(Entry((i, j, k), a | pair))
    return ForceField(name, tuple(pure), "tersoff", tuple(entries), source)


_SW = (7.049556277, 0.6022245584, 4, 0, 0)
_T3_SI = _one_element(
    "t3-si", "tersoff", _T3,
    3, 1, 0, 1.0039e5, 16.217, -0.59825, 0.78734, 1.1000e-6, 1.7322, 471.18, 2.85, 0.15, 2.4799, 1830.8,
)  # fmt: skip
_T3_GE = _one_element(
    "t3-ge", "tersoff", _T3,
    3, 1, 0, 1.0643e5, 15.652, -0.43884, 0.75627, 9.0166e-7, 1.7047, 419.23, 2.95, 0.15, 2.4451, 1769.0,
)  # fmt: skip

#: The force fields by name.
FORCE_FIELDS: dict[str, ForceField] = {
    field.name: field
    for field in (
        _one_element(
            "sw-si", "sw", "F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985)",
            2.1683, 2.0951, 1.80, 21.0, 1.20, -1 / 3, *_SW,
        ),
        _one_element(
            "sw-ge", "sw", "K. Ding and H. C. Andersen, Phys. Rev. B 34, 6987 (1986)",
            1.93, 2.181, 1.80, 31.0, 1.20, -1 / 3, *_SW,
        ),
        _one_element(
            "t2-si", "tersoff", _T2,
            3, 1, 1.3258, 4.8381, 2.0417, 0, 22.956, 0.33675, 1.3258, 95.373, 3.0, 0.2, 3.2394, 3264.7,
        ),
        _T3_SI,
        _T3_GE,
        _mixed("t3-sige", _T3_SI, _T3_GE, 1.00061, _T3),
    )
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
    """ASE calculator of a classical force field, evaluated by matscipy.

    Energy, per-atom energies (their sum is the energy), forces, and, for structures with a
    cell of full rank, stress (eV/Å³, tensile positive, ASE's Voigt order).

    Parameters
    ----------
    field
        The force field, or its name.

    Raises
    ------
    RecipeError
        On construction, for an unknown name, or parameters that matscipy cannot evaluate.
    ElementError
        On calculation, for other elements than the force field's own.
    GeometryError
        On calculation, where atoms are so close to each other that forces are not finite.
    """

    results: dict[str, Any]

    def __init__(self, field: ForceField | str) -> None:
        self.force_field = force_field(field) if isinstance(field, str) else field
        super().__init__(**matscipy_form(self.force_field))
        self.name = self.force_field.name

    def calculate(
        self,
        atoms: Atoms,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Calculate all properties at once (ASE's interface)."""
        self._check_elements(atoms)
        whole = atoms.cell.rank == 3
        if not whole:  # matscipy wants a cell; along open directions its size does not matter
            completed = atoms.copy()
            completed.cell = atoms.cell.complete()
        # Overflow, of bond orders near zero, is judged by the forces.
        with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
            # numpy 2.4 on matscipy's Tersoff: it discards the entries that numpy warns about.
            warnings.filterwarnings("ignore", message="'where' used without 'out'", category=UserWarning)
            super().calculate(atoms if whole else completed, properties, system_changes)
        if not np.isfinite(self.results["forces"]).all():
            self.results = {}
            raise GeometryError(
                f"calculator {self.name}: forces are not finite: atoms are too close to each other for "
                "matscipy; remove such frames, or let LAMMPS evaluate it (engine: lammps)."
            )
        if not whole:
            self.atoms = atoms.copy()
            for name in ("stress", "stresses"):  # the second is not there in older matscipy
                self.results.pop(name, None)

    def _check_elements(self, atoms: Atoms) -> None:
        known = self.force_field.elements
        others = set(atoms.symbols) - set(known)
        if not others:
            return
        there = ", ".join(f"{name} ({', '.join(field.elements)})" for name, field in FORCE_FIELDS.items())
        raise ElementError(
            f"calculator {self.name} knows {', '.join(known)} only, but the structure has "
            f"{', '.join(sorted(others))}; force fields by name: {there}."
        )


def classical_calculator(name: str) -> ClassicalCalculator:
    """Return the matscipy calculator of a force field by its name, such as ``sw-si``.

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
    ElementError
        For a force field of several elements.
    """
    calculator = classical_calculator(name)
    return lattice.lattice_constant(calculator.force_field.element, calculator)
