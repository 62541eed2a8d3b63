"""The Lightning side of training: one step, one validation, one optimiser, one schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch_geometric.data import Data

from mlpot.conventions import GPA
from mlpot.errors import MLPotError
from mlpot.model.base import LocalEnergyModel
from mlpot.training.loss import loss, residuals
from mlpot.training.optimizer import build_optimizer
from mlpot.training.settings import FitSettings


class Diverged(MLPotError):
    """The loss of a fit is no longer finite; the message says what to change."""


def learning_rate(step: int, steps: int, warmup: float, floor: float = 0.0) -> float:
    """Return the fraction of the full rate at a step: linear warm-up, then a cosine to ``floor``."""
    rise = min(1.0, (step + 1) / (warmup * steps + 1))
    fall = 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / max(steps, 1))))
    return rise * (floor + (1.0 - floor) * fall)


class FitModule(lightning.LightningModule):
    """A potential with its loss and its optimiser.

    Logs ``train_loss`` per epoch and, from the validation frames, ``loss``, ``energy_mae``
    (meV/atom), ``forces_mae``, ``forces_rmse`` (meV/Å) and ``stress_mae`` (GPa).

    ``score``: forces are noisy targets of :mod:`mlpot.training.score`. Errors against them would
    tell of the noise, so only losses are logged, less that of a model without forces: in units of
    :math:`u_F^2`, half the mean square error of the forces up to a constant.
    """

    def __init__(
        self, potential: LocalEnergyModel, settings: FitSettings, steps: int, score: bool = False
    ) -> None:
        super().__init__()
        self.potential, self.settings, self.steps, self.score = potential, settings, steps, score
        # Taken now: a resumed fit makes its optimiser after the weights of a checkpoint are back.
        start = {name: parameter.detach().clone() for name, parameter in potential.named_parameters()}
        self.start = start if settings.pull else None
        self._sums: dict[str, list[float]] = {}

    def training_step(self, batch: Data, index: int) -> Tensor:
        """Return the loss of a batch."""
        differences = residuals(self.potential.trainable(batch), batch)
        counts = self._over_processes(self._counts(differences, batch))
        part = self._loss(differences, batch, self._fractions(differences, counts))
        value = self._over_processes({"loss": part.detach()})["loss"]
        if not math.isfinite(value):
            raise Diverged(
                f"the loss is not finite in epoch {self.current_epoch + 1}: training has diverged; lower "
                "`rate` and `matrix_rate`, and look for absurd labels among the training frames."
            )
        mean = torch.tensor(value, dtype=torch.float64)
        self.log("train_loss", mean, on_step=False, on_epoch=True, batch_size=int(counts["frames"]))
        if not part.requires_grad:  # no labels here: a gradient of zero, so that the step is taken together
            part = torch.stack([values.sum() for values in differences.values()]).sum()
        # The strategy averages gradients over processes; the parts of a loss add up.
        return self.trainer.world_size * part

    def backward(self, loss: Tensor, *_: Any, **__: Any) -> None:
        """Propagate to the weights alone; nobody takes the slopes by the bonds, which cost time."""
        loss.backward(inputs=[parameter for parameter in self.parameters() if parameter.requires_grad])

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._sums = {}

    def validation_step(self, batch: Data, index: int) -> None:
        """Add a batch to the sums over the validation frames."""
        differences = residuals(self.potential(batch), batch)
        counts = self._over_processes(self._counts(differences, batch))
        part = self._loss(differences, batch, self._fractions(differences, counts))
        mine = {"loss": part}
        for name, values in () if self.score else differences.items():
            mine |= {f"{name}_mae": values.abs().sum(), f"{name}_mse": values.square().sum()}
        sums = self._over_processes(mine)
        self._add("loss", sums.pop("loss") * counts["frames"], counts["frames"])
        for name, value in sums.items():
            self._add(name, value, counts[name.split("_")[0]])

    def _loss(self, differences: dict[str, Tensor], batch: Data, fractions: dict[str, float]) -> Tensor:
        """Return the loss, with noisy targets less that of a model without forces."""
        value = loss(differences, self.settings.loss, fractions)
        if self.score:
            targets = batch.forces[torch.isfinite(batch.forces)]
            value = value - loss({"forces": targets}, self.settings.loss, fractions)
        return value

    @staticmethod
    def _counts(differences: dict[str, Tensor], batch: Data) -> dict[str, float]:
        """Return the number of frames and of values of each label that this process has of a batch."""
        frames = 0 if "stand_in" in batch else batch.num_graphs
        return {"frames": frames, **{name: values.numel() for name, values in differences.items()}}

    def _over_processes(self, numbers: Mapping[str, Tensor | float]) -> dict[str, float]:
        """Return sums over all processes that share a batch; with one process the numbers themselves."""
        if self.trainer.world_size > 1:
            mine = [torch.as_tensor(n, dtype=torch.float64, device=self.device) for n in numbers.values()]
            total = self.trainer.strategy.reduce(torch.stack(mine), reduce_op="sum")
            return dict(zip(numbers, total.tolist(), strict=True))
        return {name: float(number) for name, number in numbers.items()}

    def _fractions(self, differences: dict[str, Tensor], counts: dict[str, float]) -> dict[str, float]:
        """Return which fraction of the values of each label in a batch this process has."""
        return {name: values.numel() / max(counts[name], 1.0) for name, values in differences.items()}

    def _add(self, name: str, value: float, count: float) -> None:
        total = self._sums.setdefault(name, [0.0, 0.0])
        total[0] += value
        total[1] += count

    def on_validation_epoch_end(self) -> None:
        """Log the errors over all validation frames, each component counted once."""
        mean = {name: total / count for name, (total, count) in self._sums.items() if count}
        factors = {"energy": 1e3, "forces": 1e3, "stress": 1.0 / GPA}
        self.log("loss", mean["loss"])
        for name, factor in factors.items():
            if f"{name}_mae" in mean:
                self.log(f"{name}_mae", factor * mean[f"{name}_mae"])
                self.log(f"{name}_rmse", factor * math.sqrt(mean[f"{name}_mse"]))
        if "forces_mae" in mean:
            self.log("force meV/Å", 1e3 * mean["forces_mae"], prog_bar=True)
        if "energy_mae" in mean:
            self.log("energy meV/atom", 1e3 * mean["energy_mae"], prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the optimiser and its schedule, stepped with every batch."""
        own = self.settings
        optimizer = build_optimizer(
            self.potential, own.rate, own.matrix_rate, own.rate_factors, own.pull, self.start
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate(step, self.steps, own.warmup, own.floor)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
