"""One molecular-dynamics run from start to trajectory file, and the files of a stability test."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator

from mlpot.errors import RecipeError
from mlpot.simulation.dynamics import Sample, run_langevin, run_nve
from mlpot.simulation.findings import StabilityReport
from mlpot.simulation.stopping import StopCriteria


def run_md(
    calculator: Calculator,
    atoms: Atoms,
    out: str | Path,
    *,
    ensemble: Literal["nvt", "nve"],
    temperature: float | None,
    time_ps: float,
    timestep_fs: float = 1.0,
    friction_per_ps: float = 10.0,
    seed: int = 0,
    interval: int = 10,
    stop: StopCriteria | None = None,
    progress: Callable[[Sample, float], None] | None = None,
) -> dict[str, Any]:
    """Run dynamics and write its samples, as they come, to an extended XYZ file.

    Parameters
    ----------
    calculator
        Any ASE calculator.
    atoms
        Starting structure; it is not changed.
    out
        Trajectory (``.xyz`` or ``.extxyz``), not yet existing: positions (Å, not wrapped),
        energy and forces under ASE's own names, time (ps) and kinetic temperature (K); with an
        uncertainty also ``energy_std`` (eV) and ``forces_std`` (eV/Å). Where a stop criterion
        ends the run, the offending structure goes to ``<name>.stopped.xyz``.
    ensemble
        ``nvt``: Langevin; ``nve``: velocity Verlet.
    temperature
        K. For ``nve`` that of the initial velocities, or ``None`` to keep those of ``atoms``.
    time_ps, timestep_fs, friction_per_ps, seed
        As for :func:`~mlpot.simulation.dynamics.run_langevin`.
    interval
        Steps between samples.
    stop
        What ends the run early; the defaults of
        :class:`~mlpot.simulation.stopping.StopCriteria` if not given.
    progress
        Called with every sample and the speed so far, ns/day.

    Returns
    -------
    dict
        Plain values: files, time survived (ps), stop reason, speed (ns/day), mean kinetic
        temperature (K) and change of the total energy (meV/atom) over the samples.

    Raises
    ------
    RecipeError
        If the trajectory exists already or has another suffix, or a setting makes no sense.
    GeometryError, ElementError
        For a structure that cannot be run.
    """
    out = Path(out)
    if out.suffix not in (".xyz", ".extxyz"):
        raise RecipeError(f"{out}: a trajectory is written as extended XYZ; name it {out.stem}.xyz.")
    if out.exists():
        raise RecipeError(f"{out}: there is a file of this name already; choose another --out or remove it.")
    if ensemble == "nvt" and temperature is None:
        raise RecipeError("ensemble nvt needs a temperature (K).")
    out.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()

    def record(sample: Sample) -> None:
        ase.io.write(out, _snapshot(atoms, sample, calculator), format="extxyz", append=True)
        if progress is not None:
            # ps per second of wall-clock time, times 86,400 / 1,000: ns/day.
            progress(sample, 86.4 * sample.time_ps / max(time.monotonic() - started, 1e-9))

    common: dict[str, Any] = {
        "timestep_fs": timestep_fs,
        "seed": seed,
        "log_interval": interval,
        "stop": stop,
        "callback": record,
    }
    if ensemble == "nvt" and temperature is not None:
        result = run_langevin(
            atoms, calculator, temperature, time_ps, friction_per_ps=friction_per_ps, **common
        )
    else:
        result = run_nve(atoms, calculator, time_ps, temperature=temperature, **common)
    seconds = time.monotonic() - started
    stopped = None
    if result.reason is not None:
        stopped = out.with_name(f"{out.stem}.stopped.xyz")
        final = result.atoms.copy()
        final.info = {"stop_reason": result.reason, "time_ps": result.survived_ps}
        ase.io.write(stopped, final, format="extxyz")
    total = result.total_energies
    return {
        "trajectory": str(out),
        "frames": len(result.samples),
        "ensemble": ensemble,
        "time_ps": result.survived_ps,
        "completed": result.completed,
        "stop_reason": result.reason,
        "stopped_structure": str(stopped) if stopped else None,
        "seconds": seconds,
        "ns_per_day": 86.4 * result.survived_ps / seconds,
        "mean_temperature_K": float(np.mean(result.temperatures)) if result.samples else None,
        "total_energy_change_meV_per_atom": 1e3 * float(total[-1] - total[0]) / len(atoms)
        if result.samples
        else None,
    }


def _snapshot(atoms: Atoms, sample: Sample, calculator: Calculator) -> Atoms:
    """Return the sampled structure with energy and forces, which the calculator still holds."""
    snapshot = Atoms(
        numbers=atoms.numbers,
        positions=sample.positions,
        cell=atoms.cell,
        pbc=atoms.pbc,
        info={"time_ps": sample.time_ps, "temperature_K": sample.temperature},
    )
    forces = calculator.get_property("forces", snapshot)
    if "forces_std" in calculator.implemented_properties:
        snapshot.info["energy_std"] = calculator.get_property("energy_std", snapshot)
        snapshot.arrays["forces_std"] = calculator.get_property("forces_std", snapshot)
    snapshot.calc = SinglePointCalculator(snapshot, energy=sample.energy, forces=forces)
    return snapshot


def write_stability(report: StabilityReport, directory: str | Path) -> list[str]:
    """Write a stability test: ``stability.json``, ``final.xyz``, and ``rdf_<T>K.csv`` where compared.

    Returns
    -------
    list of str
        The files written.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / "stability.json", directory / "final.xyz"]
    files[0].write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
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
