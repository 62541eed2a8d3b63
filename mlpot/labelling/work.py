"""What a worker process does, whatever engine started it: one attempt at labelling one frame."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal, TypedDict

from mlpot.atomic import is_disk_full
from mlpot.errors import MLPotError
from mlpot.labelling.method import Method, NotConverged
from mlpot.labelling.recipe import parse_method
from mlpot.labelling.store import FailureKind, Store, Structure, atoms_of, label_key, method_hash


class Ending(TypedDict):
    """How an attempt ended. ``hopeless``: as any other attempt would, so that the run must stop."""

    status: Literal["labelled", "failed", "not_converged", "hopeless"]
    reason: str


def attempt(run: str, method: str, structure: Structure) -> Ending:
    """Label one structure and keep what comes of it in the run directory.

    Parameters
    ----------
    run
        Run directory.
    method
        Hash under which the method is noted there.
    structure
        As :func:`~mlpot.labelling.store.structure_of` returns it.
    """
    store = Store(run)
    key = label_key(structure, method)
    if store.has_result(key):  # by a worker that was thought lost
        return {"status": "labelled", "reason": ""}
    try:
        settings = _method(run, method)
    except MLPotError as error:
        return {"status": "hopeless", "reason": str(error)}
    started = time.monotonic()
    try:
        number, folder = store.new_attempt(key)
        kind: FailureKind | None
        with _printing_to(folder / "log.txt"):
            try:
                frame = settings.compute(atoms_of(structure), folder).frame(atoms_of(structure))
            except NotConverged as error:
                kind, reason = "not_converged", str(error)
            except MLPotError as error:
                kind, reason = "failed", str(error)
            except (Exception, SystemExit) as error:
                if isinstance(error, OSError) and is_disk_full(error):
                    raise
                traceback.print_exc()
                kind, reason = (
                    "failed",
                    f"{type(error).__name__}: {error} (traceback in {folder / 'log.txt'})",
                )
            else:
                about = {
                    "method": method,
                    "attempt": number,
                    "seconds": time.monotonic() - started,
                    "host": platform.node(),
                }
                store.put_result(key, frame, about)
                kind = None
        if kind is None:
            _tidy(folder)
            return {"status": "labelled", "reason": ""}
        _check_room(folder)
        store.add_failure(key, kind, reason, number)
    except OSError as error:
        if not is_disk_full(error):
            raise
        return {"status": "hopeless", "reason": f"{run}: {error.strerror} while frame {key} was computed"}
    return {"status": kind, "reason": reason}


@cache
def _method(run: str, method: str) -> Method:
    """Return a method as the main process noted it.

    Raises
    ------
    MLPotError
        If its settings, or the code and files behind them, are others in this process.
    """
    path = Store(run).method_file(method)
    settings = parse_method(json.loads(path.read_text(encoding="utf-8"))["settings"], str(path))
    here = settings.identity()
    if method_hash(here) != method:
        raise MLPotError(
            f"{platform.node()}: the method is not the same on this machine as where mlpot label was "
            f"started: {json.dumps(here, sort_keys=True)} here, {path} there; "
            "use the same versions and files on both."
        )
    return settings


def _tidy(folder: Path) -> None:
    """Remove what a method that leaves no files leaves: with many frames, files are counted."""
    log = folder / "log.txt"
    if not log.stat().st_size:
        log.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _check_room(folder: Path) -> None:
    """Tell an attempt that failed for want of space from others: codes report it in many ways."""
    probe = folder / ".room"
    try:
        with probe.open("wb") as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Send all that this process and its children print to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    try:
        with path.open("ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)
