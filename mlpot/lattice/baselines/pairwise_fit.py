"""Pseudo-likelihood and interaction screening of pair couplings: convex, by L-BFGS, with standard errors.

Each site's coupling to another is the same number as the other's to it (the symmetric constraint),
so all sites are fitted together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from mlpot.errors import LatticeError
from mlpot.lattice.baselines.objectives import Objective, check_objective, derivatives, site_losses
from mlpot.lattice.baselines.pair_basis import PairBasis
from mlpot.lattice.pairwise import PairwiseEnergy
from mlpot.lattice.samples import Samples
from mlpot.lattice.tiles import simplex

#: Samples worked on at once.
_CHUNK = 8192
#: Values of the matrix of features at once: 64 MB of float64.
_FEATURES = 1 << 23
#: Standard errors are estimated for up to so many parameters, from up to so many samples.
_MOST_PARAMETERS = 128
_MOST_SAMPLES = 20_000
#: A loss per site below, or couplings over T above, mean that couplings run away.
_CERTAIN = 1e-6
_LARGEST = 20


@dataclass(frozen=True, eq=False)
class PairwiseFit:
    """Couplings that were learned.

    Attributes
    ----------
    energy
        To evaluate, resize and simulate.
    names : (P,)
        Of the parameters.
    couplings : (P,) float64
        Units of J, such that Ising couplings are J: the energy is lowered by coupling times
        phi(s_i) . phi(s_j) (:func:`~mlpot.lattice.tiles.simplex`) per bond. Multiply by q/(q-1) for
        the J of a standard Potts model.
    errors : (P,) float64 or None
        Their standard errors (sandwich: curvature and scatter of the gradient over samples, which
        are taken for independent); ``None`` for more than 128 parameters.
    loss
        Mean loss per site at the end.
    iterations
        Of L-BFGS.
    """

    energy: PairwiseEnergy
    names: tuple[str, ...]
    couplings: np.ndarray
    errors: np.ndarray | None
    loss: float
    iterations: int


class _Problem:
    """Value and gradient of the mean loss per site, in float64."""

    def __init__(self, samples: Samples, basis: PairBasis, objective: Objective, penalty: float) -> None:
        self.basis, self.objective, self.penalty = basis, objective, penalty
        self.states = torch.as_tensor(samples.states.reshape(len(samples), -1))
        self.vectors = torch.as_tensor(simplex(basis.q))
        self.r = basis.q - 1
        self.transposed = basis.matrices.T.tocsr()
        self.fields_transposed = basis.fields.T.tocsr()

    def encode(self, part: Tensor) -> Tensor:
        """Return states (B, N) as vectors (B, N r)."""
        return self.vectors[part].flatten(1)

    def logits(self, x: Tensor, weights: Tensor, fields: Tensor) -> Tensor:
        """Return -E/T of each state on each site, (B, N, q), from encoded states (B, N r)."""
        local = torch.addmm(fields, x, weights).reshape(len(x), -1, self.r)
        return local @ self.vectors.T

    def _dense(self, parameters: np.ndarray) -> tuple[Tensor, Tensor]:
        size = self.basis.lattice.sites * self.r
        weights = torch.as_tensor((self.basis.matrices @ parameters).reshape(size, size))
        return weights, torch.as_tensor(self.basis.fields @ parameters)

    def value(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, fields = self._dense(parameters)
        total, scale = 0.0, self.states.numel()
        by_weights, by_fields = torch.zeros_like(weights), torch.zeros_like(fields)
        for start in range(0, len(self.states), _CHUNK):
            part = self.states[start : start + _CHUNK].long()
            x = self.encode(part)
            if self.r == 1:
                # Two states: logits are -1 and 1 times the local field.
                local = torch.addmm(fields, x, weights)
                towards = x * local
                if self.objective == "screening":
                    each = torch.exp(-towards)
                    residual = -x * each
                else:
                    each = torch.nn.functional.softplus(-2 * towards)
                    residual = -2 * x * torch.sigmoid(-2 * towards)
                total += float(each.sum())
            else:
                logits = self.logits(x, weights, fields).requires_grad_()
                loss = site_losses(logits, part, self.objective).sum()
                (gradient,) = torch.autograd.grad(loss, logits)
                total += float(loss.detach())
                residual = (gradient @ self.vectors).flatten(1)
            by_weights.addmm_(x.T, residual)
            by_fields += residual.sum(0)
        gradient_ = self.transposed @ by_weights.numpy().ravel() + self.fields_transposed @ by_fields.numpy()
        value = total / scale + 0.5 * self.penalty * float(parameters @ parameters)
        return value, gradient_ / scale + self.penalty * parameters

    def standard_errors(self, parameters: np.ndarray) -> np.ndarray:
        """Return the sandwich standard errors of the parameters, (P,)."""
        weights, fields = self._dense(parameters)
        count, size = len(parameters), weights.shape[0]
        used = min(len(self.states), _MOST_SAMPLES)
        each = [self._dense(np.eye(count)[p]) for p in range(count)]
        curvature = self.penalty * torch.eye(count, dtype=torch.float64) * used * self.states.shape[1]
        scatter = torch.zeros((count, count), dtype=torch.float64)
        step = max(1, _FEATURES // (size * count * 2))
        for start in range(0, used, step):
            part = self.states[start : min(start + step, used)].long()
            x = self.encode(part)
            features = torch.stack([torch.addmm(h, x, w) for w, h in each], -1)
            features = features.reshape(len(x), -1, self.r, count)
            by_state = torch.einsum("ac,bicp->biap", self.vectors, features)
            first, second = derivatives(self.logits(x, weights, fields), part, self.objective)
            scores = torch.einsum("bia,biap->bp", first, by_state)
            scatter += scores.T @ scores
            bent = torch.einsum("biac,bicp->biap", second, by_state)
            curvature += torch.einsum("biap,biaq->pq", by_state, bent)
        inverse = torch.linalg.pinv(curvature)
        variance = (inverse @ scatter @ inverse).diagonal() * used / len(self.states)
        return variance.clamp(min=0).sqrt().numpy()


def fit_pairwise(
    samples: Samples,
    basis: PairBasis,
    objective: Objective = "pseudo-likelihood",
    penalty: float = 0.0,
    iterations: int = 500,
) -> PairwiseFit:
    """Learn pair couplings from samples.

    Parameters
    ----------
    samples
        Equilibrium samples.
    basis
        Which couplings are free.
    objective
        ``"pseudo-likelihood"`` or ``"screening"``.
    penalty
        Half of it times the sum of squared couplings in units of T is added to the mean loss per
        site.
    iterations
        Of L-BFGS at most.

    Raises
    ------
    DataError
        For samples of another lattice or alphabet than the basis.
    LatticeError
        If it does not converge: samples that leave couplings undetermined, such as all sites alike.
    """
    check_objective(objective)
    samples.require(basis.lattice.shape, basis.q)
    if not (np.isfinite(penalty) and penalty >= 0):
        raise LatticeError(f"penalty: {penalty} is not a number of at least 0.")
    problem = _Problem(samples, basis, objective, penalty)
    start = np.zeros(len(basis.names))
    result = minimize(
        problem.value, start, jac=True, method="L-BFGS-B",
        options={"maxiter": iterations, "ftol": 1e-13, "gtol": 1e-8, "maxcor": 20},
    )  # fmt: skip
    # A line search that ends in rounding has converged all the same; a large gradient or couplings
    # that run away have not.
    slope = float(np.abs(problem.value(result.x)[1]).max())
    # Nor have those that leave nothing to chance: the likelihood grows with them for ever.
    diverged = result.fun < _CERTAIN or np.abs(result.x).max() > _LARGEST
    if not np.isfinite(result.fun) or slope > 1e-4 or diverged:
        raise LatticeError(
            f"{objective}: did not converge (gradient {slope:.1e}, loss per site {result.fun:.1e}, largest "
            f"coupling / T {np.abs(result.x).max():.1f} after {result.nit} iterations); the samples may not "
            "determine all couplings: take more samples, fewer couplings or a penalty such as 1e-4."
        )
    errors = problem.standard_errors(result.x) if len(start) <= _MOST_PARAMETERS else None
    t = samples.temperature
    return PairwiseFit(
        basis.energy(result.x, t), basis.names, t * result.x, None if errors is None else t * errors,
        float(result.fun), int(result.nit),
    )  # fmt: skip
