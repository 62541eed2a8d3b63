"""What is found: a value with its unit, how it was computed, and what a reader must know."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Quantity:
    """A number that a property yields: ``name``, ``unit`` (empty: none) and, in words, its ``meaning``."""

    name: str
    unit: str
    meaning: str


@dataclass
class Found:
    """The value of a quantity, as the function that computes a property returns it.

    Attributes
    ----------
    value
        In the quantity's unit.
    settings
        What it was computed with, beside what all share.
    notes
        Sentences that qualify the value.
    data
        Curves and intermediate values behind it, as plain JSON.
    """

    value: float
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)


#: What a property yields, by the names of its quantities: values, or why one is missing.
Outcome = dict[str, Found | str]


@dataclass(frozen=True)
class Record:
    """One quantity of one potential.

    Attributes
    ----------
    name, unit, meaning
        See :class:`Quantity`.
    property
        Name of the property that yields it.
    value
        In ``unit``; ``None`` where it could not be computed.
    reason
        Why there is no value; ``None`` where there is one.
    settings
        What it was computed with.
    seconds
        Wall time of the whole property, of which this may be one quantity of several.
    notes
        Sentences that qualify the value.
    data
        Curves and intermediate values behind it, as plain JSON.
    """

    name: str
    property: str
    unit: str
    meaning: str
    value: float | None
    reason: str | None
    settings: dict[str, Any]
    seconds: float
    notes: list[str]
    data: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)
