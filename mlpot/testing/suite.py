"""All physics checks in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from ase.calculators.calculator import Calculator

from mlpot.errors import RecipeError
from mlpot.model.base import LocalEnergyModel
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.testing import physics
from mlpot.testing.evaluation import CheckResult, Precision, Tolerances, evaluator, precision_of
from mlpot.testing.structures import default_spacing, distorted_crystal, skewed

#: Reach (Å) assumed of a calculator that does not tell its cutoff.
_REACH = 15.0


def run_checks(
    potential: LocalEnergyModel | Calculator,
    symbols: Sequence[str],
    *,
    spacing: float | None = None,
    reach: float | None = None,
    precision: Precision | None = None,
    seed: int = 0,
) -> list[CheckResult]:
    """Put a potential through all physics checks.

    Parameters
    ----------
    potential
        A model or any ASE calculator.
    symbols
        Elements to check with.
    spacing
        Nearest-neighbour distance of the test crystals, Å; by default from covalent radii.
    reach
        Distance (Å) beyond which atoms do not interact; by default just beyond a model's
        cutoff, 15 Å for a calculator that does not tell.
    precision
        Sets the tolerances; by default that of the model, float64 for a foreign calculator.
    seed
        Of the distortions and directions.

    Returns
    -------
    list of CheckResult
        In a fixed order. A check in which the potential raises an error has failed, with the
        error in its detail.

    Raises
    ------
    RecipeError
        For no elements.
    Exception
        Whatever the potential raises on an ordinary crystal (for instance ElementError).
    """
    if not symbols:
        raise RecipeError("physics checks need at least one chemical symbol.")
    tolerances = Tolerances.of(precision or precision_of(potential))
    distance = spacing or default_spacing(symbols)
    model = getattr(potential, "model", potential)
    far = reach or (model.cutoff + 0.5 if isinstance(model, LocalEnergyModel) else _REACH)
    rng = np.random.default_rng(seed)
    cubic = distorted_crystal(symbols, distance, rng)
    small = distorted_crystal(symbols, distance, rng, primitive=True)
    evaluate = evaluator(potential)
    evaluate(cubic)
    moving = MLPotCalculator(potential) if isinstance(potential, LocalEnergyModel) else potential

    checks: list[tuple[str, Callable[[], CheckResult]]] = [
        (name, partial(function, evaluate, cubic, tolerances, rng))
        for name, function in (
            ("rotation and inversion", physics.check_rotation_inversion),
            ("translation", physics.check_translation),
            ("permutation", physics.check_permutation),
            ("wrapped equals unwrapped", physics.check_wrapped),
            ("second derivatives", physics.check_second_derivatives),
        )
    ]
    for kind, atoms in (("cubic", cubic), ("small", small), ("skewed", skewed(small))):
        forces = partial(physics.check_forces_finite_difference, evaluate, atoms, tolerances, rng)
        stress = partial(physics.check_stress_finite_difference, evaluate, atoms, tolerances)
        checks += [(f"forces ({kind} cell)", forces), (f"stress ({kind} cell)", stress)]
    checks += [
        ("smooth cutoff", partial(physics.check_smooth_cutoff, evaluate, symbols, tolerances, distance, far)),
        ("isolated atom", partial(physics.check_isolated_atom, evaluate, symbols, tolerances, far)),
        ("extensivity", partial(physics.check_extensivity, evaluate, cubic, tolerances)),
        (
            "small and skewed cells",
            partial(physics.check_small_and_skewed_cells, evaluate, small, tolerances),
        ),
        (
            "mixed boundary conditions",
            partial(physics.check_mixed_boundaries, evaluate, small, tolerances, far),
        ),
        ("no mutation of the input", partial(physics.check_no_mutation, potential, cubic)),
        ("energy conservation", partial(physics.check_energy_conservation, moving, cubic, tolerances)),
    ]
    if isinstance(potential, LocalEnergyModel):
        batch = [cubic, small, skewed(small)]
        checks.append(
            (
                "batch equals singles",
                partial(physics.check_batch_equals_singles, potential, batch, tolerances),
            )
        )
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], CheckResult]) -> CheckResult:
    try:
        result = check()
    except Exception as error:
        # Whatever a potential raises on a legitimate structure is a finding, not a crash.
        return CheckResult(name, float("inf"), 0.0, False, f"{type(error).__name__}: {error}")
    return CheckResult(name, result.deviation, result.tolerance, result.passed, result.detail)
