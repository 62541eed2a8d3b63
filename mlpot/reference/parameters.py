"""Parameters of Stillinger-Weber and Tersoff potentials, and LAMMPS's files of them.

LAMMPS's formats ``sw`` and ``tersoff`` (docs.lammps.org/pair_sw.html, pair_tersoff.html): entries
of three names (the centre and two neighbours) and a fixed count of numbers, over one or more
lines; ``#`` begins a comment; units ``metal``: eV and Å.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from ase.data import chemical_symbols

from mlpot.errors import DataError, ElementError, RecipeError

Form = Literal["sw", "tersoff"]
Triplet = tuple[str, str, str]

#: The numbers of an entry in the order of the files.
FIELDS: dict[Form, tuple[str, ...]] = {
    "sw": ("epsilon", "sigma", "a", "lambda", "gamma", "cos_theta0", "A", "B", "p", "q", "tol"),
    "tersoff": (
        "m", "gamma", "lambda3", "c", "d", "cos_theta0", "n",
        "beta", "lambda2", "B", "R", "D", "lambda1", "A",
    ),
}  # fmt: skip

#: Numbers of either sign; the others are zero or above.
_SIGNED = {"cos_theta0", "lambda3"}


@dataclass(frozen=True)
class Entry:
    """The parameters of a centre (first) and two of its neighbours.

    ``parameters`` are named as in :data:`FIELDS`: energies eV, lengths Å, inverse lengths 1/Å.
    """

    elements: Triplet
    parameters: dict[str, float]


@dataclass(frozen=True)
class ForceField:
    """A classical force field: name, elements, functional form, parameters and their source.

    ``form``: ``sw`` (Stillinger-Weber) or ``tersoff``. ``entries``: one for each triplet of elements.
    """

    name: str
    elements: tuple[str, ...]
    form: Form
    entries: tuple[Entry, ...]
    source: str

    @property
    def element(self) -> str:
        """The chemical symbol of a force field of one element.

        Raises
        ------
        ElementError
            If it has several.
        """
        if len(self.elements) > 1:
            raise ElementError(f"{self.name} is of {', '.join(self.elements)}, not of one element; name one.")
        return self.elements[0]

    def parameters(self, *elements: str) -> dict[str, float]:
        """Return the parameters of a centre and two neighbours."""
        return next(entry.parameters for entry in self.entries if entry.elements == elements)

    def text(self) -> str:
        """Return the force field as a parameter file of LAMMPS, to the last digit."""
        lines = [f"# UNITS: metal CITATION: {' '.join(self.source.split())}"]
        for entry in self.entries:
            numbers = (repr(float(entry.parameters[field])) for field in FIELDS[self.form])
            lines.append(" ".join((*entry.elements, *numbers)))
        return "\n".join(lines) + "\n"


def form_of(path: Path) -> Form:
    """Return the format that a file's suffix tells.

    Raises
    ------
    RecipeError
        If it tells none.
    """
    suffix = path.suffix.lower().removeprefix(".")
    for form in FIELDS:
        if suffix == form:
            return form
    raise RecipeError(f"{path}: the suffix tells no format; add format: {' or format: '.join(FIELDS)}.")


def read_parameters(
    path: str | Path, form: Form | None = None, species: Mapping[str, str] | None = None
) -> ForceField:
    """Return the force field of a parameter file.

    Parameters
    ----------
    path
        The file.
    form
        Its format; by default the suffix tells.
    species
        The name in the file of each element that is wanted, ``{"Si": "Si(D)", "Ge": "Ge"}``; by
        default all names that are chemical symbols.

    Raises
    ------
    RecipeError
        If the suffix tells no format.
    ElementError
        If a species is no chemical symbol or not in the file, or no name in the file is one.
    DataError
        If the file cannot be read, is in other units, or has a wrong count of numbers, numbers
        that make no sense, two entries for a triplet or none; with the line and the field.
    """
    path = Path(path)
    form = form or form_of(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such parameter file; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a parameter file: {error}") from None
    header = lines[0] if lines else ""
    units = re.search(r"UNITS:\s*(\S+)", header)
    if units and units[1] != "metal":
        raise DataError(
            f"{path}, line 1: the parameters are in units {units[1]}; convert them to metal (eV, Å)."
        )
    entries = _entries(path, lines, FIELDS[form])
    if not entries:
        raise DataError(f"{path}: no entry; is it a parameter file in the format {form}?")
    names = _species(path, species, dict.fromkeys(name for triplet in entries for name in triplet))
    chosen = []
    for elements in product(names, repeat=3):
        i, j, k = (names[element] for element in elements)
        if (i, j, k) not in entries:
            fewer = (
                ""
                if len(names) == 1
                else f"; or name fewer elements, such as species: {{{elements[0]}: {i}}}"
            )
            raise DataError(f"{path}: no entry {i} {j} {k}, which {', '.join(names)} need: add it{fewer}.")
        chosen.append(Entry(_triplet(elements), entries[i, j, k]))
    citation = re.search(r"CITATION:\s*(.+)", header)
    source = citation[1].strip() if citation else "not stated in the file"
    return ForceField(str(path), tuple(names), form, tuple(chosen), source)


def _triplet(names: tuple[str, ...]) -> Triplet:
    i, j, k = names
    return i, j, k


def _species(path: Path, species: Mapping[str, str] | None, there: Mapping[str, None]) -> dict[str, str]:
    """Return the name in the file of each element."""
    symbols = set(chemical_symbols[1:])
    if species is None:
        found = {name: name for name in there if name in symbols}
        if not found:
            raise ElementError(
                f"{path}: none of its names is a chemical symbol ({', '.join(there)}); say which is which, "
                f"such as species: {{Si: {next(iter(there))}}}."
            )
        return found
    if not species:
        raise ElementError(f"{path}: species is empty; name one element or more, or leave species out.")
    for element, name in species.items():
        if element not in symbols:
            raise ElementError(f"{path}: species: {element!r} is no chemical symbol.")
        if name not in there:
            raise ElementError(f"{path}: has no entry for {name!r} ({element}); it has {', '.join(there)}.")
    return dict(species)


def _entries(path: Path, lines: list[str], fields: tuple[str, ...]) -> dict[Triplet, dict[str, float]]:
    """Return the parameters of all triplets of names."""
    entries: dict[Triplet, dict[str, float]] = {}
    begun: dict[Triplet, int] = {}
    words: list[tuple[str, int]] = []
    want = 3 + len(fields)
    for number, line in enumerate(lines, start=1):
        own = line.partition("#")[0].split()
        if words and own and not _is_number(own[0]):
            _wrong_count(path, words, fields)
        words += [(word, number) for word in own]
        if not words or len(words) < want:
            continue
        if len(words) > want:
            _wrong_count(path, words, fields)
        triplet = _triplet(tuple(word for word, _ in words[:3]))
        if triplet in entries:
            raise DataError(
                f"{path}: lines {begun[triplet]} and {words[0][1]} both hold {' '.join(triplet)}; remove one."
            )
        begun[triplet] = words[0][1]
        entries[triplet] = {
            field: _number(f"{path}, line {at}: {' '.join(triplet)}: {field}", field, word)
            for field, (word, at) in zip(fields, words[3:], strict=True)
        }
        _check(f"{path}, line {words[0][1]}: {' '.join(triplet)}", entries[triplet])
        words = []
    if words:
        _wrong_count(path, words, fields)
    return entries


def _wrong_count(path: Path, words: list[tuple[str, int]], fields: tuple[str, ...]) -> None:
    names = " ".join(word for word, _ in words[:3])
    raise DataError(
        f"{path}, line {words[0][1]}: entry '{names}' has {max(len(words) - 3, 0)} numbers instead of "
        f"{len(fields)} ({', '.join(fields)})."
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _number(where: str, field: str, word: str) -> float:
    if not _is_number(word):
        raise DataError(f"{where} is {word!r}, not a number.")
    value = float(word)
    if not math.isfinite(value) or (value < 0 and field not in _SIGNED):
        raise DataError(f"{where} is {word}; it must be {'finite' if field in _SIGNED else 'zero or above'}.")
    return value


def _check(where: str, parameters: dict[str, float]) -> None:
    """Refuse what LAMMPS refuses beyond signs."""
    if "m" not in parameters:
        return
    if parameters["m"] not in (1.0, 3.0):
        raise DataError(f"{where}: m is {parameters['m']:g}; it must be 1 or 3.")
    if parameters["D"] > parameters["R"]:
        raise DataError(f"{where}: D = {parameters['D']:g} Å is larger than R = {parameters['R']:g} Å.")
