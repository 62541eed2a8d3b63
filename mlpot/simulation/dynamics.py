"""Molecular dynamics with ASE's integrators: seeded, watched, and never touching the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlpot.simulation.ensembles import Ensemble
from mlpot.simulation.single import Sample, Seed, Simulation, require_interval
from mlpot.simulation.stopping import StopCriteria


@dataclass(frozen=True)
class Trajectory:
    """What became of a run.

    Attributes
    ----------
    survived_ps : float
        Time until a stop criterion was met, or the whole time.
    reason : str or None
        Why it stopped early; ``None`` where it did not.
    atoms : Atoms
        Final structure with velocities, without calculator. Where it has become meaningless
        (positions not finite): the last sampled one.
    samples : list of Sample
        At the logging interval, from the start on.
    """

    survived_ps: float
    reason: str | None
    atoms: Atoms
    samples: list[Sample]

    @property
    def completed(self) -> bool:
        """Whether the run reached its end."""
        return self.reason is None

    @property
    def times_ps(self) -> np.ndarray:
        """Sampled times, (F,), ps."""
        return np.array([sample.time_ps for sample in self.samples])

    @property
    def positions(self) -> np.ndarray:
        """Sampled positions, (F, N, 3), Å, not wrapped."""
        return np.array([sample.positions for sample in self.samples])

    @property
    def energies(self) -> np.ndarray:
        """Sampled potential energies, (F,), eV."""
        return np.array([sample.energy for sample in self.samples])

    @property
    def total_energies(self) -> np.ndarray:
        """Sampled potential and kinetic energies together, (F,), eV."""
        return np.array([sample.energy + sample.kinetic_energy for sample in self.samples])

    @property
    def temperatures(self) -> np.ndarray:
        """Sampled kinetic temperatures, (F,), K."""
        return np.array([sample.temperature for sample in self.samples])

    def frames(self, after_ps: float = 0.0) -> list[Atoms]:
        """Return the sampled structures from ``after_ps`` on."""
        chosen = [sample for sample in self.samples if sample.time_ps >= after_ps]
        return [_moved(self.atoms, sample) for sample in chosen]


def run_langevin(
    atoms: Atoms,
    calculator: Calculator,
    temperature: float,
    time_ps: float,
    *,
    timestep_fs: float = 1.0,
    friction_per_ps: float = 10.0,
    seed: Seed = 0,
    stop: StopCriteria | None = None,
    reference: Calculator | None = None,
    log_interval: int = 10,
    callback: Callable[[Sample], None] | None = None,
) -> Trajectory:
    """Run Langevin dynamics (constant N, V, T), from Maxwell-Boltzmann velocities.

    Parameters
    ----------
    atoms
        Starting structure; a copy is moved. Its constraints are kept; without any, the centre
        of mass stays where it is.
    calculator
        Any ASE calculator.
    temperature
        K.
    time_ps
        Length of the run, ps.
    timestep_fs
        fs.
    friction_per_ps
        Coupling to the heat bath, 1/ps.
    seed
        Of velocities and noise; the same seed gives the same run.
    stop
        When the run has failed; the defaults of :class:`StopCriteria` if not given.
    reference
        Calculator of the true energies, for the criterion ``energy_deviation``.
    log_interval
        Steps between samples.
    callback
        Called with every sample.

    Raises
    ------
    RecipeError
        For a temperature, time, time step, friction or interval that makes no sense, or a stop
        criterion on an uncertainty that the calculator does not have.
    GeometryError
        For a starting structure with atoms on top of each other or closer than the stop
        criterion allows.
    ElementError
        For elements that the calculator does not know.
    """
    ensemble = Ensemble("nvt", temperature=temperature, friction_per_ps=friction_per_ps)
    return run_dynamics(
        atoms,
        calculator,
        ensemble,
        time_ps,
        timestep_fs=timestep_fs,
        seed=seed,
        stop=stop,
        reference=reference,
        log_interval=log_interval,
        callback=callback,
    )


def run_nve(
    atoms: Atoms,
    calculator: Calculator,
    time_ps: float,
    *,
    temperature: float | None = None,
    timestep_fs: float = 1.0,
    seed: Seed = 0,
    stop: StopCriteria | None = None,
    reference: Calculator | None = None,
    log_interval: int = 10,
    callback: Callable[[Sample], None] | None = None,
) -> Trajectory:
    """Run velocity Verlet dynamics (constant N, V, E).

    Parameters
    ----------
    atoms, calculator, time_ps, timestep_fs, stop, reference, log_interval, callback
        As for :func:`run_langevin`.
    temperature
        K, of the Maxwell-Boltzmann distribution that initial velocities are drawn from;
        ``None`` keeps the velocities of ``atoms``, and no temperature runaway is watched.
    seed
        Of the initial velocities.

    Raises
    ------
    RecipeError, GeometryError, ElementError
        As :func:`run_langevin`.
    """
    return run_dynamics(
        atoms,
        calculator,
        Ensemble("nve", temperature=temperature),
        time_ps,
        timestep_fs=timestep_fs,
        seed=seed,
        stop=stop,
        reference=reference,
        log_interval=log_interval,
        callback=callback,
    )


def run_dynamics(
    atoms: Atoms,
    calculator: Calculator,
    ensemble: Ensemble,
    time_ps: float,
    *,
    timestep_fs: float = 1.0,
    seed: Seed = 0,
    stop: StopCriteria | None = None,
    reference: Calculator | None = None,
    log_interval: int = 10,
    callback: Callable[[Sample], None] | None = None,
) -> Trajectory:
    """Run dynamics in any ensemble, samples in memory.

    Parameters
    ----------
    atoms, calculator, time_ps, timestep_fs, stop, reference, log_interval, callback
        As for :func:`run_langevin`; ``npt`` needs a calculator with a stress.
    ensemble
        What is held constant. Where it has a temperature, velocities are drawn from it.
    seed
        Of velocities and random forces.

    Raises
    ------
    RecipeError, GeometryError, ElementError
        As :func:`run_langevin`, and for an ensemble that the structure or the calculator does not allow.
    """
    simulation = Simulation(
        atoms,
        calculator,
        ensemble,
        time_ps,
        timestep_fs=timestep_fs,
        seed=seed,
        stop=stop,
        reference=reference,
    )
    require_interval("log interval", log_interval)
    samples: list[Sample] = []
    reason = simulation.begin()
    while reason is None:
        if simulation.step % log_interval == 0:
            samples.append(simulation.sample())
            if callback:
                callback(samples[-1])
        if simulation.step == simulation.steps:
            break
        reason = simulation.advance()
    return Trajectory(simulation.time_ps, reason, simulation.structure(), samples)


def _moved(atoms: Atoms, sample: Sample) -> Atoms:
    """Return the same structure elsewhere, at rest and without constraints."""
    cell = atoms.cell if sample.cell is None else sample.cell
    return Atoms(numbers=atoms.numbers, positions=sample.positions, cell=cell, pbc=atoms.pbc)
