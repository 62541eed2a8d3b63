"""The potential under study: an element, a calculator, its diamond at rest, and how it relaxes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, TypeAlias

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError
from ase.calculators.fd import FiniteDifferenceCalculator
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.optimize import BFGS, LBFGS
from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from mlpot.errors import ElementError, MLPotError, RecipeError
from mlpot.recipe import Recipe
from mlpot.sampling.base import Material
from mlpot.sampling.prototypes import diamond

#: An ASE calculator, or a function without arguments that returns one.
CalculatorOrFactory: TypeAlias = BaseCalculator | Callable[[], BaseCalculator]

#: Of the strain by which a stress is had from energies where a calculator has none.
_STRAIN = 1e-4
#: Atoms up to which a structure is relaxed by BFGS, not LBFGS.
_SMALL = 40


class PropertyError(MLPotError):
    """A property that this potential does not have, or that could not be computed."""


class PropertySettings(Recipe):
    """How properties are computed.

    Attributes
    ----------
    fmax
        Largest force (eV/Å) on an atom at rest.
    steps
        Of a relaxation, at most.
    strain
        Of the central differences that give elastic constants.
    displacement
        Of the finite differences that give force constants, Å.
    phonon_supercell
        Repeats of the cubic cell of 8 atoms in which force constants are computed; even, so that X
        and L, the zone's boundary, are exact.
    mesh
        Points of the zone along each reciprocal vector, for densities of states and thermodynamics;
        odd, so that they keep the zone's symmetry.
    temperature
        K, of thermodynamic quantities and expansion.
    defect_supercells
        Repeats of the cubic cell that hold a defect, in ascending order: 2 is 64 sites, 3 is 216.
    starts
        How many random starts a relaxation that may break symmetry has, beside its regular ones.
    seed
        Of the random numbers.
    free_atom
        Energy (eV) of an atom alone on the scale of the calculator, such as that of the method that
        labelled a potential's data; by default what the calculator says of an atom in an empty cell.
    cutoff
        Å, how far an atom sees; by default what the calculator says, if it does.
    """

    fmax: PositiveFloat = 1e-3
    steps: PositiveInt = 500
    strain: Annotated[float, Field(gt=0, le=0.02)] = 2e-3
    displacement: Annotated[float, Field(gt=0, le=0.1)] = 0.01
    phonon_supercell: Annotated[int, Field(ge=2, le=6, multiple_of=2)] = 2
    mesh: Annotated[int, Field(ge=5)] = 21
    temperature: Annotated[float, Field(gt=0, le=1000)] = 300.0
    defect_supercells: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (2, 3)
    starts: Annotated[int, Field(ge=0)] = 3
    seed: Annotated[int, Field(ge=0)] = 0
    free_atom: float | None = None
    cutoff: PositiveFloat | None = None

    @field_validator("mesh")
    @classmethod
    def _odd(cls, mesh: int) -> int:
        if mesh % 2 == 0:
            raise ValueError(f"{mesh} is even; give {mesh - 1} or {mesh + 1}")
        return mesh

    @field_validator("defect_supercells")
    @classmethod
    def _ascending(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if list(sizes) != sorted(set(sizes)):
            raise ValueError(f"{', '.join(map(str, sizes))}: give each size once, in ascending order")
        return sizes


class Subject:
    """An element under a calculator.

    Parameters
    ----------
    element
        Chemical symbol.
    calculator
        An ASE calculator or a function that returns one; it needs energies and forces.
    settings
        How properties are computed.

    Attributes
    ----------
    calculator
        The calculator.
    stress_source
        ``calculator``, or how the stress is had where the calculator has none.

    Raises
    ------
    ElementError
        If the element is none, or unknown to the calculator.
    RecipeError
        If the calculator cannot evaluate diamond of the element, or has no forces.
    """

    def __init__(
        self, element: str, calculator: CalculatorOrFactory, settings: PropertySettings | None = None
    ) -> None:
        if element not in chemical_symbols[1:]:
            raise ElementError(f"{element!r} is no chemical element; write its symbol, such as Si.")
        self.element = element
        self.settings = settings or PropertySettings()
        self.calculator: BaseCalculator = (
            calculator if isinstance(calculator, BaseCalculator) else calculator()
        )
        self.stress_source, self._with_stress = self._probe()

    def _probe(self) -> tuple[str, BaseCalculator]:
        """Return where the stress comes from, and a calculator that has one."""
        name = type(self.calculator).__name__
        a = 8 / np.sqrt(3) * covalent_radii[atomic_numbers[self.element]]
        cells = [diamond(self.element, a), diamond(self.element, a).repeat(2)]
        energies = []
        for cell in cells:
            cell.calc = self.calculator
            try:
                energies.append(float(cell.get_potential_energy()) / len(cell))
                cell.get_forces()
            except MLPotError:
                raise
            except (PropertyNotImplementedError, NotImplementedError):
                raise RecipeError(f"{name} has no forces; nothing can be relaxed without them.") from None
            except Exception as error:  # whatever other people's code raises
                raise RecipeError(
                    f"{name} cannot evaluate diamond {self.element}: {type(error).__name__}: {error}"
                ) from error
        if not np.isfinite(energies).all():
            raise RecipeError(f"{name}: the energy of diamond {self.element} is not finite.")
        if abs(energies[0] - energies[1]) > 1e-4 * max(1.0, abs(energies[1])):
            raise RecipeError(
                f"{name} gives {energies[0]:.6g} eV/atom for a periodic cell of 8 atoms and "
                f"{energies[1]:.6g} for the same crystal in 64: it does not see all periodic images within "
                "its cutoff, and small cells are wrong. Use a calculator with a general neighbour list."
            )
        try:
            cells[0].get_stress()
        except (PropertyNotImplementedError, NotImplementedError):
            differences = FiniteDifferenceCalculator(
                self.calculator,
                eps_disp=None,
                eps_strain=_STRAIN,
                force_consistent="free_energy" in self.calculator.implemented_properties,
            )
            return f"finite differences of the energy, strain {_STRAIN:g}", differences
        return "calculator", self.calculator

    @cached_property
    def material(self) -> Material:
        """The material as the structures of :mod:`mlpot.sampling` want it, at its own lattice constant."""
        return Material(self.element, self.calculator, self.a, (2, 2, 2))

    @cached_property
    def a(self) -> float:
        """Lattice constant (Å) of diamond without pressure."""
        return Material(self.element, self._with_stress, None, (1, 1, 1)).relaxed

    @cached_property
    def energy(self) -> float:
        """Energy (eV) per atom of diamond at rest."""
        return self.energy_of(self.diamond()) / 8

    @cached_property
    def cutoff(self) -> float | None:
        """How far an atom sees (Å), if settings or calculator say so."""
        if self.settings.cutoff is not None:
            return self.settings.cutoff
        told = getattr(getattr(self.calculator, "model", None), "cutoff", None)
        return float(told) if isinstance(told, int | float) else None

    def rng(self) -> np.random.Generator:
        """Return a generator in its first state: each property draws the same numbers alone or in company."""
        return np.random.default_rng(self.settings.seed)

    def diamond(self, a: float | None = None) -> Atoms:
        """Return the cubic cell of 8 atoms; ``a`` in Å, by default that without pressure."""
        return diamond(self.element, self.a if a is None else a)

    def energy_of(self, atoms: Atoms) -> float:
        """Return the energy (eV) of a structure; ``atoms`` is left as it is.

        Raises
        ------
        PropertyError
            If it is not finite.
        """
        copy = atoms.copy()
        copy.calc = self.calculator
        energy = float(copy.get_potential_energy())
        if not np.isfinite(energy):
            raise PropertyError(f"the energy of {copy.get_chemical_formula()} is not finite.")
        return energy

    def attach(self, atoms: Atoms, stress: bool = False) -> Atoms:
        """Return the structure itself with the calculator, one that has stresses if asked."""
        atoms.calc = self._with_stress if stress else self.calculator
        return atoms

    def relax(self, what: Any, name: str, fmax: float | None = None) -> int:
        """Move atoms (or what an ASE filter adds) in place to rest; return how many steps it took.

        Parameters
        ----------
        what
            Atoms with a calculator, or a filter around them.
        name
            What a message calls it.
        fmax
            eV/Å; by default the settings'.

        Raises
        ------
        PropertyError
            If the steps do not suffice, or forces are not finite.
        """
        fmax = self.settings.fmax if fmax is None else fmax
        # BFGS keeps the whole Hessian: fewer steps, but its cost grows with the cube of the atoms.
        optimizer = (BFGS if len(what) <= _SMALL else LBFGS)(what, logfile=None)
        for converged in optimizer.irun(fmax=fmax, steps=self.settings.steps):
            forces = what.get_forces()
            if not np.isfinite(forces).all():
                raise PropertyError(f"{name}: a force is not finite after {optimizer.nsteps} steps.")
            if converged:
                return int(optimizer.nsteps)
        left = float(np.linalg.norm(forces, axis=1).max())
        raise PropertyError(
            f"{name}: {self.settings.steps} steps leave a force of {left:.2g} eV/Å, above {fmax:g}."
        )

    def require_room(self, atoms: Atoms, what: str) -> list[str]:
        """Return notes on whether a defect is far enough from its images.

        Raises
        ------
        PropertyError
            If it sees its own images: the cell is narrower than the cutoff.
        """
        if self.cutoff is None:
            return []
        width = float(atoms.get_volume() / max(_faces(atoms.cell.array)))
        if width <= self.cutoff:
            raise PropertyError(
                f"{what} in {len(atoms)} atoms: the cell is {width:.3g} Å wide, not more than the cutoff of "
                f"{self.cutoff:.3g} Å: the defect sees its images; give larger defect_supercells."
            )
        if width < 2 * self.cutoff:
            return [
                f"in {len(atoms)} atoms the cell is {width:.3g} Å wide, less than two cutoffs "
                f"({self.cutoff:.3g} Å): some atoms see the defect and an image of it"
            ]
        return []


def _faces(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.cross(vectors[[1, 2, 0]], vectors[[2, 0, 1]]), axis=1)
