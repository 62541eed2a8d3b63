"""What the ab initio methods share: settings, the run of a program, and what makes a complete label."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from pydantic import Field

from mlpot.conventions import voigt_to_matrix
from mlpot.errors import GeometryError, MLPotError
from mlpot.labelling.dft.kpoints import mesh
from mlpot.labelling.method import LabelFailed, Labels, Method
from mlpot.recipe import Recipe

#: Volume (Å³) under which a cell is no cell.
_NO_VOLUME = 1e-6
#: How much of a program's last words a message repeats, characters.
_LAST_WORDS = 300


class ExecutableError(MLPotError):
    """A program that is missing or does not start."""


class Smearing(Recipe):
    """Occupation of the states around the Fermi level.

    ``kind``: fermi_dirac, gaussian or cold (Marzari-Vanderbilt). ``width``: eV. Labels are always
    the free energy E - TS and its derivatives (or what the scheme has in its place): forces and
    stress are derivatives of that, not of the energy extrapolated to zero width.
    """

    kind: Literal["fermi_dirac", "gaussian", "cold"] = "fermi_dirac"
    width: float = Field(default=0.05, gt=0)


@dataclass(frozen=True)
class Calculation:
    """What is computed, and where.

    Attributes
    ----------
    atoms
        Repeats in all directions; has the magnetic moments, if there are any.
    folder
        Takes inputs and outputs.
    mesh
        k-points along each reciprocal lattice vector, Γ among them.
    moments
        Magnetic moment of each atom (Bohr magnetons); ``None``: not spin-polarised.
    stress
        Whether it is asked for.
    """

    atoms: Atoms
    folder: Path
    mesh: tuple[int, int, int]
    moments: list[float] | None
    stress: bool


class DFTMethod(Method):
    """Base of the ab initio methods.

    ``xc``: exchange-correlation functional. ``cutoff``: kinetic energy of plane waves, eV.
    ``k_spacing``: largest distance of k-points, 1/Å; the mesh (with Γ) follows from it and the cell, see
    :func:`~mlpot.labelling.dft.kpoints.mesh`. ``magnetic_moments``: by element, in
    Bohr magnetons per atom; makes the calculation spin-polarised with the total moment held at
    their sum (isolated atoms); without them it is not spin-polarised. ``max_steps``: SCF steps
    after which a frame counts as not converged. ``launcher``: what the
    program is started through, ``mpiexec -n 4`` or ``srun`` for example; nothing by default.
    """

    xc: Literal["PBE"] = "PBE"
    cutoff: float = Field(gt=0)
    k_spacing: float = Field(gt=0)
    smearing: Smearing = Smearing()
    magnetic_moments: dict[str, float] | None = None
    max_steps: int = Field(default=100, ge=1)
    launcher: str = ""

    def check(self, elements: set[str]) -> None:
        """Refuse a missing program, launcher, pseudopotential or element, and settings the program has not.

        Raises
        ------
        MLPotError
            Each with its remedy.
        """
        self._refuse(elements)
        self._command()
        self.identity()

    @abstractmethod
    def _refuse(self, elements: set[str]) -> None:
        """Refuse elements and settings that can be judged by the recipe alone."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the words that start the program; see :func:`command`."""

    def compute(self, atoms: Atoms, folder: Path) -> Labels:
        """Return the labels of one structure, all of them or none.

        Raises
        ------
        NotConverged
            If the SCF did not converge.
        LabelFailed
            If the program failed, its output is truncated, or a label is missing in it.
        GeometryError
            For a structure without a cell or of too many k-points.
        """
        if abs(np.linalg.det(atoms.cell.array)) < _NO_VOLUME:
            raise GeometryError(
                "the structure has no cell; plane waves need one: put a molecule into a box "
                "(atoms.center(vacuum=6)) and leave pbc false."
            )
        try:
            numbers = mesh(atoms, self.k_spacing)
        except ValueError as error:
            raise GeometryError(f"{error}; change method.k_spacing or the cell.") from None
        atoms = atoms.copy()
        moments: list[float] | None = None
        if self.magnetic_moments is not None:
            moments = [self.magnetic_moments.get(symbol, 0.0) for symbol in atoms.symbols]
            atoms.set_initial_magnetic_moments(moments)
        stress = self.stress and bool(atoms.pbc.all())
        atoms.pbc = True  # to these programs everything repeats; the box is what keeps a molecule alone
        results = self._results(Calculation(atoms, folder, numbers, moments, stress))
        return complete(results, len(atoms), stress, folder)

    @abstractmethod
    def _results(self, calculation: Calculation) -> Mapping[str, Any]:
        """Run the program; return results by ASE's names and in its units.

        ``free_energy`` (eV), ``forces`` (N, 3), and ``stress`` (6 in Voigt order, or 3, 3), as far as
        they are in the output.
        """


def complete(results: Mapping[str, Any], atoms: int, stress: bool, folder: Path) -> Labels:
    """Return labels if all that is asked for is there.

    Raises
    ------
    LabelFailed
        Naming what is missing or not finite.
    """
    asked = ["free_energy", "forces"] + (["stress"] if stress else [])
    if missing := [name for name in asked if results.get(name) is None]:
        raise LabelFailed(
            f"{folder}: the output has no {' and no '.join(name.replace('_', ' ') for name in missing)}; "
            "nothing of it was taken. It is truncated, or the program was told not to compute them: "
            "look into the output there, and label the frame again."
        )
    forces = np.asarray(results["forces"], dtype=float)
    if forces.shape != (atoms, 3):
        raise LabelFailed(f"{folder}: forces of shape {forces.shape} for {atoms} atoms; truncated output.")
    tensor = None
    if stress:
        tensor = np.asarray(results["stress"], dtype=float)
        if tensor.shape == (6,):
            tensor = voigt_to_matrix(tensor)
    energy = float(results["free_energy"])
    if not (
        np.isfinite(energy) and np.isfinite(forces).all() and (tensor is None or np.isfinite(tensor).all())
    ):
        raise LabelFailed(f"{folder}: labels that are not finite numbers; look into the output there.")
    return Labels(energy, forces, tensor)


def command(launcher: str, program: str, install: str) -> list[str]:
    """Return the words that start a program, each of its executables found.

    Raises
    ------
    ExecutableError
        If the launcher or the program is not there; ``install`` says how to get the program.
    """
    words = shlex.split(launcher)
    if words and shutil.which(words[0]) is None:
        raise ExecutableError(
            f"method.launcher: '{words[0]}' is not on the PATH; load the module that has it, "
            "or leave launcher out to run without MPI."
        )
    if shutil.which(program) is None:
        raise ExecutableError(f"'{program}' is not on the PATH; {install}")
    return [*words, program]


@cache
def program_version(words: tuple[str, ...], pattern: str, name: str, install: str) -> str:
    """Return the version that a program prints; once per process.

    Parameters
    ----------
    words
        The command; it runs in a folder of its own and reads nothing.
    pattern
        Regular expression, whose group is the version.
    name
        Of the program, for messages.
    install
        How to get the program; ends messages.

    Raises
    ------
    ExecutableError
        If it does not start or prints none.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                list(words), cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
    except OSError as error:
        raise ExecutableError(f"'{words[0]}': {error.strerror}; {install}") from None
    found = re.search(pattern, done.stdout)
    if found is None:
        raise ExecutableError(f"'{words[0]}' does not start as {name} does; {install}")
    return found.group(1)


def run(words: Sequence[str], folder: Path, *, output: str | None = None) -> int:
    """Run a program in a folder and wait for it; return its exit status.

    Parameters
    ----------
    words
        The command.
    folder
        Its working directory.
    output
        Name of the file there that takes standard output; by default where this process prints.

    Raises
    ------
    LabelFailed
        If the program cannot be started.
    """
    stdout = None if output is None else (folder / output).open("wb")
    try:
        return subprocess.run(list(words), cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout).returncode
    except OSError as error:
        raise LabelFailed(f"{shlex.join(words)}: {error.strerror}.") from None
    finally:
        if stdout is not None:
            stdout.close()


def last_words(path: Path) -> str:
    """Return the end of a text file in one line, for a message."""
    if not path.is_file():
        return f"{path.name} was not written"
    text = " ".join(path.read_text(errors="replace").split())
    return f"{path.name} ends: …{text[-_LAST_WORDS:]}" if text else f"{path.name} is empty"
