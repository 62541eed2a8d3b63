"""The file formats of frames: extended XYZ, ASE database, and the JSON layout of mlearn.

Readers return ``(index in the file, ase.Atoms)`` pairs and leave all judgement of labels to
:mod:`mlpot.data.files`; writers write to the path they are given, without precautions.
"""

from __future__ import annotations

import io
import json
import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.db import connect
from ase.db.core import check as check_key_value_pair
from ase.io import extxyz
from ase.io.formats import string2index
from ase.io.jsonio import encode

from mlpot.conventions import vasp_stress_to_matrix
from mlpot.data.frame import LABELS, Frame, LabelKeys
from mlpot.errors import DataError

#: Names that extended XYZ, or ASE's reading of it, keeps for itself in the comment line.
_XYZ_RESERVED = {"Lattice", "Properties", "pbc", *extxyz.per_config_properties}
#: Where the database keeps `Frame.info`, whatever its types.
_DB_INFO = "mlpot_info"


def selected(index: str, count: int, path: Path) -> list[int]:
    """Return the frames that a number or a slice, as a string, selects."""
    try:
        parsed = string2index(index)
        if isinstance(parsed, slice):
            return list(range(count))[parsed]
    except ValueError:
        parsed = index
    if isinstance(parsed, str):  # ASE hands back what it takes for a query of a database
        raise DataError(
            f"{path}: index {index!r} is not understood; "
            "expected a number or a slice, e.g. '0', ':100', '::10'."
        )
    if not -count <= parsed < count:
        raise DataError(
            f"{path}: there is no frame {parsed}; the file holds {count} frames (0 to {count - 1})."
        )
    return [parsed % count]


# --- extended XYZ ---------------------------------------------------------------------------


def _cut_xyz(lines: Iterable[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Cut text into frames, so that errors can name theirs: number of the first line (from 1), and lines."""
    stream, start, index = iter(lines), 1, 0
    try:
        header = next(stream, None)
        while header is not None:
            where, declared = f"{path}#{index}", header.strip()
            if not declared:
                if any(line.strip() for line in stream):
                    raise DataError(
                        f"{where}: line {start} is empty where a frame should begin, and more text follows; "
                        "remove the empty lines."
                    )
                return
            if not declared.isdigit():
                raise DataError(
                    f"{where}: line {start} should be the number of atoms but reads {declared[:60]!r}; "
                    "the frame before it has more or fewer lines than it declares."
                )
            frame = [header, *islice(stream, 1 + int(declared))]
            if len(frame) < 2 + int(declared):
                raise DataError(
                    f"{where}: the file breaks off in this frame (begun in line {start}): "
                    f"{max(len(frame) - 2, 0)} of {declared} atoms are there; "
                    "copy or write the file again, or remove the incomplete frame."
                )
            while (header := next(stream, None)) is not None and header.lstrip().startswith("VEC"):
                frame.append(header)
            yield start, frame
            start, index = start + len(frame), index + 1
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error}); expected extended XYZ.") from None


def _parse_xyz(start: int, lines: list[str], where: str) -> Atoms:
    try:
        return next(iter(extxyz.read_xyz(io.StringIO("".join(lines)), index=0)))
    except Exception as error:  # ASE raises whatever its parsing stumbles over
        raise DataError(
            f"{where}: this frame (lines {start} to {start + len(lines) - 1}) is no extended XYZ that ASE "
            f"can read: {type(error).__name__}: {error}"
        ) from error


def read_xyz(path: Path, index: str) -> list[tuple[int, Atoms]]:
    """Read extended XYZ."""
    with open(path, encoding="utf-8") as stream:
        cut = list(_cut_xyz(stream, path))
    return [(i, _parse_xyz(*cut[i], f"{path}#{i}")) for i in selected(index, len(cut), path)]


def iterate_xyz(path: Path) -> Iterator[tuple[int, Atoms]]:
    """Read extended XYZ frame by frame, in constant memory."""
    with open(path, encoding="utf-8") as stream:
        for i, (start, lines) in enumerate(_cut_xyz(stream, path)):
            yield i, _parse_xyz(start, lines, f"{path}#{i}")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str) or isinstance(a, dict) or a is None:
        return type(a) is type(b) and a == b
    x, y = np.asarray(a), np.asarray(b)
    if x.dtype.kind not in "ifb" or x.shape != y.shape or (x.dtype.kind == "b") != (y.dtype.kind == "b"):
        return isinstance(a, list | tuple) and isinstance(b, list) and list(a) == b
    return bool(np.array_equal(x, y, equal_nan=x.dtype.kind == "f"))


def _xyz_value(key: str, value: Any, where: str) -> Any:
    """Return what ASE must be given to write so that reading returns ``value`` again."""
    if key in _XYZ_RESERVED:
        raise DataError(
            f"{where}: info key {key!r} cannot be written to extended XYZ, where ASE keeps it for itself; "
            "rename it (a label: `energy: dft_energy`)."
        )

    def survives(written: Any) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # "Skipping unhashable information"
                text = extxyz.key_val_dict_to_str({key: written})
            return len(text.splitlines()) == 1 and _same(value, extxyz.key_val_str_to_dict(text)[key])
        except Exception:  # not writable this way, or not readable
            return False

    if survives(value):
        return value
    try:
        text = json.dumps(value, default=lambda array: array.tolist())
    except (TypeError, AttributeError):
        text = ""
    # ASE's reader takes one level of backslashes away, its writer adds none.
    written = "_JSON " + text.replace("\\", "\\\\")
    if text and survives(written):
        return written
    raise DataError(
        f"{where}: info {key!r} = {value!r} cannot be written to extended XYZ and read back; "
        "use numbers, strings, lists or dictionaries of them, or write an ASE database (.db)."
    )


def write_xyz(path: Path, frames: Sequence[Frame], keys: LabelKeys) -> None:
    """Write extended XYZ (positions and forces with eight decimals, all else in full)."""
    with open(path, "x", encoding="utf-8") as stream:
        for i, frame in enumerate(frames):
            atoms = frame.to_atoms(keys)
            for key, value in frame.info.items():
                if key in (keys.energy, keys.stress):
                    raise DataError(
                        f"frame {i} ({frame.source}): info key {key!r} is also a label's name; rename one."
                    )
                atoms.info[key] = _xyz_value(key, value, f"frame {i} ({frame.source})")
            extxyz.write_xyz(stream, [atoms], write_results=False)


# --- ASE database ---------------------------------------------------------------------------


def read_db(path: Path, index: str) -> list[tuple[int, Atoms]]:
    """Read an ASE database; key-value pairs and data become info and per-atom arrays."""
    try:
        rows = list(connect(str(path), type="db", use_lock_file=False).select())
    except sqlite3.Error as error:
        raise DataError(f"{path}: not an ASE database that can be read ({error}).") from None
    read = []
    for i in selected(index, len(rows), path):
        row = rows[i]
        atoms = row.toatoms()
        data = dict(row.data)
        info = data.pop(_DB_INFO, {})
        for name, value in list(data.items()):
            if isinstance(value, np.ndarray) and value.ndim == 2 and len(value) == len(atoms):
                atoms.arrays[name] = data.pop(name)
        atoms.info = {**row.key_value_pairs, **data, **info}
        read.append((i, atoms))
    return read


def _searchable(key: str, value: Any) -> bool:
    """Say whether ASE's database takes this as a key-value pair (to be searched for)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a key that is also a chemical formula
            check_key_value_pair({key: value})
    except (ValueError, UserWarning):
        return False
    return True


def write_db(path: Path, frames: Sequence[Frame], keys: LabelKeys, provenance: dict[str, Any] | None) -> None:
    """Write an ASE database, provenance in its metadata."""
    with connect(str(path), type="db", append=False, use_lock_file=False) as database:
        for i, frame in enumerate(frames):
            where = f"frame {i} ({frame.source})"
            atoms = frame.to_atoms(LabelKeys(energy=None, forces=None, stress=None))
            atoms.info = {}
            data: dict[str, Any] = {_DB_INFO: frame.info}
            pairs = {key: value for key, value in frame.info.items() if _searchable(key, value)}
            results: dict[str, Any] = {}
            for label in LABELS:
                name, value = keys.name(label), frame.label(label)
                if name is None or value is None:
                    continue
                if name in frame.info:
                    raise DataError(f"{where}: info key {name!r} is also a label's name; rename one.")
                if name == label:
                    results[label] = value
                elif label != "energy":
                    data[name] = value
                elif _searchable(name, value):
                    pairs[name] = value
                else:
                    data[name] = value
            if results:
                atoms.calc = SinglePointCalculator(atoms, **results)
            try:
                encode(data)
            except TypeError as error:
                raise DataError(f"{where}: its info cannot be written to an ASE database: {error}.") from None
            database.write(atoms, key_value_pairs=pairs, data=data)
        if provenance is not None:
            database.metadata = {"provenance": provenance}


# --- mlearn ---------------------------------------------------------------------------------


def json_list(path: Path, expected: str) -> list[Any]:
    """Return the list that a JSON file holds.

    Raises
    ------
    DataError
        If it is no JSON, or no list; the message says what was expected.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file that can be read ({error}).") from None
    if not isinstance(records, list):
        raise DataError(f"{path}: expected {expected}.")
    return records


def read_mlearn(path: Path, index: str) -> list[tuple[int, Atoms]]:
    """Read the JSON layout of mlearn (Zuo et al., J. Phys. Chem. A 124, 731 (2020)).

    Its outputs are named ``REF_energy``, ``REF_forces`` and ``REF_stress`` here; stress, which
    that layout keeps as VASP prints it, is turned into eV/Å³, tensile positive.
    """
    records = json_list(path, "the mlearn layout, a list of structures with outputs")
    read = []
    for i in selected(index, len(records), path):
        try:
            read.append((i, _mlearn_atoms(records[i], f"{path}#{i}")))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"{path}#{i}: not the mlearn layout (structure: a pymatgen dictionary; "
                f"outputs: energy, forces, virial_stress): {type(error).__name__}: {error}"
            ) from error
    return read


def _mlearn_atoms(record: dict[str, Any], where: str) -> Atoms:
    structure, outputs = record["structure"], record["outputs"]
    sites = structure["sites"]
    if record.get("num_atoms", len(sites)) != len(sites):
        raise DataError(
            f"{where}: num_atoms is {record['num_atoms']} but the structure has {len(sites)} sites."
        )
    numbers = []
    for site, species in enumerate(site["species"] for site in sites):
        if len(species) != 1 or species[0]["occu"] != 1:
            raise DataError(
                f"{where}: site {site} is partially occupied ({species}); expected one whole atom."
            )
        numbers.append(atomic_numbers[species[0]["element"]])
    atoms = Atoms(
        numbers=numbers,
        positions=[site["xyz"] for site in sites],
        cell=structure["lattice"]["matrix"],
        pbc=structure["lattice"].get("pbc", True),
        info={key: record[key] for key in ("group", "description", "tag") if key in record},
    )
    if outputs.get("energy") is not None:
        atoms.info["REF_energy"] = outputs["energy"]
    if outputs.get("virial_stress") is not None:
        stress = np.asarray(outputs["virial_stress"], dtype=float)
        if stress.shape != (6,):
            raise DataError(
                f"{where}: virial_stress has shape {stress.shape}, expected the 6 numbers of VASP "
                "(kBar, compressive positive, xx yy zz xy yz zx)."
            )
        atoms.info["REF_stress"] = vasp_stress_to_matrix(stress)
    if outputs.get("forces") is not None:
        atoms.arrays["REF_forces"] = np.asarray(outputs["forces"], dtype=float)
    return atoms
