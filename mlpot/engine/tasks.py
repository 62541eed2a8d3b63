"""The tasks of a run: handed to workers, tried again after a loss, and seen as they end."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from mlpot.engine.workers import Outcome, TaskError, WorkerLost, Workers


class Tasks:
    """Tasks known by a key; iterating yields each as it ends, until none is left.

    Further ones may be submitted meanwhile, so that a task can wait for others::

        for key, outcome in tasks:
            if key == "first" and not isinstance(outcome, Exception):
                tasks.submit("second", "package.module:name", outcome)

    What is yielded with the key is the mapping that the function returned, the
    :class:`~mlpot.engine.workers.TaskError` of an exception that it raised, or, when there are no
    tries left, the last :class:`~mlpot.engine.workers.WorkerLost`. If workers cannot be had or
    used, iterating raises their :class:`~mlpot.engine.workers.EngineError`.

    Parameters
    ----------
    workers
        What carries them out. Closing it is the caller's.
    retries
        How often a task is tried again after its worker or node was lost.
    on_lost
        Called with the key at every loss, before the task is tried again.
    """

    def __init__(
        self,
        workers: Workers,
        retries: int,
        on_lost: Callable[[str, WorkerLost], None] = lambda key, loss: None,
    ) -> None:
        self._workers = workers
        self._retries = retries
        self._on_lost = on_lost
        self._open: dict[str, tuple[str, dict[str, Any]]] = {}
        self._losses = Counter[str]()
        self._ended: queue.SimpleQueue[tuple[str, Future[Outcome]]] = queue.SimpleQueue()

    def __len__(self) -> int:
        """Return how many have not ended."""
        return len(self._open)

    def submit(self, key: str, function: str, arguments: dict[str, Any]) -> None:
        """Queue a task; see :meth:`Workers.submit <mlpot.engine.workers.Workers.submit>`.

        Raises
        ------
        ValueError
            If a task of this key has not ended.
        TypeError
            If JSON cannot hold the arguments.
        """
        if key in self._open:
            raise ValueError(f"task {key} is under way")
        self._send(key, function, arguments)
        self._open[key] = (function, arguments)

    def __iter__(self) -> Iterator[tuple[str, Outcome | TaskError | WorkerLost]]:
        while self._open:
            key, future = self._ended.get()
            error = future.exception()
            if isinstance(error, WorkerLost):
                self._losses[key] += 1
                self._on_lost(key, error)
                if self._losses[key] <= self._retries:
                    self._send(key, *self._open[key])
                    continue
            del self._open[key]
            if error is None:
                yield key, future.result()
            elif isinstance(error, TaskError | WorkerLost):
                yield key, error
            else:
                raise error

    def _send(self, key: str, function: str, arguments: dict[str, Any]) -> None:
        future = self._workers.submit(function, arguments)
        future.add_done_callback(lambda done: self._ended.put((key, done)))
