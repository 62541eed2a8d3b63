r"""Low-rank adapters (LoRA; Hu et al., ICLR 2022, arXiv:2106.09685) that keep equivariance.

A channel matrix of the donor stays as it is and is changed by a product of two thin ones,

.. math::
    W = W_0 + A B, \qquad W_0 \in \mathbb R^{C \times D},\;
    A \in \mathbb R^{C \times r},\; B \in \mathbb R^{r \times D},

one pair for each degree where the matrix is a stack over degrees: channels are mixed within a
degree, components of one never, so the network is as equivariant as before. A is random, B zero:
the model starts as the donor, to the bit. ``alpha`` of the paper is r, that is, no further factor.

Both factors are learned by Adam with ``rate``, as in the paper: Muon would give all r directions
of a factor steps of one size, where the use of a low rank is that few directions matter, and
``matrix_rate`` is a step of W, not of a factor. Averages over steps (``average``) are of A and of
B, so the change that is kept has rank r too. A ``pull`` draws A and B to their starts, hence W to
:math:`W_0`.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mlpot.errors import RecipeError
from mlpot.model.network import normal
from mlpot.model.potential import Potential
from mlpot.recipe import Recipe
from mlpot.transfer.donor import TransferReport


class Adapters(Recipe):
    """How the channel matrices are adapted.

    ``rank``: of the change of each matrix; one whose smaller side is not larger is trained in
    full, because the adapter would have more numbers than the matrix and no smaller choice.
    ``tables``: which of the weights that are not channel matrices are trained in full: the
    ``elements``' tables (what the network knows of an element), ``all``, or ``none``.
    ``seed``: of the random factors.
    """

    rank: int = Field(default=4, ge=1)
    tables: Literal["elements", "all", "none"] = "elements"
    seed: int = Field(default=0, ge=0)


class LowRank(nn.Module):
    """The change of a matrix, or of every matrix of a stack; (..., C, D) to (..., C, D)."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        *stack, rows, columns = weight.shape
        self.a = normal(*stack, rows, rank, scale=rows**-0.5, generator=generator)
        self.b = nn.Parameter(torch.zeros(*stack, rank, columns, dtype=torch.float64))
        self.to(weight)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed matrix."""
        return weight + self.a @ self.b


def adapt(model: Potential, adapters: Adapters, report: TransferReport | None = None) -> list[str]:
    """Put adapters on the channel matrices and freeze what :class:`Adapters` does not train, in place.

    What is frozen already (see :func:`~mlpot.transfer.freeze.freeze`) stays so and gets no
    adapter. :func:`~mlpot.training.fit.fit` leaves plain tensors and writes them;
    :func:`~mlpot.training.weights.merge` does so without a fit.

    Parameters
    ----------
    model
        Predicts the same afterwards, to the bit.
    adapters
        Rank, and what else is trained.
    report
        Where ``adapted`` and ``frozen`` tensors are marked.

    Returns
    -------
    list of str
        Names of the adapted matrices.

    Raises
    ------
    RecipeError
        If the model has adapters already, or no matrix is left to adapt: all are frozen, or none
        has both sides larger than the rank.
    """
    if any(parametrize.is_parametrized(module) for module in model.modules()):
        raise RecipeError("adapters: the model has adapters already; merge them before adding others.")
    matrices = {
        f"{prefix}.{name}": (module, name)
        for prefix, module in model.named_modules()
        for name in getattr(module, "matrices", ())
    }
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    adapted = [
        name for name in trainable if name in matrices and min(trainable[name].shape[-2:]) > adapters.rank
    ]
    if not adapted:
        raise RecipeError(
            "adapters: no channel matrix is left to adapt: all are frozen or have no more than "
            f"{adapters.rank} rows or columns; lower `rank` or freeze less."
        )
    tables = {"elements": model.element_table_names(), "all": set(trainable), "none": set()}[adapters.tables]
    generator = torch.Generator().manual_seed(adapters.seed)
    for name, parameter in trainable.items():
        if name in adapted:
            module, own = matrices[name]
            parametrize.register_parametrization(module, own, LowRank(parameter, adapters.rank, generator))
            action, detail = "adapted", f", plus a product of rank {adapters.rank}"
        elif name in matrices or name in tables:
            continue
        else:
            action, detail = "frozen", ""
        parameter.requires_grad_(False)
        if report is not None:
            report.mark(name, action, report.records[name].action + detail)
    return adapted
