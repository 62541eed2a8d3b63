"""Frames in an indexed file that need not fit into memory: LMDB, read frame by frame.

Layout (format 1). The database ``frames`` maps the number of a frame, eight bytes big-endian, to
its record: a safetensors document with ``numbers`` (N,) uint8, ``positions`` (N, 3), ``cell``
(3, 3), ``pbc`` (3,) bool, ``energy`` (1,), ``forces`` (N, 3), ``stress`` (3, 3), all float64 in eV
and Å, labels only where there are any, and ``info``, the UTF-8 bytes of a JSON object. The
database ``index`` holds ``meta``, a JSON object, and, per 65,536 frames, a safetensors document
of the columns of :class:`FrameTable`; so that what a training must know of all frames before it
starts takes seconds. There is no pickle, and every language that has LMDB can read it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
from ase.data import chemical_symbols
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mlpot.atomic import replacing
from mlpot.data.frame import LABELS, Frame, LabelKeys
from mlpot.errors import DataError

#: Suffix of these files.
SUFFIX = ".lmdb"
_FORMAT = 1
_BLOCK = 65536  # frames per block of the index
_TRANSACTION = 4096  # frames written at once
_LARGEST = 1 << 40  # bytes of address space; the file takes only what it needs


@dataclass(frozen=True)
class FrameTable:
    """What is known of n frames with E elements without reading them.

    Attributes
    ----------
    elements : (E,) int64
        Atomic numbers, ascending.
    composition : (n, E) int32
        Atoms of each element.
    energies : (n,) float64
        eV; NaN where there is no label.
    force_squares : (n, E) float64
        Sum of the squared forces on the atoms of each element, (eV/Å)²; zero without forces.
    labelled : (n, 3) bool
        Which of energy, forces and stress a frame has.
    hashes : (n,) uint64
        First eight bytes of :attr:`~mlpot.data.frame.Frame.content_hash`.
    """

    elements: np.ndarray
    composition: np.ndarray
    energies: np.ndarray
    force_squares: np.ndarray
    labelled: np.ndarray
    hashes: np.ndarray

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols that occur."""
        return [chemical_symbols[z] for z in self.elements[self.composition.any(0)]]

    def counts(self, elements: Sequence[int]) -> np.ndarray:
        """Return how many atoms of each of these elements every frame has, (n, elements) float64."""
        return _columns(self.composition, self.elements, np.asarray(elements)).astype(float)

    def total_force_squares(self, elements: Sequence[int]) -> np.ndarray:
        """Return the sums (elements,) of the squared forces on atoms of each of these elements, (eV/Å)²."""
        return _columns(self.force_squares, self.elements, np.asarray(elements)).sum(0)

    def select(self, indices: np.ndarray) -> FrameTable:
        """Return the rows of these frames."""
        rows = {name: getattr(self, name)[indices] for name in _ROWS}
        return replace(self, **rows)


_ROWS = ("composition", "energies", "force_squares", "labelled", "hashes")


def _columns(values: np.ndarray, have: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Return the columns (n, want) of a table over elements; zero for those it does not have."""
    spread = np.zeros((len(values), len(want)), dtype=values.dtype)
    for column, z in enumerate(want):
        found = np.flatnonzero(have == z)
        if len(found):
            spread[:, column] = values[:, found[0]]
    return spread


def tabulate(frames: Sequence[Frame]) -> FrameTable:
    """Return the table of frames in memory."""
    elements = np.unique(np.concatenate([frame.numbers for frame in frames]))
    composition = np.zeros((len(frames), len(elements)), dtype=np.int32)
    squares = np.zeros((len(frames), len(elements)))
    for row, frame in enumerate(frames):
        kind = np.searchsorted(elements, frame.numbers)
        composition[row] = np.bincount(kind, minlength=len(elements))
        if frame.forces is not None:
            squares[row] = np.bincount(kind, (frame.forces**2).sum(1), len(elements))
    return FrameTable(
        elements=elements,
        composition=composition,
        energies=np.array([np.nan if frame.energy is None else frame.energy for frame in frames]),
        force_squares=squares,
        labelled=np.array([[frame.label(label) is not None for label in LABELS] for frame in frames]),
        hashes=np.array([int(frame.content_hash[:16], 16) for frame in frames], dtype=np.uint64),
    )


def _join(tables: Sequence[FrameTable]) -> FrameTable:
    elements = np.unique(np.concatenate([table.elements for table in tables]))
    rows: dict[str, Any] = {}
    for name in _ROWS:
        parts = [getattr(table, name) for table in tables]
        if name in ("composition", "force_squares"):
            parts = [_columns(p, table.elements, elements) for p, table in zip(parts, tables, strict=True)]
        rows[name] = np.concatenate(parts)
    return FrameTable(elements=elements, **rows)


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError:
        raise DataError(
            "frames in an LMDB file need the package lmdb; install it with: pip install 'mlpot[stream]'."
        ) from None
    return lmdb


def _pack(frame: Frame) -> bytes:
    arrays = {
        "numbers": frame.numbers.astype(np.uint8),
        "positions": frame.positions,
        "cell": frame.cell,
        "pbc": frame.pbc,
    }
    arrays |= {name: np.asarray(frame.label(name)) for name in LABELS if frame.label(name) is not None}
    if frame.info:
        try:
            text = json.dumps(frame.info, default=lambda value: value.tolist())
        except (TypeError, AttributeError, ValueError) as error:
            raise DataError(
                f"{frame.source}: its info cannot be written to {SUFFIX} ({error}); "
                "use numbers, strings, lists or dictionaries of them."
            ) from None
        arrays["info"] = np.frombuffer(text.encode(), dtype=np.uint8)
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def _unpack(record: bytes, source: str, labels: Sequence[str]) -> Frame:
    try:
        arrays = {name: array.copy() for name, array in load(record).items()}  # else not writable
        given: dict[str, Any] = {name: arrays[name] for name in labels if name in arrays}
        if "energy" in given:
            given["energy"] = given["energy"].item()
        return Frame(
            numbers=arrays["numbers"].astype(np.int64),
            positions=arrays["positions"],
            cell=arrays["cell"],
            pbc=arrays["pbc"],
            info=json.loads(arrays["info"].tobytes()) if "info" in arrays else {},
            source=source,
            **given,
        )
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{source}: not a readable record ({error}); convert the frames again.") from None


def write_store(
    path: str | Path, frames: Iterable[Frame], provenance: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write frames one after the other into an indexed file, whole or not at all.

    Parameters
    ----------
    path
        File to write (``.lmdb``); an existing one is replaced.
    frames
        Taken one at a time, so that memory stays constant.
    provenance
        How the frames were made (JSON values).

    Returns
    -------
    dict
        Numbers of ``frames`` and ``atoms``, ``labels`` by name, and the ``digest``: SHA-256 over
        the content of all frames in their order.

    Raises
    ------
    DataError
        For no frames, info that JSON cannot hold, a file beyond 1 TiB, or without the package
        lmdb.
    """
    path, source = Path(path), iter(frames)
    lmdb = _lmdb()
    digest, count, atoms = hashlib.sha256(), 0, 0
    labels = np.zeros(len(LABELS), dtype=np.int64)
    pending: list[FrameTable] = []
    with replacing(path) as partial:
        # No lock file: nobody else knows this name. It is flushed to the disk once, at the end.
        database = lmdb.open(str(partial), subdir=False, lock=False, sync=False, map_size=_LARGEST, max_dbs=2)
        try:
            records, index = database.open_db(b"frames"), database.open_db(b"index")
            while part := list(islice(source, _TRANSACTION)):
                with database.begin(write=True) as transaction:
                    for number, frame in enumerate(part, start=count):
                        transaction.put(number.to_bytes(8, "big"), _pack(frame), db=records, append=True)
                        digest.update(bytes.fromhex(frame.content_hash))
                    pending.append(tabulate(part))
                    count += len(part)
                    if count % _BLOCK == 0:
                        _write_block(transaction, index, count - _BLOCK, pending)
                atoms += sum(map(len, part))
                labels += np.array([[f.label(name) is not None for name in LABELS] for f in part]).sum(0)
            if not count:
                raise DataError(f"{path}: there are no frames to write.")
            summary = {
                "frames": count,
                "atoms": atoms,
                "labels": dict(zip(LABELS, labels.tolist(), strict=True)),
                "digest": digest.hexdigest(),
            }
            meta = {"format": _FORMAT, "block": _BLOCK, **summary, "provenance": provenance}
            with database.begin(write=True) as transaction:
                if pending:
                    _write_block(transaction, index, count // _BLOCK * _BLOCK, pending)
                transaction.put(b"meta", json.dumps(meta).encode(), db=index)
            database.sync(True)
        except lmdb.MapFullError:
            raise DataError(f"{path}: more than {_LARGEST >> 40} TiB; divide the frames.") from None
        finally:
            database.close()
    return summary


def _write_block(transaction: Any, index: Any, first: int, pending: list[FrameTable]) -> None:
    table = _join(pending)
    columns = {name: np.ascontiguousarray(getattr(table, name)) for name in ("elements", *_ROWS)}
    transaction.put(first.to_bytes(8, "big"), save(columns), db=index)
    pending.clear()


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a file for reading; only while it is read, so that no handle is carried into another process."""
    lmdb = _lmdb()
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; check the path (relative to {Path.cwd()}).")
    try:
        database = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False, max_dbs=2)
        try:
            needed = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
            if path.stat().st_size < needed:  # reading what is not there would end the process
                raise DataError(
                    f"{path}: the file breaks off: {path.stat().st_size} of {needed} bytes are there; "
                    "copy it again, or convert the frames again."
                )
            with database.begin() as transaction:
                parts = {
                    name: database.open_db(name, transaction, create=False) for name in (b"frames", b"index")
                }
                yield lambda name, key: transaction.get(key, db=parts[name])
        finally:
            database.close()
    except lmdb.Error as error:
        raise DataError(
            f"{path}: not a file of frames that `mlpot convert` wrote ({error}); convert the frames again."
        ) from None


class StoredFrames(Sequence[Frame]):
    """The frames of an indexed file, read when they are asked for.

    Parameters
    ----------
    path
        What :func:`write_store` wrote.
    labels
        Which labels are read (a name of ``None``: not), and what a gap means; the names
        themselves were settled when the file was written. ``None``: structures only.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another format, or if a label that is asked for is
        missing in a frame and ``labels.missing`` is ``"error"`` (stress may be absent from all);
        without the package lmdb.
    """

    def __init__(self, path: str | Path, labels: LabelKeys | None = None) -> None:
        self.path = Path(path)
        self.labels = [name for name in LABELS if labels is not None and labels.name(name) is not None]
        with _open(self.path) as get:
            meta = json.loads(get(b"index", b"meta") or b"{}")
        if meta.get("format") != _FORMAT:
            raise DataError(
                f"{self.path}: format {meta.get('format')} is not {_FORMAT}, the one read here; "
                "convert the frames with this version of mlpot."
            )
        self.total, self.block, self.digest = int(meta["frames"]), int(meta["block"]), str(meta["digest"])
        self.provenance: dict[str, Any] | None = meta["provenance"]
        self.chosen: np.ndarray | None = None
        if labels is not None and labels.missing == "error":
            for name in self.labels:
                gaps = self.total - int(meta["labels"][name])
                if gaps and not (name == "stress" and gaps == self.total):
                    raise DataError(
                        f"{self.path}: no {name} label in {gaps} of {self.total} frames; keep the gaps with "
                        "`missing: allow`, or do not ask for the label."
                    )

    def __len__(self) -> int:
        return self.total if self.chosen is None else len(self.chosen)

    def _number(self, index: int) -> int:
        return index if self.chosen is None else int(self.chosen[index])

    def select(self, indices: Sequence[int] | np.ndarray) -> StoredFrames:
        """Return some of these frames, in the order of the indices, without reading them."""
        part = StoredFrames.__new__(StoredFrames)
        part.__dict__ = dict(self.__dict__)
        indices = np.asarray(indices, dtype=np.int64)
        part.chosen = indices if self.chosen is None else self.chosen[indices]
        return part

    def fetch(self, indices: Sequence[int]) -> list[Frame]:
        """Read frames."""
        numbers = [self._number(range(len(self))[i]) for i in indices]
        with _open(self.path) as get:
            records = [get(b"frames", number.to_bytes(8, "big")) for number in numbers]
        sources = [f"{self.path}#{number}" for number in numbers]
        for record, source in zip(records, sources, strict=True):
            if record is None:
                raise DataError(f"{source}: the record is missing; convert the frames again.")
        return [_unpack(r, source, self.labels) for r, source in zip(records, sources, strict=True)]

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> StoredFrames: ...
    def __getitem__(self, index: int | slice) -> Frame | StoredFrames:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        return self.fetch([index])[0]

    def __iter__(self) -> Iterator[Frame]:
        for first in range(0, len(self), _TRANSACTION):
            yield from self.fetch(range(first, min(first + _TRANSACTION, len(self))))

    @property
    def table(self) -> FrameTable:
        """What is known of these frames without reading them, from the index; not kept."""
        with _open(self.path) as get:
            blocks = [get(b"index", first.to_bytes(8, "big")) for first in range(0, self.total, self.block)]
        if None in blocks:
            raise DataError(f"{self.path}: a block of the index is missing; convert the frames again.")
        table = _join([FrameTable(**load(block)) for block in blocks])
        unread = [column for column, name in enumerate(LABELS) if name not in self.labels]
        table.labelled[:, unread] = False
        if "energy" not in self.labels:
            table.energies[:] = np.nan
        if "forces" not in self.labels:
            table.force_squares[:] = 0.0
        return table if self.chosen is None else table.select(self.chosen)

    @property
    def identity(self) -> str:
        """Digest of the content of these frames and of which labels are read."""
        digest = hashlib.sha256(f"{self.digest} {self.labels}".encode())
        digest.update(b"" if self.chosen is None else self.chosen.tobytes())
        return digest.hexdigest()

    @property
    def sources(self) -> list[str]:
        """Where these frames are: ``file#:`` for all of a file, else ``file#index`` for each."""
        if self.chosen is None:
            return [f"{self.path}#:"]
        return [f"{self.path}#{number}" for number in self.chosen.tolist()]
