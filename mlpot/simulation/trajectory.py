"""Trajectories on disk: extended XYZ, ASE's ``.traj``, and H5MD (HDF5); they can be cut and gone on with."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.trajectory import Trajectory as ASETrajectory

from mlpot.errors import DataError, RecipeError
from mlpot.simulation.trajectory_file import TrajectoryFile, damaged, write_at

#: Suffixes and the formats they stand for.
FORMATS = {
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".traj": "traj",
    ".h5": "h5md",
    ".hdf5": "h5md",
    ".h5md": "h5md",
}


class _ExtendedXYZ(TrajectoryFile):
    def __init__(self, path: Path, mark: dict[str, int] | None) -> None:
        super().__init__(path, mark)
        self._size = 0 if mark is None else mark["bytes"]
        self._lock.truncate(self._size)

    def append(self, frame: Atoms) -> None:
        text = io.StringIO()
        ase.io.write(text, frame, format="extxyz")
        data = text.getvalue().encode()
        try:
            write_at(self._lock.fileno(), data, self._size)
        except OSError:
            self._lock.truncate(self._size)
            raise
        self._size += len(data)
        self.frames += 1

    def mark(self) -> dict[str, int]:
        return {"frames": self.frames, "bytes": self._size}


class _ASE(TrajectoryFile):
    """ASE's own writer; its file (ULM) has a table of frames, which must be cut as well."""

    def __init__(self, path: Path, mark: dict[str, int] | None) -> None:
        super().__init__(path, mark)
        if mark is not None:
            self._cut(mark)
        self._writer = ASETrajectory(path, "w" if mark is None else "a")
        self._mark = {"frames": 0, "bytes": 0, "table": 0} if mark is None else mark

    def append(self, frame: Atoms) -> None:
        try:
            self._writer.write(frame)
        except OSError:
            with suppress(OSError):
                # What its buffer holds is lost, as it must be.
                self._writer.backend.fd.close()
            self._cut(self._mark)
            raise
        self.frames += 1
        backend = self._writer.backend
        self._mark = {"frames": self.frames, "bytes": backend.fd.tell(), "table": int(backend.pos0)}

    def _cut(self, mark: dict[str, int]) -> None:
        """Restore the file as it was when it had so many frames."""
        file, count = self._lock, mark["frames"]
        file.truncate(mark["bytes"])
        if count == 0:
            return
        file.seek(32)
        file.write(np.array([count, mark["table"]], "<i8").tobytes())
        size = 1
        while size < count:
            size *= 42  # as ULM grows its table
        file.seek(mark["table"] + 8 * count)
        file.write(bytes(8 * (size - count)))
        file.flush()

    def mark(self) -> dict[str, int]:
        return self._mark

    def close(self) -> None:
        if not self._writer.backend.fd.closed:
            self._writer.close()
        super().close()


def require_suffix(path: Path) -> str:
    """Return the format that the name of a trajectory asks for.

    Raises
    ------
    RecipeError
        For an unknown suffix, or HDF5 without h5py.
    """
    if path.suffix not in FORMATS:
        raise RecipeError(
            f"{path}: a trajectory is written as extended XYZ (.xyz), by ASE (.traj) or as HDF5 (.h5); name "
            f"it {path.stem or 'run'}.xyz, say."
        )
    if FORMATS[path.suffix] == "h5md":
        from mlpot.simulation.h5md import import_h5py

        import_h5py()
    return FORMATS[path.suffix]


def new_trajectory(path: Path, capacity: int) -> TrajectoryFile:
    """Start a trajectory that does not exist yet, of at most ``capacity`` frames.

    Raises
    ------
    RecipeError
        For an unknown suffix, HDF5 without h5py, or a file that is there already.
    """
    return _open(path, None, capacity)


def continue_trajectory(path: Path, mark: dict[str, int], capacity: int) -> TrajectoryFile:
    """Cut a trajectory back to a mark, and go on with it.

    Raises
    ------
    DataError
        If the file is gone or ends before the mark.
    """
    if not path.exists():
        raise DataError(f"{path}: the trajectory is gone; start the run again without --resume.")
    if path.stat().st_size < mark.get("bytes", 0):
        raise DataError(
            f"{path}: shorter ({path.stat().st_size} bytes) than when its restart was written "
            f"({mark['bytes']}): its end was lost. Remove it and start the run again without --resume."
        )
    return _open(path, mark, capacity)


def _open(path: Path, mark: dict[str, int] | None, capacity: int) -> TrajectoryFile:
    kind = require_suffix(path)
    if kind == "h5md":
        from mlpot.simulation.h5md import H5MD

        return H5MD(path, mark, capacity)
    return (_ExtendedXYZ if kind == "extxyz" else _ASE)(path, mark)


def read_trajectory(path: str | Path, start: int = 0, stop: int | None = None, step: int = 1) -> list[Atoms]:
    """Return the frames of a trajectory in extended XYZ, ASE's ``.traj`` or H5MD.

    Parameters
    ----------
    path
        Ending in ``.xyz``, ``.extxyz``, ``.traj``, ``.h5``, ``.hdf5`` or ``.h5md``.
    start, stop, step
        Which frames, as in ``range``; not negative, ``stop`` excluded. With a ``stop`` what comes
        behind is not looked at: frames before a damaged one can so be read.

    Returns
    -------
    list of Atoms
        With momenta, energies, forces and stress where the file has them (Å, eV, eV/Å, eV/Å³),
        ``info["time_ps"]`` (ps) and ``info["temperature_K"]`` (K).

    Raises
    ------
    DataError
        If the file is missing, of another format, or cut off or damaged: with the number of the
        frame (from 0), and what to do.
    RecipeError
        For a suffix that is not known, a range that makes no sense, or HDF5 without h5py.
    """
    path = Path(path)
    kind = require_suffix(path)
    if start < 0 or step < 1 or (stop is not None and stop < start):
        raise RecipeError(f"frames {start}:{stop}:{step} make no sense: 0 <= start <= stop, and step >= 1.")
    if not path.is_file():
        raise DataError(f"{path}: there is no such trajectory; check the path.")
    if kind == "h5md":
        from mlpot.simulation.h5md import read_h5md

        return read_h5md(path, start, stop, step)
    frames = _xyz_frames(path, stop) if kind == "extxyz" else _ase_frames(path, stop)
    return [frame() for index, frame in enumerate(frames) if index >= start and (index - start) % step == 0]


class _Later:
    """A frame that is parsed when it is asked for."""

    def __init__(self, path: Path, index: int, read: Any, *arguments: Any) -> None:
        self.path, self.index, self.read, self.arguments = path, index, read, arguments

    def __call__(self) -> Atoms:
        try:
            return self.read(*self.arguments)
        except Exception as error:  # ASE raises whatever its readers stumble over
            raise damaged(self.path, self.index, f"{type(error).__name__}: {error}") from error


def _xyz_frames(path: Path, stop: int | None) -> Iterator[_Later]:
    with path.open(encoding="utf-8", errors="replace") as stream:
        index = 0
        while stop is None or index < stop:
            header = stream.readline()
            if not header.strip() and not (header + stream.read()).strip():
                if index == 0:
                    raise DataError(f"{path}: holds no frame.")
                return
            try:
                count = int(header)
            except ValueError:
                raise damaged(
                    path, index, f"{header.strip()[:40]!r} stands for its number of atoms"
                ) from None
            lines = [header, *(stream.readline() for _ in range(count + 1))]
            if not lines[-1].endswith("\n"):
                there = sum(line.endswith("\n") for line in lines) - 2
                raise damaged(path, index, f"the file ends after {max(there, 0)} of its {count} atoms")
            yield _Later(path, index, ase.io.read, io.StringIO("".join(lines)), 0, "extxyz")
            index += 1


def _ase_frames(path: Path, stop: int | None) -> Iterator[_Later]:
    try:
        trajectory = ASETrajectory(path)
    except Exception as error:
        raise damaged(path, 0, f"its table of frames cannot be read ({error})") from error
    with trajectory:
        if not len(trajectory):
            raise DataError(f"{path}: holds no frame.")
        for index in range(len(trajectory) if stop is None else min(stop, len(trajectory))):
            yield _Later(path, index, trajectory.__getitem__, index)
