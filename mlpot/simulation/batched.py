"""Langevin dynamics of many replicas at once, through torch-sim."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from torch import Tensor

from mlpot.conventions import KB
from mlpot.errors import GeometryError, RecipeError
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.simulation.dynamics import Trajectory
from mlpot.simulation.ensembles import Ensemble
from mlpot.simulation.integrators import degrees_of_freedom
from mlpot.simulation.screen import suspects
from mlpot.simulation.single import Sample, Seed, Simulation, require_interval
from mlpot.simulation.stopping import StopCriteria
from mlpot.simulation.torchsim import TorchSimModel, boundaries, langevin_step, start


def run_langevin_batch(
    calculator: MLPotCalculator,
    atoms: Atoms | Sequence[Atoms],
    temperatures: Sequence[float],
    seeds: Sequence[Seed],
    time_ps: float,
    *,
    timestep_fs: float = 1.0,
    friction_per_ps: float = 10.0,
    stop: StopCriteria | None = None,
    reference: Calculator | None = None,
    log_interval: int = 10,
    callback: Callable[[float, int], None] | None = None,
) -> list[Trajectory]:
    """Run Langevin dynamics (constant N, V, T) of several replicas as one batch.

    Each replica starts with the velocities that :func:`~mlpot.simulation.dynamics.run_langevin` gives
    its seed, keeps its centre of mass where it is, has noise of its own that does not depend on who
    else is in the batch, and stops by the same criteria while the others go on. The integrator is
    another (BAOAB), so the path is another, too.

    Parameters
    ----------
    calculator
        A potential of mlpot; its model, device, native kernels, uncertainty and skin are used.
    atoms
        Starting structure of all replicas, or one of each, with the same periodic directions and
        without constraints; copies are moved.
    temperatures, seeds
        K, and of velocities and noise; one of each per replica.
    time_ps, timestep_fs, friction_per_ps, stop, reference, log_interval
        As for :func:`~mlpot.simulation.dynamics.run_langevin`.
    callback
        Called at the logging interval with the fraction of the time done and the replicas still
        running.

    Returns
    -------
    list of Trajectory
        One per replica, in order.

    Raises
    ------
    RecipeError
        For no replicas, numbers that do not match, constraints, unequal periodic directions, or
        settings that make no sense.
    GeometryError
        For a starting structure with atoms on top of each other or closer than the stop criterion
        allows.
    ElementError
        For elements that the potential does not know.
    """
    structures = [atoms] * len(seeds) if isinstance(atoms, Atoms) else list(atoms)
    _check(structures, temperatures, seeds)
    require_interval("log interval", log_interval)
    criteria = stop or StopCriteria()
    replicas = [
        _Replica(
            structure,
            calculator,
            Ensemble("nvt", temperature=temperature, friction_per_ps=friction_per_ps),
            time_ps,
            timestep_fs=timestep_fs,
            seed=seed,
            stop=criteria,
            reference=reference,
        )
        for structure, temperature, seed in zip(structures, temperatures, seeds, strict=True)
    ]
    for replica in replicas:
        replica.check_start()
    batch = _Batch(calculator, replicas, criteria, reference is not None)
    step, steps = 0, replicas[0].steps
    while True:
        sampled = step % log_interval == 0
        batch.look(step, sampled, step == steps)
        if callback and sampled:
            callback(step / steps, len(batch.replicas))
        if not batch.replicas:
            return [replica.trajectory for replica in replicas]
        batch.move()
        step += 1


class _Replica(Simulation):
    """A run that a batch moves in place of its integrator.

    Attributes
    ----------
    samples, reason
        Of its :class:`Trajectory`.
    suspected : bool
        Whether it was at the step before.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.samples: list[Sample] = []
        self.reason: str | None = None
        self.suspected = False

    @property
    def trajectory(self) -> Trajectory:
        """What became of it."""
        return Trajectory(self.time_ps, self.reason, self.structure(), self.samples)

    def place(self, arrays: dict[str, np.ndarray], energy: float) -> None:
        """Take up positions, momenta and results; positions that are not finite are left out."""
        if not np.isfinite(arrays["positions"]).all():
            return
        self.atoms.set_positions(arrays["positions"], apply_constraint=False)
        self.atoms.set_momenta(arrays["momenta"], apply_constraint=False)
        self.atoms.calc = SinglePointCalculator(self.atoms, energy=energy, forces=arrays["forces"])
        if "forces_std" in arrays:
            self.atoms.calc.results["forces_std"] = arrays["forces_std"]


class _Batch:
    """The replicas still running, as one state of torch-sim."""

    def __init__(
        self, calculator: MLPotCalculator, replicas: list[_Replica], criteria: StopCriteria, referenced: bool
    ) -> None:
        structures = [replica.atoms for replica in replicas]
        pbc = boundaries(torch.from_numpy(structures[0].pbc))
        self.model = TorchSimModel(calculator, pbc=pbc, isolate=True)
        self.criteria, self.referenced = criteria, referenced
        first = replicas[0]
        assert first.ensemble.friction_per_ps is not None
        self.dt = self.tensor(first.timestep_fs * units.fs)
        self.gamma = self.tensor(first.ensemble.friction_per_ps / (1000.0 * units.fs))
        counts = torch.tensor([len(atoms) for atoms in structures], device=self.model.device)
        self.state = start(
            self.model,
            numbers=self.tensor(np.concatenate([atoms.numbers for atoms in structures])).long(),
            masses=self.tensor(np.concatenate([atoms.get_masses() for atoms in structures])),
            positions=self.tensor(np.concatenate([atoms.positions for atoms in structures])),
            momenta=self.tensor(np.concatenate([atoms.get_momenta() for atoms in structures])),
            cells=self.tensor(np.array([atoms.cell.array for atoms in structures])),
            owner=torch.repeat_interleave(counts),
        )
        for error in self.model.failures.values():
            raise error
        self.take(replicas)

    def tensor(self, values: float | np.ndarray) -> Tensor:
        """Return values on the device of the model."""
        return torch.as_tensor(values, dtype=self.model.dtype, device=self.model.device)

    def take(self, replicas: list[_Replica]) -> None:
        """Note the replicas that the state now holds."""
        self.replicas = replicas
        self.counts = [len(replica.atoms) for replica in replicas]
        self.targets = self.tensor(np.array([replica.ensemble.temperature for replica in replicas]))
        self.freedoms = self.tensor(np.array([degrees_of_freedom(replica.atoms) for replica in replicas]))
        masses = self.state.masses
        self.roots = masses.sqrt()[:, None]
        # Share of an atom in its system's centre of mass; none for an atom on its own, which is free.
        alone = torch.tensor(self.counts, device=masses.device) == 1
        total = torch.where(alone, torch.inf, self.sums(masses))
        self.shares = self.roots / total[self.state.system_idx][:, None]

    def sums(self, values: Tensor) -> Tensor:
        """Return sums over the atoms of each system, (N, ...) to (B, ...)."""
        zeros = values.new_zeros(len(self.replicas), *values.shape[1:])
        return zeros.index_add_(0, self.state.system_idx, values)

    def move(self) -> None:
        """Make one step."""
        drawn = [r.rng.standard_normal((n, 3)) for r, n in zip(self.replicas, self.counts, strict=True)]
        noise = self.tensor(np.concatenate(drawn))
        # Without the part that would move the centre of mass: noise on the other 3N - 3 momenta.
        noise -= self.shares * self.sums(self.roots * noise)[self.state.system_idx]
        self.state = langevin_step(
            self.state, self.model, dt=self.dt, kT=KB * self.targets, gamma=self.gamma, noise=noise
        )

    def look(self, step: int, sampled: bool, last: bool) -> None:
        """Take out replicas that must stop; sample the others where it is time; at the last step, all end."""
        kinetic = 0.5 * self.sums(self.state.momenta.square().sum(1) / self.state.masses)
        temperatures = 2.0 * kinetic / (KB * self.freedoms)
        flags = suspects(
            self.criteria, self.model, step, temperatures, self.targets, self.referenced
        ).tolist()
        looked = [flag or r.suspected for flag, r in zip(flags, self.replicas, strict=True)]
        if not (sampled or last or any(looked)):
            return
        arrays, energies = self.arrays(), self.model.results["energy"].tolist()
        going = []
        for index, replica in enumerate(self.replicas):
            if not (sampled or last or looked[index]):
                going.append(index)
                continue
            replica.place({name: values[index] for name, values in arrays.items()}, energies[index])
            replica.suspected = flags[index]
            if (failure := self.model.failures.get(index)) is not None:
                # The step was not completed.
                replica.step, replica.reason = step - 1, str(failure)
                continue
            replica.step = step
            if looked[index]:
                try:
                    replica.reason = replica.monitor.check(step, replica.atoms)
                except GeometryError as error:
                    replica.reason = str(error)
            if replica.reason is None and sampled:
                replica.samples.append(replica.sample())
            if replica.reason is None and not last:
                going.append(index)
        if not going:
            self.replicas = []
        elif len(going) < len(self.replicas):
            self.state = self.state[going]
            self.take([self.replicas[index] for index in going])

    def arrays(self) -> dict[str, list[np.ndarray]]:
        """Return positions, momenta and forces (with their deviations), replica by replica."""
        known = {"positions": self.state.positions, "momenta": self.state.momenta}
        known |= {name: value for name, value in self.model.results.items() if name.startswith("forces")}
        stops = np.cumsum(self.counts)[:-1]
        return {name: np.split(value.cpu().numpy(), stops) for name, value in known.items()}


def _check(structures: list[Atoms], temperatures: Sequence[float], seeds: Sequence[Seed]) -> None:
    if not len(structures) == len(temperatures) == len(seeds) or not structures:
        raise RecipeError(
            "a batch needs one structure, temperature and seed per replica; got "
            f"{len(structures)}, {len(temperatures)} and {len(seeds)}."
        )
    for index, structure in enumerate(structures):
        if not len(structure):
            raise GeometryError(f"replica {index}: the structure has no atoms; there is nothing to move.")
        if structure.constraints:
            raise RecipeError(
                f"replica {index}: constraints ({type(structure.constraints[0]).__name__}) do not work in "
                "batches; remove them, or run one by one."
            )
        if (structure.pbc != structures[0].pbc).any():
            raise RecipeError(
                f"replica {index} has pbc {structure.pbc.tolist()}, replica 0 {structures[0].pbc.tolist()}; "
                "the replicas of a batch have the same."
            )
