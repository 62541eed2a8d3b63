"""``mlpot md``: molecular dynamics with a potential."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mlpot.cli.options import (
    Committee,
    Friction,
    Json,
    LargestDeviation,
    Model,
    Structure,
    Supercell,
    Timestep,
    Uncertainty,
)
from mlpot.cli.output import emit, line, progress_bar, working

EXAMPLE = "Example:  mlpot md si --structure data/sw/si.xyz --temperature 300 --time 5 --out runs/si_300K.xyz"


class Ensemble(StrEnum):
    """What is held constant."""

    nvt = "nvt"
    nve = "nve"


def md(
    model: Model,
    structure: Structure,
    time: Annotated[float, typer.Option(metavar="PS", help="Length of the run, ps.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Trajectory (.xyz), not yet existing.")],
    temperature: Annotated[
        float | None,
        typer.Option(metavar="K", help="Of the heat bath; nve: of the initial velocities, else the file's."),
    ] = None,
    ensemble: Annotated[
        Ensemble, typer.Option(help="Langevin (nvt) or velocity Verlet (nve).")
    ] = Ensemble.nvt,
    timestep: Timestep = 1.0,
    friction: Friction = 10.0,
    seed: Annotated[int, typer.Option(metavar="N", help="Of velocities and noise.", min=0)] = 0,
    interval: Annotated[int, typer.Option(metavar="N", help="Steps between frames.")] = 10,
    supercell: Supercell = (1, 1, 1),
    committee: Committee = None,
    uncertainty: Uncertainty = False,
    max_forces_std: LargestDeviation = None,
    json: Json = False,
) -> None:
    """Run molecular dynamics and write the trajectory as extended XYZ.

    A run that leaves physics (atoms too close, forces or temperature out of
    hand, values not finite) or, with --max-forces-std, what the potential
    knows, stops, says why, and leaves the offending structure in
    <name>.stopped.xyz.
    """
    with working():
        from mlpot.data.structure import read_structure
        from mlpot.recipe import parse_recipe
        from mlpot.simulation.calculator import MLPotCalculator
        from mlpot.simulation.dynamics import Sample
        from mlpot.simulation.run import run_md
        from mlpot.simulation.stopping import StopCriteria

        atoms = read_structure(structure, supercell)
        watched = uncertainty or max_forces_std is not None
        calculator = MLPotCalculator([model, *(committee or [])], uncertainty=watched)
        stop = parse_recipe(StopCriteria, {"max_forces_std": max_forces_std}, "stop criteria")
        with progress_bar() as update:

            def progress(sample: Sample, speed: float) -> None:
                text = f"{sample.time_ps:.2f} ps  {sample.temperature:.0f} K  {speed:.2f} ns/day"
                update(sample.time_ps / time, text)

            summary = run_md(
                calculator,
                atoms,
                out,
                ensemble=ensemble.value,
                temperature=temperature,
                time_ps=time,
                timestep_fs=timestep,
                friction_per_ps=friction,
                seed=seed,
                interval=interval,
                stop=stop,
                progress=progress,
            )

    def show(console: Console) -> None:
        line(console, "trajectory", f"{summary['trajectory']} ({summary['frames']} frames)")
        line(console, "time", f"{summary['time_ps']:g} ps at {summary['ns_per_day']:.2f} ns/day")
        if summary["frames"]:
            line(console, "mean T", f"{summary['mean_temperature_K']:.0f} K")
        if ensemble is Ensemble.nve and summary["frames"]:
            change = summary["total_energy_change_meV_per_atom"]
            line(console, "drift", f"{change:+.3f} meV/atom in the total energy")
        reason = summary["stop_reason"]
        line(console, "ended", f"{reason}; {summary['stopped_structure']}" if reason else "as planned")

    said = {"command": "md", "model": model, "committee": committee or [], "structure": structure}
    emit(said | summary, json, show)
