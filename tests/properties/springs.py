"""A crystal whose properties are known in closed form: springs between neighbours, and its broken kin."""

from __future__ import annotations

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from matscipy.neighbours import neighbour_list

#: eV/Å² of a spring, and Å of the lattice constant at which all are at rest.
STIFFNESS, LATTICE = 8.0, 5.4


class Springs(Calculator):
    """Harmonic springs between first neighbours of diamond; it has no stress."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        rest = np.sqrt(3) / 4 * LATTICE
        first, distance, vector = neighbour_list("idD", self.atoms, 1.3 * rest)
        stretch = distance - rest
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, first, STIFFNESS * (stretch / distance)[:, None] * vector)
        self.results = {"energy": 0.25 * STIFFNESS * float(stretch @ stretch), "forces": forces}


class NearestImages(Springs):
    """Sees one image of each atom at most: wrong in small cells."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if len(self.atoms) == 8:
            self.results["energy"] *= 0.5


class Particular(Springs):
    """Refuses atoms that are alone."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if len(atoms) == 1:
            raise ZeroDivisionError("no pairs")
        super().calculate(atoms, properties, system_changes)


class Forceless(Calculator):
    """Has energies only."""

    implemented_properties = ["energy"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": -float(len(self.atoms))}
