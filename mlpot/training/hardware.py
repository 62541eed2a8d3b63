"""Where a fit runs: devices, nodes and the processes that share its batches."""

from __future__ import annotations

import os
from typing import Literal

from lightning.pytorch.strategies import DDPStrategy, Strategy
from pydantic import Field

from mlpot.errors import RecipeError
from mlpot.recipe import Recipe

#: What torchrun, Lightning and Slurm's srun call the number of a process, in the order in which they count.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")


class Hardware(Recipe):
    """On what a fit runs; nothing here changes what is learned, but for rounding.

    One process serves each device. All of them together take every step: they divide its batch
    of ``batch_size`` frames, and the gradient is that of the whole batch, as one process would
    compute it. ``workers`` are processes per device that build the graphs of streamed frames.
    ``native``: whether a CPU trains with :mod:`mlpot.model.native_training`; by default where
    there is a compiler.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(default=1, ge=1)
    nodes: int = Field(default=1, ge=1)
    strategy: Literal["auto", "ddp"] = "auto"
    workers: int = Field(default=0, ge=0)
    native: bool | None = None

    @property
    def processes(self) -> int:
        """Number of processes that train together."""
        return self.devices * self.nodes

    def leads(self) -> bool:
        """Say whether this process is the one that writes files and speaks."""
        numbers = (os.environ[name] for name in _RANKS if name in os.environ)
        return self.processes == 1 or int(next(numbers, "0")) == 0

    def check(self, batch_size: int) -> None:
        """Refuse what cannot run.

        Raises
        ------
        RecipeError
            If a batch has too few frames for the devices, several nodes were not started
            together, or another number of processes was started than the recipe says.
        """
        if batch_size < self.processes:
            raise RecipeError(
                f"hardware: {self.processes} devices share batches of {batch_size} frames, so that some "
                "would have nothing to do; raise fit.batch_size or take fewer devices."
            )
        if self.nodes > 1 and not {"RANK", "SLURM_PROCID"} & set(os.environ):
            raise RecipeError(
                f"hardware: {self.nodes} nodes, but this process was started alone; start one per device "
                "with torchrun or srun (docs/scaling.md shows how)."
            )
        started = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else None
        if started is not None and started != self.processes:
            raise RecipeError(
                f"hardware: torchrun started {started} processes, but the recipe says {self.devices} devices "
                f"on {self.nodes} nodes; let devices times nodes be {started}."
            )

    def lightning_strategy(self) -> Strategy | str:
        """Return the strategy for Lightning's trainer."""
        if self.processes == 1 and self.strategy == "auto":
            return "auto"
        # A label that no frame of a batch has leaves parameters without a gradient. Buffers never
        # change, and sending them around at every call would need equal numbers of calls.
        return DDPStrategy(find_unused_parameters=True, forward_sync_buffers=False)
