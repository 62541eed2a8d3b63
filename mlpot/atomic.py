"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def is_disk_full(error: OSError) -> bool:
    """Say whether an error means that no more can be written: no space, or no quota."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
