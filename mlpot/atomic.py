"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path in the same folder to write to; it takes the place of ``path`` at the end.

    A reader, or a run that continues after a kill, sees the old file or the new one, never a
    part. If the block raises, ``path`` is as it was and nothing is left beside it. The yielded
    name keeps the suffix, by which some writers choose their format.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: str | Path, document: Any, allow_nan: bool = True) -> None:
    """Write a JSON document, whole or not at all; ``ValueError`` for a NaN that is not allowed."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(document, indent=1, allow_nan=allow_nan) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON document, ``None`` if there is none."""
    path = Path(path)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def is_disk_full(error: OSError) -> bool:
    """Say whether an error means that no more can be written: no space, or no quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
