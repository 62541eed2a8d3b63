"""What files of trajectories have in common while they are written, and what is said of damaged ones."""

from __future__ import annotations

import fcntl
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from ase import Atoms

from mlpot.errors import DataError, RecipeError


class TrajectoryFile(ABC):
    """A trajectory being written: frames go to its end, and it can be cut back to where it was.

    Other programs that write trajectories with this class are kept out while it is open.

    Attributes
    ----------
    path : Path
        Its file.
    frames : int
        In it so far.
    """

    def __init__(self, path: Path, mark: dict[str, int] | None) -> None:
        self.path, self.frames = path, 0 if mark is None else mark["frames"]
        self._lock = locked(path, "xb" if mark is None else "r+b")

    @abstractmethod
    def append(self, frame: Atoms) -> None:
        """Write a frame; where that fails (``OSError``), the file ends with the frame before."""

    @abstractmethod
    def mark(self) -> dict[str, int]:
        """Return where the file ends, for :func:`continue_trajectory`."""

    def sync(self) -> None:
        """Bring what was written to the disk."""
        os.fsync(self._lock.fileno())

    def finish(self) -> None:
        """Close the file of a run that came to its end, by whatever."""
        self.close()

    def close(self) -> None:
        """Close the file as it is."""
        self._lock.close()


def locked(path: Path, mode: str) -> Any:
    """Open a file that no other run writes to.

    Raises
    ------
    RecipeError
        If one does.
    """
    file = path.open(mode)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise RecipeError(f"{path}: another run writes this trajectory; choose another --out.") from None
    except OSError:
        # Some parallel file systems have no locks; mode x has kept two fresh runs apart.
        pass
    return file


def write_at(file: int, data: bytes, offset: int) -> None:
    """Write all of ``data`` at a place of an open file, past any buffer; ``OSError`` where that fails."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def damaged(path: Path, frame: int, what: str) -> DataError:
    """Return the error for a trajectory that ends or breaks within a frame."""
    whole = f"The {frame} frames before it are whole: read_trajectory(..., stop={frame}). " if frame else ""
    return DataError(
        f"{path}: frame {frame} (counted from 0) is cut off or damaged: {what}. {whole}To repair the file, "
        "give the mlpot md command that wrote it with --resume: it cuts the file back to its last restart "
        "and goes on; a copy: copy it again."
    )
