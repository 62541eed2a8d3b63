"""Training on frames that stream from a file is training on the same frames in memory."""

from __future__ import annotations

import json

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.data.files import read_frames, write_frames
from mlpot.data.frame import LabelKeys
from mlpot.data.store import StoredFrames
from mlpot.errors import RecipeError
from mlpot.model.file import load_model, read_header
from mlpot.training.fit import fit
from mlpot.training.hardware import Hardware
from mlpot.training.initialise import new_potential
from mlpot.training.scales import Scales
from mlpot.training.settings import FitSettings

SETTINGS = FitSettings(epochs=3, batch_size=4, average=0.9)


@pytest.fixture(scope="module")
def frames(si_frames, tmp_path_factory):
    """Return training and validation frames, in memory and in files."""
    folder = tmp_path_factory.mktemp("stream")
    sides = {"train": si_frames[:10], "validation": si_frames[20:]}
    for name, side in sides.items():
        write_frames(folder / f"{name}.lmdb", side)
    loaded = [read_frames(folder / f"{name}.lmdb") for name in sides]
    return loaded, [StoredFrames(folder / f"{name}.lmdb", LabelKeys()) for name in sides], folder


@pytest.fixture(scope="module")
def start(frames, tiny):
    return lambda: new_potential(frames[0][0], ["Si"], tiny)


@pytest.fixture(scope="module")
def in_memory(frames, start, tmp_path_factory):
    run = tmp_path_factory.mktemp("memory")
    fit(start(), *frames[0], SETTINGS, run)
    return run


def same(run, other):
    assert (run / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    ours, theirs = (load_model(path / "model.safetensors").state_dict() for path in (run, other))
    for name in theirs:
        assert torch.equal(ours[name], theirs[name]), name


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_bits_as_in_memory(in_memory, frames, start, tmp_path, workers):
    fit(start(), *frames[1], SETTINGS, tmp_path, hardware=Hardware(workers=workers))
    same(tmp_path, in_memory)


def test_stopped_and_resumed_with_workers(in_memory, frames, start, tmp_path):
    class Stop(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 0

    hardware = Hardware(workers=2)
    assert fit(start(), *frames[1], SETTINGS, tmp_path, callbacks=[Stop()], hardware=hardware).epochs == 1
    with pytest.raises(RecipeError, match="started from other data"):
        fit(start(), frames[1][0].select(range(9)), frames[1][1], SETTINGS, tmp_path, resume=True)
    fit(start(), *frames[1], SETTINGS, tmp_path, resume=True, hardware=hardware)
    same(tmp_path, in_memory)


@pytest.mark.parametrize("scales", [None, {"Si": Scales(0.9, 1.3, "test")}])
def test_a_new_potential_needs_few_frames_and_the_index(frames, tiny, scales, monkeypatch):
    expected = new_potential(frames[0][0], ["Ge", "Si"], tiny, scales=scales, offsets={"Ge": 0, "Si": 1})
    read = []
    whole = StoredFrames.fetch
    monkeypatch.setattr(StoredFrames, "fetch", lambda self, which: read.extend(which) or whole(self, which))
    found = new_potential(frames[1][0], ["Ge", "Si"], tiny, scales=scales, offsets={"Ge": 0, "Si": 1})
    assert len(read) == 10  # the sample for calibration, here all
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)
    read.clear()
    fitted = new_potential(frames[1][0], ["Si"], tiny).offsets
    assert len(read) == 10
    assert torch.equal(fitted, new_potential(frames[0][0], ["Si"], tiny).offsets)


def test_from_xyz_to_a_model_by_the_command_line(frames, tmp_path):
    write_frames(tmp_path / "train.xyz", frames[0][0])
    run = CliRunner().invoke
    done = run(app, ["convert", f"{tmp_path}/train.xyz", "--out", f"{tmp_path}/train.lmdb", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["frames"], told["atoms"], told["labels"]["stress"]) == (10, 80, 10)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"data: {{train: {tmp_path}/train.lmdb, validation: {frames[2]}/validation.lmdb}}\n"
        "model: {channels: 4, hidden: 4}\nfit: {epochs: 1}\nhardware: {workers: 1}\n"
    )
    done = run(app, ["train", str(recipe), "--out", f"{tmp_path}/run", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["frames"]["train"]["frames"] == 10
    covered = read_header(tmp_path / "run" / "model.safetensors")["provenance"]["domain"]["all"]
    assert (covered["frames"], covered["atoms"], covered["sampled"]) == (10, 80, 10)
    assert json.loads((tmp_path / "run" / "split.json").read_text())["train"] == [f"{tmp_path}/train.lmdb#:"]


def test_convert_says_what_is_wrong(frames, tmp_path):
    write_frames(tmp_path / "x.xyz", frames[0][0])
    done = CliRunner().invoke(
        app, ["convert", f"{tmp_path}/x.xyz", "--out", f"{tmp_path}/x.lmdb", "--energy-key", "dft"]
    )
    assert done.exit_code == 2
    assert not (tmp_path / "x.lmdb").exists()
