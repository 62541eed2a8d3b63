"""What a check has to say: findings, each with its frames, its number and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
#: From the worst to the mildest.
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing a user should know about a data set.

    Attributes
    ----------
    check : str
        Which check found it (``copies``, ``stress units``, ...).
    severity : {"error", "warning", "note"}
        ``error``: training on the set as it is, or judging by it, goes wrong. ``warning``: probably
        a mistake, or known to hurt. ``note``: a fact to know.
    message : str
        What was found.
    action : str
        What to do about it.
    frames : tuple of str
        The frames concerned, ``file#index``; empty where it concerns the set as a whole.
    value : float or None
        The number behind it, in ``unit``.
    unit : str
        Of ``value``.
    details : dict
        More numbers, plain JSON values.
    """

    check: str
    severity: Severity
    message: str
    action: str
    frames: tuple[str, ...] = ()
    value: float | None = None
    unit: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def asdict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "frames": list(self.frames)}


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings by severity, otherwise in the order given."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def brief(source: str) -> str:
    """Return ``file#index`` without the folders, for messages."""
    return source.rsplit("/", 1)[-1]


def listed(sources: Sequence[str], most: int = 4) -> str:
    """Return the first few names and how many more there are."""
    more = len(sources) - most
    return ", ".join(map(brief, sources[:most])) + (f" and {more} more" if more > 0 else "")
