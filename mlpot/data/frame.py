"""A frame: one labelled atomic structure, checked once and not changed afterwards."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from mlpot.conventions import voigt_to_matrix
from mlpot.errors import DataError

LabelName = Literal["energy", "forces", "stress"]
LABELS: tuple[LabelName, ...] = ("energy", "forces", "stress")


@dataclass(frozen=True)
class LabelKeys:
    """Under which names a file keeps its labels, and what a gap means.

    Parameters
    ----------
    energy, forces, stress
        Names in ``Atoms.info`` (energy in eV for the whole frame; stress as 3x3, nine or six
        numbers, eV/Å³, tensile positive, six in ASE's Voigt order) and ``Atoms.arrays``
        (forces, eV/Å). ``None``: the label is not asked for and not read.
    missing
        ``"error"``: a label that is asked for must be in every frame, except that stress may
        be absent from all frames of a file together. ``"allow"``: gaps are kept as ``None``,
        and never count in a loss.
    """

    energy: str | None = "REF_energy"
    forces: str | None = "REF_forces"
    stress: str | None = "REF_stress"
    missing: Literal["error", "allow"] = "error"

    def name(self, label: LabelName) -> str | None:
        """Return the name a label has in files."""
        return {"energy": self.energy, "forces": self.forces, "stress": self.stress}[label]


@dataclass(frozen=True)
class Frame:
    """One structure with its labels.

    Attributes
    ----------
    numbers : (N,) int64
        Atomic numbers.
    positions : (N, 3) float64
        Å.
    cell : (3, 3) float64
        Lattice vectors in rows, Å; zeros where there is none.
    pbc : (3,) bool
        Along which lattice vectors the structure is periodic.
    energy : float or None
        eV, of the whole frame.
    forces : (N, 3) float64 or None
        eV/Å.
    stress : (3, 3) float64 or None
        eV/Å³, tensile positive.
    info : dict
        Anything else the file said about the frame (group, temperature, ...).
    source : str
        Where the frame was read, ``file#index`` (from 0), for messages and provenance.

    Raises
    ------
    DataError
        On construction, for wrong shapes, values that are not finite, no atoms, unknown
        atomic numbers, a periodic frame without volume, or a stress that is not symmetric.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    energy: float | None = None
    forces: np.ndarray | None = None
    stress: np.ndarray | None = None
    info: dict[str, Any] = field(default_factory=dict)
    source: str = "memory"

    def __post_init__(self) -> None:
        n = len(self.numbers)
        if n == 0:
            raise DataError(f"{self.source}: the frame has no atoms; remove it from the file.")
        if self.numbers.min() < 1 or self.numbers.max() >= len(chemical_symbols):
            bad = next(int(z) for z in self.numbers if not 1 <= z < len(chemical_symbols))
            raise DataError(f"{self.source}: atomic number {bad} is no chemical element.")
        self._check("positions", self.positions, (n, 3))
        self._check("cell", self.cell, (3, 3))
        if self.pbc.any() and self.volume < 1e-6:
            raise DataError(
                f"{self.source}: periodic (pbc {self.pbc.tolist()}) but its cell has no volume; "
                "give three independent lattice vectors or set pbc to F F F."
            )
        if self.energy is not None:
            self._check("energy", np.asarray(self.energy), ())
        if self.forces is not None:
            self._check("forces", self.forces, (n, 3))
        if self.stress is not None:
            self._check("stress", self.stress, (3, 3))
            if self.volume < 1e-6:
                raise DataError(
                    f"{self.source}: has a stress label, but its cell has no volume, so stress is undefined; "
                    "give the cell, or do not ask for the stress (stress: null)."
                )
            if not np.allclose(self.stress, self.stress.T, atol=1e-6):
                raise DataError(
                    f"{self.source}: stress is not symmetric: {self.stress.tolist()}; "
                    "expected xx yy zz yz xz xy (6) or rows of the 3x3 tensor (9)."
                )

    def _check(self, name: str, value: np.ndarray, shape: tuple[int, ...]) -> None:
        if value.shape != shape:
            raise DataError(f"{self.source}: {name} has shape {value.shape}, expected {shape}.")
        if not np.isfinite(value).all():
            where = "" if not shape else f" (first at {np.argwhere(~np.isfinite(value))[0].tolist()})"
            raise DataError(
                f"{self.source}: {name} holds NaN or infinity{where}; correct the label or remove the frame."
            )

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³ (0 without a cell)."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def symbols(self) -> set[str]:
        """Chemical symbols that occur."""
        return {chemical_symbols[z] for z in np.unique(self.numbers)}

    def label(self, name: LabelName) -> float | np.ndarray | None:
        """Return a label by its name."""
        return getattr(self, name)

    @property
    def content_hash(self) -> str:
        """SHA-256 of structure and labels (not of ``info`` or ``source``)."""
        digest = hashlib.sha256()
        for array in (self.numbers, self.positions, self.cell, self.pbc, self.forces, self.stress):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        digest.update(repr(self.energy).encode())
        return digest.hexdigest()

    @classmethod
    def from_atoms(cls, atoms: Atoms, labels: LabelKeys | None = None, source: str = "memory") -> Frame:
        """Read a frame from ASE atoms, labels by their explicit names.

        What ASE's calculators left behind (``atoms.calc``) is never taken for a label, and
        constraints never alter forces. Without ``labels`` only the structure is read. Gaps
        are left as ``None`` here: :func:`mlpot.data.files.read_frames` judges them.

        Raises
        ------
        DataError
            See :class:`Frame`.
        """
        keys = labels or LabelKeys(energy=None, forces=None, stress=None)
        info = dict(atoms.info)
        energy = info.pop(keys.energy, None) if keys.energy else None
        stress = info.pop(keys.stress, None) if keys.stress else None
        forces = atoms.arrays.get(keys.forces) if keys.forces else None
        return cls(
            numbers=atoms.numbers.astype(np.int64),
            positions=np.array(atoms.positions, dtype=float),
            cell=np.array(atoms.cell.array, dtype=float),
            pbc=np.array(atoms.pbc, dtype=bool),
            energy=None if energy is None else _number(energy, source),
            forces=None if forces is None else np.array(forces, dtype=float),
            stress=None if stress is None else _stress(stress, source),
            info=info,
            source=source,
        )

    def to_atoms(self, labels: LabelKeys | None = None) -> Atoms:
        """Return ASE atoms with the labels under their explicit names."""
        keys = labels or LabelKeys()
        atoms = Atoms(
            numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc, info=dict(self.info)
        )
        if self.energy is not None and keys.energy:
            atoms.info[keys.energy] = self.energy
        if self.stress is not None and keys.stress:
            atoms.info[keys.stress] = self.stress.reshape(9)
        if self.forces is not None and keys.forces:
            atoms.arrays[keys.forces] = np.array(self.forces)
        return atoms


def _number(value: Any, source: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"{source}: energy is {value!r}, expected one number in eV.") from None


def _stress(value: Any, source: str) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=float)
    except ValueError:
        raise DataError(f"{source}: stress is {value!r}, expected numbers in eV/Å³.") from None
    if array.size == 9:
        return array.reshape(3, 3)
    if array.shape == (6,):
        return voigt_to_matrix(array)
    raise DataError(
        f"{source}: stress has {array.size} numbers (shape {array.shape}), expected "
        "6 (xx yy zz yz xz xy) or 9 (the rows of the 3x3 tensor), in eV/Å³, tensile positive."
    )
