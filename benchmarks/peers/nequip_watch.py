"""The lines of a training run of nequip: seconds so far and errors on the test frames after every epoch."""

import json
import time
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback


class Watch(Callback):
    """Append a line per epoch; the averaged weights have then been judged on the second validation set."""

    def __init__(self, lines: str) -> None:
        self.lines = Path(lines)
        last = json.loads(self.lines.read_text().splitlines()[-1]) if self.lines.exists() else {}
        self.spent = {"seconds": last.get("seconds", 0.0), "cpu": last.get("cpu", 0.0)}
        self.start = (0.0, 0.0)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clocks."""
        self.start = time.perf_counter(), time.process_time()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop the clocks."""
        self.spent["seconds"] += time.perf_counter() - self.start[0]
        self.spent["cpu"] += time.process_time() - self.start[1]

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the line, in meV/Å and meV/atom."""
        found = {name: 1e3 * float(value) for name, value in trainer.callback_metrics.items()}
        names = {
            "forces_mae": "forces_mae",
            "forces_rmse": "forces_rmse",
            "energy_mae": "per_atom_energy_mae",
        }
        errors = {name: found[f"val1_epoch/{own}"] for name, own in names.items()}
        with self.lines.open("a") as file:
            file.write(json.dumps({"epoch": trainer.current_epoch + 1, **self.spent, **errors}) + "\n")
