"""Two processes that share every batch learn what one process learns, and resume as exactly."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import yaml

from mlpot.data.files import write_frames
from mlpot.errors import RecipeError
from mlpot.model.file import load_model
from mlpot.training.fit import fit
from mlpot.training.hardware import Hardware
from mlpot.training.initialise import new_potential
from mlpot.training.run import TrainRecipe, train
from mlpot.training.settings import FitSettings

EPOCHS = 4
#: Starts ``mlpot train`` and, in every process alike, ends the fit after two epochs.
STOPPED = """
import sys
from lightning.pytorch.callbacks import Callback
import mlpot.training.run as run

class Stop(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch == 1

whole = run.fit
run.fit = lambda *arguments, **named: whole(*arguments, **named, callbacks=[Stop()])
from mlpot.cli.main import app
app(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def folder(sw_frames, tmp_path_factory):
    """Return a folder with frames of several sizes, some without labels, and a recipe for two processes.

    Training frames stream, validation frames are in memory.
    """
    folder = tmp_path_factory.mktemp("distributed")
    frames = []
    for index, frame in enumerate(sw_frames("Si", 14, seed=3)):
        if index % 3 == 0:  # twice the atoms, and labels that not all have
            doubled = frame.to_atoms().repeat((2, 1, 1))
            frame = replace(
                type(frame).from_atoms(doubled, None, frame.source), energy=2 * frame.energy, info={}
            )
        frames.append(replace(frame, stress=None) if index % 4 == 1 else frame)
    # Nine by four leave one frame for the last batch, so that a process has none; so do five.
    write_frames(folder / "train.lmdb", frames[:9])
    write_frames(folder / "validation.xyz", frames[9:])
    recipe = {
        "data": {
            "train": str(folder / "train.lmdb"),
            "validation": str(folder / "validation.xyz"),
            "labels": {"missing": "allow"},
        },
        "model": {"channels": 4, "hidden": 4},
        "fit": {"epochs": EPOCHS, "batch_size": 4, "precision": "float64", "average": 0.9},
        "hardware": {"accelerator": "cpu", "devices": 2, "workers": 1},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def start(command):
    """Run a program to its end, free of what an earlier launch left in the environment."""
    environment = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "RANK", "WORLD_SIZE")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(run):
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


MLPOT = "import sys; from mlpot.cli.main import app; app(sys.argv[1:])"


@pytest.fixture(scope="module")
def two(folder):
    """Return the run of two processes that Lightning started, and what it printed."""
    script = folder / "program.py"
    script.write_text(MLPOT)
    out = folder / "two"
    printed = start(
        [sys.executable, str(script), "train", str(folder / "recipe.yaml"), "--out", str(out), "--json"]
    )
    return out, printed


def test_two_processes_learn_what_one_learns(two, folder):
    content = yaml.safe_load((folder / "recipe.yaml").read_text())
    one = TrainRecipe.model_validate(content | {"hardware": {"accelerator": "cpu"}})
    summary = train(one, folder / "one")
    expected, found = rows(folder / "one"), rows(two[0])
    assert len(found) == EPOCHS
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9)
    weights = load_model(folder / "one" / "model.safetensors", torch.float64).state_dict()
    for name, tensor in load_model(two[0] / "model.safetensors", torch.float64).state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-7, atol=1e-9)
    assert summary["errors"]["forces_mae"] == pytest.approx(
        json.loads(two[1])["errors"]["forces_mae"], rel=1e-7
    )


def test_one_process_writes_and_speaks(two):
    run, printed = two
    assert json.loads(printed)["epochs"] == EPOCHS  # one document, not two
    log = (run / "log.txt").read_text().splitlines()
    assert sum(line.startswith("epoch ") for line in log) == EPOCHS
    assert sum(line.startswith("elements") for line in log) == 1
    assert not [path for path in run.rglob(".*")]


def test_stopped_and_resumed_under_torchrun(two, folder):
    """The other launcher, a stop in between: the same bits."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    stopped = folder / "stopped.py"
    stopped.write_text(STOPPED)
    what = ["train", str(folder / "recipe.yaml"), "--out", str(folder / "again")]
    start([*launch, str(stopped), *what])
    assert len(rows(folder / "again")) == 2
    start([*launch, str(folder / "program.py"), *what, "--resume"])
    assert (folder / "again" / "metrics.csv").read_text() == (two[0] / "metrics.csv").read_text()
    weights = load_model(two[0] / "model.safetensors", torch.float64).state_dict()
    for name, tensor in (
        load_model(folder / "again" / "model.safetensors", torch.float64).state_dict().items()
    ):
        assert torch.equal(tensor, weights[name]), name


def test_more_devices_than_frames_in_a_batch(si_frames, tiny, tmp_path):
    potential = new_potential(si_frames[:4], ["Si"], tiny)
    with pytest.raises(RecipeError, match="4 devices share batches of 2 frames"):
        fit(potential, si_frames[:4], [], FitSettings(batch_size=2), tmp_path, hardware=Hardware(devices=4))


def test_nodes_need_a_launcher(monkeypatch):
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RecipeError, match="2 nodes, but this process was started alone"):
        Hardware(nodes=2).check(8)
    monkeypatch.setenv("SLURM_PROCID", "1")
    Hardware(nodes=2).check(8)
    assert not Hardware(nodes=2).leads()
    assert Hardware().leads()  # one of several independent runs that srun started


def test_torchrun_with_another_number_of_processes(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(RecipeError, match="torchrun started 4 processes, but the recipe says 1 devices on 1"):
        Hardware().check(8)
    Hardware(devices=4).check(8)
