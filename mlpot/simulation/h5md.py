"""Trajectories as H5MD 1.1 (P. de Buyl, P. H. Colberg and F. Höfling, Comput. Phys. Commun. 185, 1546, 2014).

::

    /h5md                          version [1, 1], author, creator
    /particles/atoms/species       (N,) atomic numbers
    /particles/atoms/mass          (N,) u
    /particles/atoms/box           dimension, boundary;  edges/value (F, 3, 3) Å, vectors in rows
    /particles/atoms/position      value (F, N, 3) Å, not wrapped;  step (F,), time (F,) ps
    /particles/atoms/velocity      value (F, N, 3) Å/ps
    /particles/atoms/force         value (F, N, 3) eV/Å
    /observables/potential_energy  value (F,) eV;  temperature (F,) K;  stress (F, 3, 3) eV/Å³; ...
    /frames                        frames written so far; of a finished run all F

Room for all frames is taken when the file is made, and each frame goes to its place in it: a
killed run leaves a file that opens, and a disk that is too small is noticed at once.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from mlpot.atomic import replacing
from mlpot.conventions import matrix_to_voigt, voigt_to_matrix
from mlpot.errors import DataError, RecipeError
from mlpot.simulation.trajectory_file import TrajectoryFile, damaged, locked, write_at

#: eV, u and Å: one of ASE's units of time in ps.
_PS = 1.0 / (1000.0 * units.fs)
#: Of a frame's ``info`` by the name of the observable.
_INFO = {"temperature": "temperature_K", "pressure": "pressure_GPa", "potential_energy_std": "energy_std"}
_UNITS = {
    "position": "Angstrom",
    "edges": "Angstrom",
    "velocity": "Angstrom ps-1",
    "force": "eV Angstrom-1",
    "force_std": "eV Angstrom-1",
    "mass": "u",
    "potential_energy": "eV",
    "potential_energy_std": "eV",
    "temperature": "K",
    "pressure": "GPa",
    "stress": "eV Angstrom-3",
    "time": "ps",
}
_FRAMES = "frames"
#: Where not "<f8".
_TYPES = {"step": "<i8", _FRAMES: "<i8"}


def import_h5py() -> ModuleType:
    """Return h5py.

    Raises
    ------
    RecipeError
        If it is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise RecipeError(
            "HDF5 trajectories need h5py: pip install 'mlpot[simulation]'; or write .xyz or .traj."
        ) from None
    return h5py


class H5MD(TrajectoryFile):
    """An H5MD file being written; see the module for its layout."""

    def __init__(self, path: Path, mark: dict[str, int] | None, capacity: int) -> None:
        super().__init__(path, mark)
        self._capacity, self._places = capacity, {}  # type: int, dict[str, tuple[int, int]]
        if mark is not None and mark["frames"]:
            self._rebuild(mark["frames"], capacity)

    def append(self, frame: Atoms) -> None:
        """Write a frame to its place; it counts once it is whole."""
        values = _values(frame)
        if not self._places:
            self._make(
                self.path, frame, {name: value.shape for name, value in values.items()}, self._capacity
            )
        file = self._lock.fileno()
        for name, value in values.items():
            offset, size = self._places[name]
            write_at(file, _bytes(name, value), offset + self.frames * size)
        write_at(file, struct.pack("<q", self.frames + 1), self._places[_FRAMES][0])
        self.frames += 1

    def mark(self) -> dict[str, int]:
        """Return how many frames there are."""
        return {"frames": self.frames}

    def finish(self) -> None:
        """Close the file, without room for frames that will not come."""
        if 0 < self.frames < self._capacity:
            self._rebuild(self.frames, self.frames)
        self.close()

    def _make(
        self, path: Path, frame: Atoms, shapes: dict[str, tuple[int, ...]], capacity: int
    ) -> dict[str, tuple[int, int]]:
        """Write a file with room for so many frames; return where its values go, and their sizes."""
        h5py = import_h5py()
        with h5py.File(path, "w", locking=False, libver="earliest", meta_block_size=65536) as file:
            _describe(file, frame, shapes, capacity)
            places = {}
            for name, shape in shapes.items():
                places[name] = (file[_path(name)].id.get_offset(), 8 * int(np.prod(shape)))
            places[_FRAMES] = (file[_FRAMES].id.get_offset(), 8)
        # Not every system can; the others notice a full disk later.
        with path.open("r+b") as whole, suppress(AttributeError):
            os.posix_fallocate(whole.fileno(), 0, path.stat().st_size)
        self._places = places
        return places

    def _rebuild(self, count: int, capacity: int) -> None:
        """Write the first frames into a new file with room for ``capacity``, in the place of this."""
        h5py = import_h5py()
        frames = read_h5md(self.path, count - 1, count, 1)
        if not frames:
            raise DataError(
                f"{self.path}: holds fewer frames than when its restart was written; remove it and start "
                "the run again without --resume."
            )
        shapes = {name: value.shape for name, value in _values(frames[0]).items()}
        with replacing(self.path) as partial, h5py.File(self.path, "r", locking=False) as old:
            places = self._make(partial, frames[0], shapes, capacity)
            with partial.open("r+b") as new:
                for name in shapes:
                    new.seek(places[name][0])
                    new.write(_bytes(name, old[_path(name)][:count]))
                new.seek(places[_FRAMES][0])
                new.write(struct.pack("<q", count))
                new.flush()
                os.fsync(new.fileno())
        self._lock.close()
        self._lock = locked(self.path, "r+b")


def _bytes(name: str, values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, _TYPES.get(name, "<f8")).tobytes()


def _path(name: str) -> str:
    if name == "edges":
        return "particles/atoms/box/edges/value"
    if name in ("step", "time"):
        return f"particles/atoms/position/{name}"
    where = "particles/atoms" if name in ("position", "velocity", "force", "force_std") else "observables"
    return f"{where}/{name}/value"


def _values(frame: Atoms) -> dict[str, np.ndarray]:
    """Return what is written of a frame, by name."""
    results = frame.calc.results if frame.calc is not None else {}
    found: dict[str, Any] = {
        "step": frame.info["step"],
        "time": frame.info["time_ps"],
        "edges": frame.cell.array,
        "position": frame.positions,
        "velocity": frame.get_velocities() / _PS,
        "force": results.get("forces"),
        "force_std": frame.arrays.get("forces_std"),
        "potential_energy": results.get("energy"),
        "stress": voigt_to_matrix(results["stress"]) if "stress" in results else None,
    }
    found |= {name: frame.info.get(key) for name, key in _INFO.items()}
    return {name: np.asarray(value) for name, value in found.items() if value is not None}


def _describe(file: Any, frame: Atoms, shapes: dict[str, tuple[int, ...]], capacity: int) -> None:
    """Make all groups and data sets of a file, those of the frames without values yet."""
    from mlpot import __version__

    about = file.create_group("h5md")
    about.attrs["version"] = np.array([1, 1], "<i4")
    about.create_group("author").attrs["name"] = "unknown"
    creator = about.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "mlpot", __version__
    atoms = file.create_group("particles/atoms")
    box = atoms.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = [b"periodic" if periodic else b"none" for periodic in frame.pbc]
    # These first: a file that lost its end still has them.
    _room(file, _FRAMES, (), _FRAMES)
    atoms.create_dataset("species", data=np.asarray(frame.numbers, "<i4"), track_times=False)
    masses = atoms.create_dataset("mass", data=np.asarray(frame.get_masses(), "<f8"), track_times=False)
    masses.attrs["unit"] = _UNITS["mass"]
    for name, shape in {"step": (), "time": (), **shapes}.items():
        _room(file, _path(name), (capacity, *shape), name)
    for name in shapes:
        group = _path(name).rpartition("/")[0]
        for axis in ("step", "time"):
            if axis not in file[group]:
                file[group][axis] = file[_path(axis)]  # a hard link


def _room(file: Any, path: str, shape: tuple[int, ...], name: str) -> None:
    """Make a data set whose place in the file is fixed now."""
    h5py = import_h5py()
    group = file.require_group(path.rpartition("/")[0] or "/")
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plan.set_obj_track_times(False)
    space = h5py.h5s.create_simple(shape) if shape else h5py.h5s.create(h5py.h5s.SCALAR)
    numbers = h5py.h5t.py_create(np.dtype(_TYPES.get(name, "<f8")))
    h5py.h5d.create(group.id, path.rpartition("/")[2].encode(), numbers, space, plan)
    if name in _UNITS:
        file[path].attrs["unit"] = _UNITS[name]


def read_h5md(path: Path, start: int, stop: int | None, step: int) -> list[Atoms]:
    """Return frames of an H5MD file that mlpot wrote.

    Parameters are those of :func:`~mlpot.simulation.trajectory.read_trajectory`.

    Raises
    ------
    DataError
        If it cannot be opened, is cut off, or is not of this layout.
    """
    h5py = import_h5py()
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        frame, what = _first_lost(path, str(error))
        raise damaged(path, frame, what) from None
    with file:
        if _FRAMES not in file or "particles/atoms/position" not in file:
            raise DataError(f"{path}: not an H5MD trajectory of mlpot (it has no /frames or no atoms).")
        count = int(file[_FRAMES][()])
        if count == 0:
            raise DataError(f"{path}: holds no frame.")
        chosen = range(count)[start:stop:step]
        return [_frame(file, index) for index in chosen]


def _frame(file: Any, index: int) -> Atoms:
    group, observables = file["particles/atoms"], file["observables"]
    frame = Atoms(
        numbers=group["species"][()],
        positions=group["position/value"][index],
        cell=group["box/edges/value"][index],
        pbc=[boundary in (b"periodic", "periodic") for boundary in group["box"].attrs["boundary"]],
        info={
            "step": int(group["position/step"][index]),
            "time_ps": float(group["position/time"][index]),
        },
    )
    frame.info |= {
        key: float(observables[f"{name}/value"][index]) for name, key in _INFO.items() if name in observables
    }
    masses = group["mass"][()]
    if not np.array_equal(masses, frame.get_masses()):
        frame.set_masses(masses)
    frame.set_velocities(group["velocity/value"][index] * _PS)
    if "force_std" in group:
        frame.arrays["forces_std"] = group["force_std/value"][index]
    results: dict[str, Any] = {}
    if "force" in group:
        results["forces"] = group["force/value"][index]
    if "potential_energy" in observables:
        results["energy"] = float(observables["potential_energy/value"][index])
    if "stress" in observables:
        results["stress"] = matrix_to_voigt(observables["stress/value"][index])
    frame.calc = SinglePointCalculator(frame, **results)
    return frame


def _first_lost(path: Path, reason: str) -> tuple[int, str]:
    """Return the first frame that a file which does not open has lost part of, and what is the matter.

    HDF5 says in its first bytes how long the file was; with the missing end made up by zeros it
    opens, and tells where each frame was.
    """
    h5py = import_h5py()
    data = path.read_bytes()
    if len(data) < 48 or not data.startswith(b"\x89HDF\r\n\x1a\n"):
        return 0, f"this is no HDF5 file ({reason})"
    (length,) = struct.unpack_from("<q", data, 40)
    what = f"the file has {len(data)} of its {length} bytes"
    if len(data) >= length:
        return 0, f"HDF5 cannot open it ({reason})"
    import io

    first = 0
    with suppress(Exception), h5py.File(io.BytesIO(data + bytes(length - len(data))), "r") as file:
        ends: list[int] = []

        def note(name: str, item: Any) -> None:
            if name.endswith(("/value", "/step", "/time")):
                size = item.dtype.itemsize * int(np.prod(item.shape[1:]))
                ends.append(max(len(data) - item.id.get_offset(), 0) // size)

        file.visititems(note)
        first = min([int(file[_FRAMES][()]), *ends])
    return first, what
