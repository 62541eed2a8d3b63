"""Molecular dynamics with ASE's integrators: seeded, watched, and never touching the input."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from mlpot.conventions import KB
from mlpot.errors import GeometryError, RecipeError
from mlpot.simulation.stopping import StopCriteria, StopMonitor

#: Longest time step (fs) accepted; beyond it no atom's vibration is resolved.
LONGEST_STEP = 20.0

Seed = int | np.random.SeedSequence


@dataclass(frozen=True)
class Sample:
    """The state of a run at one step.

    Attributes
    ----------
    step : int
        Steps since the start.
    time_ps : float
        Time since the start, ps.
    positions : (N, 3)
        Å, not wrapped into the cell.
    energy, kinetic_energy : float
        Of all atoms, eV.
    temperature : float
        Kinetic temperature, K.
    """

    step: int
    time_ps: float
    positions: np.ndarray
    energy: float
    kinetic_energy: float
    temperature: float


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
        return [_moved(self.atoms, sample.positions) for sample in chosen]


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
    _require_positive("temperature", temperature, "K")
    steps = _steps(time_ps, timestep_fs, log_interval)
    _require_positive("friction", friction_per_ps, "1/ps")
    if friction_per_ps * timestep_fs / 1000.0 > 0.5:
        raise RecipeError(
            f"friction {friction_per_ps:g} 1/ps is too strong for a time step of {timestep_fs:g} fs: "
            "their product must stay below 0.5; choose a smaller friction or time step."
        )
    rng = np.random.default_rng(seed)
    moving = _prepare(atoms, calculator, temperature, rng)
    with warnings.catch_warnings():
        # ASE warns about its own default of ``fixcm``; the constraint FixCom replaces it.
        warnings.simplefilter("ignore", FutureWarning)
        dynamics = Langevin(
            moving,
            timestep=timestep_fs * units.fs,
            temperature_K=temperature,
            friction=friction_per_ps / (1000.0 * units.fs),
            fixcm=False,
            rng=rng,
        )
    monitor = StopMonitor(stop or StopCriteria(), temperature, timestep_fs, reference)
    return _run(dynamics, steps, timestep_fs, monitor, log_interval, callback, atoms)


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
    if temperature is not None:
        _require_positive("temperature", temperature, "K")
    steps = _steps(time_ps, timestep_fs, log_interval)
    moving = _prepare(atoms, calculator, temperature, np.random.default_rng(seed))
    dynamics = VelocityVerlet(moving, timestep=timestep_fs * units.fs)
    monitor = StopMonitor(stop or StopCriteria(), temperature, timestep_fs, reference)
    return _run(dynamics, steps, timestep_fs, monitor, log_interval, callback, atoms)


def _require_positive(name: str, value: float, unit: str) -> None:
    if not 0.0 < value < np.inf:
        raise RecipeError(f"{name} is {value:g} {unit}; it must be above zero.")


def _steps(time_ps: float, timestep_fs: float, log_interval: int) -> int:
    _require_positive("time", time_ps, "ps")
    _require_positive("time step", timestep_fs, "fs")
    if timestep_fs > LONGEST_STEP:
        raise RecipeError(
            f"time step is {timestep_fs:g} fs; beyond {LONGEST_STEP:g} fs no vibration is resolved "
            "(1 fs is usual, 2 fs for heavy atoms)."
        )
    if log_interval < 1:
        raise RecipeError(f"log interval is {log_interval}; it must be one step or more.")
    return max(round(1000.0 * time_ps / timestep_fs), 1)


def _prepare(
    atoms: Atoms, calculator: Calculator, temperature: float | None, rng: np.random.Generator
) -> Atoms:
    """Return a copy with its calculator, velocities, and a centre of mass at rest."""
    moving = atoms.copy()
    moving.calc = calculator
    if temperature is not None:
        masses = moving.get_masses()[:, None]
        moving.set_momenta(rng.standard_normal((len(moving), 3)) * np.sqrt(masses * KB * temperature))
    if not moving.constraints and len(moving) > 1:
        moving.set_constraint(FixCom())
        # Applies the constraint: total momentum zero.
        moving.set_momenta(moving.get_momenta())
    return moving


def _run(
    dynamics: MolecularDynamics,
    steps: int,
    timestep_fs: float,
    monitor: StopMonitor,
    log_interval: int,
    callback: Callable[[Sample], None] | None,
    start: Atoms,
) -> Trajectory:
    moving = dynamics.atoms
    monitor.check_calculator(moving.calc)
    if reason := monitor.check_distances(moving):
        raise GeometryError(
            f"the starting structure is closer than the stop criterion allows: {reason}; relax it or "
            "lower min_distance."
        )
    samples: list[Sample] = []
    reason = None
    advance: Iterator[bool] = dynamics.irun(steps)
    while True:
        try:
            next(advance)
            reason = monitor.check(dynamics.nsteps, moving)
        except StopIteration:
            break
        except (GeometryError, CalculationFailed) as error:
            if not samples:
                raise
            reason = str(error)
        if reason:
            break
        if dynamics.nsteps % log_interval == 0:
            samples.append(_sample(dynamics.nsteps, timestep_fs, moving))
            if callback:
                callback(samples[-1])
    final = moving.copy()
    final.set_constraint(start.copy().constraints)
    if not np.isfinite(final.positions).all():
        final = _moved(final, samples[-1].positions)
    return Trajectory(dynamics.nsteps * timestep_fs / 1000.0, reason, final, samples)


def _sample(step: int, timestep_fs: float, atoms: Atoms) -> Sample:
    return Sample(
        step=step,
        time_ps=step * timestep_fs / 1000.0,
        positions=atoms.get_positions(),
        energy=float(atoms.get_potential_energy()),
        kinetic_energy=float(atoms.get_kinetic_energy()),
        temperature=float(atoms.get_temperature()),
    )


def _moved(atoms: Atoms, positions: np.ndarray) -> Atoms:
    """Return the same structure elsewhere, at rest and without constraints."""
    return Atoms(numbers=atoms.numbers, positions=positions, cell=atoms.cell, pbc=atoms.pbc)
