"""``mlpot convert``: frames from one format into another, such as an indexed file to stream from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mlpot.cli.options import EnergyKey, ForcesKey, Json, MissingLabels, StressKey, label_changes
from mlpot.cli.output import emit, line, working

EXAMPLE = "Example:  mlpot convert frames.xyz more.xyz --out frames.lmdb"


def convert(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Frames: .xyz, .db, .lmdb, .json.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where they go: .lmdb, .xyz, .extxyz or .db.")],
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    stress_key: StressKey = None,
    missing: MissingLabels = None,
    json: Json = False,
) -> None:
    """Check frames and write them into one file; an existing file is replaced.

    An indexed file (.lmdb) is written frame by frame, in constant memory, and
    training streams from it. Labels are found and checked as in training and
    written under their default names.
    """
    with working():
        from mlpot.data.files import count_labels, iterate_frames, read_frames, write_frames
        from mlpot.data.section import LabelSection
        from mlpot.data.store import SUFFIX, write_store
        from mlpot.recipe import parse_recipe

        given = label_changes(energy_key, forces_key, stress_key, missing)
        changes = {name: value for name, value in given.items() if value is not None}
        keys = parse_recipe(LabelSection, changes, "options").keys()
        if out.suffix.lower() == SUFFIX:
            told = write_store(out, (frame for file in files for frame in iterate_frames(file, keys)))
        else:
            frames = [frame for file in files for frame in read_frames(file, keys)]
            write_frames(out, frames)
            told = {"frames": len(frames), "atoms": sum(map(len, frames)), "labels": count_labels(frames)}

    def show(console: Console) -> None:
        line(console, "file", f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
        labels = ", ".join(f"{number} {label}" for label, number in told["labels"].items())
        line(console, "frames", f"{told['frames']}, {told['atoms']} atoms; labels: {labels}")

    emit({"command": "convert", "file": str(out), "bytes": out.stat().st_size, **told}, json, show)
