"""What a study computes: kinds of tasks, each with what it rests on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DonorTask:
    """Train a donor; ``start``: the task it is carried from, if any."""

    key: str
    name: str
    seed: int
    start: str | None

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return (self.start,) if self.start is not None else ()


@dataclass(frozen=True)
class TrainingTask:
    """Train an arm on one subset.

    Attributes
    ----------
    key : str
        Folder of the result.
    arm, domain, size, seed
        Which run of the study this is.
    indices : tuple of int
        The subset, in the pool.
    donor : str or None
        Task of the donor that is trained in the study.
    steps : int
        Gradient steps.
    factor : float or None
        On the rates; ``None``: what ``candidates`` say.
    candidates : tuple of str
        Tasks of the search, of which the best on the selection frames gives the factor.
    """

    key: str
    arm: str
    domain: str
    size: int
    seed: int
    indices: tuple[int, ...]
    donor: str | None
    steps: int
    factor: float | None
    candidates: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return (*((self.donor,) if self.donor is not None else ()), *self.candidates)


@dataclass(frozen=True)
class DynamicsTask:
    """Run the potential of an arm and seed, or the reference (``arm`` is ``None``), in dynamics."""

    key: str
    arm: str | None
    seed: int
    trainings: tuple[str, ...]
    truth: str | None

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return (*self.trainings, *((self.truth,) if self.truth is not None else ()))


@dataclass(frozen=True)
class PropertiesTask:
    """Compute properties by the potential of an arm and seed, or the reference (``arm`` is ``None``)."""

    key: str
    arm: str | None
    seed: int
    trainings: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return self.trainings


@dataclass(frozen=True)
class LiquidTask:
    """Run the potential of an arm and seed where labelled frames tell the structure."""

    key: str
    arm: str
    seed: int
    trainings: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """Tasks that must be done before."""
        return self.trainings


Task = DonorTask | TrainingTask | DynamicsTask | PropertiesTask | LiquidTask
