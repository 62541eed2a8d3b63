"""What a long run needs around it: its folder to itself, and an end in good order."""

from __future__ import annotations

import fcntl
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlpot.errors import Interrupted, RecipeError


@contextmanager
def alone_in(folder: Path, command: str, option: str, notes: list[str]) -> Iterator[None]:
    """Keep other processes from running in the same folder, which is made if need be.

    Parameters
    ----------
    folder
        Of the run; the lock is the file ``lock`` there.
    command, option
        For messages: what runs (``mlpot label``), and its option that names the folder (``--run``).
    notes
        Gets one where the file system has no locks.

    Raises
    ------
    RecipeError
        If another process runs in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecipeError(
                f"{folder}: another {command} is at work here; wait for it, or choose another {option}."
            ) from None
        except OSError as error:  # some parallel file systems have no locks
            notes.append(
                f"{folder}: cannot be locked ({error.strerror}); do not start a second {command} here."
            )
        yield


@contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM, as batch systems send it, into :class:`Interrupted` with a message.

    Where one is within another, a study around a fit, the message of the outer one is seen: it
    names the command that the user gave. Signals are for the main thread; in others nothing changes.
    """

    def stop(number: int, frame: Any) -> None:
        raise Interrupted(message)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Interrupted:
        raise Interrupted(message) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
