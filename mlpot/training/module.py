"""The Lightning side of training: one step, one validation, one optimiser, one schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import Data

from mlpot.conventions import GPA
from mlpot.errors import MLPotError
from mlpot.model.base import LocalEnergyModel
from mlpot.training.loss import loss, residuals
from mlpot.training.optimizer import build_optimizer
from mlpot.training.settings import FitSettings


class Diverged(MLPotError):
    """The loss of a fit is no longer finite; the message says what to change."""


class EpochShuffle(Sampler[int]):
    """A fresh order for every epoch, a function of seed and epoch alone; so resume is exact."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (Lightning calls this)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        yield from torch.randperm(self.size, generator=generator).tolist()


def learning_rate(step: int, steps: int, warmup: float) -> float:
    """Return the fraction of the full rate at a step: linear warm-up, then a cosine to zero."""
    rise = min(1.0, (step + 1) / (warmup * steps + 1))
    return rise * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / max(steps, 1))))


class FitModule(lightning.LightningModule):
    """A potential with its loss and its optimiser.

    Logs ``train_loss`` per epoch and, from the validation frames, ``loss``, ``energy_mae``
    (meV/atom), ``forces_mae``, ``forces_rmse`` (meV/Å) and ``stress_mae`` (GPa).
    """

    def __init__(self, potential: LocalEnergyModel, settings: FitSettings, steps: int) -> None:
        super().__init__()
        self.potential, self.settings, self.steps = potential, settings, steps
        self._sums: dict[str, list[float]] = {}

    def training_step(self, batch: Data, index: int) -> Tensor:
        """Return the loss of a batch."""
        value = loss(residuals(self.potential(batch, create_graph=True), batch), self.settings.loss)
        if not torch.isfinite(value):
            raise Diverged(
                f"the loss is not finite in epoch {self.current_epoch + 1}: training has diverged; lower "
                "`rate` and `matrix_rate`, and look for absurd labels among the training frames."
            )
        self.log("train_loss", value.detach(), on_step=False, on_epoch=True, batch_size=batch.num_graphs)
        return value

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self._sums = {}

    def validation_step(self, batch: Data, index: int) -> None:
        """Add a batch to the sums over the validation frames."""
        differences = residuals(self.potential(batch), batch)
        self._add("loss", float(loss(differences, self.settings.loss)) * batch.num_graphs, batch.num_graphs)
        for name, values in differences.items():
            self._add(f"{name}_mae", float(values.abs().sum()), values.numel())
            self._add(f"{name}_mse", float(values.square().sum()), values.numel())

    def _add(self, name: str, value: float, count: int) -> None:
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
        optimizer = build_optimizer(self.potential, self.settings.rate, self.settings.matrix_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate(step, self.steps, self.settings.warmup)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
