"""A run that was stopped, however, goes on to the very bits of one that was not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from mlpot.data.files import read_frames, write_frames
from mlpot.errors import Interrupted, ModelFileError, RecipeError
from mlpot.model.file import load_model
from mlpot.training.fit import check_run, fit
from mlpot.training.initialise import new_potential
from mlpot.training.settings import FitSettings

SETTINGS = FitSettings(epochs=5, batch_size=2, average=0.9)


class At(Callback):
    """Do something once, at a hook of an epoch."""

    def __init__(self, hook, epoch, action):
        def act(trainer, pl_module, *arguments, **named):
            # Of the batches of an epoch the second.
            if trainer.current_epoch == epoch and (hook != "on_train_batch_end" or arguments[2] == 1):
                action(trainer)

        setattr(self, hook, act)


def interrupt(trainer):
    os.kill(os.getpid(), signal.SIGINT)


def stop(trainer):
    trainer.should_stop = True


@pytest.fixture(scope="module")
def frames(si_frames):
    return si_frames[:8], si_frames[8:11]


@pytest.fixture
def start(frames, tiny):
    return lambda seed=0: new_potential(frames[0], ["Si"], tiny, seed=seed)


@pytest.fixture(scope="module")
def whole(frames, tiny, tmp_path_factory):
    """Return the run directory of five epochs without a stop."""
    run = tmp_path_factory.mktemp("whole")
    fit(new_potential(frames[0], ["Si"], tiny), *frames, SETTINGS, run)
    return run


def same(run, other):
    """Say whether two runs ended with the same table and the same bits."""
    assert (run / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    ours, theirs = (load_model(path / "model.safetensors").state_dict() for path in (run, other))
    for name in theirs:
        assert torch.equal(ours[name], theirs[name]), name


def test_the_same_fit_twice_is_the_same(whole, frames, start, tmp_path):
    fit(start(), *frames, SETTINGS, tmp_path)
    same(tmp_path, whole)


@pytest.mark.parametrize(
    ("hook", "epoch"),
    [
        ("on_train_batch_end", 0),  # before anything was kept
        ("on_train_batch_end", 2),  # in the middle of an epoch
        ("on_validation_epoch_end", 1),  # while the averaged weights are in place
        ("on_train_epoch_end", 3),  # after the row was written, before the checkpoint
    ],
)
def test_interrupted_by_ctrl_c(whole, frames, start, tmp_path, hook, epoch):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        Interrupted, match="interrupted; all finished epochs are kept, continue with --resume"
    ):
        fit(start(), *frames, SETTINGS, tmp_path, callbacks=[At(hook, epoch, interrupt)])
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "model.safetensors").exists()
    assert check_run(tmp_path, resume=True) == (epoch > 0)
    result = fit(start(), *frames, SETTINGS, tmp_path, resume=True)
    assert result.epochs == 5
    same(tmp_path, whole)


def test_stopped_after_two_epochs_and_again_after_three(whole, frames, start, tmp_path):
    for epoch in (1, 2):
        result = fit(
            start(), *frames, SETTINGS, tmp_path, resume=epoch > 1,
            callbacks=[At("on_train_epoch_end", epoch, stop)],
        )  # fmt: skip
        assert result.epochs == epoch + 1
    fit(start(), *frames, SETTINGS, tmp_path, resume=True)
    same(tmp_path, whole)


SCRIPT = """
import os, signal, sys
from lightning.pytorch.callbacks import Callback
from mlpot.data.files import read_frames
from mlpot.model.network import NetworkConfig
from mlpot.training.fit import fit
from mlpot.training.initialise import new_potential
from mlpot.training.settings import FitSettings

class Kill(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 3 and batch_idx == 2:
            os.kill(os.getpid(), signal.SIGKILL)

folder, settings = sys.argv[1], FitSettings.model_validate_json(sys.argv[2])
train, validation = (read_frames(f"{folder}/{name}.xyz") for name in ("train", "validation"))
potential = new_potential(train, ["Si"], NetworkConfig(channels=4, hidden=4))
fit(potential, train, validation, settings, f"{folder}/run", callbacks=[Kill()])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_process(frames, tiny, tmp_path):
    read = []
    for name, side in zip(("train", "validation"), frames, strict=True):
        write_frames(tmp_path / f"{name}.xyz", side)
        read.append(read_frames(tmp_path / f"{name}.xyz"))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), SETTINGS.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 1 + 3
    resumed = new_potential(read[0], ["Si"], tiny)
    fit(resumed, *read, SETTINGS, tmp_path / "run", resume=True)
    fit(new_potential(read[0], ["Si"], tiny), *read, SETTINGS, tmp_path / "whole")
    same(tmp_path / "run", tmp_path / "whole")


def test_resuming_a_finished_run_changes_nothing(whole, frames, start, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    potential = start()
    result = fit(potential, *frames, SETTINGS, tmp_path / "run", resume=True)
    assert result.epochs == 5
    same(tmp_path / "run", whole)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            potential.parameters(), load_model(whole / "model.safetensors").parameters(), strict=True
        )
    )


def test_moved_run_still_knows_its_best_epoch(frames, start, tmp_path):
    """What was moved to another disk between stop and resume ends like what stayed."""

    class Spoil(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch >= 2:
                for parameter in pl_module.parameters():
                    parameter.data.mul_(1.5)

    settings = SETTINGS.model_copy(update={"average": 0.0})
    stayed = fit(start(), *frames, settings, tmp_path / "whole", callbacks=[Spoil()])
    assert stayed.validation["epoch"] < 3
    halt = At("on_train_epoch_end", 2, stop)
    fit(start(), *frames, settings, tmp_path / "before", callbacks=[Spoil(), halt])
    shutil.move(tmp_path / "before", tmp_path / "after")
    moved = fit(start(), *frames, settings, tmp_path / "after", resume=True, callbacks=[Spoil()])
    assert moved.validation == stayed.validation
    same(tmp_path / "after", tmp_path / "whole")


def test_resuming_where_nothing_is_starts_anew(whole, frames, start, tmp_path):
    fit(start(), *frames, SETTINGS, tmp_path / "run", resume=True)
    same(tmp_path / "run", whole)


def test_resuming_with_something_else_is_refused(whole, frames, start, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    train, validation = frames
    others = [
        (start(), train, validation, SETTINGS.model_copy(update={"rate": 1e-3})),
        (start(), train, validation, SETTINGS.model_copy(update={"epochs": 7})),
        (start(), train[1:], validation, SETTINGS),
        (start(), train, validation[1:], SETTINGS),
        (start(seed=1), train, validation, SETTINGS),
    ]
    for potential, ours, held_out, settings in others:
        with pytest.raises(RecipeError, match="started from other data, settings, weights or threads"):
            fit(potential, ours, held_out, settings, tmp_path / "run", resume=True)
    fit(start(), *frames, SETTINGS, tmp_path / "run", resume=True)
    same(tmp_path / "run", whole)


def test_damaged_checkpoint_is_named(whole, frames, start, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(ModelFileError, match=r"last\.ckpt: not a readable checkpoint"):
        fit(start(), *frames, SETTINGS, tmp_path / "run", resume=True)


def test_early_stopped_run_resumed_stays_stopped(frames, start, tmp_path):
    settings = FitSettings(epochs=8, batch_size=4, rate=1e-30, matrix_rate=1e-30, patience=2)
    first = fit(start(), *frames, settings, tmp_path)
    table = (tmp_path / "metrics.csv").read_text()
    again = fit(start(), *frames, settings, tmp_path, resume=True)
    assert (again.epochs, again.validation) == (first.epochs, first.validation)
    assert (tmp_path / "metrics.csv").read_text() == table


def test_fit_works_outside_the_main_thread(whole, frames, start, tmp_path):
    # Signals can only be handled in the main thread; a fit elsewhere does without.
    thread = threading.Thread(target=lambda: fit(start(), *frames, SETTINGS, tmp_path))
    thread.start()
    thread.join()
    same(tmp_path, whole)
