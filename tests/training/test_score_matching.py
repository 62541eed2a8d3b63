"""Learning from positions alone: the noise, what its minimiser is, and that a potential learns from it."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
from ase.build import bulk
from lightning.pytorch.callbacks import Callback

from mlpot.conventions import KB
from mlpot.data.files import write_frames
from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs
from mlpot.errors import DataError, RecipeError
from mlpot.model.file import load_model
from mlpot.model.network import NetworkConfig
from mlpot.recipe import load_recipe, parse_recipe
from mlpot.reference.classical import classical_calculator
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


def crystal(count, atoms=512, seed=0):
    """Return snapshots of an Einstein crystal: each component has the variance kT/k about a wide lattice."""
    rng = np.random.default_rng(seed)
    sites = 6.0 * np.stack(np.unravel_index(np.arange(atoms), (8, 8, 8)), axis=1)
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


def stiffness(settings, count, seed):
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
        stiffness(ScoreSettings(temperature=T0, sigma=sigma, antithetic=antithetic), 12, s) for s in range(6)
    ]
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert error < (0.02 if antithetic else 0.2) * expected
    assert abs(np.mean(found) - expected) < 4 * error + 0.002 * expected


def test_only_pairs_stay_sharp_at_little_noise():
    def scatter(sigma, pairs):
        settings = ScoreSettings(temperature=T0, sigma=sigma, antithetic=pairs, draws=1 if pairs else 2)
        return np.std([stiffness(settings, 3, seed) for seed in range(8)])

    little, less = 0.03, 0.003
    assert scatter(less, True) < 1.5 * scatter(little, True)
    assert scatter(less, False) > 4 * scatter(little, False)
    assert scatter(less, False) > 5 * scatter(less, True)


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


def test_loss_is_that_of_no_forces_at_zero(si_frames, tiny):
    """Logged is <F^2>/2 - <F t>, which has no part of the noise in it that no model changes."""
    potential = new_potential(si_frames, ["Si"], tiny)
    module = FitModule(potential, FitSettings(loss=force_loss(LossSettings())), 1, score=True)
    graphs = NoisyGraphs(si_frames, 4.0, ScoreSettings(temperature=T0, sigma=0.001), 0)
    batch = batch_graphs([*graphs.__getitems__([0, 1]), *graphs.__getitems__([None])])
    t = batch.forces[:32]
    some = torch.as_tensor(np.random.default_rng(0).standard_normal((32, 3)))
    for forces in (torch.zeros_like(t), some):
        found = module._loss({"forces": (forces - t).flatten()}, batch, {"forces": 1.0})
        assert float(found) == pytest.approx(float((0.5 * forces**2 - forces * t).mean()), rel=1e-6)


SCORE = ScoreSettings(temperature=100.0, sigma=0.003)


SHAPE = NetworkConfig(channels=4, hidden=4, layers=1, cutoff=4.0)


@pytest.fixture
def start():
    return lambda frames: new_potential(
        frames, ["Si"], SHAPE, offsets={"Si": 0.0}, force_size=SCORE.force_size
    )


@pytest.fixture(scope="module")
def harmonic():
    """Return a sampler of the harmonic crystal of eight Stillinger-Weber atoms, and its force constants."""
    atoms = bulk("Si", "diamond", a=5.431, cubic=True)
    sites, step, columns = atoms.positions.copy(), 1e-3, []
    atoms.calc = classical_calculator("sw-si")
    for component in range(24):
        moved = np.zeros(24)
        moved[component] = step
        atoms.positions = sites + moved.reshape(8, 3)
        columns.append(-atoms.get_forces().ravel() / step)
    constants = 0.5 * (np.array(columns) + np.array(columns).T)
    values, modes = np.linalg.eigh(constants)
    width = np.sqrt(KB * SCORE.temperature / values[3:])  # the first three move the whole

    def sample(count, seed):
        u = np.random.default_rng(seed).standard_normal((count, 21)) * width @ modes[:, 3:].T
        same = {"numbers": np.full(8, 14), "cell": atoms.cell.array, "pbc": np.ones(3, dtype=bool)}
        return [
            Frame(positions=sites + one.reshape(8, 3), forces=-(constants @ one).reshape(8, 3), **same)
            for one in u
        ]

    return sample


def test_forces_are_learned_without_a_force(harmonic, start, tmp_path):
    frames, judge = harmonic(60, 0), harmonic(30, 2)
    potential = start(frames)
    settings = FitSettings(epochs=12, batch_size=5, average=0.9)
    fit(potential, frames, harmonic(10, 1), settings, tmp_path, score=SCORE)
    zero = 1e3 * np.sqrt(np.mean([frame.forces**2 for frame in judge]))
    assert errors_by_group(potential, judge)["all"].forces_rmse < 0.4 * zero
    with (tmp_path / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert set(table[0]) == {"epoch", "rate", "train_loss", "loss"}  # no error against noise
    assert float(table[-1]["loss"]) < 0.0


def test_resumed_run_sees_the_noise_it_would_have_seen(start, tmp_path):
    frames, held_out = bonds(8), bonds(4, seed=1)
    settings = FitSettings(epochs=3, batch_size=4, average=0.9)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    score = ScoreSettings(temperature=T0, sigma=0.02)
    fit(start(frames), frames, held_out, settings, whole, score=score)
    for stop in (1, None):
        hooks = [Stop(stop)]
        fit(start(frames), frames, held_out, settings, parts, stop is None, callbacks=hooks, score=score)
    assert (parts / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    ours, theirs = (load_model(path / "model.safetensors").state_dict() for path in (parts, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(RecipeError, match="started from other data, settings"):
        other = score.model_copy(update={"sigma": 0.03})
        fit(start(frames), frames, held_out, settings, parts, True, score=other)


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
