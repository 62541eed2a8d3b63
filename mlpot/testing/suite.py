"""All physics checks of a potential, in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

import numpy as np

from mlpot.errors import RecipeError
from mlpot.testing import behaviour, derivatives, diatomics, physics, smoothness
from mlpot.testing.evaluation import CheckResult, Precision
from mlpot.testing.structures import skewed
from mlpot.testing.subject import Potential, Subject, examine

Check = Callable[[], CheckResult]
#: Called with the fraction done (0 to 1) and what is going on.
Progress = Callable[[float, str], None]


def run_checks(
    potential: Potential,
    symbols: Sequence[str],
    *,
    spacing: float | None = None,
    reach: float | None = None,
    precision: Precision | None = None,
    seed: int = 0,
) -> list[CheckResult]:
    """Put a potential through all checks of what every potential must obey, however bad its fit.

    Parameters
    ----------
    potential, symbols, spacing, reach, precision, seed
        As for :func:`~mlpot.testing.subject.examine`.

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
    subject = examine(potential, symbols, spacing=spacing, reach=reach, precision=precision, seed=seed)
    return check_subject(subject, sanity=False, seed=seed)


def check_subject(
    subject: Subject,
    *,
    sanity: bool = True,
    skip: Collection[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> list[CheckResult]:
    """Return the outcome of all checks.

    Parameters
    ----------
    subject
        See :func:`~mlpot.testing.subject.examine`.
    sanity
        Whether to check also what nature does but no law demands of a potential: close atoms
        repel, a pair has one bond length.
    skip
        Names of checks that are not carried out.
    seed
        Of directions, rotations and orders.
    progress
        Told before each check.

    Raises
    ------
    RecipeError
        If there is no check of a name in ``skip``.
    """
    checks = laws(subject, np.random.default_rng(seed)) + (common_sense(subject) if sanity else [])
    unknown = [name for name in skip if name not in dict(checks)]
    if unknown:
        raise RecipeError(f"no check is named {unknown[0]!r}; there are: {', '.join(dict(checks))}.")
    results = []
    for index, (name, check) in enumerate(checks):
        if progress is not None:
            progress(index / len(checks), name)
        if name in skip:
            results.append(CheckResult.not_applicable(name, "skipped, as asked for"))
        else:
            results.append(_guarded(name, check))
    return results


def common_sense(subject: Subject) -> list[tuple[str, Check]]:
    """Return by their names the checks of what a potential should have learnt."""
    return [
        ("diatomic repulsion", lambda: diatomics.check_diatomic_repulsion(subject.diatomics)),
        ("diatomic minimum", lambda: diatomics.check_diatomic_minimum(subject.diatomics)),
    ]


def laws(subject: Subject, rng: np.random.Generator) -> list[tuple[str, Check]]:
    """Return by their names the checks of what every potential must obey."""
    evaluate, cluster = subject.evaluate, subject.evaluate_cluster
    cubic, small, tolerances = subject.cubic, subject.small, subject.tolerances
    symbols, spacing, reach = subject.symbols, subject.spacing, subject.reach
    turned, shaken = skewed(small), (evaluate, cubic, tolerances, rng)
    given = [cubic] if subject.refusal is not None else [cubic, subject.cluster]

    checks: list[tuple[str, Check]] = []
    for kind, atoms in (("cubic", cubic), ("small", small), ("skewed", turned)):
        forces = partial(derivatives.check_forces_finite_difference, evaluate, atoms, tolerances, rng)
        stress = partial(derivatives.check_stress_finite_difference, evaluate, atoms, tolerances)
        checks += [(f"forces ({kind} cell)", forces), (f"stress ({kind} cell)", stress)]
    checks += [
        (
            "second derivatives",
            partial(derivatives.check_second_derivatives, *shaken),
        ),
        ("closed loop", partial(derivatives.check_closed_loop, *shaken)),
        (
            "energy conservation",
            partial(derivatives.check_energy_conservation, subject.calculator, cubic, tolerances),
        ),
        (
            "net force and torque",
            partial(
                derivatives.check_net_force_and_torque, evaluate, cluster, cubic, subject.cluster, tolerances
            ),
        ),
        (
            "rotation and inversion",
            partial(physics.check_rotation_inversion, *shaken),
        ),
        ("translation", partial(physics.check_translation, *shaken)),
        ("permutation", partial(physics.check_permutation, *shaken)),
        ("order of elements", partial(physics.check_order_of_elements, evaluate, cubic, tolerances)),
        ("wrapped equals unwrapped", partial(physics.check_wrapped, *shaken)),
        ("extensivity", partial(physics.check_extensivity, evaluate, cubic, tolerances)),
        (
            "small and skewed cells",
            partial(physics.check_small_and_skewed_cells, evaluate, small, tolerances),
        ),
        ("mixed boundary conditions", partial(_mixed_boundaries, subject)),
        ("isolated atom", partial(physics.check_isolated_atom, cluster, symbols, tolerances, reach)),
        (
            "locality",
            partial(physics.check_locality, cluster, subject.cluster, subject.cluster, tolerances, reach),
        ),
        (
            "smooth cutoff",
            partial(smoothness.check_smooth_cutoff, cluster, symbols, tolerances, spacing, reach),
        ),
        (
            "energy-volume curve",
            lambda: smoothness.check_energy_volume(evaluate, symbols, tolerances, subject.spacing_at_rest),
        ),
        ("diatomic force", lambda: diatomics.check_diatomic_force(cluster, subject.diatomics, tolerances)),
        (
            "numerical noise",
            lambda: behaviour.check_noise(subject.noise, evaluate(cubic), tolerances),
        ),
        (
            "determinism",
            partial(behaviour.check_determinism, evaluate, cubic, [small, turned], tolerances),
        ),
        (
            "no mutation of the input",
            partial(behaviour.check_no_mutation, subject.evaluate_in_place, given),
        ),
        (
            "results follow the atoms",
            partial(behaviour.check_up_to_date, subject.evaluate_in_place, cubic, small, tolerances, rng),
        ),
        ("threads", partial(_threads, subject)),
    ]
    if subject.model is not None:
        batch = partial(
            behaviour.check_batch_equals_singles, subject.model, [cubic, small, turned], tolerances
        )
        checks.append(("batch equals singles", batch))
    return checks


def _mixed_boundaries(subject: Subject) -> CheckResult:
    if subject.refusal is not None:
        return CheckResult(
            "mixed boundary conditions",
            np.inf,
            0.0,
            False,
            f"an open structure is refused: {subject.refusal}",
        )
    return physics.check_mixed_boundaries(subject.evaluate, subject.small, subject.tolerances, subject.reach)


def _threads(subject: Subject) -> CheckResult:
    if subject.make is None:
        return CheckResult.not_applicable("threads", "needs a function that makes a second calculator")
    return behaviour.check_threads(subject.make, subject.cubic, subject.small, subject.tolerances)


def _guarded(name: str, check: Check) -> CheckResult:
    try:
        result = check()
    except Exception as error:
        # Whatever a potential raises on a legitimate structure is a finding, not a crash.
        return CheckResult(name, float("inf"), 0.0, False, f"{type(error).__name__}: {error}")
    return CheckResult(name, result.deviation, result.tolerance, result.passed, result.detail)
