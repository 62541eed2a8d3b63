"""``mlpot stability``: how a potential survives molecular dynamics."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

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
)
from mlpot.cli.output import emit, line, new_table, progress_bar, working

EXAMPLE = (
    "Example:  mlpot stability runs/ge/model.safetensors --structure data/sw/ge.xyz "
    "--temperatures 300 900 1500 --seeds 3 --time 5 --reference sw-ge --out runs/ge/stability"
)


def stability(
    model: Model,
    structure: Structure,
    temperatures: Annotated[
        list[float], typer.Option(metavar="K K ...", help="One or more, as in --temperatures 300 900 1500.")
    ],
    time: Annotated[float, typer.Option(metavar="PS", help="Length of each run, ps.")],
    seeds: Annotated[int, typer.Option(metavar="N", help="Runs per temperature.", min=1)] = 3,
    reference: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Force field that is the truth: sw-si, sw-ge, t3-si or t3-ge."),
    ] = None,
    timestep: Timestep = 1.0,
    friction: Friction = 10.0,
    equilibration: Annotated[
        float | None,
        typer.Option(metavar="PS", help="Left out of radial distributions. \\[a fifth of the time]"),
    ] = None,
    supercell: Supercell = (1, 1, 1),
    committee: Committee = None,
    max_forces_std: LargestDeviation = None,
    crash: Annotated[
        bool,
        typer.Option("--crash", help="Also squeeze to 200 GPa and heat to 3,000 K, --seeds runs each."),
    ] = False,
    batched: Annotated[
        bool, typer.Option("--batched", help="Runs side by side, through torch-sim ('mlpot[simulation]').")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="With --batched: runs at a time. \\[all]", min=1)
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="Where the potential runs: cpu, cuda or cuda:N.")
    ] = "cpu",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where stability.json, final.xyz, rdf_<T>K.csv and crash.json go."),
    ] = None,
    json: Json = False,
) -> None:
    """Run Langevin dynamics per temperature and seed, and count who survives.

    A run fails on values that are not finite, atoms too close, forces or
    temperature out of hand, with --max-forces-std where the potential no longer
    knows, and, with a reference, when its energy leaves the true one; then the
    radial distribution is compared as well. Intervals are of 95 %.
    """
    with working():
        from mlpot.atomic import write_json
        from mlpot.data.structure import read_structure
        from mlpot.errors import RecipeError
        from mlpot.recipe import parse_recipe
        from mlpot.reference.classical import classical_calculator
        from mlpot.simulation.calculator import MLPotCalculator
        from mlpot.simulation.crash import compress, heat
        from mlpot.simulation.run import write_stability
        from mlpot.simulation.stability import stability as carry_out
        from mlpot.simulation.stopping import StopCriteria

        _check_device(device)
        if batch_size is not None and not batched:
            raise RecipeError("--batch-size goes with --batched; give both.")
        if out is not None and (out / "stability.json").exists():
            raise RecipeError(f"{out}: holds a stability test already; choose another --out or remove it.")
        size = (batch_size or seeds * len(temperatures)) if batched else None
        atoms = read_structure(structure, supercell)
        teacher = classical_calculator(reference) if reference is not None else None
        stop = parse_recipe(StopCriteria, {"max_forces_std": max_forces_std}, "stop criteria")
        with progress_bar() as update:
            report = carry_out(
                MLPotCalculator(
                    [model, *(committee or [])], device=device, uncertainty=max_forces_std is not None
                ),
                atoms,
                temperatures,
                range(seeds),
                time,
                timestep_fs=timestep,
                friction_per_ps=friction,
                equilibration_ps=equilibration,
                stop=stop,
                reference=teacher,
                batch_size=size,
                progress=update,
            )
            crashes = []
            if crash:
                potential = MLPotCalculator([model, *(committee or [])], device=device)
                for test in (compress, heat):
                    tested = test(
                        potential, atoms, range(seeds), time_ps=time, timestep_fs=timestep, progress=update
                    )
                    crashes.append(tested.to_dict())
        flags = {
            "--temperatures": [f"{one:g}" for one in temperatures],
            "--seeds": [str(seeds)],
            "--time": [f"{time:g}"],
            "--reference": [reference] if reference else [],
            "--timestep": [f"{timestep:g}"],
            "--friction": [f"{friction:g}"],
            "--equilibration": [f"{equilibration:g}"] if equilibration is not None else [],
            "--supercell": [str(one) for one in supercell],
            "--max-forces-std": [f"{max_forces_std:g}"] if max_forces_std is not None else [],
            "--batch-size": [str(batch_size)] if batch_size is not None else [],
            "--device": [device],
            "--out": [str(out)],
        }
        given = [word for name, values in flags.items() if values for word in (name, *values)]
        members = [word for one in committee or [] for word in ("--committee", one)]
        switches = [name for name, on in (("--crash", crash), ("--batched", batched)) if on]
        command = ["mlpot", "stability", model, "--structure", structure, *members, *given, *switches]
        about = {
            "command": shlex.join(command),
            "model": model,
            "committee": committee or [],
            "structure": structure,
            "reference": reference,
        }
        files = write_stability(report, out, about) if out is not None else []
        if crash and out is not None:
            write_json(out / "crash.json", crashes)
            files.append(str(out / "crash.json"))
        document = {
            "command": "stability",
            "model": model,
            "committee": committee or [],
            "structure": structure,
            "reference": reference,
            "device": device,
            "batch_size": size,
            **report.to_dict(),
            "crash": crashes,
            "files": files,
        }
    emit(document, json, lambda console: _show(console, document))


def _check_device(device: str) -> None:
    import torch

    from mlpot.errors import RecipeError

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"--device {device} cannot be had: {reason}; leave it out for the CPU.") from None


def _show(console: Console, document: dict[str, Any]) -> None:
    time = document["protocol"]["time_ps"]
    table = new_table("T (K)", "survived", "P(survival)", "shortest ps", "mean T", "RDF error")
    table.caption = f"survival of {time:g} ps with its 95 % interval; RDF error: mean |g - g_ref|"
    for result in document["temperatures"]:
        runs = result["runs"]
        low, high = result["survival_95"]
        alive = sum(run["censored"] for run in runs)
        measured = [run["mean_temperature"] for run in runs if run["mean_temperature"] is not None]
        table.add_row(
            f"{result['temperature_K']:g}",
            f"{alive} of {len(runs)}",
            f"{result['survival']:.2f} [{low:.2f}, {high:.2f}]",
            f"{min(run['survived_ps'] for run in runs):g}",
            f"{sum(measured) / len(measured):.0f}" if measured else "–",
            f"{result['radial']['error']:.3f}" if result["radial"] else "–",
        )
    console.print(table)
    for result in document["temperatures"]:
        for run in result["runs"]:
            if run["reason"] is not None:
                where = f"{run['temperature']:g} K, seed {run['seed']}, {run['survived_ps']:g} ps"
                line(console, "failed", f"{where}: {run['reason']}")
        if document["reference"] and result["radial_missing"]:
            line(console, "no RDF", f"{result['temperature_K']:g} K: {result['radial_missing']}")
    for test in document["crash"]:
        low, high = test["survival_95"]
        ramp = f"{test['start']:g} to {test['end']:g} {test['unit']}"
        alive = sum(run["survived"] for run in test["runs"])
        ending = f"{alive} of {len(test['runs'])} survive {ramp} [{low:.2f}, {high:.2f}]"
        line(console, test["name"], ending)
        for run in test["runs"]:
            if run["reason"] is not None:
                where = f"{test['name']}, seed {run['seed']}, at {run['reached']:.4g} {test['unit']}"
                line(console, "failed", f"{where}: {run['reason']}")
    for file in document["files"]:
        line(console, "written", file)
