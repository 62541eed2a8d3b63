"""The program of a local worker process: ``python -m mlpot.labelling.worker DESCRIPTOR RUN``.

The run directory is there for whoever looks at the list of processes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any

from mlpot.labelling.pool import READY
from mlpot.labelling.work import attempt


def _listen(connection: Connection, tasks: SimpleQueue[Any]) -> None:
    """Pass on what the main process sends; end this process and its children when it goes away."""
    while True:
        try:
            tasks.put(json.loads(connection.recv_bytes()))
        except (EOFError, OSError):
            os.killpg(os.getpgrp(), signal.SIGKILL)


def main(descriptor: int) -> None:
    """Carry out attempts, one after the other, until the main process goes away."""
    # A code that outlives this process must not keep the pipe open: its end is how a loss is noticed.
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    tasks: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_listen, args=(connection, tasks), daemon=True).start()
    connection.send_bytes(READY)
    while True:
        connection.send_bytes(json.dumps(attempt(**tasks.get())).encode())


if __name__ == "__main__":
    main(int(sys.argv[1]))
