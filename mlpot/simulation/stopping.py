"""When a run counts as failed."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import covalent_radii
from pydantic import Field

from mlpot.data.neighbours import find_neighbours
from mlpot.errors import RecipeError
from mlpot.recipe import Recipe
from mlpot.simulation.integrators import degrees_of_freedom, kinetic_temperature


class StopCriteria(Recipe):
    """Signs that a trajectory has left physics; ``None`` switches one off.

    Energies and forces that are not finite, and structures on which the calculator refuses to
    work, always stop a run.

    Parameters
    ----------
    min_distance
        Smallest distance allowed between two atoms, as a fraction of the sum of their
        covalent radii.
    max_force
        Largest force allowed on an atom, eV/Å.
    runaway_factor
        A run stops when its kinetic temperature stays above ``T (runaway_factor +
        5 sqrt(2 / dof))`` for ``runaway_window_fs``. The second term leaves room for the thermal
        fluctuation of few atoms, whose standard deviation is ``T sqrt(2 / dof)``.
    runaway_window_fs
        How long that must last without a break, fs.
    energy_deviation
        Where a reference calculator is given: how far the potential energy of the model may
        move from the reference along the trajectory, eV/atom. The difference at the first
        frame is subtracted, so that energy zeros need not agree.
    interval
        Steps between checks of distances.
    max_forces_std
        Largest predicted standard deviation of the force on an atom (of its three components
        together), eV/Å; needs a calculator with an uncertainty.
    reference_interval
        Steps between calls of the reference calculator.
    min_width
        Smallest distance allowed between opposite faces of the cell, Å: what the calculator or an
        analysis to come needs.
    volume_factor
        The volume may become this many times larger or smaller than at the start.
    """

    min_distance: float | None = Field(0.6, gt=0.0, lt=1.0)
    max_force: float | None = Field(100.0, gt=0.0)
    runaway_factor: float | None = Field(3.0, gt=1.0)
    runaway_window_fs: float = Field(50.0, ge=0.0)
    energy_deviation: float | None = Field(0.1, gt=0.0)
    max_forces_std: float | None = Field(None, gt=0.0)
    interval: int = Field(5, ge=1)
    reference_interval: int = Field(50, ge=1)
    min_width: float | None = Field(None, gt=0.0)
    volume_factor: float | None = Field(3.0, gt=1.0)


class StopMonitor:
    """The criteria applied to one run, step by step.

    Parameters
    ----------
    criteria
        What is watched.
    temperature
        Target, K; ``None`` (a run without one) leaves the temperature unwatched. It may be set anew
        (attribute ``temperature``) while the target moves.
    timestep_fs
        fs.
    reference
        Calculator whose energies are the truth; ``None`` leaves the energy unwatched.
    """

    def __init__(
        self,
        criteria: StopCriteria,
        temperature: float | None,
        timestep_fs: float,
        reference: Calculator | None = None,
    ) -> None:
        self.criteria, self.temperature, self.timestep_fs = criteria, temperature, timestep_fs
        self.reference = reference
        self._hot_since: int | None = None
        self._zero: float | None = None
        self._volume: float | None = None

    def state(self) -> dict[str, float | None]:
        """Return what is remembered from earlier steps: what :meth:`restore` takes."""
        return {"hot_since": self._hot_since, "zero": self._zero, "volume": self._volume}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the memory of an earlier monitor with the same criteria."""
        self._hot_since, self._zero, self._volume = state["hot_since"], state["zero"], state["volume"]

    def check_calculator(self, calculator: Calculator) -> None:
        """Refuse a calculator that lacks what is watched.

        Raises
        ------
        RecipeError
            For a limit of the uncertainty, and a calculator without one.
        """
        if self.criteria.max_forces_std is None or "forces_std" in calculator.implemented_properties:
            return
        raise RecipeError(
            f"max_forces_std: this {type(calculator).__name__} has no uncertainty; take "
            "MLPotCalculator(..., uncertainty=True) with a committee or a potential from mlpot calibrate."
        )

    def check(self, step: int, atoms: Atoms) -> str | None:
        """Return why the run must stop at this step, or ``None``.

        ``atoms`` carry their calculator, with results for the present positions.
        """
        criteria = self.criteria
        energy, forces = atoms.get_potential_energy(), atoms.get_forces(apply_constraint=False)
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            return "energy or forces are not finite"
        largest = float(np.linalg.norm(forces, axis=1).max())
        if criteria.max_force is not None and largest > criteria.max_force:
            return f"force of {largest:.1f} eV/Å on an atom (limit {criteria.max_force:g})"
        if reason := self._check_uncertainty(atoms) or self.check_cell(atoms):
            return reason
        if step % criteria.interval == 0 and (reason := self.check_distances(atoms)):
            return reason
        return self._check_temperature(step, atoms) or self._check_reference(step, atoms, energy)

    def check_distances(self, atoms: Atoms) -> str | None:
        """Return which two atoms are too close, or ``None``.

        Raises
        ------
        GeometryError
            For atoms on top of each other.
        """
        fraction = self.criteria.min_distance
        if fraction is None:
            return None
        radii = covalent_radii[atoms.numbers]
        cell = atoms.cell.array
        near = find_neighbours(atoms.positions, cell, atoms.pbc, 2.0 * fraction * float(radii.max()))
        if not len(near):
            return None
        distances = np.linalg.norm(near.vectors(atoms.positions, cell), axis=1)
        ratios = distances / (radii[near.centre] + radii[near.neighbour])
        worst = int(ratios.argmin())
        if ratios[worst] >= fraction:
            return None
        i, j = int(near.centre[worst]), int(near.neighbour[worst])
        return (
            f"atoms {i} and {j} ({atoms.symbols[i]}, {atoms.symbols[j]}) at {distances[worst]:.2f} Å, "
            f"{ratios[worst]:.2f} of their covalent radii (limit {fraction:g})"
        )

    def check_cell(self, atoms: Atoms) -> str | None:
        """Return what is wrong with the size of the cell, or ``None``; without a volume nothing is."""
        criteria, cell = self.criteria, atoms.cell.array
        volume = abs(float(np.linalg.det(cell)))
        if volume == 0.0:
            return None
        if self._volume is None:
            self._volume = volume
        if criteria.min_width is not None:
            width = float((1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)).min())
            # Not "less than": NaN must stop the run as well.
            if not width >= criteria.min_width:
                return f"the cell is {width:.2f} Å wide (limit {criteria.min_width:g})"
        ratio = volume / self._volume
        if criteria.volume_factor is not None and not (
            1.0 / criteria.volume_factor <= ratio <= criteria.volume_factor
        ):
            return (
                f"the volume is {ratio:.3g} of that at the start (limit: a factor {criteria.volume_factor:g})"
            )
        return None

    def _check_uncertainty(self, atoms: Atoms) -> str | None:
        limit = self.criteria.max_forces_std
        if limit is None:
            return None
        deviations = np.linalg.norm(atoms.calc.get_property("forces_std", atoms), axis=1)
        worst = int(deviations.argmax())
        # Not "greater than": NaN must stop the run as well.
        if deviations[worst] <= limit:
            return None
        return (
            f"predicted deviation of {deviations[worst]:.2f} eV/Å of the force on atom {worst} "
            f"({atoms.symbols[worst]}; limit {limit:g})"
        )

    def _check_temperature(self, step: int, atoms: Atoms) -> str | None:
        criteria = self.criteria
        if criteria.runaway_factor is None or self.temperature is None:
            return None
        room = 5.0 * (2.0 / degrees_of_freedom(atoms)) ** 0.5
        limit, present = self.temperature * (criteria.runaway_factor + room), kinetic_temperature(atoms)
        if present <= limit:
            self._hot_since = None
            return None
        if self._hot_since is None:
            self._hot_since = step
        if (step - self._hot_since) * self.timestep_fs < criteria.runaway_window_fs:
            return None
        return (
            f"temperature {present:.0f} K, above {limit:.0f} K for {criteria.runaway_window_fs:g} fs "
            f"(target {self.temperature:g} K)"
        )

    def _check_reference(self, step: int, atoms: Atoms, energy: float) -> str | None:
        criteria = self.criteria
        if self.reference is None or criteria.energy_deviation is None or step % criteria.reference_interval:
            return None
        difference = (energy - self.reference.get_property("energy", atoms)) / len(atoms)
        if self._zero is None:
            self._zero = difference
        deviation = difference - self._zero
        # Not "greater than": NaN must stop the run as well.
        if abs(deviation) <= criteria.energy_deviation:
            return None
        return (
            f"energy moved {deviation:+.3f} eV/atom from the reference calculator "
            f"(limit {criteria.energy_deviation:g})"
        )
