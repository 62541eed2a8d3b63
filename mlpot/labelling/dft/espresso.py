"""Quantum ESPRESSO's pw.x (Giannozzi et al., J. Phys.: Condens. Matter 29, 465901 (2017)).

Inputs are written and outputs read by ASE.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ase import Atoms
from ase.calculators.espresso import EspressoProfile, EspressoTemplate
from ase.units import Ry
from pydantic import Field

from mlpot.errors import RecipeError
from mlpot.labelling.dft.base import (
    Calculation,
    DFTMethod,
    command,
    last_words,
    program_version,
    run,
)
from mlpot.labelling.dft.pseudopotentials import Pseudopotential, refuse_unknown, verified
from mlpot.labelling.method import LabelFailed, NotConverged

_INSTALL = (
    "install Quantum ESPRESSO (`apt-get install quantum-espresso`, or your cluster's module), "
    "or name pw.x in method.executable."
)
_SMEARING = {"fermi_dirac": "fd", "gaussian": "gauss", "cold": "mv"}


class EspressoMethod(DFTMethod):
    """Quantum ESPRESSO with pseudopotentials in UPF.

    ``density_cutoff``: of the density, eV; 4 times ``cutoff`` for norm-conserving
    pseudopotentials, 8 to 12 times for ultrasoft ones. ``pseudo_dir``: folder of the
    pseudopotentials. ``scf_tolerance``: estimated error of the energy, eV per atom.
    ``executable``: pw.x by name or path.
    """

    kind: Literal["espresso"] = "espresso"
    density_cutoff: float = Field(gt=0)
    pseudo_dir: Path
    pseudopotentials: dict[str, Pseudopotential]
    scf_tolerance: float = Field(default=1e-8, gt=0)
    executable: str = "pw.x"

    def _refuse(self, elements: set[str]) -> None:
        refuse_unknown(elements, self.pseudopotentials, "method.pseudopotentials")
        if self.density_cutoff < 4 * self.cutoff:
            raise RecipeError(
                f"method.density_cutoff: {self.density_cutoff:g} eV is less than 4 times method.cutoff, "
                "so that the density would be truncated; raise it."
            )

    def _command(self) -> list[str]:
        return command(self.launcher, self.executable, _INSTALL)

    def identity(self) -> dict[str, Any]:
        """Return settings with the hashes of the pseudopotentials found here, and the version of pw.x.

        Raises
        ------
        ExecutableError
            If pw.x does not start.
        PseudopotentialError
            For a pseudopotential that is missing or another one.
        """
        for symbol, choice in self.pseudopotentials.items():
            verified(
                choice,
                [self.pseudo_dir],
                symbol,
                "put it there or change method.pseudo_dir; docs/dft.md says where to get pseudopotentials.",
            )
        settings = self.model_dump(mode="json", exclude={"executable", "launcher", "pseudo_dir"})
        version = program_version((self.executable,), r"Program PWSCF\s+v\.(\S+)", "pw.x", _INSTALL)
        return settings | {"versions": {"pw.x": version}}

    def input_data(
        self, atoms: Atoms, moments: list[float] | None, stress: bool
    ) -> dict[str, dict[str, Any]]:
        """Return the namelists of pw.x."""
        system: dict[str, Any] = {
            "ecutwfc": self.cutoff / Ry,
            "ecutrho": self.density_cutoff / Ry,
            "occupations": "smearing",
            "smearing": _SMEARING[self.smearing.kind],
            "degauss": self.smearing.width / Ry,
            # Frames that are worth a label have none but time reversal.
            "nosym": True,
        }
        if moments is not None:
            system["nspin"] = 2
            system["tot_magnetization"] = sum(moments)
        return {
            "control": {
                "calculation": "scf",
                "tprnfor": True,
                "tstress": stress,
                "disk_io": "none",
                "outdir": "./scratch",
            },
            "system": system,
            "electrons": {
                "conv_thr": self.scf_tolerance * len(atoms) / Ry,
                "electron_maxstep": self.max_steps,
            },
        }

    def _results(self, calculation: Calculation) -> Mapping[str, Any]:
        atoms, folder = calculation.atoms, calculation.folder
        words = self._command()
        profile = EspressoProfile(command=shlex.join(words), pseudo_dir=self.pseudo_dir.absolute())
        template = EspressoTemplate()
        parameters = {
            "input_data": self.input_data(atoms, calculation.moments, calculation.stress),
            "pseudopotentials": {
                symbol: self.pseudopotentials[symbol].file for symbol in sorted(set(atoms.symbols))
            },
            "kpts": calculation.mesh,
            "koffset": (0, 0, 0),
        }
        template.write_input(profile, folder, atoms, parameters, ["energy", "forces"])
        try:
            status = run([*words, "-in", template.inputname], folder, output=template.outputname)
        finally:
            shutil.rmtree(folder / "scratch", ignore_errors=True)
        return read_output(template, folder, status)


def read_output(template: EspressoTemplate, folder: Path, status: int = 0) -> Mapping[str, Any]:
    """Return the results of a finished and converged calculation.

    Parameters
    ----------
    template
        Of ASE; knows the names of the files.
    folder
        With the output.
    status
        Exit status of pw.x, for messages.

    Raises
    ------
    NotConverged
        If pw.x says that the SCF did not converge.
    LabelFailed
        If the output is truncated or unreadable.
    """
    path = folder / template.outputname
    text = path.read_text(errors="replace") if path.is_file() else ""
    if "convergence NOT achieved" in text:
        raise NotConverged(
            f"{folder}: the SCF of pw.x did not converge; raise method.max_steps, widen "
            "method.smearing.width, or look at the structure."
        )
    if "JOB DONE" not in text or "convergence has been achieved" not in text:
        raise LabelFailed(
            f"{folder}: pw.x ended with status {status} before its work was done; {last_words(path)}"
        )
    try:
        return template.read_results(folder)
    except Exception as error:  # ASE's readers raise what they like on what they do not expect
        raise LabelFailed(
            f"{path}: cannot be read as output of pw.x ({type(error).__name__}: {error})."
        ) from error
