"""Dynamics of sampling: thermostats, barostat, and whether what moves is what it is called."""

from __future__ import annotations

import warnings

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from pydantic import PositiveFloat

from mlpot.conventions import GPA
from mlpot.errors import RecipeError
from mlpot.recipe import Recipe
from mlpot.sampling.disorder import grams_per_cm3

#: Root mean square displacement, in bond lengths, that no crystal survives and any liquid reaches.
MOBILE = 0.5


class Thermostat(Recipe):
    """Base of what moves atoms: the settings of a Langevin integrator.

    Attributes
    ----------
    timestep_fs, friction_per_fs
        Of the integrator.
    """

    timestep_fs: PositiveFloat = 2.0
    friction_per_fs: PositiveFloat = 0.005

    def steps(self, time_fs: float) -> int:
        """Return the number of steps in a time."""
        return max(1, round(time_fs / self.timestep_fs))

    def langevin(self, atoms: Atoms, temperature: float, rng: np.random.Generator) -> Langevin:
        """Return Langevin dynamics (K) at constant volume."""
        return Langevin(
            atoms,
            timestep=self.timestep_fs * units.fs,
            temperature_K=temperature,
            friction=self.friction_per_fs / units.fs,
            fixcm=False,
            rng=rng,
        )

    def langevin_hoover(
        self,
        atoms: Atoms,
        temperature: float,
        pressure: float,
        period_fs: float,
        isotropic: bool,
        rng: np.random.Generator,
    ) -> MolecularDynamics:
        """Return Langevin dynamics (K) at constant pressure (GPa).

        Quigley and Probert, J. Chem. Phys. 120, 11432 (2004), in ASE's BAOAB integrator.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Using heuristic P_mass")
            return LangevinBAOAB(
                atoms,
                timestep=self.timestep_fs * units.fs,
                temperature_K=temperature,
                externalstress=-pressure * GPA,
                hydrostatic=isotropic,
                T_tau=units.fs / self.friction_per_fs,
                P_tau=period_fs * units.fs,
                rng=rng,
            )


def thermalise(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Draw the momenta of Maxwell and Boltzmann's distribution."""
    deviation = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(deviation[:, None] * rng.standard_normal((len(atoms), 3)))


class Places:
    """Where atoms are now: to tell later whether they stayed, in whatever cell they are then."""

    def __init__(self, atoms: Atoms) -> None:
        self._scaled = atoms.get_scaled_positions(wrap=False)

    def left(self, atoms: Atoms, bond: float) -> bool:
        """Return whether atoms have left their places, apart from a drift of the whole."""
        moved = atoms.positions - self._scaled @ atoms.cell.array
        moved -= moved.mean(axis=0)
        return bool(np.sqrt((moved**2).sum(axis=1).mean()) > MOBILE * bond)


def bond_length(atoms: Atoms) -> float:
    """Return the bond length (Å) of diamond at the density of the atoms."""
    return float(np.sqrt(3) / 4 * (8 * atoms.get_volume() / len(atoms)) ** (1 / 3))


def melted(
    thermostat: Thermostat,
    solid: Atoms,
    density: float | None,
    temperature: float,
    time_ps: float,
    calculator: Calculator,
    rng: np.random.Generator,
) -> Atoms:
    """Return the solid brought to a density (g/cm³) and melted at a temperature (K).

    Raises
    ------
    RecipeError
        If it does not melt within the time.
    """
    atoms = solid.copy()
    if density is not None:
        scale = (grams_per_cm3(atoms) / density) ** (1 / 3)
        atoms.set_cell(atoms.cell * scale, scale_atoms=True)
    places = Places(atoms)
    atoms.calc = calculator
    thermalise(atoms, temperature, rng)
    thermostat.langevin(atoms, temperature, rng).run(thermostat.steps(1000 * time_ps))
    if not places.left(atoms, bond_length(atoms)):
        raise RecipeError(
            f"the crystal did not melt within melt_ps = {time_ps:g} ps at melt_temperature = "
            f"{temperature:g} K; raise one of them."
        )
    return atoms
