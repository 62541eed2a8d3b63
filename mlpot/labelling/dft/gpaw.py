"""GPAW (Mortensen et al., J. Chem. Phys. 160, 092503 (2024)) with plane waves.

GPAW is itself an ASE calculator. It runs in a process of its own for each frame
(:mod:`mlpot.labelling.dft.gpaw_job`), so that MPI, another Python and a crash stay outside of mlpot.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ase.io import write
from pydantic import Field

from mlpot.errors import RecipeError
from mlpot.labelling.dft.base import Calculation, DFTMethod, ExecutableError, command, last_words, run
from mlpot.labelling.dft.pseudopotentials import Pseudopotential, refuse_unknown, verified
from mlpot.labelling.method import LabelFailed, NotConverged
from mlpot.recipe import Recipe

_INSTALL = (
    "install GPAW: `apt-get install libxc-dev libopenblas-dev`, then `pip install gpaw` "
    "(its PAW datasets come along), or name the Python that has it in method.python."
)
_PROBE = """
import json
import gpaw
libxc = gpaw.get_libraries()["libxc"]
folders = [str(path) for path in gpaw.setup_paths]
print(json.dumps({"version": gpaw.__version__, "libxc": libxc, "folders": folders}))
"""
_SMEARING = {"fermi_dirac": "fermi-dirac", "cold": "marzari-vanderbilt"}


class GPAWConvergence(Recipe):
    """When the SCF of GPAW has converged.

    ``energy``: change over three steps, eV per valence electron. ``density``: integrated change,
    electrons per valence electron. ``eigenstates``: integrated squared residual, eV² per valence electron.
    """

    energy: float = Field(default=5e-4, gt=0)
    density: float = Field(default=1e-4, gt=0)
    eigenstates: float = Field(default=4e-8, gt=0)


class GPAWMethod(DFTMethod):
    """GPAW with plane waves and PAW datasets.

    ``python``: the interpreter that has GPAW; by default the one that runs mlpot.
    ``pseudopotentials``: PAW datasets by element, looked for in GPAW's own paths
    (``GPAW_SETUP_PATH``, the package gpaw-data). ``convergence``: of the SCF.
    """

    kind: Literal["gpaw"] = "gpaw"
    pseudopotentials: dict[str, Pseudopotential]
    convergence: GPAWConvergence = GPAWConvergence()
    python: str | None = None

    def _refuse(self, elements: set[str]) -> None:
        refuse_unknown(elements, self.pseudopotentials, "method.pseudopotentials")
        if self.smearing.kind not in _SMEARING:
            raise RecipeError("method.smearing.kind: GPAW has fermi_dirac and cold; choose one of them.")

    def _command(self) -> list[str]:
        return command(self.launcher, self.python or sys.executable, _INSTALL)

    def identity(self) -> dict[str, Any]:
        """Return settings, version of GPAW and of libxc, and the datasets found here.

        Raises
        ------
        ExecutableError
            If GPAW cannot be imported.
        PseudopotentialError
            For a dataset that is missing or another one.
        """
        probe = _probe(self.python or sys.executable)
        folders = [Path(folder) for folder in probe["folders"]]
        for symbol, choice in self.pseudopotentials.items():
            if choice.file != f"{symbol}.{self.xc}.gz":
                raise RecipeError(
                    f"method.pseudopotentials.{symbol}.file: GPAW takes {symbol}.{self.xc}.gz, "
                    f"not {choice.file}."
                )
            verified(
                choice, folders, symbol, "install it: `pip install gpaw-data` or `gpaw install-data FOLDER`."
            )
        settings = self.model_dump(mode="json", exclude={"python", "launcher"})
        return settings | {"versions": {"gpaw": probe["version"], "libxc": probe["libxc"]}}

    def parameters(self, numbers: tuple[int, int, int], moments: list[float] | None) -> dict[str, Any]:
        """Return the keyword arguments of GPAW, plain data."""
        occupations: dict[str, Any] = {"name": _SMEARING[self.smearing.kind], "width": self.smearing.width}
        if moments is not None:
            occupations["fixmagmom"] = True
        return {
            "mode": {"name": "pw", "ecut": self.cutoff},
            "xc": self.xc,
            "kpts": {"size": list(numbers), "gamma": True},
            "occupations": occupations,
            # Frames that are worth a label have none but time reversal.
            "symmetry": {"point_group": False},
            "convergence": self.convergence.model_dump(),
            "maxiter": self.max_steps,
            "spinpol": moments is not None,
            "txt": "gpaw.txt",
        }

    def _results(self, calculation: Calculation) -> Mapping[str, Any]:
        atoms, folder = calculation.atoms, calculation.folder
        write(folder / "structure.json", atoms)
        job = {"gpaw": self.parameters(calculation.mesh, calculation.moments), "stress": calculation.stress}
        (folder / "gpaw.json").write_text(json.dumps(job, indent=1), encoding="utf-8")
        script = Path(__file__).with_name("gpaw_job.py")
        words = [
            *self._command(),
            "-m",
            "gpaw",
            "python",
            str(script),
        ]
        status = run(words, folder)
        try:
            results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise LabelFailed(
                f"{folder}: GPAW ended with status {status} and left no results; "
                f"{last_words(folder / 'gpaw.txt')}; {last_words(folder / 'log.txt')}"
            ) from None
        if not results["converged"]:
            raise NotConverged(
                f"{folder}: the SCF of GPAW did not converge in {self.max_steps} steps; "
                "raise method.max_steps, widen method.smearing.width, or look at the structure."
            )
        return dict(results)


@cache
def _probe(python: str) -> dict[str, Any]:
    """Return what a Python knows about its GPAW; once per process.

    Raises
    ------
    ExecutableError
        If it cannot import GPAW.
    """
    try:
        done = subprocess.run(
            [python, "-c", _PROBE], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise ExecutableError(f"method.python: {python}: {error.strerror}; {_INSTALL}") from None
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ExecutableError(f"method.python: {python} cannot import GPAW ({reason}); {_INSTALL}")
    probe: dict[str, Any] = json.loads(done.stdout)
    return probe
