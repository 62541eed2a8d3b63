"""Convergence of ab initio settings: each varied alone, until the labels no longer change."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from ase.io import read
from ase.units import GPa
from pydantic import Field, field_validator

from mlpot.atomic import replacing, write_json
from mlpot.errors import DataError, RecipeError
from mlpot.labelling.dft.base import DFTMethod
from mlpot.labelling.dft.kpoints import mesh
from mlpot.labelling.dft.methods import AnyDFTMethod
from mlpot.labelling.method import Labels
from mlpot.recipe import Recipe

Values = Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2)]
#: meV per eV.
_MEV = 1000.0


class Vary(Recipe):
    """Values of each setting, the finest last: the one that the others are compared with.

    ``cutoff``: eV. ``k_spacing``: 1/Å. ``smearing_width``: eV.
    """

    cutoff: Values | None = None
    k_spacing: Values | None = None
    smearing_width: Values | None = None

    @field_validator("cutoff")
    @classmethod
    def _rising(cls, values: list[float] | None) -> list[float] | None:
        if values is not None and values != sorted(set(values)):
            raise ValueError("cutoffs rise from the coarsest to the finest")
        return values

    @field_validator("k_spacing", "smearing_width")
    @classmethod
    def _falling(cls, values: list[float] | None) -> list[float] | None:
        if values is not None and values != sorted(set(values), reverse=True):
            raise ValueError("values fall from the coarsest to the finest")
        return values


class Tolerances(Recipe):
    """How much a label may change towards the finest value.

    ``forces``: root mean square over components, meV/Å. ``energy``: of the difference between any
    two structures, meV/atom. ``stress``: largest component, GPa.
    """

    forces: float = Field(default=10.0, gt=0)
    energy: float = Field(default=1.0, gt=0)
    stress: float = Field(default=0.1, gt=0)


class IsolatedAtoms(Recipe):
    """Atoms alone, by the same method but spin-polarised.

    ``magnetic_moments``: by element, Bohr magnetons. ``box``: edges of the cell, Å; unequal ones let the
    density break the symmetry of the box. ``smearing_width``: eV; small, because the entropy of
    a partly filled shell is no part of the energy of an atom.
    """

    magnetic_moments: dict[str, float]
    box: tuple[float, float, float] = (10.0, 10.5, 11.0)
    smearing_width: float = Field(default=0.01, gt=0)


class ConvergenceRecipe(Recipe):
    """Everything that ``mlpot converge`` needs to know.

    ``method``: the settings that are held while one is varied. ``structures``: a file of at
    least two small structures away from symmetry, any format of ASE. ``vary``, ``tolerances``: see there.
    ``isolated_atoms``: to be computed too.
    """

    method: AnyDFTMethod
    structures: Path
    vary: Vary
    tolerances: Tolerances = Tolerances()
    isolated_atoms: IsolatedAtoms | None = None


@dataclass(frozen=True)
class Step:
    """What a value of a setting changes against the finest one.

    Attributes
    ----------
    setting, value
        What was varied, and the value.
    meshes : list of three int
        k-points of each structure.
    seconds
        Wall time of all structures.
    forces_rms, forces_max
        Of the structure that changes most, meV/Å, over components.
    energy
        Of the energy difference of two structures, the pair that changes most, meV/atom.
    stress
        Largest component, GPa; ``None`` where there is none.
    converged
        Whether it and all finer values are within the tolerances.
    """

    setting: str
    value: float
    meshes: list[list[int]]
    seconds: float
    forces_rms: float
    forces_max: float
    energy: float
    stress: float | None
    converged: bool


Progress = Callable[[str, int, int], None]


def converge(recipe: ConvergenceRecipe, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Carry out a convergence recipe; what is finished in ``out`` is not computed again.

    Parameters
    ----------
    recipe
        See there.
    out
        Directory for the inputs and outputs of all calculations and ``convergence.json``.
    progress
        Called with what is computed, the number done and the number of all.

    Returns
    -------
    dict
        Plain data: ``steps`` (see :class:`Step`), ``chosen`` (per setting the coarsest value that
        converged, ``None`` if only the finest is left), ``isolated_atoms`` (eV by element), ``method``
        (its identity), ``tolerances``.

    Raises
    ------
    MLPotError
        For structures that cannot be used, and as the method does.
    """
    structures = _structures(recipe.structures)
    elements = {str(symbol) for atoms in structures for symbol in atoms.symbols}
    alone = recipe.isolated_atoms
    recipe.method.check(elements | set(alone.magnetic_moments if alone else ()))
    plans = {
        setting: [(value, _with(recipe.method, setting, value)) for value in values]
        for setting, values in recipe.vary
        if values is not None
    }
    if not plans:
        raise RecipeError("vary: nothing to vary; name cutoff, k_spacing or smearing_width.")
    total = sum(len(plan) for plan in plans.values()) * len(structures)
    total += len(alone.magnetic_moments) if alone else 0
    done = 0

    def labels(method: DFTMethod, atoms: Atoms, name: str) -> tuple[Labels, float]:
        nonlocal done
        if progress is not None:
            progress(name, done, total)
        done += 1
        return _labels(method, atoms, out)

    steps: list[Step] = []
    for setting, plan in plans.items():
        table = [
            [labels(method, atoms, f"{setting} {value:g}") for atoms in structures] for value, method in plan
        ]
        meshes = [[[*mesh(atoms, method.k_spacing)] for atoms in structures] for _, method in plan]
        values = [value for value, _ in plan]
        steps += compare(setting, values, meshes, table, recipe.tolerances)
    energies = {}
    for symbol, moment in alone.magnetic_moments.items() if alone else ():
        assert alone is not None
        method = _with(recipe.method, "smearing_width", alone.smearing_width)
        method = method.model_copy(update={"magnetic_moments": {symbol: moment}, "stress": False})
        atom = Atoms(symbol, positions=[np.array(alone.box) / 2], cell=alone.box, pbc=False)
        energies[symbol] = labels(method, atom, f"isolated {symbol}")[0].energy
    document = {
        "steps": [asdict(step) for step in steps],
        "chosen": {setting: _chosen([s for s in steps if s.setting == setting]) for setting in plans},
        "isolated_atoms": energies,
        "method": recipe.method.identity(),
        "tolerances": recipe.tolerances.model_dump(),
    }
    write_json(out / "convergence.json", document)
    return document


def compare(
    setting: str,
    values: Sequence[float],
    meshes: Sequence[list[list[int]]],
    table: Sequence[Sequence[tuple[Labels, float]]],
    tolerances: Tolerances,
) -> list[Step]:
    """Return what each value of a setting changes against the last one.

    Parameters
    ----------
    setting
        Its name.
    values, meshes
        Per step.
    table
        Per step and structure: labels, and seconds of wall time.
    tolerances
        See there.
    """
    finest = [labels for labels, _ in table[-1]]
    steps: list[Step] = []
    good = True
    for value, points, row in reversed(list(zip(values, meshes, table, strict=True))):
        forces_rms = forces_max = stress = energy = 0.0
        changes = []
        for (labels, _), reference in zip(row, finest, strict=True):
            change = _MEV * (labels.forces - reference.forces)
            forces_rms = max(forces_rms, float(np.sqrt(np.mean(change**2))))
            forces_max = max(forces_max, float(np.abs(change).max()))
            changes.append(_MEV * (labels.energy - reference.energy) / len(labels.forces))
            if labels.stress is not None and reference.stress is not None:
                stress = max(stress, float(np.abs(labels.stress - reference.stress).max()) / GPa)
        energy = max(abs(first - second) for first, second in combinations(changes, 2))
        good = (
            good
            and forces_rms <= tolerances.forces
            and energy <= tolerances.energy
            and stress <= tolerances.stress
        )
        steps.append(
            Step(
                setting=setting,
                value=value,
                meshes=points,
                seconds=sum(seconds for _, seconds in row),
                forces_rms=forces_rms,
                forces_max=forces_max,
                energy=energy,
                stress=None if finest[0].stress is None else stress,
                converged=good,
            )
        )
    return steps[::-1]


def _chosen(steps: Sequence[Step]) -> float | None:
    """Return the coarsest converged value; the finest is no evidence of itself."""
    return next((step.value for step in steps[:-1] if step.converged), None)


def _with(method: DFTMethod, setting: str, value: float) -> DFTMethod:
    """Return a method with one setting changed."""
    if setting == "smearing_width":
        return method.model_copy(update={"smearing": method.smearing.model_copy(update={"width": value})})
    return method.model_copy(update={setting: value})


def _structures(path: Path) -> list[Atoms]:
    """Return the structures of a file, without calculators.

    Raises
    ------
    DataError
        If the file cannot be read or has fewer than two structures.
    """
    try:
        images = read(path, ":")
    except FileNotFoundError:
        raise DataError(f"structures: {path}: no such file; check the path.") from None
    except Exception as error:  # ASE's readers raise what they like
        raise DataError(f"structures: {path}: cannot be read ({type(error).__name__}: {error}).") from None
    if len(images) < 2:
        raise DataError(f"structures: {path}: energy differences need two structures, this file has one.")
    for atoms in images:
        atoms.calc = None
    return list(images)


def _labels(method: DFTMethod, atoms: Atoms, out: Path) -> tuple[Labels, float]:
    """Return the labels of a structure and the seconds they took, computed or found in ``out``."""
    about = {
        "method": method.identity(),
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": atoms.pbc.tolist(),
    }
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    folder = out / "calculations" / key
    path = folder / "labels.json"
    if path.exists():
        data = json.loads(path.read_text(encoding="utf-8"))
    else:
        if folder.exists():  # what a killed run left
            folder = _unused(folder)
        folder.mkdir(parents=True)
        started = time.monotonic()
        found = method.compute(atoms, folder.absolute())
        data = {
            "seconds": time.monotonic() - started,
            "energy": found.energy,
            "forces": found.forces.tolist(),
            "stress": None if found.stress is None else found.stress.tolist(),
            "folder": folder.name,
        }
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(json.dumps(data), encoding="utf-8")
    stress = None if data["stress"] is None else np.array(data["stress"])
    return Labels(data["energy"], np.array(data["forces"]), stress), data["seconds"]


def _unused(folder: Path) -> Path:
    """Return the first of NAME-2, NAME-3, ... that does not exist."""
    number = 2
    while (other := folder.with_name(f"{folder.name}-{number}")).exists():
        number += 1
    return other
