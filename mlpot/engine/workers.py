"""What carries out tasks, whatever it is made of: processes here, jobs of a batch system."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future
from typing import Any

from mlpot.errors import MLPotError

#: What a task returns: plain JSON values by name.
Outcome = dict[str, Any]


class EngineError(MLPotError):
    """Workers that cannot be started, kept or used; the message says where to look."""


class TaskError(MLPotError):
    """An exception in the function of a task: its type and text; the traceback is in ``workers.log``."""


class WorkerLost(Exception):
    """A worker or its node went away in the middle of a task."""


class Workers(ABC):
    """Processes that carry out tasks.

    They run in the working directory of the main process and can import what can be imported
    there.
    """

    @abstractmethod
    def submit(self, function: str, arguments: dict[str, Any]) -> Future[Outcome]:
        """Queue a task.

        Parameters
        ----------
        function
            ``package.module:name`` of a function that takes the arguments by name and returns a
            mapping of plain JSON values.
        arguments
            Plain JSON values.

        Returns
        -------
        Future
            Of what the function returns. Raises :class:`TaskError` if the function raised an
            exception, :class:`WorkerLost` if the worker went away, and :class:`EngineError` if no
            worker can be had or the function cannot be imported there.

        Raises
        ------
        TypeError
            If JSON cannot hold the arguments.
        """

    @abstractmethod
    def close(self) -> None:
        """End all workers and what they started, at once; tasks under way are lost."""
