"""A training run of mlpot from a recipe, watched: ``mlpot_train.py OPTIONS``.

The options ``lines``, ``test`` and ``turns`` are those of ``mace_train.py``; ``recipe`` is a
file, ``change`` what is set otherwise than there, ``run`` the directory of the run.
"""

import functools
import json
import sys
import time
from pathlib import Path
from unittest import mock

import lightning
from lightning.pytorch.callbacks import Callback
from loop import OPTIONS, answer

from mlpot.data.files import read_frames
from mlpot.data.frame import LabelKeys
from mlpot.recipe import load_recipe
from mlpot.training.errors import summarise
from mlpot.training.fit import fit
from mlpot.training.run import TrainRecipe, train


class Watch(Callback):
    """The lines of a run: seconds so far and errors on the test frames after every epoch."""

    def __init__(self, test: str, lines: str) -> None:
        self.frames = read_frames(test, LabelKeys("REF_energy", "REF_forces", "REF_stress"))
        self.lines = Path(lines)
        last = json.loads(self.lines.read_text().splitlines()[-1]) if self.lines.exists() else {}
        self.spent = {"seconds": last.get("seconds", 0.0), "cpu": last.get("cpu", 0.0)}
        self.start = (0.0, 0.0)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clocks."""
        self.start = time.perf_counter(), time.process_time()

    def on_validation_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Stop the clocks and write the line; the averaged weights are in place here."""
        self.spent["seconds"] += time.perf_counter() - self.start[0]
        self.spent["cpu"] += time.process_time() - self.start[1]
        errors = summarise(self.frames, pl_module.potential.predict(self.frames)).asdict()
        kept = {name: errors[name] for name in ("forces_mae", "forces_rmse", "energy_mae", "stress_mae")}
        with self.lines.open("a") as file:
            file.write(json.dumps({"epoch": trainer.current_epoch + 1, **self.spent, **kept}) + "\n")


class Turns(Callback):
    """Every epoch waits for a request, and is answered with its seconds."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Wait."""
        if not sys.stdin.readline():
            raise SystemExit
        self.start = time.perf_counter()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Answer."""
        answer({"seconds": time.perf_counter() - self.start})


def changed(values: dict, change: dict) -> dict:
    """Return nested values with some of them set otherwise."""
    nested = {
        name: changed(values[name], own) if isinstance(own, dict) and name == "fit" else own
        for name, own in change.items()
    }
    return values | nested


values = load_recipe(TrainRecipe, OPTIONS["recipe"]).model_dump(exclude_unset=True)
recipe = TrainRecipe.model_validate(changed(values, OPTIONS["change"]))
watch = Turns() if OPTIONS.get("turns") else Watch(OPTIONS["test"], OPTIONS["lines"])
run = Path(OPTIONS["run"])
with mock.patch("mlpot.training.run.fit", functools.partial(fit, callbacks=[watch])):
    train(recipe, run, resume=(run / "checkpoints" / "last.ckpt").exists())
