"""CP2K's Quickstep (Kühne et al., J. Chem. Phys. 152, 194103 (2020)) through ASE's calculator."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ase.calculators.cp2k import CP2K
from ase.units import Rydberg, kB
from pydantic import Field

from mlpot.errors import RecipeError
from mlpot.labelling.dft.base import (
    Calculation,
    DFTMethod,
    command,
    last_words,
    program_version,
)
from mlpot.labelling.dft.pseudopotentials import Pseudopotential, refuse_unknown, verified
from mlpot.labelling.method import LabelFailed, NotConverged
from mlpot.recipe import Recipe

_INSTALL = "install CP2K (`apt-get install cp2k`, or your cluster's module), or name it in method.executable."
#: Grid cutoff that Gaussians are mapped by, the value CP2K's authors use with theirs (60 Ry), eV.
_RELATIVE_CUTOFF = 60 * Rydberg


class Kind(Recipe):
    """An element: the name of its ``potential`` and of its ``basis``, in the files of the recipe."""

    potential: str
    basis: str


class CP2KMethod(DFTMethod):
    """CP2K with Gaussians and plane waves, GTH pseudopotentials, diagonalisation.

    ``cutoff`` is here that of the density's grid, more than that of wave functions in plane waves.
    ``data_dir``: folder of ``potentials`` and ``basis_sets``, the files that ``kinds`` names
    entries of, by element. ``added_orbitals``: empty ones for the smearing. ``scf_tolerance``:
    EPS_SCF, largest change of the density matrix. ``executable``: cp2k.psmp by name or path.
    """

    kind: Literal["cp2k"] = "cp2k"
    data_dir: Path
    potentials: Pseudopotential
    basis_sets: Pseudopotential
    kinds: dict[str, Kind]
    added_orbitals: int = Field(default=20, ge=1)
    scf_tolerance: float = Field(default=1e-7, gt=0)
    executable: str = "cp2k.psmp"

    def _refuse(self, elements: set[str]) -> None:
        refuse_unknown(elements, self.kinds, "method.kinds")
        if self.smearing.kind != "fermi_dirac":
            raise RecipeError("method.smearing.kind: for CP2K fermi_dirac.")

    def _command(self) -> list[str]:
        return command(self.launcher, self.executable, _INSTALL)

    def identity(self) -> dict[str, Any]:
        """Return settings with the hashes of the files found here, and the version of CP2K.

        Raises
        ------
        ExecutableError
            If CP2K does not start.
        PseudopotentialError
            For a file that is missing or another one.
        """
        self._files()
        settings = self.model_dump(mode="json", exclude={"executable", "launcher", "data_dir"})
        version = program_version((self.executable, "--version"), r"CP2K version (\S+)", "CP2K", _INSTALL)
        return settings | {"versions": {"cp2k": version}}

    def _files(self) -> tuple[Path, Path]:
        """Return the files of potentials and of basis sets, verified."""
        remedy = "name the folder that has it in method.data_dir (CP2K comes with one)."
        potentials = verified(self.potentials, [self.data_dir], "all elements", remedy)
        return potentials, verified(self.basis_sets, [self.data_dir], "all elements", remedy)

    def template(self, numbers: tuple[int, int, int], symbols: set[str]) -> str:
        """Return the part of the input that ASE's calculator does not write.

        Parameters
        ----------
        numbers
            k-points along each reciprocal lattice vector.
        symbols
            The elements.
        """
        # MacDonald's meshes are those of Monkhorst and Pack, shifted: even ones must be, to hold Γ.
        shifts = [0.0 if number % 2 else 0.5 / number for number in numbers]
        scheme = " ".join([*map(str, numbers), *(f"{shift:.12f}" for shift in shifts)])
        points = f"&KPOINTS\nSCHEME MACDONALD {scheme}\n&END KPOINTS" if max(numbers) > 1 else ""
        kinds = "\n".join(
            f"&KIND {symbol}\nBASIS_SET {self.kinds[symbol].basis}\n"
            f"POTENTIAL {self.kinds[symbol].potential}\n&END KIND"
            for symbol in sorted(symbols)
        )
        return f"""&FORCE_EVAL
&DFT
&MGRID
REL_CUTOFF [eV] {_RELATIVE_CUTOFF:.6f}
&END MGRID
&QS
EPS_DEFAULT 1.0E-12
&END QS
{points}
&SCF
EPS_SCF {self.scf_tolerance:.3E}
ADDED_MOS {self.added_orbitals}
&SMEAR ON
METHOD FERMI_DIRAC
ELECTRONIC_TEMPERATURE [K] {self.smearing.width / kB:.6f}
&END SMEAR
&DIAGONALIZATION ON
&END DIAGONALIZATION
&MIXING
METHOD BROYDEN_MIXING
ALPHA 0.3
&END MIXING
&PRINT
&RESTART OFF
&END RESTART
&END PRINT
&END SCF
&END DFT
&SUBSYS
{kinds}
&END SUBSYS
&END FORCE_EVAL"""

    def _results(self, calculation: Calculation) -> Mapping[str, Any]:
        atoms, folder = calculation.atoms, calculation.folder
        potentials, basis_sets = self._files()
        words = self._command()
        # The shell of CP2K writes where it runs; the working directory of this process stays.
        program = f"cd {shlex.quote(str(folder))} && exec {shlex.join(words)} -s"
        calculator = None
        try:
            calculator = CP2K(
                command=program,
                label="cp2k",
                inp=self.template(calculation.mesh, set(atoms.symbols)),
                xc=self.xc,
                cutoff=self.cutoff,
                max_scf=self.max_steps,
                basis_set=None,
                basis_set_file=str(basis_sets.absolute()),
                pseudo_potential=None,
                potential_file=str(potentials.absolute()),
                stress_tensor=calculation.stress,
                uks=calculation.moments is not None,
                multiplicity=None if calculation.moments is None else round(sum(calculation.moments)) + 1,
                poisson_solver=None,
                print_level="MEDIUM",
            )
            atoms.calc = calculator
            atoms.get_forces()
            results = dict(calculator.results)
        except Exception as error:  # the shell ends in the middle of a word, and ASE asserts
            _refuse_unconverged(folder)
            raise LabelFailed(
                f"{folder}: CP2K ended before its work was done ({type(error).__name__}); "
                f"{last_words(folder / 'cp2k.out')}; {last_words(folder / 'log.txt')}"
            ) from error
        finally:
            if calculator is not None:
                with contextlib.suppress(Exception):
                    calculator.close()
            for path in [*folder.glob("*.wfn*"), *folder.glob("*.kp*")]:
                path.unlink()
        _refuse_unconverged(folder)
        return results


def _refuse_unconverged(folder: Path) -> None:
    """Raise :class:`NotConverged` if the output says so."""
    path = folder / "cp2k.out"
    text = path.read_text(errors="replace") if path.is_file() else ""
    if "SCF run NOT converged" in text:
        raise NotConverged(
            f"{folder}: the SCF of CP2K did not converge; raise method.max_steps, widen "
            "method.smearing.width, or look at the structure."
        )
