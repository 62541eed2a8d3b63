"""Learning from positions alone: the noise, what its minimiser is, and that a potential learns from it."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from mlpot.conventions import KB
from mlpot.data.files import write_frames
from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graphs
from mlpot.errors import DataError, RecipeError
from mlpot.model.file import load_model
from mlpot.recipe import load_recipe, parse_recipe
from mlpot.training.errors import errors_by_group
from mlpot.training.fit import fit
from mlpot.training.initialise import new_potential
from mlpot.training.loss import loss, residuals
from mlpot.training.module import FitModule
from mlpot.training.run import TrainRecipe, train
from mlpot.training.score import NoisyGraphs, ScoreSettings, check_snapshots, force_loss
from mlpot.training.settings import FitSettings, LossSettings

T0 = 1000.0
SPRING, LENGTH = 10.0, 2.35  # eV/Å², Å: a bond of silicon


class Stop(Callback):
    """Stops a fit after an epoch (from 0)."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch == self.epoch


def frame(positions, forces=None, **info):
    number = np.full(len(positions), 14)
    return Frame(number, positions, np.zeros((3, 3)), np.zeros(3, dtype=bool), forces=forces, info=info)


def crystal(count, atoms=64, seed=0):
    """Return snapshots of an Einstein crystal: each component has the variance kT/k about a wide lattice."""
    rng = np.random.default_rng(seed)
    sites = 20.0 * np.stack(np.unravel_index(np.arange(atoms), (4, 4, 4)), axis=1)
    spread = np.sqrt(KB * T0 / SPRING)
    return sites, [frame(sites + spread * rng.standard_normal((atoms, 3))) for _ in range(count)]


def bonds(count, seed=0):
    """Return exact snapshots of two atoms on a spring, with the forces that nobody shows the fit."""
    rng = np.random.default_rng(seed)
    frames = []
    while len(frames) < count:
        r = LENGTH + np.sqrt(KB * T0 / SPRING) * rng.standard_normal()
        if rng.random() * 12.0 < r**2:  # the Jacobian of three dimensions
            way = rng.standard_normal(3)
            way /= np.linalg.norm(way)
            pull = SPRING * (r - LENGTH) * way
            places = np.stack([np.zeros(3), r * way])
            frames.append(frame(places, np.stack([pull, -pull]), temperature_K=T0))
    return frames


def stiffness(settings, count=200, seed=0):
    """Return the spring constant that least squares find for the targets of an Einstein crystal."""
    sites, frames = crystal(count, seed=seed)
    graphs = NoisyGraphs(frames, 3.0, settings, seed).__getitems__(list(range(count)))
    u = np.concatenate([(graph.pos.numpy() - sites).ravel() for graph in graphs])
    t = np.concatenate([graph.forces.numpy().ravel() for graph in graphs])
    return -(u @ t) / (u @ u)


@pytest.mark.parametrize("sigma", [0.02, 0.1])
@pytest.mark.parametrize("antithetic", [True, False])
def test_least_squares_find_the_score_of_the_smoothed_gaussian(sigma, antithetic):
    # Variance kT/k + sigma^2, so the force constant kT / (kT/k + sigma^2).
    expected = SPRING / (1 + sigma**2 * SPRING / (KB * T0))
    found = [
        stiffness(ScoreSettings(temperature=T0, sigma=sigma, antithetic=antithetic), 100, s) for s in range(6)
    ]
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert error < 0.05 * expected
    assert abs(np.mean(found) - expected) < 4 * error + 0.002 * expected


def test_only_pairs_stay_sharp_at_little_noise():
    scatter = {
        (sigma, pairs): np.std(
            [
                stiffness(
                    ScoreSettings(temperature=T0, sigma=sigma, antithetic=pairs, draws=1 if pairs else 2),
                    20,
                    s,
                )
                for s in range(8)
            ]
        )
        for sigma in (0.03, 0.003)
        for pairs in (True, False)
    }
    assert scatter[0.003, True] < 1.5 * scatter[0.03, True]
    assert scatter[0.003, False] > 4 * scatter[0.03, False]
    assert scatter[0.003, False] > 10 * scatter[0.003, True]


def test_noise_is_that_of_seed_epoch_and_frame(si_frames):
    settings, epoch = ScoreSettings(temperature=T0, sigma=0.05, draws=2), [0]

    def copies(index, seed=0, fixed=False):
        graphs = NoisyGraphs(si_frames, 4.0, settings, seed, None if fixed else lambda: epoch[0])
        return graphs.__getitems__([index])

    first = copies(3)
    assert len(first) == 4
    for plus, minus in (first[:2], first[2:]):
        middle = torch.as_tensor(si_frames[3].positions)
        assert torch.allclose(plus.pos + minus.pos, 2 * middle)
        assert torch.equal(plus.forces, -minus.forces)
        assert torch.allclose(plus.forces, -KB * T0 / 0.05**2 * (plus.pos - middle))
        assert torch.isnan(plus.energy).all()
        assert torch.isnan(plus.stress).all()
    assert not torch.equal(first[0].pos, first[2].pos)
    assert torch.equal(copies(3)[0].pos, first[0].pos)
    fixed = copies(3, fixed=True)[0].pos
    epoch[0] = 1
    others = (copies(3)[0], copies(3, seed=1)[0], copies(4)[0])
    assert not any(torch.equal(other.pos, first[0].pos) for other in others)
    assert torch.equal(copies(3, fixed=True)[0].pos, fixed)


def test_uniform_part_of_the_noise_moves_no_weight(si_frames, tiny):
    """The gradient is the same with and without the centre of mass in the targets."""
    potential = new_potential(si_frames, ["Si"], tiny, dtype=torch.float64)
    graphs = NoisyGraphs(si_frames, potential.cutoff, ScoreSettings(temperature=T0, sigma=0.05), 0)
    settings = force_loss(LossSettings())
    gradients = []
    for centred in (False, True):
        batch = batch_graphs(graphs.__getitems__([0, 1]))
        if centred:
            means = batch.forces.view(-1, 8, 3).mean(1, keepdim=True).expand(-1, 8, 3)
            batch.forces = batch.forces - means.reshape(-1, 3)
        potential.zero_grad()
        loss(residuals(potential.trainable(batch), batch), settings).backward()
        gradients.append(torch.cat([p.grad.ravel() for p in potential.parameters() if p.grad is not None]))
    assert torch.allclose(*gradients, rtol=1e-8, atol=1e-8 * float(gradients[0].abs().max()))


def test_loss_is_half_the_square_error_of_forces_up_to_a_constant(tiny):
    frames = bonds(400)
    potential = new_potential(frames, ["Si"], tiny)
    module = FitModule(potential, FitSettings(loss=force_loss(LossSettings())), 1, score=True)
    graphs = NoisyGraphs(frames, 5.0, ScoreSettings(temperature=T0, sigma=0.01, draws=8), 0)
    batch = batch_graphs(graphs.__getitems__(list(range(400))))
    clean = batch_graphs(frame_graphs(frames, 5.0))
    values = []
    for factor in (0.0, 1.0):  # no force, the true one
        bond = (batch.pos[1::2] - batch.pos[::2]).numpy()
        r = np.linalg.norm(bond, axis=1, keepdims=True)
        pull = torch.as_tensor(factor * SPRING * (r - LENGTH) * bond / r)
        forces = torch.stack([pull, -pull], dim=1).reshape(-1, 3)
        values.append(float(module._loss({"forces": forces - batch.forces}, batch, {"forces": 1.0})))
    assert values[0] == 0.0
    assert values[1] == pytest.approx(-0.5 * float(clean.forces.square().mean()), rel=0.1)


@pytest.fixture(scope="module")
def learned(tiny, tmp_path_factory):
    """Return a potential that saw 200 snapshots without labels, its start, and its run directory."""
    run = tmp_path_factory.mktemp("score") / "run"
    frames, held_out = bonds(200), bonds(40, seed=1)
    score = ScoreSettings(temperature=T0, sigma=0.02)
    potential = new_potential(frames, ["Si"], tiny, offsets={"Si": 0.0}, force_size=score.force_size)
    settings = FitSettings(epochs=12, batch_size=10, average=0.9)
    fit(potential, frames, held_out, settings, run, score=score)
    return potential, run, (frames, held_out, settings, score)


def test_forces_are_learned_without_a_force(learned):
    potential, _, _ = learned
    judge = bonds(100, seed=2)
    zero = 1e3 * np.sqrt(np.mean([frame.forces**2 for frame in judge]))
    assert errors_by_group(potential, judge)["all"].forces_rmse < 0.35 * zero


def test_table_has_losses_alone(learned):
    _, run, _ = learned
    with (run / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert set(table[0]) == {"epoch", "rate", "train_loss", "loss"}
    assert float(table[-1]["loss"]) < 0.0


def test_resumed_run_sees_the_noise_it_would_have_seen(learned, tiny, tmp_path):
    _, run, (frames, held_out, settings, score) = learned
    for resume, stop in ((False, 5), (True, None)):
        potential = new_potential(frames, ["Si"], tiny, offsets={"Si": 0.0}, force_size=score.force_size)
        fit(potential, frames, held_out, settings, tmp_path, resume, callbacks=[Stop(stop)], score=score)
    assert (tmp_path / "metrics.csv").read_text() == (run / "metrics.csv").read_text()
    ours, theirs = (load_model(path / "model.safetensors").state_dict() for path in (tmp_path, run))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(RecipeError, match="started from other data, settings"):
        other = score.model_copy(update={"sigma": 0.03})
        fit(potential, frames, held_out, settings, tmp_path, True, score=other)


RECIPE = {"loss": "score", "score": {"temperature": T0, "sigma": 0.02}, "model": {"channels": 4, "hidden": 4}}


@pytest.fixture
def snapshots(tmp_path):
    write_frames(tmp_path / "snapshots.xyz", bonds(20))
    return str(tmp_path / "snapshots.xyz")


def recipe(path, **changes):
    data = {"train": path, **changes.pop("data", {})}
    return parse_recipe(TrainRecipe, {**RECIPE, "data": data, "fit": {"epochs": 1}, **changes}, "r.yaml")


def test_recipe_needs_no_labels_and_its_copy_is_a_recipe(snapshots, tmp_path):
    summary = train(recipe(snapshots), tmp_path / "run")
    assert summary["frames"]["train"]["labels"] == {"energy": 0, "forces": 0, "stress": 0}
    assert summary["offsets"] == {"eV": {"Si": 0.0}, "residual_eV_per_atom": None}
    assert summary["errors"] is None
    assert "up to a constant" in summary["notes"][-1]
    written = load_recipe(TrainRecipe, tmp_path / "run" / "recipe.yaml")
    assert written == recipe(snapshots, elements=["Si"]).resolved()
    assert written.fit.loss.kind == "squared"
    assert written.data[0].labels.forces is None


def test_forces_that_are_there_judge_and_teach_nothing(snapshots, tmp_path):
    runs = [tmp_path / "blind", tmp_path / "judged"]
    blind = train(recipe(snapshots), runs[0])
    judged = train(recipe(snapshots, data={"labels": {"forces": "REF_forces"}}), runs[1])
    assert blind["errors"] is None
    assert judged["errors"]["forces_rmse"] > 0
    assert judged["errors"]["energy_mae"] is None
    ours, theirs = (load_model(run / "model.safetensors").state_dict() for run in runs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": {"temperature": 0.0}}, r"score\.temperature: .*greater than 0"),
        ({"score": {"temperature": T0, "sigma": -0.1}}, r"score\.sigma: .*greater than 0"),
        ({"score": {"temperature": T0, "draws": 0}}, r"score\.draws: "),
        ({"score": None}, r"goes with a section score"),
        ({"loss": "labels"}, r"give both or neither"),
        ({"fit": {"loss": {"kind": "huber"}}}, r"fit\.loss\.kind: huber .*only squares"),
        ({"fit": {"loss": {"energy": {"weight": 0.1, "unit": 0.01}}}}, r"fit\.loss\.energy: has a weight"),
        ({"fit": {"loss": {"stress": {"weight": 0.1, "unit": 0.01}}}}, r"fit\.loss\.stress: has a weight"),
        ({"fit": {"loss": {"forces": {"weight": 0.0, "unit": 1.0}}}}, r"fit\.loss\.forces: weight 0"),
        ({"data": {"labels": {"energy": "E"}}}, r"data\.labels\.energy: .*up to a constant"),
        ({"data": {"labels": {"stress": "S"}}}, r"data\.labels\.stress: "),
    ],
)
def test_recipes_that_contradict_themselves(changes, message):
    with pytest.raises(RecipeError, match=message):
        recipe("snapshots.xyz", **changes)


def test_other_temperatures_are_refused(snapshots, tmp_path):
    with pytest.raises(DataError, match=r"snapshots\.xyz#\d+: a snapshot at 1000 K, .* is 600 K"):
        train(recipe(snapshots, score={"temperature": 600.0}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    frames = [frame(np.eye(3) * 3, temperature_K=T) for T in (1000.0, 300.0)]
    with pytest.raises(DataError, match=r"the frames are at 300, 1000 K"):
        check_snapshots(frames, ScoreSettings(temperature=T0))
    check_snapshots([frame(np.eye(3) * 3)], ScoreSettings(temperature=T0))  # it does not say


def test_streamed_snapshots_are_refused(tmp_path):
    pytest.importorskip("lmdb")
    write_frames(tmp_path / "s.lmdb", bonds(5))
    with pytest.raises(DataError, match=r"s\.lmdb: loss: score .*\.xyz"):
        train(recipe(str(tmp_path / "s.lmdb"), data={"validation": None}), tmp_path / "run")
