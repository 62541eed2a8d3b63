"""mace-torch's own trainer, ``mace_run_train``, watched: ``mace_train.py OPTIONS [its arguments ...]``.

With ``lines`` and ``test`` among the options: after every epoch, with the averaged weights that
the trainer validates and saves, the errors on ``test`` are appended to ``lines``. That is for the
report only, the trainer never sees them. Seconds are those of the training epochs alone
(``seconds``: wall clock; ``cpu``: of the process). A run given ``--restart_latest`` continues them.

With ``turns``: every epoch waits for a request, and is answered with its seconds.
"""

import json
import sys
import time
from pathlib import Path

import torch

# e3nn 0.4 keeps slices in a file that recent versions of torch refuse to load unless told.
torch.serialization.add_safe_globals([slice])

import ase.io  # noqa: E402
import numpy as np  # noqa: E402
from loop import OPTIONS, answer, timed  # noqa: E402
from mace import data, tools  # noqa: E402
from mace.cli import run_train  # noqa: E402
from mace.tools import torch_geometric  # noqa: E402

# The module; `mace.tools.train` is the function of that name in it.
train = sys.modules["mace.tools.train"]
one_epoch, save = train.train_one_epoch, tools.CheckpointHandler.save


class Watch:
    """The lines of a run: seconds so far and errors on the test frames after every epoch."""

    def __init__(self, test: str, lines: str) -> None:
        self.frames, self.lines = ase.io.read(test, ":"), Path(lines)
        last = json.loads(self.lines.read_text().splitlines()[-1]) if self.lines.exists() else {}
        self.spent = {"seconds": last.get("seconds", 0.0), "cpu": last.get("cpu", 0.0)}
        self.batches: list = []

    def epoch(self, *arguments: object, **named: object) -> None:
        """Train an epoch and add its seconds."""
        wall, cpu = time.perf_counter(), time.process_time()
        one_epoch(*arguments, **named)
        self.spent["seconds"] += time.perf_counter() - wall
        self.spent["cpu"] += time.process_time() - cpu

    def save(self, handler: object, state: object, epochs: int, keep_last: bool = False) -> None:
        """Save as the trainer does, then write the line of this epoch."""
        save(handler, state, epochs, keep_last)
        row = {"epoch": epochs + 1, **self.spent, **self.errors(state.model)}
        with self.lines.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def errors(self, model: torch.nn.Module) -> dict[str, float]:
        """Return the errors on the test frames: meV/Å, meV/atom."""
        if not self.batches:
            table = tools.AtomicNumberTable([int(z) for z in model.atomic_numbers])
            configurations = [data.config_from_atoms(atoms) for atoms in self.frames]
            graphs = [
                data.AtomicData.from_config(c, z_table=table, cutoff=float(model.r_max))
                for c in configurations
            ]
            loader = torch_geometric.dataloader.DataLoader(graphs, batch_size=1, shuffle=False)
            self.batches.extend(batch.to_dict() for batch in loader)
        energy, forces = [], []
        for atoms, batch in zip(self.frames, self.batches, strict=True):
            output = model(batch, compute_force=True, training=False)
            energy.append(1e3 * (float(output["energy"]) - atoms.info["REF_energy"]) / len(atoms))
            forces.append(1e3 * (output["forces"].detach().numpy() - atoms.arrays["REF_forces"]).ravel())
        errors = np.concatenate(forces)
        return {
            "forces_mae": float(np.abs(errors).mean()),
            "forces_rmse": float(np.sqrt((errors**2).mean())),
            "energy_mae": float(np.abs(energy).mean()),
        }


def turn(*arguments: object, **named: object) -> None:
    """Wait for a request, train an epoch and answer with its seconds."""
    if not sys.stdin.readline():
        raise SystemExit
    answer({"seconds": timed(lambda: one_epoch(*arguments, **named))})


if OPTIONS.get("turns"):
    train.train_one_epoch = turn
else:
    watch = Watch(OPTIONS["test"], OPTIONS["lines"])
    train.train_one_epoch = watch.epoch
    tools.CheckpointHandler.save = lambda handler, *given, **named: watch.save(handler, *given, **named)
sys.argv = ["mace_run_train", *sys.argv[2:]]
run_train.main()
