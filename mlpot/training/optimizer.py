"""One optimiser for two kinds of weights: Muon for channel matrices, Adam for tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mlpot.errors import RecipeError
from mlpot.training.weights import matching, weight_name, weights

#: Quintic Newton–Schulz iteration of Jordan et al. (Muon, 2024), kellerjordan.github.io/posts/muon.
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Return stacks of matrices (..., rows, columns) with singular values brought near 1."""
    a, b, c = _NEWTON_SCHULZ
    wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT
    x = wide / (torch.linalg.matrix_norm(wide, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrices.shape[-2] <= matrices.shape[-1] else x.mT


class MuonAdam(Optimizer):
    """Muon for parameter groups with ``matrix=True``, Adam (no weight decay) for the others.

    torch's own Muon takes single matrices in bfloat16; the degrees of an equivariant layer are
    a stack of small matrices, orthogonalised one by one, and a CPU has no use for bfloat16.

    Parameters
    ----------
    groups
        Dictionaries with ``params``, ``lr``, ``matrix`` and, if it is not 1, a ``factor`` on ``lr``.
    momentum, betas, eps
        Of Muon (with Nesterov's look-ahead) and of Adam.
    pull, start
        After its step a parameter goes the fraction ``lr * factor * pull`` of the way back to its
        tensor in ``start``, which is needed if ``pull`` is not zero. No part of the state: who
        resumes gives the same start again.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        pull: float = 0.0,
        start: Mapping[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(groups, {"factor": 1.0, "momentum": momentum, "betas": betas, "eps": eps})
        self.pull, self.start = pull, dict(start or {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            rule, rate = self._muon if group["matrix"] else self._adam, group["lr"] * group["factor"]
            gradients: list[Tensor] = [parameter.grad for parameter in parameters]
            rule(parameters, gradients, [self.state[parameter] for parameter in parameters], group, rate)
            if self.pull:
                torch._foreach_lerp_(parameters, [self.start[p] for p in parameters], rate * self.pull)
        return loss

    @staticmethod
    def _muon(
        parameters: list[Tensor],
        gradients: list[Tensor],
        states: list[dict[str, Any]],
        group: dict[str, Any],
        rate: float,
    ) -> None:
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
        momentum, averages = group["momentum"], [state["momentum"] for state in states]
        torch._foreach_lerp_(averages, gradients, 1.0 - momentum)
        updates = _orthogonalised(torch._foreach_lerp(gradients, averages, momentum))
        for parameter, update in zip(parameters, updates, strict=True):
            rows, columns = parameter.shape[-2:]
            parameter.add_(update, alpha=-rate * max(1.0, rows / columns) ** 0.5)

    @staticmethod
    def _adam(
        parameters: list[Tensor],
        gradients: list[Tensor],
        states: list[dict[str, Any]],
        group: dict[str, Any],
        rate: float,
    ) -> None:
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state["step"] = 0
                state["mean"] = torch.zeros_like(parameter)
                state["square"] = torch.zeros_like(parameter)
            state["step"] += 1
        beta1, beta2 = group["betas"]
        means, squares = ([state[name] for state in states] for name in ("mean", "square"))
        torch._foreach_lerp_(means, gradients, 1.0 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1.0 - beta2)
        # Parameters may have seen different numbers of steps: some have no gradient now and then.
        spreads = torch._foreach_div(squares, [1.0 - beta2 ** state["step"] for state in states])
        torch._foreach_sqrt_(spreads)
        torch._foreach_add_(spreads, group["eps"])
        sizes = [-rate / (1.0 - beta1 ** state["step"]) for state in states]
        torch._foreach_addcdiv_(parameters, means, spreads, sizes)


def _orthogonalised(updates: Sequence[Tensor]) -> list[Tensor]:
    """Orthogonalise all matrices, those of one shape together, however they lie."""
    stacks: dict[torch.Size, list[tuple[int, Tensor]]] = {}
    for index, update in enumerate(updates):
        rows, columns = update.shape[-2:]
        wide = update if rows <= columns else update.mT
        stacks.setdefault(wide.shape[-2:], []).append((index, wide.reshape(-1, *wide.shape[-2:])))
    done: list[Tensor] = [torch.empty(0)] * len(updates)
    for members in stacks.values():
        parts = orthogonalise(torch.cat([wide for _, wide in members])).split([len(w) for _, w in members])
        for (index, _), part in zip(members, parts, strict=True):
            shape = updates[index].shape
            done[index] = (part if shape[-2] <= shape[-1] else part.mT).reshape(shape)
    return done


def rate_factors(model: nn.Module, patterns: Mapping[str, float]) -> dict[str, float]:
    """Return the factor of every weight that a shell pattern on its name matches.

    Raises
    ------
    RecipeError
        If a pattern matches no weight or only frozen ones, or if two give one weight different
        factors.
    """
    parts = weights(model)
    chosen: dict[str, tuple[float, str]] = {}
    for pattern, factor in patterns.items():
        matched = matching(parts, pattern, "rate_factors")
        if not any(parameter.requires_grad for name in matched for parameter in parts[name]):
            raise RecipeError(
                f"rate_factors: all that '{pattern}' matches is frozen and has no rate; leave it out."
            )
        for name in matched:
            other, by = chosen.setdefault(name, (factor, pattern))
            if other != factor:
                raise RecipeError(
                    f"rate_factors: '{by}' gives {name} the factor {other:g}, '{pattern}' gives {factor:g}; "
                    "let only one of them match it."
                )
    return {name: factor for name, (factor, _) in chosen.items()}


def build_optimizer(
    model: nn.Module,
    rate: float,
    matrix_rate: float,
    factors: Mapping[str, float] | None = None,
    pull: float = 0.0,
    start: Mapping[str, Tensor] | None = None,
) -> MuonAdam:
    """Return the optimiser of a model's trainable parameters.

    A module names its channel matrices in ``matrices``; every other parameter goes to Adam, and
    so do matrices with a single row or column, which have no directions to balance, and the
    factors of adapters.

    Parameters
    ----------
    model
        What is trained.
    rate, matrix_rate
        Of Adam and of Muon.
    factors
        On both, by shell patterns; see :func:`rate_factors` for the errors.
    pull
        See :class:`~mlpot.training.settings.FitSettings`.
    start
        By the names of parameters, where they are pulled to; by default where they are now.
    """
    by_weight = rate_factors(model, factors or {})
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    starts: dict[Tensor, Tensor] = {}
    for prefix, module in model.named_modules():
        names = getattr(module, "matrices", ())
        for own, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            name = f"{prefix}.{own}" if prefix else own
            is_matrix = own in names and min(parameter.shape[-2:]) > 1
            groups.setdefault((is_matrix, by_weight.get(weight_name(name), 1.0)), []).append(parameter)
            if pull:
                here = parameter if start is None else start[name].to(parameter)
                starts[parameter] = here.detach().clone()
    described = [
        {"params": groups[kind], "lr": matrix_rate if kind[0] else rate, "matrix": kind[0], "factor": kind[1]}
        for kind in sorted(groups, key=lambda kind: (not kind[0], kind[1]))
    ]
    return MuonAdam(described, pull=pull, start=starts)
