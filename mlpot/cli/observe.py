"""``mlpot observe``: structure, motion and vibrations of a trajectory."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mlpot.cli.options import Json
from mlpot.cli.output import emit, line, working

if TYPE_CHECKING:
    from ase import Atoms

EXAMPLE = "Example:  mlpot observe runs/si_1800K.xyz --rdf --msd --vdos --frames 200: --out runs/si_1800K"


def observe(
    trajectory: Annotated[Path, typer.Argument(metavar="TRAJECTORY", help="Any format that ASE reads.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where tables, figures and observables.json go.")],
    rdf: Annotated[bool, typer.Option("--rdf", help="Radial distribution.")] = False,
    adf: Annotated[bool, typer.Option("--adf", help="Distribution of bond angles.")] = False,
    coordination: Annotated[bool, typer.Option("--coordination", help="Coordination numbers.")] = False,
    msd: Annotated[bool, typer.Option("--msd", help="Mean squared displacement, diffusion.")] = False,
    vacf: Annotated[bool, typer.Option("--vacf", help="Velocity autocorrelation.")] = False,
    vdos: Annotated[bool, typer.Option("--vdos", help="Vibrational density of states.")] = False,
    sq: Annotated[bool, typer.Option("--sq", help="Static structure factor.")] = False,
    steinhardt: Annotated[bool, typer.Option("--steinhardt", help="Bond order.")] = False,
    frames: Annotated[
        str, typer.Option(metavar="SLICE", help="Which frames, such as 200: to leave out the first 200.")
    ] = ":",
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Frames, of ab initio dynamics say, that rdf, adf and vdos are compared with.",
        ),
    ] = None,
    interval: Annotated[
        float | None,
        typer.Option(metavar="FS", help="Time between the frames used. \\[the frames' time_ps]"),
    ] = None,
    r_max: Annotated[float | None, typer.Option(metavar="Å", help="Of rdf. \\[10, or half the cell]")] = None,
    bins: Annotated[int, typer.Option(metavar="N", help="Of rdf and adf.", min=2)] = 200,
    cutoff: Annotated[
        float | None, typer.Option(metavar="Å", help="Of bonds. \\[first minimum of the rdf]")
    ] = None,
    nearest: Annotated[
        int | None, typer.Option(metavar="N", help="Neighbours of bond order, instead of a cutoff.", min=1)
    ] = None,
    degree: Annotated[
        list[int] | None, typer.Option(metavar="L", help="Of bond order; may be repeated. \\[4 and 6]")
    ] = None,
    q_max: Annotated[float, typer.Option(metavar="1/Å", help="Of sq.")] = 10.0,
    fit: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="PS PS", help="First and last time of the fit of diffusion."),
    ] = None,
    resolution: Annotated[float | None, typer.Option(metavar="THZ", help="Of vdos. \\[0.3]")] = None,
    json: Json = False,
) -> None:
    """Compute what a trajectory shows: tables, figures, and means with errors.

    Without a choice all observables are computed; those that this trajectory does not
    have are listed with the reason.
    """
    with working():
        from mlpot.observables.report import write_observables
        from mlpot.observables.survey import ObserveSettings, Survey
        from mlpot.recipe import parse_recipe

        asked = {
            "rdf": rdf, "adf": adf, "coordination": coordination, "msd": msd,
            "vacf": vacf, "vdos": vdos, "sq": sq, "steinhardt": steinhardt,
        }  # fmt: skip
        names = [name for name, wanted in asked.items() if wanted] or None
        given = {
            "r_max": r_max,
            "bins": bins,
            "cutoff": cutoff,
            "nearest": nearest,
            "degrees": degree or None,
            "q_max": q_max,
            "interval_fs": interval,
            "fit_ps": fit,
            "resolution": resolution,
        }
        values = {key: value for key, value in given.items() if value is not None}
        settings = parse_recipe(ObserveSettings, values, "options")
        read = _read(trajectory, frames)
        compared = _read(reference, ":") if reference is not None else None
        found, missing = Survey(read, settings, compared).observe(names)
        repeated = [("--degree", one) for one in degree or []]
        chosen = [
            ("--frames", frames), ("--reference", reference), ("--interval", interval), ("--r-max", r_max),
            ("--bins", bins), ("--cutoff", cutoff), ("--nearest", nearest), *repeated, ("--q-max", q_max),
            ("--resolution", resolution), ("--out", out),
        ]  # fmt: skip
        command = ["mlpot", "observe", str(trajectory), *(f"--{name}" for name in names or [])]
        command += [word for flag, value in chosen if value is not None for word in (flag, str(value))]
        command += ["--fit", *map(str, fit)] if fit else []
        about = {
            "command": shlex.join(command),
            "trajectory": str(trajectory),
            "frames": len(read),
            "slice": frames,
            "reference": str(reference) if reference else None,
            "settings": settings.model_dump(mode="json"),
        }
        document = write_observables(found, missing, about, out)
    emit(document, json, lambda console: _show(console, document))


def _read(path: Path, index: str) -> list[Atoms]:
    """Return frames: of the formats that mlpot writes by its own readers, of others by ASE's."""
    from mlpot.errors import DataError, RecipeError
    from mlpot.observables.trajectory import read_with_ase
    from mlpot.simulation.trajectory import FORMATS, read_trajectory

    try:
        start, stop, step = (int(word) if word else None for word in f"{index}::".split(":")[:3])
    except ValueError:
        raise RecipeError(f"--frames {index}: expected START:STOP:STEP, such as 200: or ::10.") from None
    if ":" not in index or step == 0:
        raise RecipeError(f"--frames {index}: expected START:STOP:STEP, such as 200: or ::10.")
    if path.suffix not in FORMATS:
        frames = read_with_ase(path)[start:stop:step]
    elif min(start or 0, stop or 0, step or 1) < 0:
        frames = read_trajectory(path)[start:stop:step]
    else:
        frames = read_trajectory(path, start or 0, stop, step or 1)
    if not frames:
        raise DataError(f"{path}: no frames in {index}.")
    return frames


def _show(console: Console, document: dict[str, Any]) -> None:
    from mlpot.observables.report import words

    line(console, "frames", f"{document['frames']} of {document['trajectory']}")
    for name, values in document["observables"].items():
        line(console, name, "; ".join(words(values)))
        for note in values["notes"]:
            line(console, "note", f"{name}: {note}")
    for name, reason in document["missing"].items():
        line(console, "missing", f"{name}: {reason}")
    for file in document["files"]:
        line(console, "written", file)
