"""Which replicas of a batch may meet a stop criterion at this step: all at once, on their device."""

from __future__ import annotations

import torch
from ase.data import covalent_radii
from torch import Tensor

from mlpot.simulation.stopping import StopCriteria
from mlpot.simulation.torchsim import TorchSimModel

#: The criteria that :func:`suspects` knows of; one more must be screened as well.
SCREENED = {
    "min_distance", "interval", "max_force", "runaway_factor", "runaway_window_fs", "max_forces_std",
    "energy_deviation", "reference_interval",
}  # fmt: skip
#: Those of the cell, which does not change: once, at the start, is enough.
CONSTANT = {"min_width", "volume_factor"}


def suspects(
    criteria: StopCriteria,
    model: TorchSimModel,
    step: int,
    temperatures: Tensor,
    targets: Tensor,
    referenced: bool,
) -> Tensor:
    """Return which replicas need a :class:`~mlpot.simulation.stopping.StopMonitor` to look at them, (B,).

    A superset of those it would stop, so that the rules and their words are in one place: the monitor
    runs on the few that are suspected. What it remembers (how long a replica has been hot) is right as
    long as it also sees those that were suspected at the step before.

    Parameters
    ----------
    criteria
        What is watched.
    model
        With the results, the graph and the failures of the step.
    step
        Steps since the start.
    temperatures, targets : (B,)
        Kinetic temperatures and those of the heat baths, K.
    referenced
        Whether there is a reference calculator.
    """
    results, owner = model.results, model.graph.batch
    count = len(targets)
    if referenced and criteria.energy_deviation is not None and step % criteria.reference_interval == 0:
        return torch.ones(count, dtype=torch.bool, device=owner.device)

    def having(atoms: Tensor, owners: Tensor = owner) -> Tensor:
        return torch.zeros(count, device=owner.device).index_add_(0, owners, atoms.float()) > 0

    # Not "greater than": NaN is suspected as well.
    largest = torch.inf if criteria.max_force is None else criteria.max_force
    found = having(~(_norm(results["forces"]) <= largest)) | ~results["energy"].isfinite()
    if criteria.max_force is None:
        found |= having(~results["forces"].isfinite().all(1))
    if criteria.runaway_factor is not None:
        found |= ~(temperatures <= criteria.runaway_factor * targets)
    if criteria.max_forces_std is not None:
        found |= having(~(_norm(results["forces_std"]) <= criteria.max_forces_std))
    if criteria.min_distance is not None and step % criteria.interval == 0:
        close = _close(model, criteria.min_distance)
        found |= torch.ones_like(found) if close is None else having(close, owner[model.graph.edge_index[0]])
    return found


def _norm(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=1)


def _close(model: TorchSimModel, fraction: float) -> Tensor | None:
    """Return which pairs are closer than allowed, (E,); None where the potential's pairs cannot tell."""
    graph = model.graph
    radii = torch.as_tensor(covalent_radii, device=graph.pos.device)[graph.numbers]
    if 2.0 * fraction * float(radii.max()) > model.neighbours.cutoff:
        return None
    centre, neighbour = graph.edge_index
    vectors = graph.pos[neighbour] - graph.pos[centre]
    vectors += torch.bmm(graph.shift[:, None], graph.cell[graph.batch[centre]])[:, 0]
    return _norm(vectors) < fraction * (radii[centre] + radii[neighbour])
