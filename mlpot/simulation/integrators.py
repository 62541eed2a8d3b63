"""ASE's integrators for the ensembles: right degrees of freedom, moving targets, their whole state.

Langevin: E. Vanden-Eijnden and G. Ciccotti, Chem. Phys. Lett. 429, 310 (2006). Bussi: G. Bussi,
D. Donadio and M. Parrinello, J. Chem. Phys. 126, 014101 (2007). Nosé-Hoover chains: G. J. Martyna,
M. L. Klein and M. E. Tuckerman, J. Chem. Phys. 97, 2635 (1992). Constant pressure (MTK): G. J.
Martyna, D. J. Tobias and M. L. Klein, J. Chem. Phys. 101, 4177 (1994).
"""

from __future__ import annotations

import warnings
from operator import attrgetter

import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import (
    MTKNPT,
    IsotropicMTKBarostat,
    IsotropicMTKNPT,
    MTKBarostat,
    NoseHooverChainNVT,
    NoseHooverChainThermostat,
)
from ase.md.verlet import VelocityVerlet

from mlpot.conventions import GPA, KB
from mlpot.simulation.ensembles import Ensemble


def degrees_of_freedom(atoms: Atoms) -> int:
    """Return the momenta that are free in a run: 3 N less constraints, or less the centre of mass at rest."""
    free = int(atoms.get_number_of_degrees_of_freedom())
    return free - 3 if not atoms.constraints and len(atoms) > 1 else free


def kinetic_temperature(atoms: Atoms) -> float:
    """Return 2 K / (kB f) in K, f being the :func:`degrees_of_freedom`."""
    return float(2.0 * atoms.get_kinetic_energy() / (KB * degrees_of_freedom(atoms)))


class Integrator:
    """ASE's integrator for an ensemble, with targets that move and a state that can be written down.

    The centre of mass rests unless atoms are constrained. Nosé-Hoover chains and MTK of ASE count
    3 N degrees of freedom; here they get those that are there (3 N - 3 with the centre of mass at
    rest), without which N atoms would be N / (N - 1) times too hot.

    Parameters
    ----------
    atoms
        With calculator, momenta and constraints; they are moved.
    ensemble
        What is held.
    timestep_fs
        fs.
    rng
        Of the random forces.
    """

    def __init__(
        self, atoms: Atoms, ensemble: Ensemble, timestep_fs: float, rng: np.random.Generator
    ) -> None:
        self.atoms, self.ensemble = atoms, ensemble
        self._targets = ensemble.targets(0.0)
        if not atoms.constraints and len(atoms) > 1:
            if ensemble.thermostat == "nose-hoover":
                # It keeps the total momentum by itself, and holds positions of its own, which a
                # constraint would part from those of the atoms.
                momenta, masses = atoms.get_momenta(), atoms.get_masses()[:, None]
                atoms.set_momenta(momenta - masses * momenta.sum(0) / masses.sum())
            else:
                atoms.set_constraint(FixCom())
                # Applies the constraint: total momentum zero.
                atoms.set_momenta(atoms.get_momenta())
        self.dynamics = _dynamics(atoms, ensemble, timestep_fs, rng)

    def step(self) -> None:
        """Advance by one time step; errors are those of the calculator."""
        self.dynamics.step()

    def aim(self, fraction: float) -> tuple[float | None, float | None]:
        """Set the targets of this fraction of the run; return them (K, GPa)."""
        targets = self.ensemble.targets(fraction)
        if targets != self._targets:
            temperature, pressure = targets
            if temperature != self._targets[0]:
                assert temperature is not None
                _set_temperature(self.dynamics, temperature)
            if pressure is not None:
                self.dynamics._pressure_au = pressure * GPA
            self._targets = targets
        return targets

    @property
    def conserves(self) -> bool:
        """Whether the equations of motion conserve an energy: not with Langevin or moving targets."""
        return not (self.ensemble.ramps or isinstance(self.dynamics, Langevin))

    def conserved(self) -> float | None:
        """Return the energy that is conserved (eV), ``None`` where there is none."""
        dynamics, atoms = self.dynamics, self.atoms
        if not self.conserves:
            return None
        energy = float(atoms.get_potential_energy() + atoms.get_kinetic_energy())
        if isinstance(dynamics, Bussi):
            energy -= dynamics.transferred_energy
        if isinstance(dynamics, _NoseHooverChain | _IsotropicMTK | _FullMTK):
            energy += dynamics._thermostat.get_thermostat_energy()
        if isinstance(dynamics, _IsotropicMTK | _FullMTK):
            barostat = dynamics._barostat
            momenta = dynamics._p_eps if isinstance(dynamics, _IsotropicMTK) else dynamics._p_g
            energy += barostat.get_barostat_energy() + float(np.sum(momenta**2)) / (2 * barostat.W)
            energy += dynamics._pressure_au * atoms.get_volume()
        return float(energy)

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of all that moves, by name: what :meth:`restore` takes."""
        atoms = {"positions": self.atoms.positions, "momenta": self.atoms.get_momenta()}
        own = {name: np.asarray(attrgetter(name)(self.dynamics)) for name in _state_of(self.dynamics)}
        arrays = {**atoms, "cell": self.atoms.cell.array, **own}
        return {name: np.array(array, dtype=float) for name, array in arrays.items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take up a state; the targets must have been set before.

        Raises
        ------
        KeyError, ValueError
            For a state of another ensemble or structure.
        """
        self.atoms.set_cell(state["cell"], scale_atoms=False, apply_constraint=False)
        self.atoms.set_positions(state["positions"], apply_constraint=False)
        self.atoms.set_momenta(state["momenta"], apply_constraint=False)
        for name in _state_of(self.dynamics):
            path, _, last = name.rpartition(".")
            owner = attrgetter(path)(self.dynamics) if path else self.dynamics
            value = np.array(state[name])
            if np.shape(getattr(owner, last)) != value.shape:
                raise ValueError(f"{name} has shape {value.shape}")
            setattr(owner, last, value if value.ndim else float(value))


_CHAIN = ("_q", "_p", "_thermostat._eta", "_thermostat._p_eta")
_PISTON = (*_CHAIN, "_barostat._xi", "_barostat._p_xi")


def _state_of(dynamics: MolecularDynamics) -> tuple[str, ...]:
    """Return which attributes of an integrator change from step to step."""
    if isinstance(dynamics, _IsotropicMTK):
        return (*_PISTON, "_eps", "_p_eps", "_volume0", "_cell0")
    if isinstance(dynamics, _FullMTK):
        return (*_PISTON, "_h", "_p_g")
    if isinstance(dynamics, _NoseHooverChain):
        return _CHAIN
    return ("transferred_energy",) if isinstance(dynamics, Bussi) else ()


class _SymmetricBarostat(MTKBarostat):
    """The barostat of a cell that does not turn: six components, where ASE counts nine.

    Stress and momenta of the cell are symmetric matrices, so that only six kinetic terms of kT / 2
    exist. With nine the cell would be at 1.5 times the temperature of the atoms.
    """

    def __init__(self, num_atoms_global: float, temperature: float, pdamp: float) -> None:
        super().__init__(num_atoms_global, temperature, pdamp)
        self._cell_dof = 6
        self._R[0] = 6 * self._kT * pdamp**2


class _NoseHooverChain(NoseHooverChainNVT):
    def __init__(self, atoms: Atoms, timestep: float, temperature: float, tdamp: float) -> None:
        super().__init__(atoms, timestep, temperature, tdamp)
        self._tdamp = tdamp
        self._thermostat = self._baths(temperature)[0]

    def _baths(self, temperature: float) -> tuple[NoseHooverChainThermostat]:
        return (_chain(self.atoms, temperature, self._tdamp),)


class _IsotropicMTK(IsotropicMTKNPT):
    def __init__(
        self, atoms: Atoms, timestep: float, temperature: float, pressure: float, tdamp: float, pdamp: float
    ) -> None:
        super().__init__(atoms, timestep, temperature, pressure, tdamp, pdamp)
        self._damp = (tdamp, pdamp)
        self._num_atoms_global = degrees_of_freedom(atoms) / 3
        self._thermostat, self._barostat = self._baths(temperature)

    def _baths(self, temperature: float) -> tuple[NoseHooverChainThermostat, IsotropicMTKBarostat]:
        tdamp, pdamp = self._damp
        barostat = IsotropicMTKBarostat(self._num_atoms_global, temperature, pdamp)
        return _chain(self.atoms, temperature, tdamp), barostat


class _FullMTK(MTKNPT):
    def __init__(
        self, atoms: Atoms, timestep: float, temperature: float, pressure: float, tdamp: float, pdamp: float
    ) -> None:
        super().__init__(atoms, timestep, temperature, pressure, tdamp, pdamp)
        self._damp = (tdamp, pdamp)
        self._num_atoms_global = degrees_of_freedom(atoms) / 3
        self._thermostat, self._barostat = self._baths(temperature)

    def _baths(self, temperature: float) -> tuple[NoseHooverChainThermostat, MTKBarostat]:
        tdamp, pdamp = self._damp
        barostat = _SymmetricBarostat(self._num_atoms_global, temperature, pdamp)
        return _chain(self.atoms, temperature, tdamp), barostat


def _chain(atoms: Atoms, temperature: float, tdamp: float) -> NoseHooverChainThermostat:
    masses = atoms.get_masses()[:, None]
    return NoseHooverChainThermostat(degrees_of_freedom(atoms) / 3, masses, temperature, tdamp)


def _dynamics(
    atoms: Atoms, ensemble: Ensemble, timestep_fs: float, rng: np.random.Generator
) -> MolecularDynamics:
    timestep = timestep_fs * units.fs
    if ensemble.name == "nve":
        return VelocityVerlet(atoms, timestep=timestep)
    temperature = ensemble.temperature
    assert temperature is not None
    if ensemble.thermostat == "langevin":
        assert ensemble.friction_per_ps is not None
        friction = ensemble.friction_per_ps / (1000.0 * units.fs)
        with warnings.catch_warnings():
            # ASE warns about its own default of ``fixcm``; the constraint FixCom replaces it.
            warnings.simplefilter("ignore", FutureWarning)
            return Langevin(
                atoms, timestep, temperature_K=temperature, friction=friction, fixcm=False, rng=rng
            )
    assert ensemble.thermostat_fs is not None
    tdamp = ensemble.thermostat_fs * units.fs
    if ensemble.thermostat == "bussi":
        return Bussi(atoms, timestep, temperature_K=temperature, taut=tdamp, rng=rng)
    if ensemble.name == "nvt":
        return _NoseHooverChain(atoms, timestep, temperature, tdamp)
    assert ensemble.barostat_fs is not None and ensemble.pressure is not None
    pdamp = ensemble.barostat_fs * units.fs
    kind = _IsotropicMTK if ensemble.barostat == "isotropic" else _FullMTK
    return kind(atoms, timestep, temperature, ensemble.pressure * GPA, tdamp, pdamp)


def _set_temperature(dynamics: MolecularDynamics, temperature: float) -> None:
    """Move the target; the masses of chains and cell follow, so that their time constants stay.

    Momenta are scaled with the masses: velocities of chains and cell are continuous.
    """
    if isinstance(dynamics, Langevin):
        dynamics.set_temperature(temperature_K=temperature)
    elif isinstance(dynamics, Bussi):
        dynamics.temp = KB * temperature
        dynamics.target_kinetic_energy = 0.5 * dynamics.temp * dynamics.ndof
    elif isinstance(dynamics, _NoseHooverChain | _IsotropicMTK | _FullMTK):
        chain, *pistons = dynamics._baths(temperature)
        old = dynamics._thermostat
        chain._eta, chain._p_eta = old._eta, old._p_eta * (chain._Q / old._Q)
        dynamics._thermostat = chain
        for piston in pistons:
            before = dynamics._barostat
            piston._xi, piston._p_xi = before._xi, before._p_xi * (piston._R / before._R)
            if isinstance(dynamics, _IsotropicMTK):
                dynamics._p_eps *= piston.W / before.W
            else:
                dynamics._p_g *= piston.W / before.W
            dynamics._barostat = piston
