"""What learned energies and sequence models are worth, by the true model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.coupling.two_stage import log_probabilities
from mlpot.lattice.ensemble import Ensemble
from mlpot.lattice.learned_mc import local_energy
from mlpot.lattice.samples import Samples
from mlpot.lattice.score import Judge, recover_couplings
from mlpot.lattice.sequence.model import SequenceModel
from mlpot.lattice.study.energies import Learned
from mlpot.lattice.study.plan import Plan
from mlpot.lattice.tile_energy import TableEnergy

#: Made once per process: making them takes longer than judging by them.
_JUDGES: dict[tuple[Any, ...], Judge] = {}


class SequenceEnergy:
    """The energy that a sequence model stands for, -T0 ln p, on its own lattice."""

    def __init__(self, model: SequenceModel, temperature: float) -> None:
        self.model, self.temperature, self.q = model, temperature, model.q

    def energy(self, states: np.ndarray) -> np.ndarray:
        r"""Return the energy of states (samples, \*shape): (samples,) float64, units of J."""
        return -self.temperature * log_probabilities(self.model, states)

    def resized(self, shape: Any) -> SequenceEnergy:
        """Refuse: a sequence model has one size."""
        raise LatticeError("sequence model: holds for its own lattice only.")


def judged(plan: Plan, energy: Learned, sequence: SequenceEnergy | None, samples: Samples) -> dict[str, Any]:
    """Return the scores of an energy by shape, the couplings in it, and how far an ensemble disagrees.

    Parameters
    ----------
    plan
        Whose model is the truth; if it is unknown only an ensemble has anything to say.
    energy
        That was learned.
    sequence
        The sequence model beside it, if there is one.
    samples
        On which an ensemble disagrees where no states of all energies are known.
    """
    said: dict[str, Any] = {
        "scores": {}, "details": {}, "recovery": None, "deviation": None, "sequence_rmse": None
    }  # fmt: skip
    states = samples.states[:5000]
    # A network would tabulate its tiles anew at every call.
    local = local_energy(energy)
    quick = local if isinstance(local, TableEnergy) else energy
    if plan.model is not None:
        shapes = [tuple(shape) for shape in plan.recipe.score.shapes or []] or [plan.shape]
        for shape in shapes:
            other = quick if shape == plan.shape else quick.resized(shape)
            score = _judge(plan, shape).score(other)
            said["scores"]["x".join(map(str, shape))] = score.rmse
            said["details"]["x".join(map(str, shape))] = score.to_dict()
        recovery = recover_couplings(quick, plan.model)
        correlation = None if math.isnan(recovery.correlation) else recovery.correlation
        said["recovery"] = {"correlation": correlation, "rmse": recovery.rmse, "pairs": recovery.pairs}
        if sequence is not None:
            said["sequence_rmse"] = _judge(plan, plan.shape).score(sequence).rmse
        if isinstance(energy, Ensemble):
            states = _judge(plan, plan.shape).spread.states
    if isinstance(energy, Ensemble):
        said["deviation"] = float(energy.deviation(states).mean())
    return said


def _judge(plan: Plan, shape: tuple[int, ...]) -> Judge:
    assert plan.model is not None
    score = plan.recipe.score
    model = plan.model if shape == plan.shape else plan.model.resized(shape)
    about = (repr(model.to_dict()), shape, score.configurations, score.random_states, score.seed)
    if about not in _JUDGES:
        _JUDGES[about] = Judge(model, score.configurations, score.random_states, score.seed)
    return _JUDGES[about]


def seen_anew(model: SequenceModel, samples: Samples, before: dict[str, Any]) -> dict[str, Any]:
    """Return what became of a sequence model, on the samples that were held out before: it has seen them."""
    held = samples.states[-math.ceil(before["held_out"] * len(samples)) :]
    nats = -log_probabilities(model, held)
    entropy = before["exact_entropy"]
    return before | {
        "nll": float(nats.mean()), "nll_error": float(nats.std(ddof=1) / math.sqrt(len(nats))),
        "kl": None if entropy is None else float(nats.mean()) - entropy,
    }  # fmt: skip
