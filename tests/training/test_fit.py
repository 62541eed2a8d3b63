"""A fit: what it learns, what it leaves behind, what it refuses."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from mlpot.data.graph import batch_graphs, frame_graphs
from mlpot.errors import DataError, RecipeError
from mlpot.model.file import load_model
from mlpot.training.errors import errors_by_group
from mlpot.training.fit import check_run, fit
from mlpot.training.initialise import new_potential
from mlpot.training.loss import loss, residuals
from mlpot.training.module import Diverged, FitModule
from mlpot.training.settings import FitSettings

VALIDATION_COLUMNS = {f"{q}_{norm}" for q in ("energy", "forces", "stress") for norm in ("mae", "rmse")}


def rows(run):
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def learned(si_frames, tiny, tmp_path_factory):
    """A potential trained on twenty frames, its run directory and what ``fit`` returned."""
    run = tmp_path_factory.mktemp("fit") / "run"
    potential = new_potential(si_frames[:20], ["Si"], tiny)
    settings = FitSettings(epochs=15, batch_size=2, average=0.9)
    return potential, run, fit(potential, si_frames[:20], si_frames[20:], settings, run)


def test_it_learns(learned, si_frames):
    potential, run, _ = learned
    table = rows(run)
    assert table[-1]["train_loss"] < 0.25 * table[0]["train_loss"]
    trivial = 1e3 * np.mean([np.abs(frame.forces).mean() for frame in si_frames[20:]])
    assert errors_by_group(potential, si_frames[20:])["all"].forces_mae < 0.35 * trivial


def test_table_has_a_row_per_epoch_and_a_column_per_error(learned):
    _, run, result = learned
    table = rows(run)
    assert set(table[0]) == {"epoch", "rate", "train_loss", "loss", *VALIDATION_COLUMNS}
    assert [row["epoch"] for row in table] == list(range(1, 16))
    assert (result.epochs, result.steps) == (15, 150)
    assert table[-1]["rate"] < 1e-4 < max(row["rate"] for row in table) <= 5e-3
    assert len((run / "log.txt").read_text().splitlines()) == 15


def test_errors_of_the_table_are_those_of_the_model(learned, si_frames):
    potential, _, result = learned
    errors = errors_by_group(potential, si_frames[20:])["all"].asdict()
    assert set(result.validation) == {"epoch", "loss", *VALIDATION_COLUMNS}
    for name in VALIDATION_COLUMNS:
        assert result.validation[name] == pytest.approx(errors[name], rel=1e-4)


def test_model_file_predicts_the_same(learned, si_frames):
    potential, run, _ = learned
    loaded = load_model(run / "model.safetensors")
    for ours, theirs in zip(loaded.predict(si_frames[20:]), potential.predict(si_frames[20:]), strict=True):
        assert ours.energy == theirs.energy
        assert np.array_equal(ours.forces, theirs.forces)
        assert np.array_equal(ours.stress, theirs.stress)


def test_run_directory_holds_no_pickle_and_no_fragments(learned):
    _, run, _ = learned
    names = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    assert names == [
        "checkpoints/best.ckpt",
        "checkpoints/fit.json",
        "checkpoints/last.ckpt",
        "log.txt",
        "metrics.csv",
        "model.safetensors",
    ]


class Spoil(Callback):
    """Shake the weights from some epoch on, so that the best model is not the last."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch >= self.epoch:
            generator = torch.Generator().manual_seed(trainer.current_epoch)
            for parameter in pl_module.parameters():
                parameter.data.add_(0.5 * torch.randn(parameter.shape, generator=generator))


def test_model_kept_is_the_best_by_validation(si_frames, tiny, tmp_path):
    potential = new_potential(si_frames[:6], ["Si"], tiny)
    settings = FitSettings(epochs=6, batch_size=3, average=0.0)
    result = fit(potential, si_frames[:6], si_frames[6:10], settings, tmp_path / "run", callbacks=[Spoil(3)])
    table = rows(tmp_path / "run")
    best = min(table, key=lambda row: row["loss"])
    assert best["epoch"] < 6
    assert result.validation["epoch"] == best["epoch"]
    errors = errors_by_group(potential, si_frames[6:10])["all"]
    assert errors.forces_mae == pytest.approx(best["forces_mae"], rel=1e-4)
    assert errors.energy_mae == pytest.approx(best["energy_mae"], rel=1e-3)
    parts = []
    for batch in (si_frames[6:9], si_frames[9:10]):
        graphs = batch_graphs(frame_graphs(batch, potential.cutoff))
        parts.append(len(batch) * float(loss(residuals(potential(graphs), graphs), settings.loss)))
    assert best["loss"] == pytest.approx(sum(parts) / 4, rel=1e-4)
    assert errors.forces_mae < 0.9 * table[-1]["forces_mae"]


def test_without_validation_the_averaged_weights_of_the_end_are_kept(si_frames, tiny, tmp_path):
    class Average(Callback):
        """Follow the exponential moving average by its formula."""

        weights = None

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            now = [parameter.detach().clone().double() for parameter in pl_module.parameters()]
            if self.weights is None:
                self.weights = now
            else:
                self.weights = [0.8 * old + 0.2 * new for old, new in zip(self.weights, now, strict=True)]

    average = Average()
    potential = new_potential(si_frames[:4], ["Si"], tiny)
    settings = FitSettings(epochs=3, batch_size=2, average=0.8)
    result = fit(potential, si_frames[:4], [], settings, tmp_path / "run", callbacks=[average])
    assert set(rows(tmp_path / "run")[0]) == {"epoch", "rate", "train_loss"}
    assert set(result.validation) == {"epoch"}
    for parameter, expected in zip(potential.parameters(), average.weights, strict=True):
        torch.testing.assert_close(parameter.double(), expected, rtol=1e-5, atol=1e-6)


def test_offsets_and_scales_are_not_trained(learned, si_frames, tiny):
    potential, _, _ = learned
    fresh = new_potential(si_frames[:20], ["Si"], tiny).state_dict()
    trained = potential.state_dict()
    parameters = {name for name, _ in potential.named_parameters()}
    for name in fresh:
        assert torch.equal(fresh[name], trained[name]) == (name not in parameters), name


def test_early_stopping_waits_for_its_patience(si_frames, tiny, tmp_path):
    potential = new_potential(si_frames[:2], ["Si"], tiny)
    # So slow that nothing changes in single precision: the first epoch stays the best.
    settings = FitSettings(epochs=10, batch_size=2, rate=1e-30, matrix_rate=1e-30, patience=2)
    result = fit(potential, si_frames[:2], si_frames[2:4], settings, tmp_path / "run")
    assert result.epochs == 3
    assert result.validation["epoch"] == 1


def test_early_stopping_needs_validation_and_leaves_the_directory_free(si_frames, tiny, tmp_path):
    potential = new_potential(si_frames[:2], ["Si"], tiny)
    settings = FitSettings(epochs=2, patience=1)
    with pytest.raises(RecipeError, match="early stopping needs validation frames"):
        fit(potential, si_frames[:2], [], settings, tmp_path / "run")
    assert not check_run(tmp_path / "run", resume=False)


def test_double_precision(si_frames, tiny, tmp_path):
    potential = new_potential(si_frames[:2], ["Si"], tiny)
    settings = FitSettings(epochs=1, precision="float64")
    fit(potential, si_frames[:2], si_frames[2:4], settings, tmp_path / "run")
    assert {p.dtype for p in potential.parameters()} == {torch.float64}
    loaded = load_model(tmp_path / "run" / "model.safetensors", torch.float64)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), potential.parameters(), strict=True))


def test_no_epochs_leave_the_weights_alone_and_write_the_model(si_frames, tiny, tmp_path):
    potential = new_potential(si_frames[:2], ["Si"], tiny)
    before = {name: tensor.clone() for name, tensor in potential.state_dict().items()}
    result = fit(potential, si_frames[:2], si_frames[2:4], FitSettings(epochs=0), tmp_path / "run")
    assert (result.epochs, result.steps, result.validation) == (0, 0, {})
    written = load_model(tmp_path / "run" / "model.safetensors").state_dict()
    for name, tensor in before.items():
        assert torch.equal(potential.state_dict()[name], tensor)
        assert torch.equal(written[name], tensor)


def test_frozen_weights_stay(si_frames, tiny, tmp_path):
    potential = new_potential(si_frames[:2], ["Si"], tiny)
    frozen = {n: p.detach().clone() for n, p in potential.named_parameters() if "layers.0" in n}
    for name, parameter in potential.named_parameters():
        parameter.requires_grad_(name not in frozen)
    fit(potential, si_frames[:2], [], FitSettings(epochs=2, average=0.5), tmp_path / "run")
    now = dict(potential.named_parameters())
    assert all(torch.equal(now[name], tensor) for name, tensor in frozen.items())


def test_frames_without_some_labels_can_be_fitted(si_frames, tiny, tmp_path):
    frames = [replace(si_frames[0], energy=None, stress=None), replace(si_frames[1], forces=None)]
    potential = new_potential(frames, ["Si"], tiny)
    held_out = [replace(frame, stress=None) for frame in si_frames[2:4]]
    result = fit(potential, frames, held_out, FitSettings(epochs=2, batch_size=1), tmp_path / "run")
    assert all(torch.isfinite(p).all() for p in potential.parameters())
    assert {"energy_mae", "forces_mae"} <= set(result.validation)
    assert "stress_mae" not in result.validation


def test_nothing_to_train_on(si_frames, tiny, tmp_path):
    potential = new_potential(si_frames[:2], ["Si"], tiny)
    with pytest.raises(DataError, match="no training frames"):
        fit(potential, [], si_frames[:2], FitSettings(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_finished_run_is_not_overwritten(learned, si_frames, tiny):
    _, run, _ = learned
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    potential = new_potential(si_frames[:20], ["Si"], tiny)
    with pytest.raises(RecipeError, match="holds a run already; continue it with --resume or choose another"):
        fit(potential, si_frames[:20], [], FitSettings(epochs=1), run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_run_without_epochs_is_not_overwritten_either(si_frames, tiny, tmp_path):
    potential = new_potential(si_frames[:2], ["Si"], tiny)
    fit(potential, si_frames[:2], [], FitSettings(epochs=0), tmp_path)
    with pytest.raises(RecipeError, match="holds a run already"):
        fit(potential, si_frames[:2], [], FitSettings(epochs=0), tmp_path)


def test_labels_that_no_validation_frame_has(si_frames, tiny, tmp_path):
    bare = [replace(frame, energy=None, forces=None, stress=None) for frame in si_frames[20:]]
    potential = new_potential(si_frames[:4], ["Si"], tiny)
    with pytest.raises(DataError, match=r"no validation frame has any of the labels in the loss \(energy"):
        fit(potential, si_frames[:4], bare, FitSettings(epochs=1), tmp_path)


def test_divergence_is_said_at_once(si_frames, tiny, tmp_path):
    potential = new_potential(si_frames[:4], ["Si"], tiny)
    with torch.no_grad():
        next(potential.parameters()).fill_(torch.nan)
    with pytest.raises(Diverged, match=r"not finite in epoch 1: training has diverged; lower `rate`"):
        fit(potential, si_frames[:4], [], FitSettings(epochs=1), tmp_path)


def test_resume_without_the_record_of_the_start(si_frames, tiny, tmp_path):
    fit(new_potential(si_frames[:4], ["Si"], tiny), si_frames[:4], [], FitSettings(epochs=1), tmp_path)
    (tmp_path / "checkpoints" / "fit.json").unlink()
    with pytest.raises(RecipeError, match="was started from other data, settings, weights or threads"):
        fit(
            new_potential(si_frames[:4], ["Si"], tiny),
            si_frames[:4],
            [],
            FitSettings(epochs=1),
            tmp_path,
            resume=True,
        )


def test_the_last_epoch_is_kept_when_asked_and_validation_chooses_nothing(si_frames, tiny, tmp_path):
    kept = {}
    for keep, validation in (("best", []), ("last", si_frames[20:])):
        potential = new_potential(si_frames[:4], ["Si"], tiny)
        settings = FitSettings(epochs=3, batch_size=2, rate=0.05, matrix_rate=0.2, keep=keep)
        result = fit(potential, si_frames[:4], validation, settings, tmp_path / keep)
        kept[keep] = potential.state_dict()
    assert result.validation["epoch"] == 3
    assert all(torch.equal(kept["best"][name], kept["last"][name]) for name in kept["best"])


def test_weights_get_their_whole_gradient_and_bonds_none(si_frames, tiny):
    potential = new_potential(si_frames[:2], ["Si"], tiny, dtype=torch.float64)
    module = FitModule(potential, FitSettings(), 1)
    batch = batch_graphs(frame_graphs(si_frames[:2], potential.cutoff))

    def value():
        return loss(residuals(potential(batch, create_graph=True), batch), FitSettings().loss)

    value().backward()
    expected = {name: parameter.grad.clone() for name, parameter in potential.named_parameters()}
    potential.zero_grad()
    module.backward(value())
    for name, parameter in potential.named_parameters():
        assert torch.equal(parameter.grad, expected[name]), name
