"""Stillinger-Weber silicon with one fault each, planted so that a check must find it."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.neighborlist import neighbor_list

from mlpot.conventions import GPA
from mlpot.reference.classical import classical_calculator


class Healthy(Calculator):
    """No fault."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def __init__(self) -> None:
        super().__init__()
        self.right = classical_calculator("sw-si")

    def calculate(self, atoms=None, properties=(), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        here = self.atoms.copy()
        found = {"energy": self.right.get_property("energy", here)}
        found["forces"] = self.right.get_property("forces", here)
        if here.cell.rank == 3:
            found["stress"] = self.right.get_property("stress", here)
        self.results = self.spoil(atoms, found)

    def spoil(self, atoms: Atoms, found: dict[str, Any]) -> dict[str, Any]:
        """Return the results with the fault."""
        return found


def pairs(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centres, distances and vectors of all pairs, each twice."""
    return neighbor_list("idD", atoms, cutoff)


class StressSign(Healthy):
    def spoil(self, atoms, found):
        if "stress" in found:
            found["stress"] = -found["stress"]
        return found


class StressOrder(Healthy):
    """xx yy zz xy yz xz, as VASP prints it."""

    def spoil(self, atoms, found):
        if "stress" in found:
            found["stress"] = found["stress"][[0, 1, 2, 5, 3, 4]]
        return found


class StressUnit(Healthy):
    def spoil(self, atoms, found):
        if "stress" in found:
            found["stress"] = found["stress"] / GPA
        return found


class NoStress(Healthy):
    def spoil(self, atoms, found):
        found.pop("stress", None)
        return found

    def get_property(self, name, atoms=None, allow_calculation=True):
        if name == "stress":
            raise PropertyNotImplementedError("no stress")
        return super().get_property(name, atoms, allow_calculation)


class ForcesTooLarge(Healthy):
    def spoil(self, atoms, found):
        found["forces"] = 1.01 * found["forces"]
        return found


class EnergyJump(Healthy):
    def spoil(self, atoms, found):
        found["energy"] += 5e-4 * len(pairs(atoms, 3.6)[0])
        return found


class ForceJump(Healthy):
    """A pair energy that ends with a kink."""

    def spoil(self, atoms, found):
        i, d, vectors = pairs(atoms, 3.6)
        found["energy"] += 0.5 * 0.01 * np.sum(3.6 - d)
        found["forces"] = found["forces"].copy()
        np.add.at(found["forces"], i, -0.01 * vectors / d[:, None])
        return found


class VolumeJump(Healthy):
    def spoil(self, atoms, found):
        if "stress" in found and atoms.get_volume() / len(atoms) < 18.0:
            found["energy"] += 0.01 * len(atoms)
        return found


class NotConservative(Healthy):
    """A force that whirls about z around each neighbour."""

    def spoil(self, atoms, found):
        i, d, vectors = pairs(atoms, 3.0)
        found["forces"] = found["forces"].copy()
        np.add.at(found["forces"], i, 0.05 * (3.0 - d[:, None]) ** 2 * np.cross([0, 0, 1], vectors))
        return found


class NearestImage(Healthy):
    """Each pair interacts once, whatever the size of the cell."""

    def spoil(self, atoms, found):
        vectors = atoms.get_all_distances(mic=atoms.pbc.any(), vector=True)
        d = np.linalg.norm(vectors, axis=2) + 10.0 * np.eye(len(atoms))
        inside = (3.77 - d).clip(0.0)
        forces = -(4.0 * inside**3 / d)[:, :, None] * vectors
        return found | {"energy": 0.5 * np.sum(inside**4), "forces": forces.sum(1)}


class Mutating(Healthy):
    def spoil(self, atoms, found):
        atoms.wrap()
        return found


class Boxing(Healthy):
    """Gives what has no cell one."""

    def spoil(self, atoms, found):
        if atoms.cell.rank < 3:
            atoms.center(vacuum=10.0)
        return found


class Constraining(Healthy):
    def spoil(self, atoms, found):
        atoms.set_constraint()
        return found


class Stale(Healthy):
    """Knows the atoms by who they are, not by where they are."""

    last: Atoms | None = None

    def get_property(self, name, atoms=None, allow_calculation=True):
        if atoms is not self.last or name not in self.results:
            self.last = atoms
            return super().get_property(name, atoms, allow_calculation)
        return self.results[name]


class StaleCell(Healthy):
    """Looks for changes of the positions alone."""

    def check_state(self, atoms, tol=1e-15):
        return [change for change in super().check_state(atoms, tol) if change != "cell"]


class Coarse(Healthy):
    """Takes small moves for none."""

    def check_state(self, atoms, tol=1e-15):
        return super().check_state(atoms, 2e-3)


class Noisy(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)

    def spoil(self, atoms, found):
        found["energy"] += self.rng.normal(scale=1e-3)
        found["forces"] = found["forces"] + self.rng.normal(scale=1e-3, size=found["forces"].shape)
        return found


class Rough(Healthy):
    """The same energy each time, but rounded."""

    def spoil(self, atoms, found):
        found["energy"] = round(found["energy"], 2)
        return found


class Oriented(Healthy):
    def spoil(self, atoms, found):
        _, d, vectors = pairs(atoms, 3.0)
        found["energy"] += 1e-3 * float(np.sum((3.0 - d) * vectors[:, 2] ** 2))
        return found


class Handed(Healthy):
    """Tells left from right."""

    def spoil(self, atoms, found):
        i, d, vectors = pairs(atoms, 3.0)
        for atom in range(len(atoms)):
            own = vectors[i == atom][np.argsort(d[i == atom])][:3]
            if len(own) == 3:
                found["energy"] += 1e-3 * float(np.linalg.det(own))
        return found


class FirstDiffers(Healthy):
    def spoil(self, atoms, found):
        found["forces"] = found["forces"].copy()
        found["forces"][0] *= 1.001
        return found


class NotExtensive(Healthy):
    def spoil(self, atoms, found):
        found["energy"] += 1e-3 * len(atoms) ** 2
        return found


class Drifting(Healthy):
    def spoil(self, atoms, found):
        found["forces"] = found["forces"] + [0.0, 0.0, 1e-3]
        return found


class LongRanged(Healthy):
    """Atoms of a molecule repel each other at any distance."""

    def spoil(self, atoms, found):
        if not atoms.pbc.any() and len(atoms) > 1:
            _, d, _ = pairs(atoms, 100.0)
            found["energy"] += 1e-3 * float(np.sum(1.0 / d))
        return found


class Field(Healthy):
    def spoil(self, atoms, found):
        found["energy"] += 0.01 * float(atoms.positions[:, 2].sum())
        return found


class Shared(Healthy):
    """All instances write into the same place, and read from it later."""

    scratch: ClassVar[dict[str, Any]] = {}

    def spoil(self, atoms, found):
        Shared.scratch = found
        time.sleep(2e-3)
        return Shared.scratch


class Hole(Healthy):
    """Atoms fall into each other."""

    def spoil(self, atoms, found):
        _, d, _ = pairs(atoms, 1.4)
        found["energy"] -= 1e3 * float(np.sum((1.4 - d) ** 2))
        return found


class TwoBonds(Healthy):
    def spoil(self, atoms, found):
        _, d, _ = pairs(atoms, 4.0)
        found["energy"] -= 0.2 * float(np.sum(np.exp(-(((d - 3.3) / 0.1) ** 2))))
        return found


class Periodic(Healthy):
    """Refuses what is not periodic, as some do."""

    def calculate(self, atoms=None, properties=(), system_changes=all_changes) -> None:
        if not atoms.pbc.all():
            raise ValueError("periodic crystals only")
        super().calculate(atoms, properties, system_changes)


class LargeCells(Healthy):
    def spoil(self, atoms, found):
        if atoms.pbc.all() and 1 < len(atoms) < 8:
            raise RuntimeError("cell is smaller than twice the cutoff")
        return found


class NotANumber(Healthy):
    def spoil(self, atoms, found):
        if len(atoms) > 8:
            found["forces"] = np.full_like(found["forces"], np.nan)
        return found
