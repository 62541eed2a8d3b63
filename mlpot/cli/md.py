"""``mlpot md``: molecular dynamics with a potential."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mlpot.cli.options import (
    Committee,
    Json,
    LargestDeviation,
    Model,
    Structure,
    Supercell,
    Timestep,
    Uncertainty,
)
from mlpot.cli.output import emit, line, progress_bar, show_notes, working

EXAMPLE = "Example:  mlpot md si --structure data/sw/si.xyz --temperature 300 --time 5 --out runs/si_300K.xyz"


class Ensemble(StrEnum):
    """What is held constant."""

    nvt = "nvt"
    nve = "nve"
    npt = "npt"


class Thermostat(StrEnum):
    """What holds the temperature."""

    langevin = "langevin"
    nose_hoover = "nose-hoover"
    bussi = "bussi"


class Barostat(StrEnum):
    """What moves with the pressure."""

    isotropic = "isotropic"
    full = "full"


def md(
    model: Model,
    structure: Structure,
    time: Annotated[float, typer.Option(metavar="PS", help="Length of the run, ps.")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Trajectory (.xyz, .traj or .h5), not yet existing.")
    ],
    temperature: Annotated[
        float | None,
        typer.Option(metavar="K", help="Of the heat bath; nve: of the initial velocities, else the file's."),
    ] = None,
    temperature_end: Annotated[
        float | None, typer.Option(metavar="K", help="Heat or cool linearly to this over the run.")
    ] = None,
    ensemble: Annotated[
        Ensemble, typer.Option(help="Constant energy (nve), volume and temperature (nvt), or pressure (npt).")
    ] = Ensemble.nvt,
    thermostat: Annotated[
        Thermostat | None,
        typer.Option(help="Of nvt; npt has Nosé-Hoover chains. \\[langevin]"),
    ] = None,
    friction: Annotated[
        float | None, typer.Option(metavar="RATE", help="Langevin's coupling to the heat bath, 1/ps. \\[10]")
    ] = None,
    thermostat_time: Annotated[
        float | None, typer.Option(metavar="FS", help="Of nose-hoover, bussi and npt, fs. \\[100]")
    ] = None,
    pressure: Annotated[
        float | None, typer.Option(metavar="GPA", help="Of npt, GPa, compressive positive.")
    ] = None,
    pressure_end: Annotated[
        float | None, typer.Option(metavar="GPA", help="Compress or release linearly to this over the run.")
    ] = None,
    barostat: Annotated[
        Barostat | None,
        typer.Option(help="npt: the size of the cell moves, or its shape as well. \\[isotropic]"),
    ] = None,
    barostat_time: Annotated[float | None, typer.Option(metavar="FS", help="Of npt, fs. \\[1000]")] = None,
    timestep: Timestep = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Of velocities and noise.", min=0)] = 0,
    interval: Annotated[int, typer.Option(metavar="N", help="Steps between frames.")] = 10,
    restart_interval: Annotated[
        int, typer.Option(metavar="N", help="Steps between restarts (<out>.restart.npz).")
    ] = 1000,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last restart of --out; all else as it was.")
    ] = False,
    supercell: Supercell = (1, 1, 1),
    committee: Committee = None,
    uncertainty: Uncertainty = False,
    max_forces_std: LargestDeviation = None,
    min_width: Annotated[
        float | None, typer.Option(metavar="A", help="Stop where the cell becomes narrower than this, Å.")
    ] = None,
    json: Json = False,
) -> None:
    """Run molecular dynamics and write the trajectory: extended XYZ, ASE's, or HDF5 (H5MD).

    A run that leaves physics (atoms too close, forces, temperature or volume
    out of hand, values not finite) or, with --max-forces-std, what the
    potential knows, stops, says why, and leaves the offending structure in
    <name>.stopped.xyz. A run that was killed goes on with --resume, as if it
    had not been.
    """
    with working():
        from mlpot.data.structure import read_structure
        from mlpot.recipe import parse_recipe
        from mlpot.simulation.calculator import MLPotCalculator
        from mlpot.simulation.ensembles import Ensemble as Held
        from mlpot.simulation.run import run_md
        from mlpot.simulation.single import Sample
        from mlpot.simulation.stopping import StopCriteria

        held = Held(
            ensemble.value,
            temperature=temperature,
            temperature_end=temperature_end,
            pressure=pressure,
            pressure_end=pressure_end,
            thermostat=thermostat.value if thermostat else None,
            barostat=barostat.value if barostat else None,
            friction_per_ps=friction,
            thermostat_fs=thermostat_time,
            barostat_fs=barostat_time,
        )
        atoms = read_structure(structure, supercell)
        watched = uncertainty or max_forces_std is not None
        calculator = MLPotCalculator([model, *(committee or [])], uncertainty=watched)
        limits = {"max_forces_std": max_forces_std, "min_width": min_width}
        stop = parse_recipe(StopCriteria, limits, "stop criteria")
        with progress_bar() as update:

            def progress(sample: Sample, speed: float) -> None:
                text = f"{sample.time_ps:.2f} ps  {sample.temperature:.0f} K  {speed:.2f} ns/day"
                update(sample.time_ps / time, text)

            summary = run_md(
                calculator,
                atoms,
                out,
                held,
                time,
                timestep_fs=timestep,
                seed=seed,
                interval=interval,
                restart_interval=restart_interval,
                resume=resume,
                stop=stop,
                progress=progress,
                notify=lambda text: print(f"mlpot: warning: {text}", file=sys.stderr),
            )

    def show(console: Console) -> None:
        line(console, "trajectory", f"{summary['trajectory']} ({summary['frames']} frames)")
        line(console, "time", f"{summary['time_ps']:g} ps at {summary['ns_per_day']:.2f} ns/day")
        if summary["frames"]:
            line(console, "mean T", f"{summary['mean_temperature_K']:.0f} K")
        if summary["mean_pressure_GPa"] is not None:
            volume = f"{summary['mean_volume_A3'] / len(atoms):.3f} Å³/atom"
            line(console, "mean P", f"{summary['mean_pressure_GPa']:.3f} GPa at {volume}")
        if ensemble is Ensemble.nve and summary["frames"]:
            change = summary["total_energy_change_meV_per_atom"]
            line(console, "drift", f"{change:+.3f} meV/atom in the total energy")
        elif (drift := summary["conserved_drift_meV_per_atom_per_ps"]) is not None:
            line(console, "drift", f"{drift:+.3f} meV/atom/ps in the conserved energy")
        reason = summary["stop_reason"]
        line(console, "ended", f"{reason}; {summary['stopped_structure']}" if reason else "as planned")
        show_notes(console, summary["notes"])

    said = {"command": "md", "model": model, "committee": committee or [], "structure": structure}
    emit(said | summary, json, show)
