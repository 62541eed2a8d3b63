"""What carries out attempts, whatever it is made of: processes here, jobs of a batch system."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future
from typing import Literal, TypedDict

from mlpot.errors import MLPotError
from mlpot.labelling.store import Structure


class EngineError(MLPotError):
    """Workers that cannot be started or kept; the message says where to look."""


class WorkerLost(Exception):
    """A worker or its node went away in the middle of an attempt."""


class Outcome(TypedDict):
    """How an attempt ended. ``hopeless``: as any other attempt would, so that the run must stop."""

    status: Literal["labelled", "failed", "not_converged", "hopeless"]
    reason: str


class Workers(ABC):
    """Processes that carry out attempts (:func:`mlpot.labelling.work.attempt`)."""

    @abstractmethod
    def submit(self, method: str, structure: Structure) -> Future[Outcome]:
        """Queue an attempt at a structure with the method of this hash.

        The future raises :class:`WorkerLost` if the worker went away, and :class:`EngineError`
        if no worker can be had.
        """

    @abstractmethod
    def close(self) -> None:
        """End all workers and what they started, at once; attempts under way are lost."""
