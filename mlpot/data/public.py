"""The layouts of public sets, and their frames in mlpot's own."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from mlpot.data.files import read_frames
from mlpot.data.formats import json_list
from mlpot.data.frame import Frame, LabelKeys
from mlpot.errors import DataError

#: eV/atom between the solid frames and the liquid ones of mlearn. Silicon's lie below -5.16 and above
#: -4.78, germanium's below -4.38 (strained: -4.24) and above -4.06. The labels of temperature do not tell.
_LIQUID_ABOVE = {"Si": -5.0, "Ge": -4.15}
_TEMPERATURE = re.compile(r"Snapshot (\d+) of \d+ of .* at (\d+) K")
_STRAIN = re.compile(r"mode (\d+), strain (\S+)")


def mlearn_frames(path: Path, split: str) -> list[Frame]:
    """Read a file of mlearn: JSON with stress as VASP prints it.

    Parameters
    ----------
    path
        ``training.json`` or ``test.json`` of silicon or germanium.
    split
        ``train`` or ``test``, noted in every frame.

    Returns
    -------
    list of Frame
        With ``group``, ``mlearn_split``, ``description``, ``mlearn_index`` (place in the file),
        ``temperature_K`` and ``snapshot`` or ``strain_mode`` and ``strain`` as the description
        says, ``config_type``, and ``state``: surface, or solid or liquid by the energy per atom.

    Raises
    ------
    DataError
        If the file is not in that layout, or of another element.
    """
    frames = []
    for index, frame in enumerate(read_frames(path)):
        group, description = frame.info.get("group"), frame.info.get("description")
        if not isinstance(group, str) or not isinstance(description, str):
            raise DataError(f"{frame.source}: has no group and description, as the frames of mlearn have.")
        info: dict[str, Any] = {
            "group": group,
            "mlearn_split": split,
            "description": description,
            "mlearn_index": index,
        }
        kind = "Ground_state" if description.startswith("Ground state") else group
        if snapshot := _TEMPERATURE.fullmatch(description):
            info |= {"temperature_K": int(snapshot[2]), "snapshot": int(snapshot[1])}
            kind = f"{group}_{snapshot[2]}K"
        elif strain := _STRAIN.search(description):
            info |= {"strain_mode": int(strain[1]), "strain": float(strain[2])}
        frames.append(replace(frame, info=info | {"config_type": kind, "state": _state(frame, group)}))
    return frames


def _state(frame: Frame, group: str) -> str:
    if group == "Surface":
        return "surface"
    (element,) = frame.symbols if len(frame.symbols) == 1 else (None,)
    if element not in _LIQUID_ABOVE or frame.energy is None:
        raise DataError(
            f"{frame.source}: solid or liquid is told by the energies of {' and '.join(_LIQUID_ABOVE)} only, "
            f"this frame is of {', '.join(sorted(frame.symbols))}."
        )
    return "liquid" if frame.energy / len(frame) > _LIQUID_ABOVE[element] else "solid"


def pyxtal_frames(paths: Iterable[Path], below: float | None = None) -> list[Frame]:
    """Read the random crystals of PyXtal_FF: JSON with fractional coordinates, energy and forces.

    Parameters
    ----------
    paths
        ``Si4.json`` and its like, in this order.
    below
        eV/atom; frames of higher energy are left out (the set's own ``Si_train.json`` does so at -4).

    Returns
    -------
    list of Frame
        With ``config_type`` ``pyxtal_Si4`` and so on, by the file.

    Raises
    ------
    DataError
        If a file is not in that layout.
    """
    frames = []
    for path in paths:
        records = json_list(path, "a list of structures")
        for index, record in enumerate(records):
            where = f"{path}#{index}"
            try:
                cell = _array(record["lattice"])
                frame = Frame(
                    numbers=np.array([atomic_numbers[symbol] for symbol in record["elements"]]),
                    positions=_array(record["coords"]) @ cell,
                    cell=cell,
                    pbc=np.ones(3, dtype=bool),
                    energy=float(record["energy"]),
                    forces=_array(record["force"]),
                    info={"config_type": f"pyxtal_{path.stem}"},
                    source=where,
                )
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"{where}: not the layout of PyXtal_FF (lattice, coords, elements, energy, force): "
                    f"{type(error).__name__}: {error}"
                ) from error
            if below is None or float(record["energy"]) / len(frame) <= below:
                frames.append(frame)
    return frames


def _array(value: Any) -> np.ndarray:
    """Return an array that is written plainly, or as monty writes those of NumPy."""
    return np.asarray(value["data"] if isinstance(value, dict) else value, dtype=float)


def xyz_frames(path: Path, labels: LabelKeys, member: str | None = None) -> list[Frame]:
    """Read extended XYZ under its own names of labels, from a file or one in a ZIP archive.

    Raises
    ------
    DataError
        If the archive is damaged or has no such member; see :func:`~mlpot.data.files.read_frames`.
    """
    if member is None:
        return read_frames(path, labels)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unpacked = Path(folder) / Path(member).name
        try:
            with (
                zipfile.ZipFile(path) as archive,
                archive.open(member) as packed,
                open(unpacked, "xb") as out,
            ):
                shutil.copyfileobj(packed, out)
        except (zipfile.BadZipFile, KeyError) as error:
            raise DataError(f"{path}: {member} cannot be unpacked from this archive ({error}).") from None
        frames = read_frames(unpacked, labels)
    return [replace(frame, source=f"{path}!{member}#{i}") for i, frame in enumerate(frames)]


def frames_sha256(frames: Sequence[Frame]) -> str:
    """Return the SHA-256 of structures and labels as written with eight decimals (not of ``info``).

    The same for a set whatever file or layout it was read from, and whatever its order of keys.
    """
    digest = hashlib.sha256()
    for frame in frames:
        parts = {
            "cell": frame.cell,
            "positions": frame.positions,
            "energy": np.empty(0) if frame.energy is None else np.array([frame.energy]),
            "forces": np.empty(0) if frame.forces is None else frame.forces,
            "stress": np.empty(0) if frame.stress is None else frame.stress,
        }
        digest.update(f"numbers {' '.join(map(str, frame.numbers))}\n".encode())
        for name, values in parts.items():
            text = " ".join(f"{value:.8f}" for value in values.ravel())
            digest.update(f"{name} {text} \n".replace("-0.00000000 ", "0.00000000 ").encode())
    return digest.hexdigest()
