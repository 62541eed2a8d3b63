"""One optimiser for two kinds of weights: Muon for channel matrices, Adam for tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

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
        Dictionaries with ``params``, ``lr`` and ``matrix``.
    momentum, betas, eps
        Of Muon (with Nesterov's look-ahead) and of Adam.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(groups, {"momentum": momentum, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rule = self._muon if group["matrix"] else self._adam
                    rule(parameter, parameter.grad, self.state[parameter], group)
        return loss

    @staticmethod
    def _muon(parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = group["momentum"]
        state["momentum"].lerp_(gradient, 1.0 - momentum)
        rows, columns = parameter.shape[-2:]
        update = orthogonalise(gradient.lerp(state["momentum"], momentum))
        parameter.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    @staticmethod
    def _adam(parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(parameter)
            state["square"] = torch.zeros_like(parameter)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        state["mean"].lerp_(gradient, 1.0 - beta1)
        state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        spread = (state["square"] / (1.0 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["mean"], spread, value=-group["lr"] / (1.0 - beta1 ** state["step"]))


def build_optimizer(model: nn.Module, rate: float, matrix_rate: float) -> MuonAdam:
    """Return the optimiser of a model's trainable parameters.

    A module names its channel matrices in ``matrices``; every other parameter goes to Adam, and
    so do matrices with a single row or column, which have no directions to balance.
    """
    matrices: list[nn.Parameter] = []
    tables: list[nn.Parameter] = []
    for module in model.modules():
        names = getattr(module, "matrices", ())
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                is_matrix = name in names and min(parameter.shape[-2:]) > 1
                (matrices if is_matrix else tables).append(parameter)
    groups = [
        {"params": matrices, "lr": matrix_rate, "matrix": True},
        {"params": tables, "lr": rate, "matrix": False},
    ]
    return MuonAdam([group for group in groups if group["params"]])
