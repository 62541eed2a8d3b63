r"""Joint consistency training: sequence model and extensive network learn from the same samples at once.

.. math:: \mathcal{L} = -\frac{1}{N}\langle \ln p(s)\rangle_\mathrm{samples}
    + \frac{\lambda}{N}\,\mathrm{Var}_\mathrm{states}[\ln p(s) + E(s)/T_0]
    + \mu\,\mathcal{L}_\mathrm{cond}[E]

The first term is the likelihood; the second makes both sides one distribution on states of all
energies, which samples of one temperature never show; the third (optional) is the conditional
likelihood of the network itself, which the consistency hands on to the sequence model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from mlpot.errors import LatticeError
from mlpot.lattice.baselines.direct import conditional_loss, moved
from mlpot.lattice.baselines.objectives import Objective, check_objective
from mlpot.lattice.coupling.states import Pool, StateMix, disagreement, make_pool
from mlpot.lattice.coupling.two_stage import log_probabilities
from mlpot.lattice.descent import Descent, Minibatches, descend
from mlpot.lattice.ednn import EDNN
from mlpot.lattice.samples import Samples


@dataclass(frozen=True)
class Joint:
    """How both learn.

    Parameters
    ----------
    consistency
        lambda; 0 leaves the two alone.
    conditional
        mu; 0 leaves the network to the consistency.
    objective
        Of the conditional term.
    train_energy
        ``False``: the network stays as it is (trained by conditional likelihood before, say) and
        regularises the sequence model.
    mix, states
        On which states they are to agree, and how many are kept at a time.
    renew
        Steps after which they are made anew, with the energy of the moment.
    descent
        How to descend; its learning rate is the sequence model's.
    energy_rate
        The network's learning rate over the sequence model's.
    batch
        Samples, and states of the consistency, per step.
    translate
        Move samples by random vectors for the conditional term (translation-invariant models only).
    images
        See :meth:`~mlpot.lattice.ednn.EDNN.draw_images`.

    Raises
    ------
    LatticeError
        For negative weights, or numbers below 1.
    """

    consistency: float = 1.0
    conditional: float = 1.0
    objective: Objective = "pseudo-likelihood"
    train_energy: bool = True
    mix: StateMix = field(default_factory=StateMix)
    states: int = 4096
    renew: int = 200
    descent: Descent = field(default_factory=Descent)
    energy_rate: float = 3.0
    batch: int = 256
    translate: bool = True
    images: int | None = None

    def __post_init__(self) -> None:
        check_objective(self.objective)
        if min(self.consistency, self.conditional, self.energy_rate) < 0:
            raise LatticeError(
                f"joint: consistency {self.consistency}, conditional {self.conditional}, energy_rate "
                f"{self.energy_rate}; at least 0."
            )
        if min(self.states, self.renew, self.batch) < 1 or self.batch < 2:
            raise LatticeError(
                f"joint: states {self.states}, renew {self.renew}, batch {self.batch}; at least 1, 1 and 2."
            )
        if self.train_energy and not self.consistency and not self.conditional:
            raise LatticeError("joint: with consistency 0 and conditional 0 nothing trains the energy.")


@dataclass(frozen=True, eq=False)
class JointFit:
    """What joint training left behind.

    Attributes
    ----------
    losses
        Of each step.
    disagreement
        Root mean square of E + T0 ln p about its mean, per source of fresh states, units of J.
    """

    losses: list[float]
    disagreement: dict[str, float]


def consistency_loss(log_p: Tensor, energies: Tensor, temperature: float, sites: int) -> Tensor:
    """Return the variance of ln p + E/T0 over states (B,), per site."""
    return (log_p.double() + energies.double() / temperature).var() / sites


def fit_joint(
    model: EDNN,
    sequence: nn.Module,
    samples: Samples,
    settings: Joint | None = None,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> JointFit:
    """Train a sequence model and an extensive network together.

    Parameters
    ----------
    model, sequence
        Changed in place; the network gets its zero at the end. A sequence model that was trained
        before starts from there.
    samples
        To learn from.
    settings
        How.
    seed
        Of states, batches and translations.
    progress
        Called after each step with (steps done, all steps, loss).

    Raises
    ------
    DataError
        For samples of another lattice or alphabet than the network.
    LatticeError
        If training diverges.
    """
    settings = settings or Joint()
    samples.require(model.tiling.shape, model.q)
    t0, sites = samples.temperature, samples.lattice.sites
    states = torch.as_tensor(samples.states)
    batches = Minibatches(len(states), settings.batch, seed)
    pool: Pool | None = None
    pooled = states[:0]
    drawn = Minibatches(settings.states, settings.batch, seed + 1)

    def renew(step: int) -> None:
        nonlocal pool, pooled
        if not settings.consistency or step % settings.renew:
            return
        mix = settings.mix
        if (
            step == 0
            and settings.train_energy
            and mix.targeted < mix.samples + mix.random + mix.model + mix.targeted
        ):
            # The energy knows nothing yet about which states are high and which are low.
            mix = replace(mix, targeted=0.0)
        pool = make_pool(mix, settings.states, samples, sequence, model, seed + step)  # type: ignore[arg-type]
        pooled = torch.as_tensor(pool.states)

    def loss(step: int) -> Tensor:
        part = states[next(batches)].long()
        value = -sequence.log_prob(part).mean() / sites  # type: ignore[operator]
        if settings.consistency:
            some = pooled[next(drawn)].long()
            log_p = sequence.log_prob(some)  # type: ignore[operator]
            value = value + settings.consistency * consistency_loss(log_p, model(some), t0, sites)
        if settings.conditional and settings.train_energy:
            shifted = part
            if settings.translate and model.settings.shared:
                shifted = moved(part, batches.generator)
            value = value + settings.conditional * conditional_loss(model, shifted, t0, settings.objective)
        return value

    trained = [(sequence, 1.0), (model, settings.energy_rate)] if settings.train_energy else [(sequence, 1.0)]
    model.draw_images(settings.images, seed)
    try:
        losses = descend(
            [one for one, _ in trained],
            loss,
            settings.descent,
            progress,
            renew,
            [rate for _, rate in trained],
        )
    finally:
        model.draw_images(None)
    model.centre()
    fresh = make_pool(settings.mix, settings.states, samples, sequence, model, seed - 1 & 0x7FFFFFFF)  # type: ignore[arg-type]
    residuals = model.energy(fresh.states) + t0 * log_probabilities(sequence, fresh.states)  # type: ignore[arg-type]
    return JointFit(losses, disagreement(residuals, fresh.sources))
