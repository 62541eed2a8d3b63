"""Frames from files and into files, labels by their explicit names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.db import connect

from mlpot.atomic import replacing
from mlpot.data import formats
from mlpot.data.frame import LABELS, Frame, LabelKeys, LabelName
from mlpot.data.store import SUFFIX, StoredFrames, write_store
from mlpot.errors import DataError

#: REF_energy, REF_forces, REF_stress; gaps are errors.
DEFAULT_LABELS = LabelKeys()

_READERS = {
    ".xyz": formats.read_xyz,
    ".extxyz": formats.read_xyz,
    ".db": formats.read_db,
    ".json": formats.read_mlearn,
}
_FORMATS = (
    "extended XYZ (.xyz, .extxyz), ASE database (.db), indexed file (.lmdb) "
    "or mlearn JSON (.json, reading only)"
)


def read_frames(path: str | Path, labels: LabelKeys | None = DEFAULT_LABELS, index: str = ":") -> list[Frame]:
    """Read frames from a file; its suffix says the format.

    Parameters
    ----------
    path
        Extended XYZ (``.xyz``, ``.extxyz``), ASE database (``.db``), indexed file (``.lmdb``,
        see :class:`~mlpot.data.store.StoredFrames`), or the JSON layout of mlearn (``.json``,
        whose outputs are known here as ``REF_energy``, ``REF_forces`` and ``REF_stress``).
    labels
        Under which names the labels are kept, and what a gap means; see
        :class:`~mlpot.data.frame.LabelKeys`. ``None``: structures only. ASE takes the names
        ``energy``, ``forces`` and ``stress`` for what a calculator left behind: these are
        labels only if asked for by exactly these names. Constraints never alter forces.
    index
        Which frames: a number or a slice, as a string (``"::10"``).

    Returns
    -------
    list of Frame
        Each with ``source`` ``file#index``.

    Raises
    ------
    DataError
        If the file is missing, empty, of unknown suffix or damaged; if a label is not a finite
        number of the right shape; if a label that is asked for is missing in a frame and
        ``labels.missing`` is ``"error"`` (stress may be absent from all frames together).
    """
    path = _readable(path)
    if path.suffix.lower() == SUFFIX:
        stored = StoredFrames(path, labels)
        return list(stored.select(formats.selected(index, len(stored), path)))
    read = _READERS[path.suffix.lower()](path, index)
    if not read:
        raise DataError(f"{path}: no frames" + ("" if index == ":" else f" at index {index!r}") + ".")
    keys = labels or LabelKeys(energy=None, forces=None, stress=None)
    for _, atoms in read:
        _place_labels(atoms, keys)
    if keys.missing == "error":
        _check_gaps(path, read, keys)
    return [_frame(atoms, keys, f"{path}#{i}") for i, atoms in read]


def iterate_frames(path: str | Path, labels: LabelKeys | None = DEFAULT_LABELS) -> Iterator[Frame]:
    """Read the frames of a file one after the other, as :func:`read_frames` reads all of them.

    Extended XYZ and indexed files are read in constant memory; the other formats are read whole.

    Raises
    ------
    DataError
        As :func:`read_frames`, when the frame in question is reached.
    """
    path = _readable(path)
    if path.suffix.lower() == SUFFIX:
        yield from StoredFrames(path, labels)
        return
    if path.suffix.lower() not in (".xyz", ".extxyz"):
        yield from read_frames(path, labels)
        return
    keys = labels or LabelKeys(energy=None, forces=None, stress=None)
    for i, atoms in formats.iterate_xyz(path):
        _place_labels(atoms, keys)
        if i == 0:
            first = _has(atoms, keys, "stress")
        if keys.missing == "error":
            for label in LABELS:
                wanted = keys.name(label) is not None and (label != "stress" or first)
                if wanted and not _has(atoms, keys, label):
                    raise _gap(path, i, atoms, keys, label, "the first one without")
            if keys.stress is not None and not first and _has(atoms, keys, "stress"):
                raise DataError(
                    f"{path}#{i}: has a stress label, which the first frame of the file has not; "
                    "keep the gaps with `missing: allow`, or do not ask for it (stress: null)."
                )
        yield _frame(atoms, keys, f"{path}#{i}")


def read_usable(
    path: str | Path, labels: LabelKeys = DEFAULT_LABELS
) -> tuple[list[Frame], dict[str, str], dict[int, int]]:
    """Read the frames of a file that can be used, and say what is wrong with the others.

    For looking at a file; what is trained on is read by :func:`read_frames`, which refuses the
    file instead. Missing labels are kept as gaps.

    Returns
    -------
    frames : list of Frame
        Each with ``source`` ``file#index``.
    refused : dict
        The error of each frame that cannot be used, by ``file#index``.
    constrained : dict
        Number of atoms with an ASE constraint, by index into ``frames``.

    Raises
    ------
    DataError
        If the file is missing, empty, of unknown suffix or damaged.
    """
    path = _readable(path)
    keys = replace(labels, missing="allow")
    if path.suffix.lower() == SUFFIX:
        return list(StoredFrames(path, keys)), {}, {}
    frames: list[Frame] = []
    refused: dict[str, str] = {}
    constrained: dict[int, int] = {}
    for i, atoms in _READERS[path.suffix.lower()](path, ":"):
        _place_labels(atoms, keys)
        held = {int(a) for constraint in atoms.constraints for a in constraint.get_indices()}
        try:
            frames.append(_frame(atoms, keys, f"{path}#{i}"))
        except DataError as error:
            refused[f"{path}#{i}"] = str(error)
            continue
        if held:
            constrained[len(frames) - 1] = len(held)
    if not frames and not refused:
        raise DataError(f"{path}: no frames.")
    return frames, refused, constrained


def _readable(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix.lower() not in {*_READERS, SUFFIX}:
        raise DataError(f"{path}: unknown suffix {path.suffix!r}; expected {_FORMATS}.")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the path (relative to {Path.cwd()}).")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty.")
    return path


def _frame(atoms: Atoms, keys: LabelKeys, source: str) -> Frame:
    try:
        return Frame.from_atoms(atoms, keys, source)
    except (TypeError, ValueError) as error:
        raise DataError(f"{source}: a label is not made of numbers: {error}.") from error


def _place_labels(atoms: Atoms, keys: LabelKeys) -> None:
    """Put labels asked for by name where `Frame.from_atoms` looks: info and arrays.

    Formats and ASE differ in where they keep them: ASE's readers hand what is named energy,
    forces or stress to a calculator, and a database does not tell arrays from other data.
    """
    results = atoms.calc.results if atoms.calc is not None else {}
    for label in LABELS:
        name = keys.name(label)
        if name is None:
            continue
        home, other = (atoms.arrays, atoms.info) if label == "forces" else (atoms.info, atoms.arrays)
        if name not in home:
            if name in other:
                home[name] = other.pop(name)
            elif results.get(name) is not None:
                home[name] = results[name]


def _has(atoms: Atoms, keys: LabelKeys, label: LabelName) -> bool:
    return keys.name(label) in (atoms.arrays if label == "forces" else atoms.info)


def _check_gaps(path: Path, read: Sequence[tuple[int, Atoms]], keys: LabelKeys) -> None:
    for label in LABELS:
        name = keys.name(label)
        if name is None:
            continue
        gaps = [(i, atoms) for i, atoms in read if not _has(atoms, keys, label)]
        if not gaps or (label == "stress" and len(gaps) == len(read)):
            continue
        raise _gap(path, *gaps[0], keys, label, f"missing in {len(gaps)} of {len(read)} frames")


def _gap(path: Path, i: int, atoms: Atoms, keys: LabelKeys, label: LabelName, where: str) -> DataError:
    """Return the error on a missing label."""
    info = sorted(map(str, atoms.info))
    arrays = sorted(set(atoms.arrays) - {"numbers", "positions"})
    left = sorted(atoms.calc.results) if atoms.calc is not None else []
    return DataError(
        f"{path}#{i}: no {label} label named {keys.name(label)!r} ({where}). "
        f"This frame has info keys: {', '.join(info) or 'none'}; "
        f"per-atom arrays: {', '.join(arrays) or 'none'}; "
        f"left by a calculator: {', '.join(left) or 'none'}. "
        f"Give the name that the file uses (e.g. `{label}: dft_{label}`), "
        "or keep the gaps with `missing: allow`."
    )


def count_labels(frames: Sequence[Frame]) -> dict[str, int]:
    """Return how many frames carry each label: keys energy, forces, stress."""
    if isinstance(frames, StoredFrames):
        return dict(zip(LABELS, frames.table.labelled.sum(0).tolist(), strict=True))
    return {label: sum(frame.label(label) is not None for frame in frames) for label in LABELS}


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".provenance.json")


def write_frames(
    path: str | Path,
    frames: Sequence[Frame],
    labels: LabelKeys = DEFAULT_LABELS,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Write frames to a file, whole or not at all; its suffix says the format.

    Parameters
    ----------
    path
        Extended XYZ (``.xyz``, ``.extxyz``; positions and forces with eight decimals), ASE
        database (``.db``; exact) or indexed file (``.lmdb``; exact; labels lose their names).
        An existing file is replaced.
    frames
        At least one. ``Frame.info`` is written such that :func:`read_frames` returns it again
        (arrays, lists and tuples may come back as one another).
    labels
        Under which names; a name of ``None`` leaves the label out.
    provenance
        How the frames were made (JSON values). Databases keep it in their metadata; next to an
        XYZ file it goes to ``<file>.provenance.json`` together with the file's SHA-256.

    Raises
    ------
    DataError
        For no frames, another suffix, or info that the format cannot hold.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        raise DataError(f"{path}: the mlearn JSON layout is only read; write .xyz, .extxyz, .db or .lmdb.")
    if suffix not in {*_READERS, SUFFIX}:
        raise DataError(f"{path}: unknown suffix {path.suffix!r}; expected {_FORMATS}.")
    if not frames:
        raise DataError(f"{path}: there are no frames to write.")
    if suffix == SUFFIX:
        left_out: dict[str, Any] = {label: None for label in LABELS if labels.name(label) is None}
        write_store(path, (replace(frame, **left_out) for frame in frames), provenance)
        return
    with replacing(path) as partial:
        if suffix == ".db":
            formats.write_db(partial, frames, labels, provenance)
        else:
            formats.write_xyz(partial, frames, labels)
        digest = hashlib.sha256(partial.read_bytes()).hexdigest()
        # Gone before the data change: provenance may be missing but never be another file's.
        _sidecar(path).unlink(missing_ok=True)
    if suffix != ".db" and provenance is not None:
        note = {"sha256": digest, "provenance": provenance}
        with replacing(_sidecar(path)) as partial:
            partial.write_text(json.dumps(note, indent=1, sort_keys=True) + "\n")


def read_provenance(path: str | Path) -> dict[str, Any] | None:
    """Return what :func:`write_frames` noted about a file's making, ``None`` where nothing is.

    Raises
    ------
    DataError
        If the file is missing, or was changed since its provenance was written.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    if path.suffix.lower() == SUFFIX:
        return StoredFrames(path).provenance
    if path.suffix.lower() == ".db":
        return connect(str(path), type="db", use_lock_file=False).metadata.get("provenance")
    if not _sidecar(path).is_file():
        return None
    noted = json.loads(_sidecar(path).read_text())
    if noted["sha256"] != hashlib.sha256(path.read_bytes()).hexdigest():
        raise DataError(
            f"{path}: changed since {_sidecar(path).name} was written, which no longer describes it; "
            "generate the file again or remove the note."
        )
    return noted["provenance"]
