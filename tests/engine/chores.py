"""Tasks that do as they are told, to be found by workers under the name of this module."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from mlpot.engine.guards import interruptible
from mlpot.errors import DataError


def double(number):
    return {"number": 2 * number, "process": os.getpid()}


def surroundings():
    return {
        "directory": os.getcwd(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "modules": sorted(sys.modules),
    }


def say(text):
    print(text)
    return {}


def fail(kind):
    if kind == "user":
        raise DataError("frames.xyz: no such file; check the path.")
    if kind == "exit":
        raise SystemExit(3)
    if kind == "result":
        return {"not of JSON": object()}
    raise ValueError("it went wrong")


def die(marks, times, politely=False):
    """End this process, so many times; every call leaves a mark in the folder."""
    before = len(list(Path(marks).iterdir()))
    Path(marks, str(before)).touch()
    if before < times and politely:
        with interruptible("asked to end"):
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)
    elif before < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"calls": before + 1}
