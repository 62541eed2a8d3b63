"""VASP (Kresse and Furthmüller, Phys. Rev. B 54, 11169 (1996)) through ASE's calculator.

Not run by the tests, for want of a licence: they check the inputs, and outputs that are missing.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ase import Atoms
from ase.calculators.vasp import Vasp
from pydantic import Field, field_validator

from mlpot.errors import RecipeError
from mlpot.labelling.dft.base import Calculation, DFTMethod, command, last_words, run
from mlpot.labelling.dft.pseudopotentials import Pseudopotential, refuse_unknown, verified
from mlpot.labelling.method import LabelFailed, NotConverged

_INSTALL = "load your cluster's module of VASP, or name its program in method.executable."
_ISMEAR = {"fermi_dirac": -1, "gaussian": 0}
#: What VASP writes last.
_LAST = "General timing and accounting informations for this job"
#: Large files that no label needs.
_SCRATCH = ("WAVECAR", "CHGCAR", "CHG", "PROCAR", "DOSCAR", "vaspout.h5")


class VaspMethod(DFTMethod):
    """VASP with PAW datasets.

    ``pseudo_dir``: folder with one folder per dataset (potpaw_PBE.54). ``pseudopotentials``:
    files in it, ``Ge_d/POTCAR`` for example. ``scf_tolerance``: EDIFF, eV per atom. ``version``: of
    VASP, as OUTCAR begins with it (6.4.2): part of what a label is, and another one in the output is refused.
    ``executable``: vasp_std by name or path.
    """

    kind: Literal["vasp"] = "vasp"
    pseudo_dir: Path
    pseudopotentials: dict[str, Pseudopotential]
    version: str
    scf_tolerance: float = Field(default=1e-7, gt=0)
    executable: str = "vasp_std"

    @field_validator("pseudopotentials")
    @classmethod
    def _folders(cls, choices: dict[str, Pseudopotential]) -> dict[str, Pseudopotential]:
        for symbol, choice in choices.items():
            folder, _, name = choice.file.partition("/")
            if name != "POTCAR" or not folder.startswith(symbol):
                raise ValueError(f"{symbol}: file is like {symbol}/POTCAR or {symbol}_d/POTCAR")
        return choices

    def _refuse(self, elements: set[str]) -> None:
        refuse_unknown(elements, self.pseudopotentials, "method.pseudopotentials")
        if self.smearing.kind not in _ISMEAR:
            raise RecipeError("method.smearing.kind: for VASP fermi_dirac or gaussian.")

    def _command(self) -> list[str]:
        return command(self.launcher, self.executable, _INSTALL)

    def identity(self) -> dict[str, Any]:
        """Return settings with the hashes of the datasets found here.

        Raises
        ------
        PseudopotentialError
            For a dataset that is missing or another one.
        """
        for symbol, choice in self.pseudopotentials.items():
            verified(choice, [self.pseudo_dir], symbol, "name the folder that has it in method.pseudo_dir.")
        return self.model_dump(mode="json", exclude={"executable", "launcher", "pseudo_dir"})

    def calculator(
        self, atoms: Atoms, folder: Path, numbers: tuple[int, int, int], moments: list[float] | None
    ) -> Vasp:
        """Return ASE's calculator with all settings, ready to write its inputs."""
        spin = {} if moments is None else {"nupdown": sum(moments)}
        return Vasp(
            directory=str(folder),
            command=self.executable,
            xc=self.xc,
            pp=str(self.pseudo_dir.absolute()),
            setups={
                symbol: choice.file.partition("/")[0].removeprefix(symbol)
                for symbol, choice in self.pseudopotentials.items()
            },
            encut=self.cutoff,
            kpts=numbers,
            gamma=True,
            ismear=_ISMEAR[self.smearing.kind],
            sigma=self.smearing.width,
            ispin=1 if moments is None else 2,
            # Frames that are worth a label have no symmetry but time reversal.
            isym=0,
            prec="Accurate",
            lreal=False,
            lasph=True,
            algo="Normal",
            nelm=self.max_steps,
            ediff=self.scf_tolerance * len(atoms),
            ibrion=-1,
            nsw=0,
            isif=2,
            lwave=False,
            lcharg=False,
            **spin,
        )

    def _results(self, calculation: Calculation) -> Mapping[str, Any]:
        atoms, folder = calculation.atoms, calculation.folder
        words = self._command()
        calculator = self.calculator(atoms, folder, calculation.mesh, calculation.moments)
        calculator.initialize(atoms)
        calculator.write_input(atoms)
        try:
            status = run(words, folder, output="vasp.out")
        finally:
            # POTCAR is licensed and large: its hash is noted, it is not kept with every frame.
            for name in ("POTCAR", *_SCRATCH):
                (folder / name).unlink(missing_ok=True)
        outcar = folder / "OUTCAR"
        if not outcar.is_file() or _LAST not in outcar.read_text(errors="replace"):
            raise LabelFailed(
                f"{folder}: {shlex.join(words)} ended with status {status} before its work was done; "
                f"{last_words(outcar)}; {last_words(folder / 'vasp.out')}"
            )
        try:
            calculator.read_results()
        except Exception as error:  # ASE's readers raise what they like on what they do not expect
            raise LabelFailed(
                f"{folder}: cannot be read as output of VASP ({type(error).__name__}: {error})."
            ) from error
        if not calculator.converged:
            raise NotConverged(
                f"{folder}: the SCF of VASP did not converge in {self.max_steps} steps; raise "
                "method.max_steps, widen method.smearing.width, or look at the structure."
            )
        if str(calculator.version) != self.version:
            raise LabelFailed(
                f"{folder}: written by VASP {calculator.version}, the recipe says {self.version}; "
                "change method.version, or the program."
            )
        return dict(calculator.results)
