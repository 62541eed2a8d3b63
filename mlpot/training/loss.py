"""The loss over whatever labels a batch has, and the errors a person reads."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional
from torch_geometric.data import Data

from mlpot.model.base import Output
from mlpot.training.settings import LossSettings


def residuals(output: Output, batch: Data) -> dict[str, Tensor]:
    """Return prediction minus label where there is a label, flat.

    ``energy`` per atom (eV), ``forces`` (eV/Å) and ``stress`` (eV/Å³) by component. NaN marks a
    label that a frame does not have; such entries are left out, not counted as zero.
    """
    atoms = torch.bincount(batch.batch, minlength=len(batch.energy))
    raw = {
        "energy": (output.energy - batch.energy) / atoms,
        "forces": output.forces - batch.forces,
        "stress": output.stress - batch.stress,
    }
    return {name: value[torch.isfinite(getattr(batch, name))] for name, value in raw.items()}


def loss(
    differences: dict[str, Tensor], settings: LossSettings, fractions: Mapping[str, float] | None = None
) -> Tensor:
    """Return the loss of residuals as :class:`LossSettings` defines it.

    Parameters
    ----------
    differences
        See :func:`residuals`.
    settings
        Weights and units.
    fractions
        Which fraction of the values of each label in a batch these are; all of them, if not
        given. The losses of parts then add up to that of the batch.
    """
    total = torch.zeros((), dtype=torch.float64, device=differences["forces"].device)
    for name, values in differences.items():
        term = getattr(settings, name)
        if term.weight > 0.0 and values.numel():
            scaled = values / term.unit
            zero = torch.zeros_like(scaled)
            weight = term.weight * (1.0 if fractions is None else fractions[name])
            if settings.kind == "huber":
                total = total + weight * functional.huber_loss(scaled, zero)
            else:
                total = total + weight * 0.5 * functional.mse_loss(scaled, zero)
    return total
