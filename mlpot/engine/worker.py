"""The program of a local worker process: ``python -m mlpot.engine.worker DESCRIPTOR FOLDER``.

It imports nothing but what its tasks need, once they come. The folder is that of the run: it stands
in messages, and tells whoever looks at the list of processes whose worker this is.
"""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from mlpot.engine.pool import LOG, READY
from mlpot.errors import Interrupted, MLPotError


def _listen(connection: Connection, tasks: SimpleQueue[Any]) -> None:
    """Pass on what the main process sends; end this process and its children when it goes away."""
    while True:
        try:
            tasks.put(json.loads(connection.recv_bytes()))
        except (EOFError, OSError):
            os.killpg(os.getpgrp(), signal.SIGKILL)


def _carry_out(function: str, arguments: dict[str, Any], log: Path) -> str:
    """Return, as JSON, what became of a task; see :meth:`mlpot.engine.pool.LocalWorkers`."""
    try:
        call = pkgutil.resolve_name(function)
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return json.dumps({"unusable": f"{function}: {type(error).__name__}: {error}"})
    try:
        return json.dumps({"outcome": call(**arguments)})
    except Interrupted:  # a batch system wants this process to end: the task is lost, not failed
        raise
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        # What mlpot refuses is explained by its message.
        where = "" if isinstance(error, MLPotError) else f" (traceback in {log})"
        return json.dumps({"failed": f"{type(error).__name__}: {error}{where}"})


def main(descriptor: int, folder: Path) -> None:
    """Carry out tasks, one after the other, until the main process goes away."""
    # A code that outlives this process must not keep the pipe open: its end is how a loss is noticed.
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    tasks: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_listen, args=(connection, tasks), daemon=True).start()
    connection.send_bytes(READY)
    while True:
        connection.send_bytes(_carry_out(**tasks.get(), log=folder / LOG).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
