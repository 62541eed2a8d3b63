"""The direct arm: an extensive network trained by conditional likelihood, without any sequence model.

The probability of a site given the rest depends on energy differences alone, and these on the
tiles that contain the site: no normalisation over states of the lattice is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlpot.errors import LatticeError
from mlpot.lattice.baselines.objectives import Objective, check_objective, site_losses
from mlpot.lattice.baselines.pair_basis import by_displacement
from mlpot.lattice.baselines.pairwise_fit import PairwiseFit, fit_pairwise
from mlpot.lattice.descent import Descent, Minibatches, descend
from mlpot.lattice.ednn import EDNN
from mlpot.lattice.geometry import Lattice
from mlpot.lattice.samples import Samples

#: Random tiles per step on which the penalty is evaluated.
_PENALISED = 512


@dataclass(frozen=True, eq=False)
class DirectFit:
    """What training by conditional likelihood left behind.

    Attributes
    ----------
    losses
        Mean loss per site of each step.
    held_out
        Mean loss per site of samples that were not trained on; ``None`` if none were held out.
    """

    losses: list[float]
    held_out: float | None


def conditional_loss(
    model: EDNN,
    states: Tensor,
    temperature: float,
    objective: Objective = "pseudo-likelihood",
    sites: Tensor | None = None,
) -> Tensor:
    r"""Return the mean loss per site of states (B, \*shape), int64, with gradients.

    ``sites`` (n,) restricts it to some sites.
    """
    logits = model.conditional_energies(states, sites) / -temperature
    flat = states.reshape(len(states), -1)
    return site_losses(logits, flat if sites is None else flat[:, sites], objective).mean()


def moved(states: Tensor, generator: torch.Generator) -> Tensor:
    r"""Return states (B, \*shape) translated by a random vector, the same for all."""
    shape = states.shape[1:]
    by = [int(torch.randint(length, (1,), generator=generator)) for length in shape]
    return states.roll(by, tuple(range(1, states.ndim)))


def start_from_pairs(
    model: EDNN, samples: Samples, objective: Objective = "pseudo-likelihood", penalty: float = 0.0
) -> PairwiseFit:
    """Give a network the pair couplings that explain the samples best, as far as its tiles reach.

    The fit is convex and takes seconds; descent would take thousands of steps to find what it finds.

    Parameters
    ----------
    model
        With ``pairs``, one network for all tiles; changed in place.
    samples, objective, penalty
        See :func:`~mlpot.lattice.baselines.pairwise_fit.fit_pairwise`.

    Raises
    ------
    LatticeError
        For a model that has no pairs or a network for each tile; see also there.
    """
    lattice, shells = Lattice(model.tiling.shape), 0
    most = min(model.tiling.reach, min(lattice.shape) // 2)
    if most < 1:
        raise LatticeError("EDNN: its tiles do not see all nearest neighbours; take context.")
    while np.abs(lattice.displacements(shells + 1)).max() <= most:
        shells += 1
    states = model.settings.states if model.settings.states != "none" else "full"
    symmetric = model.settings.symmetric
    fit = fit_pairwise(
        samples, by_displacement(lattice.shape, model.q, shells, symmetric, states), objective, penalty
    )
    model.set_pairs(fit.energy)
    return fit


def fit_direct(
    model: EDNN,
    samples: Samples,
    objective: Objective = "pseudo-likelihood",
    descent: Descent | None = None,
    batch: int = 1024,
    sites: int | None = None,
    beyond_pairs: float = 0.0,
    images: int | None = None,
    translate: bool = True,
    held_out: float = 0.0,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> DirectFit:
    """Train an extensive network by conditional likelihood, and give it its zero.

    Parameters
    ----------
    model
        Changed in place; centred afterwards (:meth:`~mlpot.lattice.ednn.EDNN.centre`). It continues
        from the weights it has: from pair couplings after :func:`start_from_pairs`.
    samples
        Equilibrium samples of the model's lattice.
    objective
        ``"pseudo-likelihood"`` or ``"screening"``.
    descent
        How to descend.
    batch
        Samples per step.
    sites
        Sites per step, drawn at random; all by default. Fewer are cheaper where tiles are too large
        to be tabulated.
    beyond_pairs
        Weight of the penalty on what the perceptron adds to pair couplings
        (:meth:`~mlpot.lattice.ednn.EDNN.beyond_pairs`, over T0 squared). Needs ``pairs`` in the model.
        Configurations of a tile are many and samples few: without it the network fits their noise;
        too much of it hides interactions of more than two sites. The held-out loss decides.
    images
        Of symmetric models: images of a tile per step, see
        :meth:`~mlpot.lattice.ednn.EDNN.draw_images`; all by default.
    translate
        Move the samples by random vectors: the model's tiles then see every alignment. Not for
        networks that belong to their tiles.
    held_out
        Fraction of the samples, the last ones, to judge by.
    seed
        Of the batches, sites and translations.
    progress
        Called after each step with (steps done, all steps, loss).

    Raises
    ------
    DataError
        For samples of another lattice or alphabet, or a fraction that leaves nothing.
    LatticeError
        If training diverges.
    """
    check_objective(objective)
    samples.require(model.tiling.shape, model.q)
    if batch < 1 or (sites is not None and not 1 <= sites <= samples.lattice.sites):
        raise LatticeError(
            f"batch {batch}, sites {sites}: at least 1 each, and no more sites than the lattice has."
        )
    if beyond_pairs and not (beyond_pairs > 0 and model.settings.pairs and model.settings.hidden):
        raise LatticeError(
            f"beyond_pairs: {beyond_pairs}; a weight of at least 0, for a model with pairs and hidden layers."
        )
    kept, judged = samples.split(held_out) if held_out else (samples, None)
    states = torch.as_tensor(kept.states)
    batches = Minibatches(len(states), batch, seed)
    t = samples.temperature

    def loss(step: int) -> Tensor:
        part = states[next(batches)].long()
        if translate and model.settings.shared:
            part = moved(part, batches.generator)
        some = None
        if sites is not None:
            some = torch.randperm(samples.lattice.sites, generator=batches.generator)[:sites]
        value = conditional_loss(model, part, t, objective, some)
        if beyond_pairs:
            value = value + beyond_pairs / t**2 * model.beyond_pairs(_PENALISED, batches.generator)
        return value

    model.draw_images(images, seed)
    try:
        losses = descend([model], loss, descent or Descent(), progress)
    finally:
        model.draw_images(None)
    model.centre()
    if judged is None:
        return DirectFit(losses, None)
    with torch.no_grad():
        parts = torch.as_tensor(judged.states).split(batch)
        values = [float(conditional_loss(model, part.long(), t, objective)) * len(part) for part in parts]
    return DirectFit(losses, sum(values) / len(judged))
