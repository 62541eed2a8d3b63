"""Worker processes on this machine that outlive one another.

The pools of ``concurrent.futures`` end all their workers when one is killed, and with them hours
of computing. Here each worker has a pipe of its own: a lost worker costs its own attempt only, and
is replaced. A worker leads a process group, with which it ends whatever code it started; it
ends itself when the main process goes away.

A worker sends ``READY``, and then for each task one of ``{"outcome": ...}``, ``{"failed": text}``
(an exception in the function) and ``{"unusable": text}`` (there is no such function).
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from mlpot.engine.workers import EngineError, Outcome, TaskError, WorkerLost, Workers

#: What workers print goes to this file of the run's folder.
LOG = "workers.log"
#: What a worker sends when it waits for work.
READY = b"ready"


@dataclass(frozen=True)
class _Process:
    process: subprocess.Popen[bytes]
    connection: Connection

    def kill(self) -> None:
        """Kill it with all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> int:
        """Kill it with all that it started; return its exit status (negative: a signal)."""
        self.kill()
        self.connection.close()
        return self.process.wait()


class LocalWorkers(Workers):
    """Worker processes of the main process, or of another on whose behalf they work.

    Parameters
    ----------
    folder
        Of the run; what the processes print goes to ``workers.log`` there.
    count
        Number of processes.
    environment
        Environment variables for them, beside those of this process.
    directory
        Working directory for them; ``None``: that of this process.
    """

    def __init__(
        self, folder: Path, count: int, environment: dict[str, str], directory: str | None = None
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._directory = directory
        self._tasks: queue.SimpleQueue[tuple[bytes, Future[Outcome]] | None] = queue.SimpleQueue()
        self._lock = Lock()
        self._closed = False
        self._processes: set[_Process] = set()
        self._servers = [Thread(target=self._serve, daemon=True) for _ in range(count)]
        for server in self._servers:
            server.start()

    def submit(self, function: str, arguments: dict[str, Any]) -> Future[Outcome]:
        """Queue a task; see :meth:`Workers.submit`."""
        future: Future[Outcome] = Future()
        self._tasks.put((json.dumps({"function": function, "arguments": arguments}).encode(), future))
        return future

    def close(self) -> None:
        """End all workers and what they started, at once."""
        with self._lock:
            self._closed = True
            for worker in self._processes:
                worker.kill()
        for _ in self._servers:
            self._tasks.put(None)
        for server in self._servers:
            server.join()

    def _serve(self) -> None:
        """Hand tasks to one worker process after the other."""
        worker = None
        while not self._closed and (item := self._tasks.get()) is not None:
            task, future = item
            try:
                worker = worker or self._start()
            except (EngineError, WorkerLost) as error:
                future.set_exception(error)
                continue
            try:
                worker.connection.send_bytes(task)
                reply = json.loads(worker.connection.recv_bytes())
            except (EOFError, OSError):
                future.set_exception(WorkerLost(f"its worker process {_died(self._end(worker))}"))
                worker = None
                continue
            if "outcome" in reply:
                future.set_result(reply["outcome"])
            elif "failed" in reply:
                future.set_exception(TaskError(reply["failed"]))
            else:
                future.set_exception(
                    EngineError(f"a worker cannot import {reply['unusable']}; see {self._folder / LOG}.")
                )
        if worker is not None:
            self._end(worker)

    def _start(self) -> _Process:
        """Return a new worker process that is ready for work."""
        log = self._folder / LOG
        try:
            worker = self._launch(log)
        except OSError as error:
            raise EngineError(f"a worker process cannot be started: {error}") from error
        try:
            ready = worker.connection.recv_bytes() == READY
        except (EOFError, OSError):
            ready = False
        if not ready:
            status = self._end(worker)
            if status < 0:  # killed, as any worker may be
                raise WorkerLost(f"its worker process {_died(status)}")
            raise EngineError(f"a worker process {_died(status)} before it was ready; see {log}.")
        return worker

    def _launch(self, log: Path) -> _Process:
        """Return a new worker process."""
        ours, theirs = Pipe()
        # What can be imported here, a calculator of the user's own say, can be there.
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        with theirs, log.open("ab") as output, self._lock:
            if self._closed:
                raise EngineError("the workers were ended.")
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mlpot.engine.worker", str(theirs.fileno()),
                 str(self._folder)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[theirs.fileno()],
                cwd=self._directory, env=os.environ | self._environment | {"PYTHONPATH": path},
                start_new_session=True,
            )  # fmt: skip
            worker = _Process(process, ours)
            self._processes.add(worker)
        return worker

    def _end(self, worker: _Process) -> int:
        with self._lock:
            self._processes.discard(worker)
        return worker.end()


def _died(status: int) -> str:
    """Return in words how a process ended."""
    if status >= 0:
        return f"ended with status {status}"
    hint = "; the system kills what takes too much memory" if -status == signal.SIGKILL else ""
    return f"was ended by {signal.Signals(-status).name}{hint}"
