"""Labels from any ASE calculator that mlpot can build: force fields, potentials, import paths."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, SCFError

from mlpot.errors import ElementError, RecipeError
from mlpot.labelling.method import Labels, Method, NotConverged
from mlpot.reference import calculators
from mlpot.reference.calculators import CalculatorChoice

#: Cells of less volume (Å³) have no stress.
_NO_VOLUME = 1e-6


class CalculatorMethod(Method):
    """A calculator as :mod:`mlpot.reference.calculators` describes it; runs inside the worker process."""

    kind: Literal["calculator"] = "calculator"
    calculator: CalculatorChoice

    def check(self, elements: set[str]) -> None:
        """Refuse elements that the calculator does not know; build it once to find other mistakes.

        Raises
        ------
        ElementError
            Naming the elements.
        MLPotError
            If the calculator cannot be built, or computes no stress where it is asked for.
        """
        known = calculators.elements(self.calculator)
        if known is not None and (others := elements - set(known)):
            raise ElementError(
                f"method.calculator knows {', '.join(sorted(known))}, but the frames have "
                f"{', '.join(sorted(others))}; choose another calculator or remove these frames."
            )
        calculator = calculators.build(self.calculator)
        if self.stress and "stress" not in calculator.implemented_properties:
            raise RecipeError("method.stress: this calculator computes no stress; set `stress: false`.")

    def identity(self) -> dict[str, Any]:
        """Return what the calculator is, and whether stress was computed."""
        return {"kind": self.kind, "stress": self.stress, "calculator": calculators.describe(self.calculator)}

    def compute(self, atoms: Atoms, folder: Path) -> Labels:
        """Return the labels of one structure; the folder is not used.

        Raises
        ------
        NotConverged
            If the calculator says so by ASE's ``SCFError``.
        """
        settings = self.model_dump_json()
        atoms.calc = _calculator(settings)
        try:
            # Stress first: what computes it has the rest, what is asked for energy may stop there.
            whole = abs(np.linalg.det(atoms.cell.array)) > _NO_VOLUME
            stress = np.array(atoms.get_stress(voigt=False)) if self.stress and whole else None
            forces = np.array(atoms.get_forces(), dtype=float)
            energy = float(atoms.get_potential_energy())
        except Exception as error:
            _calculator.cache_clear()  # its state is not known
            if not isinstance(error, SCFError):
                raise
            raise NotConverged(f"{type(error).__name__}: {error}") from error
        atoms.calc.reset()
        return Labels(energy, forces, stress)


@lru_cache(maxsize=1)
def _calculator(settings: str) -> Calculator:
    """Return the calculator of this worker process: models take seconds to load."""
    return calculators.build(CalculatorMethod.model_validate_json(settings).calculator)
