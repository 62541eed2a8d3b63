"""The published way: first a sequence model, then an extensive network that learns its -T0 ln p.

K. Sprague, J. F. Carrasquilla, S. Whitelam and I. Tamblyn, "Watch and learn: a generalized approach
for transferrable learning in deep neural networks via physical principles", Mach. Learn.: Sci.
Technol. 2, 02LT02 (2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from mlpot.errors import LatticeError
from mlpot.lattice.coupling.states import Pool, Probabilities, StateMix, disagreement, make_pool
from mlpot.lattice.descent import Descent, Minibatches, descend
from mlpot.lattice.ednn import EDNN
from mlpot.lattice.samples import Samples

#: States of which probabilities are computed at once.
_CHUNK = 2048


@dataclass(frozen=True)
class TwoStage:
    """How the network learns the energy of the sequence model.

    Parameters
    ----------
    mix
        Which states.
    states
        In each round.
    rounds
        Fresh states are made before each. Targeted states need a learned energy: the first round
        goes without them where others are left.
    descent
        In each round.
    batch
        States per step.
    images
        See :meth:`~mlpot.lattice.ednn.EDNN.draw_images`.

    Raises
    ------
    LatticeError
        For numbers below 1.
    """

    mix: StateMix = field(default_factory=StateMix)
    states: int = 20_000
    rounds: int = 3
    descent: Descent = field(default_factory=lambda: Descent(steps=1000))
    batch: int = 512
    images: int | None = None

    def __post_init__(self) -> None:
        if min(self.states, self.rounds, self.batch) < 1:
            raise LatticeError(
                f"two stages: states {self.states}, rounds {self.rounds}, batch {self.batch}; at least 1."
            )


@dataclass(frozen=True, eq=False)
class TwoStageFit:
    """What the regression left behind.

    Attributes
    ----------
    losses
        Of each step: variance of E + T0 ln p per site over the batch.
    disagreement
        Root mean square of E + T0 ln p about its mean, per source of the last states, units of J.
    """

    losses: list[float]
    disagreement: dict[str, float]


@torch.no_grad()
def log_probabilities(sequence: Probabilities, states: np.ndarray) -> np.ndarray:
    r"""Return ln p of states (n, \*shape), (n,) float64."""
    tensor = torch.as_tensor(states).long()
    parts = [sequence.log_prob(tensor[i : i + _CHUNK]).double() for i in range(0, len(tensor), _CHUNK)]
    return torch.cat(parts).numpy()


def fit_to_sequence(
    model: EDNN,
    sequence: Probabilities,
    samples: Samples,
    settings: TwoStage | None = None,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> TwoStageFit:
    """Train an extensive network on -T0 ln p of a trained sequence model.

    The loss is the variance of E + T0 ln p: the constant is left free, and the network gets its
    zero at the end (:meth:`~mlpot.lattice.ednn.EDNN.centre`).

    Parameters
    ----------
    model
        Changed in place.
    sequence
        Stays as it is.
    samples
        They give T0, and states.
    settings
        How.
    seed
        Of states and batches.
    progress
        Called after each step with (steps done, all steps, loss).

    Raises
    ------
    DataError
        For samples of another lattice or alphabet than the network.
    LatticeError
        If training diverges.
    """
    settings = settings or TwoStage()
    samples.require(model.tiling.shape, model.q)
    t0, sites = samples.temperature, samples.lattice.sites
    losses: list[float] = []
    total = settings.rounds * settings.descent.steps
    pool = Pool(samples.states[:0], np.empty(0, dtype=np.int64))
    targets = np.empty(0)
    for turn in range(settings.rounds):
        mix = settings.mix
        if turn == 0 and mix.targeted < mix.samples + mix.random + mix.model + mix.targeted:
            mix = replace(mix, targeted=0.0)
        pool = make_pool(mix, settings.states, samples, sequence, model, seed + turn)
        targets = t0 * log_probabilities(sequence, pool.states)
        states, given = torch.as_tensor(pool.states), torch.as_tensor(targets)
        batches = Minibatches(len(states), settings.batch, seed + turn)

        def loss(
            step: int, states: Tensor = states, given: Tensor = given, batches: Minibatches = batches
        ) -> Tensor:
            part = next(batches)
            return (model(states[part].long()).double() + given[part]).var() / sites

        def report(step: int, steps: int, value: float, before: int = turn * settings.descent.steps) -> None:
            if progress is not None:
                progress(before + step, total, value)

        model.draw_images(settings.images, seed + turn)
        try:
            losses += descend([model], loss, settings.descent, report)
        finally:
            model.draw_images(None)
        model.centre()
    return TwoStageFit(losses, disagreement(model.energy(pool.states) + targets, pool.sources))
