"""One molecular-dynamics run from start to trajectory file, and the files of a stability test."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator

from mlpot.atomic import is_disk_full, write_json
from mlpot.conventions import GPA
from mlpot.engine.guards import interruptible
from mlpot.errors import DataError, RecipeError
from mlpot.simulation.ensembles import Ensemble
from mlpot.simulation.findings import StabilityReport
from mlpot.simulation.restart import Restart, read_restart, restart_path, write_restart
from mlpot.simulation.single import Sample, Simulation, require_interval
from mlpot.simulation.stopping import StopCriteria
from mlpot.simulation.totals import Totals
from mlpot.simulation.trajectory import (
    TrajectoryFile,
    continue_trajectory,
    new_trajectory,
    require_suffix,
)
from mlpot.simulation.vibration import fastest_period, timestep_advice

#: A potential that gives another energy (eV/atom) at a restart than the one that wrote it is another one.
_SAME_ENERGY = 1e-4


def run_md(
    calculator: Calculator,
    atoms: Atoms,
    out: str | Path,
    ensemble: Ensemble,
    time_ps: float,
    *,
    timestep_fs: float = 1.0,
    seed: int = 0,
    interval: int = 10,
    restart_interval: int = 1000,
    resume: bool = False,
    stop: StopCriteria | None = None,
    progress: Callable[[Sample, float], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Run dynamics and write its samples, as they come, to a trajectory file.

    Every ``restart_interval`` steps, and at the start, ``<out>.restart.npz`` is written. A run that was
    killed goes on from it with ``resume`` and leaves the same trajectory, to the last bit, as one that was
    not: with the same calculator on the same machine, where results depend on the structure alone.

    Parameters
    ----------
    calculator
        Any ASE calculator; ``npt`` needs a stress.
    atoms
        Starting structure; it is not changed.
    out
        Trajectory, not yet existing: extended XYZ (``.xyz``, ``.extxyz``), ASE's (``.traj``) or H5MD
        (``.h5``, ``.hdf5``, ``.h5md``). Positions (Å, not wrapped), cell, momenta, energy, forces
        and, where the calculator has it, stress under ASE's own names; step, time (ps), kinetic temperature
        (K) and, with a stress, pressure (GPa, kinetic part included); with an uncertainty also
        ``energy_std`` (eV) and ``forces_std`` (eV/Å). Where a stop criterion ends the run, the
        offending structure goes to ``<stem>.stopped.xyz``.
    ensemble
        What is held constant.
    time_ps, timestep_fs, seed
        As for :func:`~mlpot.simulation.dynamics.run_dynamics`.
    interval
        Steps between samples.
    restart_interval
        Steps between restarts; each costs one more call of the calculator.
    resume
        Go on with the run that wrote ``out``, all else being given as it was. ``time_ps`` may be
        longer than it was, unless a target moves.
    stop
        What ends the run early; the defaults of
        :class:`~mlpot.simulation.stopping.StopCriteria` if not given.
    progress
        Called with every sample and the speed so far, ns/day.
    notify
        Called with what the user should know before the run is over; also in ``notes``.

    Returns
    -------
    dict
        Plain values: files, time survived (ps), stop reason, speed (ns/day), over all samples mean
        kinetic temperature (K), pressure (GPa), volume (Å³) and change of the total energy (meV/atom),
        drift of what the equations of motion conserve (meV/atom/ps), period of the fastest
        vibration of the start (fs), notes.

    Raises
    ------
    RecipeError
        If the trajectory exists already or has another suffix, a setting makes no sense, or is not that
        of the run to resume.
    GeometryError, ElementError
        For a structure that cannot be run.
    DataError
        For a restart or trajectory that cannot be gone on with, and when the disk is full.
    Interrupted
        On Ctrl-C or SIGTERM.
    """
    require_interval("interval", interval)
    require_interval("restart interval", restart_interval)
    run = _Run(
        calculator, atoms, Path(out), ensemble, time_ps, timestep_fs, seed, interval, restart_interval, stop
    )
    run.progress, run.notify = progress, notify
    with interruptible(f"interrupted; {run.remedy}."), run.disk_full_told():
        if resume:
            run.resume()
        else:
            run.start()
        try:
            return run.finish()
        finally:
            run.close()


class _Run:
    """The simulation, its trajectory, and its restarts."""

    progress: Callable[[Sample, float], None] | None
    notify: Callable[[str], None] | None

    def __init__(
        self,
        calculator: Calculator,
        atoms: Atoms,
        out: Path,
        ensemble: Ensemble,
        time_ps: float,
        timestep_fs: float,
        seed: int,
        interval: int,
        restart_interval: int,
        stop: StopCriteria | None,
    ) -> None:
        self.out, self.restart, self.interval = out, restart_path(out), interval
        self.restart_interval, self.calculator = restart_interval, calculator
        self.simulation = Simulation(
            atoms, calculator, ensemble, time_ps, timestep_fs=timestep_fs, seed=seed, stop=stop
        )
        self.settings: dict[str, Any] = {
            "ensemble": asdict(ensemble),
            "timestep_fs": timestep_fs,
            "seed": seed,
            "interval": interval,
            "restart_interval": restart_interval,
            "stop": self.simulation.monitor.criteria.model_dump(),
            "steps": self.simulation.steps,
        }
        require_suffix(out)
        self.totals, self.notes = Totals(), []  # type: Totals, list[str]
        self.reason: str | None = None
        self.period: float | None = None
        self.trajectory: TrajectoryFile | None = None
        self.started, self.started_ps = time.monotonic(), 0.0

    @property
    def remedy(self) -> str:
        return f"the same command with --resume goes on from the last restart, {self.restart}"

    def note(self, text: str) -> None:
        self.notes.append(text)
        if self.notify is not None:
            self.notify(text)

    def start(self) -> None:
        """Look at the start, make the files, write the first frame and the first restart."""
        if self.out.exists():
            hint = "--resume goes on with it" if self.restart.exists() else "there is no restart beside it"
            raise RecipeError(
                f"{self.out}: there is a file of this name already ({hint}); choose another --out or "
                "remove it."
            )
        simulation = self.simulation
        simulation.check_start()
        self.period = fastest_period(simulation.atoms, self.calculator)
        if advice := timestep_advice(self.period, simulation.timestep_fs):
            self.note(advice)
        simulation.refresh()
        self.reason = simulation.begin()
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.trajectory = new_trajectory(self.out, self._capacity())
        try:
            if self.reason is None:
                self.record()
                self.write_restart()
        except BaseException:
            self.close()
            self.out.unlink(missing_ok=True)
            raise

    def resume(self) -> None:
        """Take up the run where its restart was written; what its trajectory holds beyond is cut off."""
        restart, simulation = read_restart(self.restart), self.simulation
        self._check_settings(restart)
        simulation.step = restart.step
        targets = simulation.integrator.aim(restart.step / simulation.steps)
        simulation.integrator.restore(restart.arrays)
        simulation.rng.bit_generator.state = restart.rng
        simulation.monitor.check_calculator(self.calculator)
        simulation.monitor.restore(restart.monitor)
        simulation.monitor.temperature = targets[0]
        self.totals = Totals(**restart.totals)
        self.started_ps = simulation.time_ps
        self.period = restart.settings["fastest_period_fs"]
        change = abs(simulation.refresh() - restart.energy) / len(simulation.atoms)
        if not change <= _SAME_ENERGY:
            raise RecipeError(
                f"{self.restart}: the potential gives an energy that differs by {change:.2g} eV/atom from "
                "that of the run to resume; resume with the potential it was started with."
            )
        if change > 0.0:
            self.note(
                f"the energy at the restart differs by {change:.1g} eV/atom: another machine, number of "
                "threads or version; the run goes on, but not bit for bit as it would have."
            )
        self.trajectory = continue_trajectory(self.out, restart.trajectory, self._capacity())

    def _check_settings(self, restart: Restart) -> None:
        """Refuse to go on with another run than the one that wrote the restart."""
        atoms, known = self.simulation.atoms, restart.arrays
        for name, given in (("numbers", atoms.numbers), ("masses", atoms.get_masses())):
            if not np.array_equal(known[name], given):
                raise RecipeError(
                    f"{self.restart}: the structure has other atoms ({name}) than that of the run to resume; "
                    "give the same --structure and --supercell."
                )
        before = {key: value for key, value in restart.settings.items() if key != "fastest_period_fs"}
        for key, given in _flat(self.settings).items():
            there = _flat(before).get(key)
            longer = key == "steps" and not self.simulation.ensemble.ramps and given >= restart.step
            if there != given and not longer:
                raise RecipeError(
                    f"{self.restart}: {key} was {there} in the run to resume and is {given} now; give what "
                    "was given before, and only --resume in addition."
                )

    def finish(self) -> dict[str, Any]:
        """Run to the end and return the summary."""
        simulation, trajectory = self.simulation, self.trajectory
        assert trajectory is not None
        while self.reason is None and simulation.step < simulation.steps:
            self.reason = simulation.advance()
            if self.reason is not None:
                break
            if simulation.step % self.interval == 0:
                self.record()
            if simulation.step % self.restart_interval == 0:
                self.write_restart()
        stopped = None
        if self.reason is not None:
            stopped = self.out.with_name(f"{self.out.stem}.stopped.xyz")
            final = simulation.structure()
            final.info = {"stop_reason": self.reason, "time_ps": simulation.time_ps}
            ase.io.write(stopped, final, format="extxyz")
        trajectory.finish()
        return self._summary(stopped)

    def close(self) -> None:
        if self.trajectory is not None:
            self.trajectory.close()

    def record(self) -> None:
        """Write the present state to the trajectory."""
        assert self.trajectory is not None
        simulation = self.simulation
        sample = simulation.sample()
        frame = self._frame(sample)
        self.trajectory.append(frame)
        self.totals.add(sample, frame, simulation.integrator.conserved())
        if self.progress is not None:
            self.progress(sample, self._speed())

    def write_restart(self) -> None:
        """Write the present state to the restart, and let the calculator forget what came before."""
        assert self.trajectory is not None
        simulation = self.simulation
        self.trajectory.sync()
        atoms = {"numbers": simulation.atoms.numbers, "masses": simulation.atoms.get_masses()}
        restart = Restart(
            step=simulation.step,
            settings=self.settings | {"fastest_period_fs": self.period},
            energy=simulation.refresh(),
            rng=dict(simulation.rng.bit_generator.state),
            monitor=simulation.monitor.state(),
            totals=asdict(self.totals),
            trajectory=self.trajectory.mark(),
            arrays=simulation.integrator.state() | atoms,
        )
        write_restart(self.restart, restart)

    @contextmanager
    def disk_full_told(self) -> Iterator[None]:
        """Say what to do when there is no space left."""
        try:
            yield
        except OSError as error:
            if not is_disk_full(error):
                raise
            if self.restart.exists():
                kept = f"{self.totals.frames} frames are kept. Free some space; {self.remedy}."
            else:
                kept = "nothing was begun. Free some space and run the same command again."
            raise DataError(f"{self.out}: {error.strerror}; {kept}") from error

    def _capacity(self) -> int:
        return self.simulation.steps // self.interval + 1

    def _speed(self) -> float:
        # ps per second of wall-clock time, times 86,400 / 1,000: ns/day.
        done = self.simulation.time_ps - self.started_ps
        return 86.4 * done / max(time.monotonic() - self.started, 1e-9)

    def _frame(self, sample: Sample) -> Atoms:
        """Return the present state as it is written, with results that the calculator still holds."""
        simulation, calculator = self.simulation, self.calculator
        atoms = simulation.atoms
        frame = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        if atoms.has("masses"):
            frame.set_masses(atoms.get_masses())
        frame.set_momenta(atoms.get_momenta())
        frame.info = {
            "step": sample.step,
            "time_ps": sample.time_ps,
            "temperature_K": sample.temperature,
        }
        results = {"energy": sample.energy, "forces": atoms.get_forces(apply_constraint=False)}
        if simulation.ensemble.name == "npt" or "stress" in calculator.results:
            results["stress"] = atoms.get_stress(apply_constraint=False)
            pressure = -atoms.get_stress(apply_constraint=False, include_ideal_gas=True)[:3].mean()
            frame.info["pressure_GPa"] = float(pressure) / GPA
        if "forces_std" in calculator.implemented_properties:
            frame.info["energy_std"] = calculator.get_property("energy_std", atoms)
            frame.arrays["forces_std"] = calculator.get_property("forces_std", atoms)
        frame.calc = SinglePointCalculator(frame, **results)
        return frame

    def _summary(self, stopped: Path | None) -> dict[str, Any]:
        simulation, totals = self.simulation, self.totals
        ensemble, count = simulation.ensemble, totals.frames
        per_atom = 1e3 / len(simulation.atoms)
        drift = totals.drift() if simulation.integrator.conserves else None
        npt = ensemble.name == "npt"
        return {
            "trajectory": str(self.out),
            "restart": str(self.restart),
            "frames": count,
            "ensemble": ensemble.name,
            "thermostat": ensemble.thermostat,
            "barostat": ensemble.barostat,
            "time_ps": simulation.time_ps,
            "completed": self.reason is None,
            "stop_reason": self.reason,
            "stopped_structure": str(stopped) if stopped else None,
            "seconds": time.monotonic() - self.started,
            "ns_per_day": self._speed(),
            "mean_temperature_K": totals.temperature / count if count else None,
            "mean_pressure_GPa": totals.pressure / count if count and npt else None,
            "mean_volume_A3": totals.volume / count if count and npt else None,
            "total_energy_change_meV_per_atom": per_atom * (totals.last_energy - totals.first_energy)
            if count
            else None,
            "conserved_drift_meV_per_atom_per_ps": None if drift is None else per_atom * drift,
            "fastest_period_fs": self.period,
            "notes": self.notes,
        }


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings without sections, by the names that a user knows."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat


def write_stability(
    report: StabilityReport, directory: str | Path, about: Mapping[str, Any] | None = None
) -> list[str]:
    """Write a stability test: ``stability.json``, ``final.xyz``, and ``rdf_<T>K.csv`` where compared.

    ``about``: plain JSON that stands first in the document, such as the command that made it.

    Returns
    -------
    list of str
        The files written.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / "stability.json", directory / "final.xyz"]
    write_json(files[0], {**(about or {}), **report.to_dict()})
    ase.io.write(files[1], report.frames, format="extxyz")
    for result in report.temperatures:
        if result.radial is None:
            continue
        files.append(directory / f"rdf_{result.temperature:g}K.csv")
        with files[-1].open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["r_angstrom", "model", "reference"])
            table = (result.radial.r, result.radial.model, result.radial.reference)
            writer.writerows(zip(*(column.tolist() for column in table), strict=True))
    return [str(file) for file in files]
