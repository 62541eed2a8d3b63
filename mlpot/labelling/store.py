"""The run directory of a labelling: what is finished, what failed and why, found by content.

Layout::

    RUN/methods/<hash>.json         settings of a method and its identity
    RUN/frames/ab/cdef.../          one folder per structure and method, named by their hash
        attempt-1/                  inputs, outputs and log.txt of the first attempt
        result.json                 the labels, once there are any
        failures.json               every attempt that ended without, with its reason
    RUN/index.json, RUN/failed.json frames of the last input: their folders, and what has no label

Every attempt has a folder of its own and every file appears whole or not at all, so that a kill
at any moment, or two processes at one frame, cannot mix what they leave.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms

from mlpot.atomic import write_json
from mlpot.data.frame import Frame
from mlpot.errors import DataError

#: How an attempt can end without labels: the method gave none; it did not converge; its worker or
#: node was lost.
FailureKind = Literal["failed", "not_converged", "lost"]
#: Plain JSON values of a structure: numbers, positions (Å), cell (Å), pbc.
Structure = dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """An attempt that ended without labels.

    Attributes
    ----------
    kind
        See :data:`FailureKind`.
    reason
        For people.
    attempt
        Number of the attempt; ``None`` if its worker was lost before it said.
    time
        When, UTC.
    """

    kind: FailureKind
    reason: str
    attempt: int | None
    time: str


def structure_of(frame: Frame) -> Structure:
    """Return the structure of a frame as plain JSON values, exactly."""
    return {
        "numbers": frame.numbers.tolist(),
        "positions": frame.positions.tolist(),
        "cell": frame.cell.tolist(),
        "pbc": frame.pbc.tolist(),
    }


def atoms_of(structure: Structure) -> Atoms:
    """Return ASE atoms of a structure."""
    return Atoms(**structure)


def method_hash(identity: dict[str, Any]) -> str:
    """Return the hash of what decides the labels."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def label_key(structure: Structure, method: str) -> str:
    """Return the hash of a structure, at full precision, and a method's hash (32 hexadecimal digits)."""
    digest = hashlib.sha256(method.encode())
    digest.update(np.asarray(structure["numbers"], dtype="<i8").tobytes())
    for name in ("positions", "cell"):
        # Adding zero makes -0.0 the 0.0 that it equals.
        digest.update((np.asarray(structure[name], dtype="<f8") + 0.0).tobytes())
    digest.update(bytes(structure["pbc"]))
    return digest.hexdigest()[:32]


class Store:
    """The run directory; see the module for its layout."""

    def __init__(self, run: str | Path) -> None:
        self.run = Path(run)

    def method_file(self, method: str) -> Path:
        """Return where a method's settings and identity are noted."""
        return self.run / "methods" / f"{method}.json"

    def folder(self, key: str) -> Path:
        """Return the folder of a structure under a method."""
        return self.run / "frames" / key[:2] / key[2:]

    def new_attempt(self, key: str) -> tuple[int, Path]:
        """Return the number of a new attempt and its empty folder, this caller's alone."""
        folder = self.folder(key)
        number = 1 + sum(1 for _ in folder.glob("attempt-*"))
        while True:
            attempt = folder / f"attempt-{number}"
            try:
                attempt.mkdir(parents=True)
            except FileExistsError:  # another process was faster
                number += 1
            else:
                return number, attempt

    def attempts(self, key: str) -> int:
        """Return how many attempts were begun."""
        return sum(1 for _ in self.folder(key).glob("attempt-*"))

    def put_result(self, key: str, frame: Frame, about: dict[str, Any]) -> None:
        """Keep the labels of a frame (energy eV, forces eV/Å, stress eV/Å³) and how they came about."""
        labels = {
            "energy": frame.energy,
            "forces": None if frame.forces is None else frame.forces.tolist(),
            "stress": None if frame.stress is None else frame.stress.tolist(),
        }
        write_json(
            self.folder(key) / "result.json", {"labels": labels, "structure": structure_of(frame), **about}
        )

    def has_result(self, key: str) -> bool:
        """Return whether a frame is labelled."""
        return (self.folder(key) / "result.json").exists()

    def labelled(self, key: str, frame: Frame) -> Frame:
        """Return a frame with the labels that are kept for it.

        Raises
        ------
        DataError
            If the file was damaged.
        """
        path = self.folder(key) / "result.json"
        try:
            labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
            stress = labels["stress"]
            return replace(
                frame,
                energy=float(labels["energy"]),
                forces=np.array(labels["forces"], dtype=float),
                stress=None if stress is None else np.array(stress, dtype=float),
            )
        except (ValueError, KeyError, TypeError, DataError) as error:
            raise DataError(
                f"{path}: damaged ({type(error).__name__}: {error}); remove this file and run the same "
                "command again, which computes the frame anew."
            ) from error

    def failures(self, key: str) -> list[Failure]:
        """Return the attempts that ended without labels, in order.

        Raises
        ------
        DataError
            If the file was damaged.
        """
        path = self.folder(key) / "failures.json"
        try:
            return [Failure(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: damaged ({error}); remove this file.") from error

    def add_failure(self, key: str, kind: FailureKind, reason: str, attempt: int | None) -> None:
        """Note an attempt that ended without labels."""
        entries = [*self.failures(key), Failure(kind, reason, attempt, now())]
        write_json(self.folder(key) / "failures.json", [vars(entry) for entry in entries])


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
