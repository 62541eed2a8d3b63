"""What active learning starts from, read and checked before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mlpot.active.recipe import ActiveRecipe, Exploration
from mlpot.conventions import voigt_to_matrix
from mlpot.data.files import count_labels, read_frames
from mlpot.data.frame import Frame
from mlpot.data.overlap import refuse_overlap
from mlpot.data.section import file_sha256, known_symbols
from mlpot.data.structure import read_structure
from mlpot.errors import DataError, ElementError, GeometryError, RecipeError
from mlpot.model.file import load_model, read_header
from mlpot.simulation.single import LONGEST_STEP
from mlpot.simulation.stopping import StopCriteria, StopMonitor
from mlpot.transfer.donor import complete_donors

#: Raised when the same recipe and data would give other results than before.
METHOD = 1
#: Parts of a recipe that may change between calls: they decide when to stop and who computes.
_OPEN = {"title", "rounds", "max_labels", "engine", "label"}


@dataclass(frozen=True)
class Start:
    """Where one trajectory of every round starts.

    Attributes
    ----------
    structure : str
        As in the recipe.
    volume : float
        Factor on the volume of its cell.
    strain : tuple of float
        Components xx yy zz yz xz xy.
    temperature : float
        K.
    atoms : Atoms
        The structure in the deformed cell.
    """

    structure: str
    volume: float
    strain: tuple[float, ...]
    temperature: float
    atoms: Atoms

    def asdict(self) -> dict[str, Any]:
        """Return what identifies it, as plain values."""
        return {
            "structure": self.structure,
            "volume": self.volume,
            "strain": list(self.strain),
            "temperature": self.temperature,
        }


@dataclass(frozen=True)
class Plan:
    """A recipe with all that it names.

    Attributes
    ----------
    recipe : ActiveRecipe
        What to do.
    first, validation, test : sequence of Frame
        Labelled frames: the first ones to train on, those held out of them, those that judge.
    starts : list of Start
        Of the trajectories, in the order in which they are run.
    donors : dict
        Which element of the donor serves each element; empty without a donor.
    replayed : sequence of Frame
        What a replay draws from.
    files : dict
        SHA-256 of every file read, by path.
    notes : list of str
        What a reader of the results must know.
    """

    recipe: ActiveRecipe
    first: Sequence[Frame]
    validation: Sequence[Frame]
    test: Sequence[Frame]
    starts: list[Start]
    donors: dict[str, str]
    replayed: Sequence[Frame]
    files: dict[str, str]
    notes: list[str]

    def identity(self) -> dict[str, Any]:
        """Return, as plain values, all that decides what comes of a round."""
        recipe = self.recipe.model_dump(mode="json")
        decisive = {name: value for name, value in recipe.items() if name not in _OPEN}
        method = self.recipe.label.method.identity()
        return json.loads(json.dumps({"method of this program": METHOD, **decisive, "label.method": method,
                                      "files": self.files}))  # fmt: skip


def make_plan(recipe: ActiveRecipe) -> Plan:
    """Read what a recipe names, and refuse what cannot work.

    Raises
    ------
    ElementError
        For elements that the donor or the method of labelling does not know, or that frames or
        starting structures have beside those of the recipe.
    DataError
        If a file cannot be read; if frames that judge or are held out are trained on or started
        from; if the first frames have no forces.
    GeometryError
        For a starting structure whose atoms are closer than ``dynamics.min_distance``.
    RecipeError
        If ``max_labels`` leaves nothing to label, or the time step is too long.
    MLPotError
        If the method of labelling cannot work; see :meth:`~mlpot.labelling.method.Method.check`.
    """
    elements = recipe.elements
    sets = recipe.data.load()
    first, files = list(sets.train), dict(sets.files)
    test: list[Frame] = []
    if recipe.test is not None:
        test = read_frames(recipe.test, recipe.data.labels.keys())
        files[recipe.test] = file_sha256(recipe.test)
    for name, frames in (("data", [*first, *sets.validation]), ("test", test)):
        if others := known_symbols(frames) - set(elements):
            raise ElementError(
                f"{name}: the frames have {', '.join(sorted(others))}, not among elements: "
                f"{', '.join(elements)}; remove these frames or add the element."
            )
    if missing := set(elements) - known_symbols(first):
        raise ElementError(
            f"data: no frame to train on has {', '.join(sorted(missing))}; its energy offset "
            "follows from labelled frames."
        )
    if not count_labels(first)["forces"]:
        raise DataError("data: no frame to train on has forces; a potential cannot learn without.")
    refuse_overlap(
        first,
        test,
        lambda frame, other: (
            f"data: {frame} is also a test frame ({other}), which must only judge; remove it from one side."
        ),
    )
    if recipe.max_labels is not None and recipe.max_labels <= len(first) + len(sets.validation):
        raise RecipeError(
            f"max_labels: {recipe.max_labels}, but data has {len(first) + len(sets.validation)} labelled "
            "frames already; raise it."
        )
    donors: dict[str, str] = {}
    for name in recipe.training.donor:
        donors = complete_donors(load_model(name).symbols, elements, recipe.training.donors)
        files[name] = read_header(name)["checksum"]
    replayed: Sequence[Frame] = ()
    if recipe.training.replay is not None and recipe.training.replay.data is not None:
        drawn = recipe.training.replay.data.load()
        replayed, files = drawn.train, files | drawn.files
    recipe.label.method.check(set(elements))
    starts = starting_points(recipe.dynamics, elements, test)
    files |= {start.structure: file_sha256(_file(start.structure)) for start in starts}
    return Plan(recipe, first, sets.validation, test, starts, donors, replayed, files, sets.notes)


def starting_points(section: Exploration, elements: Sequence[str], test: Sequence[Frame]) -> list[Start]:
    """Return the starting points of all trajectories; see :func:`make_plan` for the errors."""
    if section.timestep_fs > LONGEST_STEP:
        raise RecipeError(
            f"dynamics.timestep_fs: {section.timestep_fs:g} fs; beyond {LONGEST_STEP:g} fs no vibration is "
            "resolved (1 fs is usual)."
        )
    if section.friction_per_ps * section.timestep_fs > 500.0:
        raise RecipeError(
            f"dynamics.friction_per_ps: {section.friction_per_ps:g} 1/ps is too strong for a time step of "
            f"{section.timestep_fs:g} fs; their product must stay below 0.5."
        )
    steps = 1000.0 * section.time_ps / section.timestep_fs
    if steps < section.interval:
        raise RecipeError(
            f"dynamics.interval: {section.interval} steps, but a trajectory has {steps:.0f}; lower it, or "
            "raise time_ps."
        )
    monitor = StopMonitor(StopCriteria(min_distance=section.min_distance), None, section.timestep_fs)
    starts = []
    for name in section.structures:
        atoms = read_structure(name)
        if others := set(atoms.symbols) - set(elements):
            raise ElementError(
                f"dynamics.structures: {name} has {', '.join(sorted(others))}, not among elements: "
                f"{', '.join(elements)}; give structures of these elements."
            )
        _refuse_test_structure(name, atoms, test)
        whole = read_structure(name, section.supercell)
        deformed = [value for value in section.volumes if value != 1.0] or any(map(any, section.strains))
        if deformed and whole.cell.rank < 3:
            raise GeometryError(
                f"dynamics.structures: {name} has no cell with a volume, which `volumes` and `strains` "
                "change; leave these out."
            )
        for volume, strain, temperature in product(section.volumes, section.strains, section.temperatures):
            own = whole.copy()
            stretch = volume ** (1.0 / 3.0) * (np.eye(3) + voigt_to_matrix(strain))
            own.set_cell(own.cell.array @ stretch, scale_atoms=True)
            own = Atoms(numbers=own.numbers, positions=own.positions, cell=own.cell, pbc=own.pbc)
            if close := monitor.check_distances(own):
                raise GeometryError(
                    f"dynamics.structures: {name} at volume {volume:g}, strain {strain}: {close}; relax it "
                    "or lower min_distance."
                )
            starts.append(Start(name, volume, strain, temperature, own))
    return starts


def _file(structure: str) -> str:
    """Return the file of ``FILE@INDEX``."""
    return structure if Path(structure).is_file() else structure.rpartition("@")[0]


def _refuse_test_structure(name: str, atoms: Atoms, test: Sequence[Frame]) -> None:
    """Refuse to start from a test frame: the start is a frame that may be labelled."""
    for frame in test:
        same = len(frame) == len(atoms) and np.array_equal(frame.numbers, atoms.numbers)
        if (
            same
            and np.allclose(frame.positions, atoms.positions)
            and np.allclose(frame.cell, atoms.cell.array)
        ):
            raise DataError(
                f"dynamics.structures: {name} is the test frame {frame.source}, which must only judge; "
                "start from another structure."
            )
