"""One simulation, advanced and watched a step at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator

from mlpot.conventions import KB
from mlpot.errors import GeometryError, RecipeError
from mlpot.simulation.ensembles import Ensemble, require_positive
from mlpot.simulation.integrators import Integrator, kinetic_temperature
from mlpot.simulation.skin import SkinnedNeighbours
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
    cell : (3, 3) or None
        Lattice vectors in rows, Å; ``None`` where the cell does not move.
    """

    step: int
    time_ps: float
    positions: np.ndarray
    energy: float
    kinetic_energy: float
    temperature: float
    cell: np.ndarray | None = None


class Simulation:
    """One run, a step at a time.

    Parameters
    ----------
    atoms, calculator, ensemble, time_ps, timestep_fs, seed, stop, reference
        As for :func:`~mlpot.simulation.dynamics.run_dynamics`.

    Attributes
    ----------
    step, steps : int
        Done, and in all.
    atoms : Atoms
        As they move, with calculator.
    integrator : Integrator
        What moves them.
    monitor : StopMonitor
        What watches them.
    rng : numpy.random.Generator
        Of velocities and random forces.

    Raises
    ------
    RecipeError, GeometryError
        As :func:`~mlpot.simulation.dynamics.run_dynamics`; the calculator is not called yet.
    """

    def __init__(
        self,
        atoms: Atoms,
        calculator: Calculator,
        ensemble: Ensemble,
        time_ps: float,
        *,
        timestep_fs: float = 1.0,
        seed: Seed = 0,
        stop: StopCriteria | None = None,
        reference: Calculator | None = None,
    ) -> None:
        self.steps, self.step, self.timestep_fs = _steps(time_ps, timestep_fs), 0, timestep_fs
        self.ensemble = ensemble
        ensemble.check_step(timestep_fs)
        ensemble.check_structure(atoms)
        if ensemble.name == "npt" and "stress" not in calculator.implemented_properties:
            raise RecipeError(
                f"ensemble npt needs the stress, which this {type(calculator).__name__} does not have; "
                "choose nvt."
            )
        self.rng = np.random.default_rng(seed)
        self._constraints = atoms.copy().constraints
        self.atoms = atoms.copy()
        self.atoms.calc = calculator
        if ensemble.temperature is not None:
            spread = np.sqrt(self.atoms.get_masses()[:, None] * KB * ensemble.temperature)
            self.atoms.set_momenta(self.rng.standard_normal((len(atoms), 3)) * spread)
        self.integrator = Integrator(self.atoms, ensemble, timestep_fs, self.rng)
        self.monitor = StopMonitor(stop or StopCriteria(), ensemble.temperature, timestep_fs, reference)
        self._whole = self.atoms.positions.copy(), self.atoms.cell.array.copy()

    @property
    def time_ps(self) -> float:
        """Time done, ps."""
        return self.step * self.timestep_fs / 1000.0

    def check_start(self) -> None:
        """Refuse a calculator that lacks what is watched, and a structure that fails at once.

        Raises
        ------
        RecipeError
            As :meth:`StopMonitor.check_calculator`.
        GeometryError
            For atoms that are too close, or a cell that is too small.
        """
        self.monitor.check_calculator(self.atoms.calc)
        if reason := self.monitor.check_distances(self.atoms):
            raise GeometryError(
                f"the starting structure is closer than the stop criterion allows: {reason}; relax it or "
                "lower min_distance."
            )
        if reason := self.monitor.check_cell(self.atoms):
            raise GeometryError(
                f"the starting structure is too small: {reason}; repeat the cell or lower min_width."
            )

    def begin(self) -> str | None:
        """Evaluate the start; return why the run cannot go on from it, or ``None``.

        Raises
        ------
        RecipeError, GeometryError, ElementError
            As :meth:`check_start`, and those of the calculator.
        """
        self.check_start()
        return self.monitor.check(0, self.atoms)

    def advance(self) -> str | None:
        """Make one step; return why the run must stop, or ``None``. Mistakes of a program are raised."""
        try:
            self.integrator.step()
            self.step += 1
            reason = self.monitor.check(self.step, self.atoms)
        except (GeometryError, CalculationFailed) as error:
            return str(error)
        except np.linalg.LinAlgError as error:
            return f"the cell cannot be moved on: {error}"
        if reason is None:
            self._whole = self.atoms.positions.copy(), self.atoms.cell.array.copy()
            self.monitor.temperature = self.integrator.aim(self.step / self.steps)[0]
        return reason

    def sample(self) -> Sample:
        """Return the present state."""
        return Sample(
            step=self.step,
            time_ps=self.time_ps,
            positions=self.atoms.get_positions(),
            energy=float(self.atoms.get_potential_energy()),
            kinetic_energy=float(self.atoms.get_kinetic_energy()),
            temperature=kinetic_temperature(self.atoms),
            cell=self.atoms.cell.array.copy() if self.ensemble.name == "npt" else None,
        )

    def structure(self) -> Atoms:
        """Return the present structure with velocities and the constraints of the start, no calculator.

        Where positions or cell are not finite, those of the last step where they were.
        """
        final = self.atoms.copy()
        final.set_constraint(self._constraints)
        if not (np.isfinite(final.positions).all() and np.isfinite(final.cell.array).all()):
            positions, cell = self._whole
            final.set_cell(cell, apply_constraint=False)
            final.set_positions(positions, apply_constraint=False)
            final.set_momenta(np.zeros_like(positions))
        return final

    def refresh(self) -> float:
        """Evaluate the present structure as if the calculator had seen no other; return its energy, eV.

        What a calculator remembers (a neighbour list with a skin) changes the order of its sums, and so
        the last bits. A run that goes on from a restart has no memory; so that both are the same to the
        last bit, the first run forgets where the restart is written.
        """
        calculator = self.atoms.calc
        calculator.reset()
        if isinstance(neighbours := getattr(calculator, "neighbours", None), SkinnedNeighbours):
            neighbours.forget()
        self.atoms.get_forces()
        return float(self.atoms.get_potential_energy())


def require_interval(name: str, steps: int) -> None:
    """Raise a :class:`RecipeError` unless an interval is one step or more."""
    if steps < 1:
        raise RecipeError(f"{name} is {steps}; it must be one step or more.")


def _steps(time_ps: float, timestep_fs: float) -> int:
    require_positive("time", time_ps, "ps")
    require_positive("time step", timestep_fs, "fs")
    if timestep_fs > LONGEST_STEP:
        raise RecipeError(
            f"time step is {timestep_fs:g} fs; beyond {LONGEST_STEP:g} fs no vibration is resolved "
            "(1 fs is usual, 2 fs for heavy atoms)."
        )
    return max(round(1000.0 * time_ps / timestep_fs), 1)
