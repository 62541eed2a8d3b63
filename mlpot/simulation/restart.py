"""Restart files: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlpot.atomic import replacing
from mlpot.errors import DataError, RecipeError

_VERSION = 1


@dataclass(frozen=True)
class Restart:
    """The state of a run after a step.

    Attributes
    ----------
    step : int
        Steps done.
    settings : dict
        What the run was asked for; a run that goes on must be asked for the same.
    energy : float
        eV, of the present structure: the potential must find it again.
    rng : dict
        State of the random generator.
    monitor, totals : dict
        Memory of the stop criteria, and running sums of the summary.
    trajectory : dict
        Where the trajectory file ended.
    arrays : dict of (...) arrays
        Positions (Å), momenta, cell (Å), and what thermostat and barostat move, in ASE's units; atomic
        numbers and masses (u).
    """

    step: int
    settings: dict[str, Any]
    energy: float
    rng: dict[str, Any]
    monitor: dict[str, Any]
    totals: dict[str, Any]
    trajectory: dict[str, int]
    arrays: dict[str, np.ndarray]


def restart_path(trajectory: Path) -> Path:
    """Return where the restart of a trajectory is kept: beside it."""
    return trajectory.with_name(f"{trajectory.name}.restart.npz")


def write_restart(path: Path, restart: Restart) -> None:
    """Write a restart, whole or not at all: NumPy arrays and one JSON document, no pickle."""
    document = {"version": _VERSION} | asdict(restart) | {"arrays": None}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, document=np.array(json.dumps(document)), **restart.arrays)
        file.flush()
        os.fsync(file.fileno())


def read_restart(path: Path) -> Restart:
    """Return the restart in a file.

    Raises
    ------
    RecipeError
        If there is none.
    DataError
        If it is damaged, or of a version that this mlpot does not know.
    """
    if not path.exists():
        raise RecipeError(f"{path}: there is no restart, so no run to resume; leave --resume out.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        document = json.loads(str(arrays.pop("document")[()]))
        if document.pop("version") != _VERSION:
            raise DataError(f"{path}: a restart of another version of mlpot; go on with that one.")
        return Restart(**document | {"arrays": arrays})
    except DataError:
        raise
    except Exception as error:  # NumPy and zipfile raise whatever they stumble over
        raise DataError(
            f"{path}: damaged ({type(error).__name__}: {error}); remove it and the trajectory, and start the "
            "run again without --resume."
        ) from error
