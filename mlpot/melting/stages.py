"""What prepares coexistence: how far the crystal can be heated, both phases alone, half a melt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator
from ase.constraints import FixAtoms
from ase.md.md import MolecularDynamics
from ase.md.melchionna import MelchionnaNPT

from mlpot.conventions import GPA
from mlpot.errors import MLPotError
from mlpot.melting.order import Solidity, calibrate
from mlpot.melting.settings import MeltingError, MeltingSettings
from mlpot.sampling.integrate import Places, Thermostat, bond_length, thermalise
from mlpot.sampling.prototypes import diamond

#: K, where heating begins and where it is given up.
_COLD, _HOTTEST = 300.0, 20000.0
#: The melt is made so far above what the crystal can bear.
_ABOVE = 1.2
#: Frames of each phase that bond order is calibrated on.
_FRAMES = 20
#: eV/Å³ and fs: bulk modulus and period that set the inertia of the cell; means do not depend on it.
_STIFFNESS, _PERIOD = 0.6, 400.0


@dataclass(frozen=True)
class Phases:
    """Crystal and liquid alone at a temperature: lattice constant (Å) and how they differ."""

    temperature: float
    a: float
    solidity: Solidity


class Preparation:
    """The steps before coexistence, under one calculator.

    Parameters
    ----------
    element
        Chemical symbol.
    calculator
        An ASE calculator with stresses.
    settings
        How.
    a
        Lattice constant (Å) of diamond at 0 K.
    """

    def __init__(self, element: str, calculator: BaseCalculator, settings: MeltingSettings, a: float) -> None:
        self.element, self.calculator, self.settings, self.a = element, calculator, settings, a
        self._thermostat = Thermostat(timestep_fs=settings.timestep_fs, friction_per_fs=0.01)

    def crystal(self, a: float, repeats: tuple[int, int, int]) -> Atoms:
        """Return diamond with the calculator."""
        atoms = diamond(self.element, a).repeat(repeats)
        atoms.calc = self.calculator
        return atoms

    def limit(self, rng: np.random.Generator) -> float:
        """Return the temperature (K) at which the crystal, heated at the settings' rate, falls apart.

        Raises
        ------
        MeltingError
            If it never does.
        """
        atoms = self.crystal(self.a, (3, 3, 3))
        places, bond = Places(atoms), bond_length(atoms)
        thermalise(atoms, _COLD, rng)
        dynamics = self._barostat(atoms, _COLD, rng)
        every = self.settings.steps(0.1)
        temperature = _COLD
        while not places.left(atoms, bond):
            temperature += self.settings.heating_rate * every * self.settings.timestep_fs / 1000.0
            if temperature > _HOTTEST:
                raise MeltingError(f"the crystal did not melt below {_HOTTEST:g} K.")
            dynamics.set_temperature(temperature_K=temperature)
            advance(dynamics, every, f"heating the crystal ({temperature:.0f} K)")
        return temperature

    def phases(self, temperature: float, limit: float, rng: np.random.Generator) -> Phases:
        """Return the lattice constant of the crystal at a temperature (K), and what tells it from the liquid.

        Raises
        ------
        MeltingError
            If the crystal melts or the liquid freezes there, or they look the same.
        """
        steps = self.settings.steps(self.settings.prepare_ps)
        solid = self.crystal(self.a, (3, 3, 3))
        places, bond = Places(solid), bond_length(solid)
        thermalise(solid, temperature, rng)
        dynamics = self._barostat(solid, temperature, rng)
        advance(dynamics, steps, "the crystal alone")
        edges, solids = [], []
        for _ in range(_FRAMES):
            for _ in range(10):
                advance(dynamics, max(1, steps // (5 * _FRAMES)), "the crystal alone")
                edges.append(solid.get_volume() ** (1 / 3) / 3)
            solids.append(solid.copy())
        if places.left(solid, bond):
            raise MeltingError(f"the crystal alone melted at {temperature:.0f} K; give a lower guess.")
        liquid = self.crystal(float(np.mean(edges)), (3, 3, 3))
        thermalise(liquid, _ABOVE * limit, rng)
        dynamics = self._barostat(liquid, _ABOVE * limit, rng)
        advance(dynamics, steps, "the liquid alone")
        dynamics.set_temperature(temperature_K=temperature)
        advance(dynamics, steps, "the liquid alone")
        liquids = []
        for _ in range(_FRAMES):
            advance(dynamics, max(1, steps // _FRAMES), "the liquid alone")
            liquids.append(liquid.copy())
        return Phases(temperature, float(np.mean(edges)), calibrate(solids, liquids))

    def coexistence(
        self, temperature: float, phases: Phases, limit: float, rng: np.random.Generator
    ) -> Atoms:
        """Return crystal and liquid side by side, moving at a temperature (K), at the pressure along z.

        Raises
        ------
        MeltingError
            If the melt froze, or the crystal melted, before they were let go.
        """
        steps = self.settings.steps(self.settings.prepare_ps)
        atoms = self.crystal(phases.a, self.settings.supercell)
        lower = atoms.get_scaled_positions()[:, 2] < 0.5 - 1e-9
        atoms.set_constraint(FixAtoms(mask=lower))
        for bath in (_ABOVE * limit, temperature):
            thermalise(atoms, bath, rng)
            dynamics = self._thermostat.langevin(atoms, bath, rng)
            advance(dynamics, steps, f"half a melt at {bath:.0f} K")
        atoms.set_constraint()
        thermalise(atoms, temperature, rng)
        # First heat for the crystal that was held, then the length of the cell.
        advance(self._thermostat.langevin(atoms, temperature, rng), steps // 2, "coexistence")
        squeezed = along_z(atoms, self.settings, temperature, thermostat=True)
        advance(squeezed, steps // 2, "coexistence at pressure")
        fraction = phases.solidity.fraction(atoms)
        if not 0.2 < fraction < 0.8:
            raise MeltingError(
                f"of crystal and liquid side by side at {temperature:.0f} K, {fraction:.0%} was crystal when "
                "they were let go; give another guess, or a longer cell."
            )
        return atoms

    def _barostat(self, atoms: Atoms, temperature: float, rng: np.random.Generator) -> MolecularDynamics:
        return self._thermostat.langevin_hoover(
            atoms, temperature, self.settings.pressure, 1000.0, isotropic=True, rng=rng
        )


def along_z(atoms: Atoms, settings: MeltingSettings, temperature: float, thermostat: bool) -> MelchionnaNPT:
    """Return dynamics whose cell changes its length alone, at constant temperature or enthalpy.

    Melchionna, Phys. Rev. E 61, 6165 (2000), after Parrinello and Rahman. The centre of mass is
    brought to rest.
    """
    atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(axis=0))
    return MelchionnaNPT(
        atoms,
        timestep=settings.timestep_fs * units.fs,
        temperature_K=temperature,
        externalstress=settings.pressure * GPA,
        ttime=50.0 * units.fs if thermostat else None,
        pfactor=(_PERIOD * units.fs) ** 2 * _STIFFNESS,
        mask=(0, 0, 1),
    )


def advance(dynamics: MolecularDynamics, steps: int, what: str) -> None:
    """Run dynamics, and say where it broke if it did.

    Raises
    ------
    MeltingError
        If the potential does not survive.
    """
    try:
        dynamics.run(steps)
    except MLPotError as error:
        raise MeltingError(f"{what}: the potential did not survive: {error}") from error
    atoms = dynamics.atoms
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.get_momenta()).all()):
        raise MeltingError(f"{what}: the potential did not survive: positions are not finite.")
