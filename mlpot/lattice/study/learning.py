"""How each arm learns its energy from samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mlpot.lattice.arms import Arm, DirectArm, EnsembleArm, JointArm, PairwiseArm, TwoStageArm
from mlpot.lattice.baselines.direct import fit_direct, start_from_pairs
from mlpot.lattice.baselines.pairwise_fit import fit_pairwise
from mlpot.lattice.coupling.joint import fit_joint
from mlpot.lattice.coupling.two_stage import fit_to_sequence
from mlpot.lattice.ednn import EDNN
from mlpot.lattice.ensemble import Ensemble
from mlpot.lattice.recipe import LatticeRecipe
from mlpot.lattice.samples import Samples
from mlpot.lattice.sequence.model import SequenceModel
from mlpot.lattice.study.checks import basis_of, network_of
from mlpot.lattice.study.energies import Learned

#: Called with the fraction done and what is going on.
Update = Callable[[float, str], None]

#: Couplings that a record lists.
_LISTED = 128


@dataclass(frozen=True, eq=False)
class Outcome:
    """A learned energy, the sequence model where the arm changed it, and facts for the record (JSON)."""

    energy: Learned
    sequence: SequenceModel | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def learn(
    recipe: LatticeRecipe,
    name: str,
    samples: Samples,
    seed: int,
    sequence: Callable[[], SequenceModel],
    update: Update,
) -> Outcome:
    """Return the energy that an arm learns.

    Parameters
    ----------
    recipe, name
        The arm and what surrounds it.
    samples
        To learn from.
    seed
        Of weights, batches and states.
    sequence
        Returns a trained sequence model, a new one each time.
    update
        Called with the fraction done and the name of the arm.

    Raises
    ------
    MLPotError
        If a fit does not converge or diverges.
    """
    arm = recipe.arms[name]
    if not isinstance(arm, EnsembleArm):
        return _learn(recipe, arm, samples, seed, sequence, lambda part: update(part, name))
    outcomes = []
    for number in range(arm.members):

        def partial(part: float, number: int = number) -> None:
            update((number + part) / arm.members, f"{name} {number + 1}/{arm.members}")

        base = recipe.base(name)
        outcomes.append(_learn(recipe, base, samples, 1000 * (seed + 1) + number, sequence, partial))
    members = [outcome.energy for outcome in outcomes]
    return Outcome(
        Ensemble(tuple(m for m in members if isinstance(m, EDNN))), None, {"members": len(members)}
    )


def _learn(
    recipe: LatticeRecipe,
    arm: Arm,
    samples: Samples,
    seed: int,
    sequence: Callable[[], SequenceModel],
    update: Callable[[float], None],
) -> Outcome:
    shape, q = samples.shape, samples.q
    if isinstance(arm, PairwiseArm):
        fit = fit_pairwise(samples, basis_of(arm, shape, q), arm.objective, arm.penalty, arm.iterations)
        facts: dict[str, Any] = {"loss": fit.loss, "iterations": fit.iterations, "free": len(fit.names)}
        if len(fit.names) <= _LISTED:
            errors = [None] * len(fit.names) if fit.errors is None else fit.errors.tolist()
            facts["couplings"] = [
                {"name": name, "value": value, "error": error}
                for name, value, error in zip(fit.names, fit.couplings.tolist(), errors, strict=True)
            ]
        return Outcome(fit.energy, None, facts)

    model = EDNN(network_of(recipe, arm).settings(shape, q), seed)

    def progress(step: int, steps: int, loss: float) -> None:
        update(step / steps)

    if isinstance(arm, TwoStageArm):
        regression = fit_to_sequence(model, sequence(), samples, arm.settings(), seed, progress)
        return Outcome(model, None, {"loss": regression.losses[-1], "disagreement": regression.disagreement})
    if isinstance(arm, JointArm):
        if arm.from_pairs:
            start_from_pairs(model, samples, arm.objective)
        both = sequence()
        joint = fit_joint(model, both, samples, arm.settings(), seed, progress)
        return Outcome(model, both, {"loss": joint.losses[-1], "disagreement": joint.disagreement})
    assert isinstance(arm, DirectArm)
    if arm.from_pairs:
        start_from_pairs(model, samples, arm.objective)
    direct = fit_direct(
        model, samples, arm.objective, arm.descent.settings(), arm.batch, arm.sites, arm.beyond_pairs,
        arm.images, arm.translate, arm.held_out, seed, progress,
    )  # fmt: skip
    return Outcome(model, None, {"loss": direct.losses[-1], "held_out": direct.held_out})
