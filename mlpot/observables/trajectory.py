"""Trajectories as arrays: times, positions that cross boundaries freely, velocities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units

from mlpot.errors import DataError, RecipeError

#: Relative unevenness of time steps that rounding in files explains.
_EVEN = 1e-3


@dataclass(frozen=True)
class Motion:
    """How the same atoms move.

    Attributes
    ----------
    numbers : (N,)
        Atomic numbers.
    masses : (N,)
        u.
    interval : float
        Time between frames, ps.
    positions : (F, N, 3)
        Å, not wrapped into the cell.
    velocities : (F, N, 3) or None
        Å/ps, as the file has them.
    """

    numbers: np.ndarray
    masses: np.ndarray
    interval: float
    positions: np.ndarray
    velocities: np.ndarray | None

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def at_rest(self) -> np.ndarray:
        """Positions (F, N, 3), Å, with the centre of mass at rest."""
        centre = np.einsum("i,fia->fa", self.masses, self.positions) / self.masses.sum()
        return np.asarray(self.positions - (centre - centre[0])[:, None])

    @cached_property
    def moving(self) -> np.ndarray:
        """Velocities (F, N, 3), or, without any, those between frames (F - 1, N, 3), Å/ps.

        The centre of mass rests. Between frames they are differences of positions over the
        interval, which damps a vibration of frequency ν by sin(πνΔ) / (πνΔ).
        """
        if self.velocities is None:
            return np.asarray(np.diff(self.at_rest, axis=0) / self.interval)
        drift = np.einsum("i,fia->fa", self.masses, self.velocities) / self.masses.sum()
        return np.asarray(self.velocities - drift[:, None])


def read_with_ase(path: str | Path) -> list[Atoms]:
    """Return the frames of a trajectory in any format that ASE reads: XDATCAR, LAMMPS dumps, ...

    Those that mlpot writes are read by :func:`mlpot.simulation.trajectory.read_trajectory`.

    Raises
    ------
    DataError
        If there is no such file, it cannot be read (its end is missing, say), or holds no frames.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the path (relative to {Path.cwd()}).")
    frames: list[Atoms] = []
    try:
        frames.extend(ase.io.iread(path, index=":"))
    except Exception as error:  # ASE raises whatever its readers stumble over
        raise DataError(f"{path}: cannot be read as a trajectory: {type(error).__name__}: {error}") from error
    if not frames:
        raise DataError(f"{path}: holds no frames.")
    return frames


def motion(frames: Sequence[Atoms], interval_fs: float | None = None) -> Motion:
    """Return how atoms move from frame to frame.

    Parameters
    ----------
    frames
        Of the same atoms in the same order, at equal intervals of time. Positions may be wrapped:
        an atom is taken to have moved to the nearest image of its next position.
    interval_fs
        Time between frames, fs; by default by the frames' ``info["time_ps"]``.

    Raises
    ------
    DataError
        If frames are of different atoms, times are missing, uneven or not ascending, or there are
        fewer than two frames.
    RecipeError
        For an interval that is not positive.
    """
    if len(frames) < 2:
        raise DataError(f"motion needs at least 2 frames; there is {len(frames)}.")
    numbers = frames[0].numbers
    for index, atoms in enumerate(frames):
        if not np.array_equal(atoms.numbers, numbers):
            raise DataError(f"frame {index} holds other atoms than frame 0, or in another order.")
    if interval_fs is not None and not 0 < interval_fs < np.inf:
        raise RecipeError(f"the time between frames is {interval_fs:g} fs; it must be above zero.")
    interval = interval_fs / 1000.0 if interval_fs is not None else _interval(frames)
    velocities = None
    if all(atoms.has("momenta") for atoms in frames):
        velocities = np.array([atoms.get_velocities() for atoms in frames]) * (1000.0 * units.fs)
    return Motion(numbers, frames[0].get_masses(), interval, unwrapped(frames), velocities)


def unwrapped(frames: Sequence[Atoms]) -> np.ndarray:
    """Return positions (F, N, 3), Å, that go on where atoms cross a periodic boundary.

    Between frames an atom moves to the nearest image in lattice coordinates, so it must move by
    less than half the cell. A cell that changes carries atoms with it: displacements add up in the
    coordinates of the lattice and are given in the first frame's cell; with a fixed cell they are
    the plain ones.
    """
    first = frames[0]
    if not first.pbc.any():
        return np.array([atoms.positions for atoms in frames])
    cell = first.cell.complete().array
    scaled = np.array(
        [np.linalg.solve(atoms.cell.complete().array.T, atoms.positions.T).T for atoms in frames]
    )
    steps = np.diff(scaled, axis=0)
    steps -= np.where(first.pbc, np.round(steps), 0.0)
    moved = np.concatenate([scaled[:1], steps]).cumsum(axis=0)
    return np.asarray(moved @ cell)


def _interval(frames: Sequence[Atoms]) -> float:
    """Return the time between frames, ps, by what they say."""
    without = [index for index, atoms in enumerate(frames) if "time_ps" not in atoms.info]
    if without:
        raise DataError(
            f"frame {without[0]} has no time (info value time_ps); give the time between frames (--interval)."
        )
    times = np.array([float(atoms.info["time_ps"]) for atoms in frames])
    steps = np.diff(times)
    mean = float(steps.mean())
    if steps.min() <= 0:
        index = int(np.argmin(steps)) + 1
        raise DataError(
            f"frame {index} is at {times[index]:g} ps, not after the one before it at "
            f"{times[index - 1]:g} ps; choose frames in order of time."
        )
    uneven = np.abs(steps - mean) > _EVEN * mean + 2e-8 * np.abs(times[1:])
    if uneven.any():
        index = int(np.argmax(np.abs(steps - np.median(steps)))) + 1
        raise DataError(
            f"frames are not at equal times: {times[index - 1]:g} to {times[index]:g} ps before frame "
            f"{index}, {np.median(steps):g} ps elsewhere; choose frames at equal times (--frames)."
        )
    return mean
