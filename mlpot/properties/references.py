"""Values to compare with: ``references.yaml`` beside this module, and how far records are from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True)
class Reference:
    """A published or computed value.

    ``source``: where it is from, and what of that was not verified. ``uncertainty``: its standard
    one, where its source gives it. ``temperature``: K, of quantities that are computed at one; they
    are compared only where the two agree within 5 K.
    """

    value: float
    source: str
    uncertainty: float | None = None
    temperature: float | None = None

    def is_for(self, record: Mapping[str, Any]) -> bool:
        """Return whether a record, as plain JSON, is of the same temperature."""
        return self.temperature is None or abs(record["settings"]["temperature_K"] - self.temperature) < 5


@dataclass(frozen=True)
class Comparison:
    """A record beside a reference.

    Attributes
    ----------
    name, unit, value
        Of the record.
    kind
        Of the reference: ``experiment``, ``PBE``, ...
    reference, uncertainty, source
        Its value, in the same unit, and where it is from.
    deviation
        value - reference in percent of the size of the reference; ``None`` for a reference of 0.
    """

    name: str
    unit: str
    value: float
    kind: str
    reference: float
    uncertainty: float | None
    source: str
    deviation: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@cache
def _document() -> dict[str, Any]:
    return yaml.safe_load((files("mlpot.properties") / "references.yaml").read_text(encoding="utf-8"))


def references(element: str) -> dict[str, dict[str, Reference]]:
    """Return references by kind and quantity; empty for an element that has none."""
    document = _document()
    return {
        kind: {
            name: Reference(float(entry[0]), _told(document["sources"][entry[1]]), *entry[2:])
            for name, entry in values.items()
        }
        for kind, values in document["elements"].get(element, {}).items()
    }


def _told(source: Mapping[str, str]) -> str:
    doubt = source.get("unverified")
    return source["citation"] if doubt is None else f"{source['citation']} (not verified: {doubt})"


def compare(records: Sequence[Mapping[str, Any]], element: str) -> list[Comparison]:
    """Return each record that has a value beside each reference for it.

    Parameters
    ----------
    records
        As :meth:`~mlpot.properties.record.Record.to_dict` gives them.
    element
        Chemical symbol.
    """
    known = references(element)
    return [
        Comparison(
            name=record["name"],
            unit=record["unit"],
            value=record["value"],
            kind=kind,
            reference=values[record["name"]].value,
            uncertainty=values[record["name"]].uncertainty,
            source=values[record["name"]].source,
            deviation=_percent(record["value"], values[record["name"]].value),
        )
        for record in records
        if record["value"] is not None
        for kind, values in known.items()
        if record["name"] in values and values[record["name"]].is_for(record)
    ]


def _percent(value: float, reference: float) -> float | None:
    return None if reference == 0 else 100 * (value - reference) / abs(reference)
