"""Records of a run that has not ended: the same command takes them over after a kill."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpot.atomic import replacing
from mlpot.errors import RecipeError
from mlpot.properties.record import Record

_NAME = "unfinished.json"


def keep(out: Path, about: Mapping[str, Any], records: Sequence[Record]) -> None:
    """Write records to a folder; ``about``: what they are of, as plain JSON."""
    document = {"about": about, "records": [record.to_dict() for record in records]}
    with replacing(out / _NAME) as path:
        path.write_text(json.dumps(document, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def take_over(out: Path, about: Mapping[str, Any]) -> list[Record]:
    """Return the records that a run of the same kind left in a folder; none if there was none.

    Those without a value are left out: they are tried again.

    Raises
    ------
    RecipeError
        If they are of something else.
    """
    path = out / _NAME
    if not path.exists():
        return []
    document = json.loads(path.read_text(encoding="utf-8"))
    if document["about"] != json.loads(json.dumps(about)):
        raise RecipeError(
            f"{out}: holds a run that has not ended, of another potential, element or settings; choose "
            "another --out or remove it."
        )
    records = [Record(**record) for record in document["records"]]
    failed = {record.property for record in records if record.value is None}
    return [record for record in records if record.property not in failed]


def discard(out: Path) -> None:
    """Remove what :func:`keep` wrote."""
    (out / _NAME).unlink(missing_ok=True)
