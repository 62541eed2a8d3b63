"""Calculators by recipe: what moves atoms and labels frames, as an ASE calculator with its provenance.

=======================================  =====================================================
``sw-si``, ``{name: t3-ge, ...}``        a classical force field that mlpot knows
``{file: Si.sw, ...}``                   a parameter file in a format of LAMMPS
``{lammps: {style: ..., ...}}``          any pair style of LAMMPS
``{potential: [a.safetensors, ...]}``    potentials of mlpot; several are their mean
``{import: "package:Class", ...}``       any ASE calculator
=======================================  =====================================================
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import re
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from ase.calculators.calculator import BaseCalculator, Calculator
from ase.data import chemical_symbols
from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from mlpot import __version__
from mlpot.errors import MLPotError, NativeError, RecipeError
from mlpot.recipe import Recipe, parse_recipe
from mlpot.reference.classical import ClassicalCalculator, force_field
from mlpot.reference.lammps import LammpsCalculator, lammps_force_field, lammps_installed, named_files
from mlpot.reference.parameters import ForceField, Form, form_of, read_parameters

#: What evaluates a classical force field; ``auto``: LAMMPS where it is installed, else matscipy.
Engine = Literal["auto", "matscipy", "lammps"]


class BuiltIn(Recipe):
    """A force field by its name, one of :data:`mlpot.reference.classical.FORCE_FIELDS`."""

    name: str
    engine: Engine = "auto"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            force_field(name)
        except RecipeError as error:
            raise ValueError(str(error)) from None
        return name

    def force_field(self) -> ForceField:
        """Return the force field."""
        return force_field(self.name)

    def __str__(self) -> str:
        return self.name


class ParameterFile(Recipe):
    """A force field from a parameter file; see :func:`mlpot.reference.parameters.read_parameters`."""

    file: Path
    format: Form | None = None
    species: dict[str, str] | None = None
    engine: Engine = "auto"

    @model_validator(mode="after")
    def _has_format(self) -> Self:
        if self.format is None:
            try:
                form_of(self.file)
            except RecipeError as error:
                raise ValueError(str(error)) from None
        return self

    def force_field(self) -> ForceField:
        """Read the file."""
        return read_parameters(self.file, self.format, self.species)

    def __str__(self) -> str:
        return str(self.file)


class Pair(Recipe):
    """``style``: what follows ``pair_style``; ``coefficients``: what follows each ``pair_coeff``.

    ``elements`` are those of LAMMPS's atom types, in order. Names of files may be those of
    potentials that came with LAMMPS.
    """

    elements: Annotated[tuple[str, ...], Field(min_length=1)]
    style: str
    coefficients: Annotated[tuple[str, ...], Field(min_length=1)]

    @field_validator("elements")
    @classmethod
    def _symbols(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        for element in elements:
            if element not in chemical_symbols[1:]:
                raise ValueError(f"{element!r} is no chemical symbol")
        if len(set(elements)) < len(elements):
            raise ValueError("an element is there twice")
        return elements


class PairStyle(Recipe):
    """Any pair style of LAMMPS, in units metal."""

    lammps: Pair

    def __str__(self) -> str:
        return f"LAMMPS {self.lammps.style} ({', '.join(self.lammps.coefficients)})"


class Potentials(Recipe):
    """Potentials of mlpot: model files or names of shipped ones; several are their mean, a committee."""

    potential: Annotated[
        tuple[str, ...],
        BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
        Field(min_length=1),
    ]

    def __str__(self) -> str:
        return ", ".join(self.potential)


class Imported(Recipe):
    """Any ASE calculator: ``import: package.module:Class``, called with ``arguments``."""

    target: Annotated[str, Field(alias="import")]
    arguments: dict[str, Any] = Field(default_factory=dict)

    model_config = ConfigDict(serialize_by_alias=True)

    @field_validator("target")
    @classmethod
    def _is_a_path(cls, target: str) -> str:
        if not re.fullmatch(r"[\w.]+:[\w.]+", target):
            raise ValueError(f"{target!r} is no import path; write package.module:Class")
        return target

    def __str__(self) -> str:
        return self.target


AnyCalculator = BuiltIn | ParameterFile | PairStyle | Potentials | Imported
#: The key that tells each kind.
_KINDS: dict[str, type[AnyCalculator]] = {
    "name": BuiltIn,
    "file": ParameterFile,
    "lammps": PairStyle,
    "potential": Potentials,
    "import": Imported,
}


def choose(value: Any) -> Any:
    """Return the calculator that a recipe names.

    Raises
    ------
    ValueError
        Which pydantic reports with the place in the recipe.
    """
    if isinstance(value, AnyCalculator):
        return value
    if isinstance(value, str):
        value = {"name": value}
    named = [key for key in _KINDS if isinstance(value, Mapping) and key in value]
    if len(named) != 1:
        found = f"has {' and '.join(named)}" if named else f"is {value!r}"
        raise ValueError(
            "a calculator is the name of a force field (such as sw-si) or a mapping with one of the keys "
            f"{', '.join(_KINDS)}; this {found}."
        )
    try:
        return parse_recipe(_KINDS[named[0]], value, named[0])
    except RecipeError as error:
        raise ValueError(str(error).removeprefix(f"{named[0]}: ")) from None


#: A calculator in a recipe: a name or a mapping.
CalculatorChoice = Annotated[AnyCalculator, BeforeValidator(choose)]


def build(choice: AnyCalculator) -> Calculator:
    """Return a new calculator.

    Raises
    ------
    MLPotError
        If it cannot be had: a package, file, name or parameter is missing or wrong.
    """
    if isinstance(choice, BuiltIn | ParameterFile):
        field = choice.force_field()
        return lammps_force_field(field) if engine(choice) == "lammps" else ClassicalCalculator(field)
    if isinstance(choice, PairStyle):
        pair = choice.lammps
        return LammpsCalculator(pair.elements, pair.style, pair.coefficients, str(choice))
    if isinstance(choice, Potentials):
        return _build_potentials(choice)
    return _build_imported(choice)


def elements(choice: AnyCalculator) -> frozenset[str] | None:
    """Return the chemical symbols that a calculator knows; ``None``: it does not say.

    Raises
    ------
    MLPotError
        If a file cannot be read.
    """
    if isinstance(choice, BuiltIn | ParameterFile):
        return frozenset(choice.force_field().elements)
    if isinstance(choice, PairStyle):
        return frozenset(choice.lammps.elements)
    if isinstance(choice, Potentials):
        from mlpot.model.file import read_header

        return frozenset.intersection(
            *(frozenset(read_header(name)["elements"]) for name in choice.potential)
        )
    return None


def engine(choice: BuiltIn | ParameterFile) -> Literal["matscipy", "lammps"]:
    """Return what evaluates a force field here."""
    if choice.engine == "auto":
        return "lammps" if lammps_installed() else "matscipy"
    return choice.engine


def describe(choice: AnyCalculator) -> dict[str, Any]:
    """Return what a calculator is and computed with, as plain JSON values.

    ``kind``, parameters or files with their hashes, source, the engine, versions of packages.

    Raises
    ------
    MLPotError
        If a file cannot be read.
    """
    if isinstance(choice, BuiltIn | ParameterFile):
        field, used = choice.force_field(), engine(choice)
        described = {
            "kind": "classical",
            "name": field.name,
            "elements": list(field.elements),
            "form": field.form,
            "parameters": {" ".join(entry.elements): entry.parameters for entry in field.entries},
            "source": field.source,
            "engine": used,
            "versions": _versions(used, "ase", "numpy"),
        }
        files = {str(choice.file): choice.file} if isinstance(choice, ParameterFile) else {}
        return described | ({"files": _hashes(files)} if files else {})
    if isinstance(choice, PairStyle):
        pair = choice.lammps
        return {
            "kind": "lammps",
            **pair.model_dump(mode="json"),
            "files": _hashes({path.name: path for path in named_files(pair.style, *pair.coefficients)}),
            "versions": _versions("lammps", "ase", "numpy") if lammps_installed() else {},
        }
    if isinstance(choice, Potentials):
        from mlpot.model.file import find_model

        return {
            "kind": "potential",
            "kernels": _kernels(choice),
            "files": _hashes({name: find_model(name) for name in choice.potential}),
            "versions": _versions("torch", "ase", "numpy"),
        }
    return {
        "kind": "import",
        "import": choice.target,
        "arguments": choice.model_dump(mode="json")["arguments"],
        **_origin(choice),
    }


def _versions(*packages: str) -> dict[str, str]:
    return {"mlpot": __version__} | {package: version(package) for package in packages}


def _hashes(files: dict[str, Path]) -> dict[str, str]:
    """Return the SHA-256 of files by their names."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def _build_potentials(choice: Potentials) -> Calculator:
    from mlpot.model.committee import Committee
    from mlpot.model.file import load_model
    from mlpot.simulation.calculator import MLPotCalculator

    models = [load_model(name) for name in choice.potential]
    return MLPotCalculator(models[0] if len(models) == 1 else Committee(models))


def _kernels(choice: Potentials) -> Literal["native", "pytorch"]:
    """Return what computes potentials here, as :class:`MLPotCalculator` decides it."""
    from mlpot.model.file import load_model

    try:
        return "native" if all([load_model(name).use_native() for name in choice.potential]) else "pytorch"
    except NativeError:
        return "pytorch"


def _target(choice: Imported) -> Any:
    """Return what an import path names."""
    module_name, _, path = choice.target.partition(":")
    try:
        target: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise RecipeError(
            f"calculator {choice.target}: {module_name} cannot be imported: {error}; is it installed?"
        ) from None
    for name in path.split("."):
        if not hasattr(target, name):
            close = difflib.get_close_matches(name, dir(target), n=1)
            hint = f"did you mean {close[0]!r}?" if close else "check the name."
            raise RecipeError(f"calculator {choice.target}: {module_name} has no {path!r}; {hint}")
        target = getattr(target, name)
    return target


def _build_imported(choice: Imported) -> Calculator:
    target = _target(choice)
    try:
        calculator = target(**choice.arguments)
    except MLPotError:
        raise
    except Exception as error:  # whatever other people's code raises
        raise RecipeError(
            f"calculator {choice.target}: cannot be made with the arguments "
            f"{choice.arguments}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(calculator, BaseCalculator):
        raise RecipeError(
            f"calculator {choice.target}: is a {type(calculator).__name__}, not an ASE calculator; name a "
            "class of calculators or a function that returns one."
        )
    return calculator


def _origin(choice: Imported) -> dict[str, Any]:
    """Return the version of the package that a calculator comes from, or the hash of its module."""
    module_name = choice.target.partition(":")[0]
    packages = packages_distributions().get(module_name.partition(".")[0], [])
    if packages:
        return {"versions": _versions(*sorted(set(packages)), "ase", "numpy")}
    _target(choice)
    file = importlib.import_module(module_name).__file__
    return {
        "files": _hashes({module_name: Path(file)} if file else {}),
        "versions": _versions("ase", "numpy"),
    }
