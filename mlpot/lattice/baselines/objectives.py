r"""What the baselines minimise: functions of each site's conditional energies.

With logits :math:`\ell_i(a) = -E(s_i = a, \text{rest})/T_0` up to a constant per site:

Pseudo-likelihood, :math:`-\ln p(s_i|\text{rest}) = \ln\sum_a e^{\ell_i(a)} - \ell_i(s_i)`
(J. Besag, J. R. Stat. Soc. B 36, 192 (1974)). Interaction screening,
:math:`e^{-(\ell_i(s_i) - \overline{\ell_i})}` with the mean over all states of the site (M. Vuffray,
S. Misra, A. Lokhov and M. Chertkov, NeurIPS 2016; for more than two states, M. Vuffray, S. Misra
and A. Lokhov, NeurIPS 2020; with neural energies, A. Jayakumar, A. Lokhov, S. Misra and M. Vuffray,
NeurIPS 2020). Both are convex where the energy is linear in its parameters.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mlpot.errors import LatticeError

Objective = Literal["pseudo-likelihood", "screening"]


def check_objective(objective: str) -> None:
    """Raise :class:`LatticeError` unless the objective is known."""
    if objective not in ("pseudo-likelihood", "screening"):
        raise LatticeError(f"objective: {objective!r} is unknown; known: pseudo-likelihood, screening.")


def site_losses(logits: Tensor, states: Tensor, objective: Objective) -> Tensor:
    """Return the loss of each site.

    Parameters
    ----------
    logits
        (..., q), -E/T of each state of the site given the rest, up to a constant.
    states
        (...) int64: the states the sites have.
    objective
        Which one.

    Returns
    -------
    Tensor
        (...).
    """
    chosen = logits.gather(-1, states[..., None])[..., 0]
    if objective == "pseudo-likelihood":
        return logits.logsumexp(-1) - chosen
    return torch.exp(logits.mean(-1) - chosen)


def derivatives(logits: Tensor, states: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """Return gradient (..., q) and Hessian (..., q, q) of :func:`site_losses` by the logits."""
    q = logits.shape[-1]
    chosen = torch.nn.functional.one_hot(states, q).to(logits)
    if objective == "pseudo-likelihood":
        p = logits.softmax(-1)
        return p - chosen, torch.diag_embed(p) - p[..., None] * p[..., None, :]
    direction = 1 / q - chosen
    value = site_losses(logits, states, objective)[..., None]
    return value * direction, value[..., None] * direction[..., None] * direction[..., None, :]
