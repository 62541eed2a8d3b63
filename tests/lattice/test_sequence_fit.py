"""Training finds the distribution, uses declared symmetries, and resumes bit for bit."""

import itertools
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from mlpot.errors import DataError, Interrupted, ModelFileError, RecipeError
from mlpot.lattice.samples import Samples
from mlpot.lattice.sequence import FitSettings, SequenceSettings, build_sequence, fit_sequence, load_sequence

BETA = 0.35
NETWORKS = {
    "dense": {"width": 64, "layers": 2},
    "gru": {"width": 16},
    "lstm": {"width": 16},
    "rnn2d": {"width": 12},
    "convolution": {"channels": 8, "layers": 1, "reach": 1},
    "transformer": {"width": 16, "heads": 2, "layers": 1},
}
ISING = {"states": "all", "point": True, "translations": True}


@pytest.fixture(scope="module")
def ising():
    """All states of the 4x4 Ising model, and their exact probabilities."""
    states = np.array(list(itertools.product((0, 1), repeat=16)), dtype=np.int8).reshape(-1, 4, 4)
    spins = 2 * states.astype(int) - 1
    energy = -(spins * (np.roll(spins, 1, 1) + np.roll(spins, 1, 2))).sum((1, 2))
    p = np.exp(-BETA * (energy - energy.min()))
    return states, p / p.sum()


def draw(ising, n, seed=0):
    states, p = ising
    return states[np.random.default_rng(seed).choice(len(p), n, p=p)]


def model_of(name="dense", **average):
    network = {"architecture": name, **NETWORKS[name]}
    return build_sequence(
        (4, 4), 2, SequenceSettings.model_validate({"network": network, "average": average})
    )


def divergence(ising, model):
    """Return KL(p, model) in nats, exactly."""
    states, p = ising
    return float((p * (np.log(p) - model.evaluate(states))).sum())


@pytest.mark.parametrize("name", NETWORKS)
def test_training_approaches_the_exact_distribution(ising, name):
    model = model_of(name)
    before = divergence(ising, model)
    settings = FitSettings(
        steps=60, batch=64, learning_rate=3e-3, warm_up=10, start=10_000, augment=ISING, evaluations=2
    )
    fit = fit_sequence(model, draw(ising, 10_000), settings)
    after = divergence(ising, model)
    assert before > 2.0
    assert after < 0.02
    _, p = ising
    entropy = -(p * np.log(p)).sum()
    assert fit.record["held_out"] == pytest.approx(entropy + after, abs=4 * fit.record["held_out_error"])


def test_the_network_learns_what_couplings_cannot(ising):
    """A distribution of three-spin products has no pair correlations at all."""
    states, _ = ising
    spins = (2 * states.astype(int) - 1).reshape(-1, 16)
    p = np.exp(0.8 * sum(spins[:, i] * spins[:, i + 1] * spins[:, i + 2] for i in range(0, 12, 3)))
    p /= p.sum()
    data = draw((states, p), 10_000)
    divergences = []
    for steps, rate in ((1, 1e-9), (200, 1e-2)):
        model = model_of()
        fit_sequence(
            model, data, FitSettings(steps=steps, batch=128, learning_rate=rate, start=10_000, evaluations=1)
        )
        divergences.append(divergence((states, p), model))
    assert divergences[0] > 0.5
    assert divergences[1] < 0.1


def test_symmetries_declared_make_more_of_few_samples(ising):
    few = draw(ising, 400)
    settings = {"steps": 60, "batch": 64, "warm_up": 10, "learning_rate": 1e-3, "start": 10_000}
    plain, augmented = model_of(), model_of()
    fit_sequence(plain, few, FitSettings(**settings))
    fit_sequence(augmented, few, FitSettings(**settings, augment=ISING))
    averaged = model_of(states="all", point=True)
    averaged.inner.load_state_dict(augmented.state_dict())
    assert divergence(ising, augmented) < 0.2 * divergence(ising, plain)
    assert divergence(ising, averaged) <= divergence(ising, augmented)


def test_states_that_repeat_count_as_often_as_they_come():
    """Two sites, four states in known numbers: few distinct states, and the same optimum."""
    states = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.int8)
    p = np.array([0.5, 0.3, 0.15, 0.05])
    data = np.random.default_rng(0).permutation(np.repeat(states, (2000 * p).astype(int), axis=0))
    settings = SequenceSettings.model_validate({"network": {"architecture": "dense", "width": 8}})
    # Held out: enough for the choice of the best step not to be one of noise.
    small = {"steps": 200, "batch": 64, "learning_rate": 2e-2, "warm_up": 5, "holdout": 0.5}
    for start in (0, 2000):
        model = build_sequence((2,), 2, settings)
        fit_sequence(model, data, FitSettings(**small, start=start))
        np.testing.assert_allclose(np.exp(model.evaluate(states)), p, atol=0.03)


def tensors(file):
    from safetensors.torch import load_file

    return load_file(file)


SETTINGS = {"steps": 24, "batch": 32, "warm_up": 4, "evaluations": 6, "start": 300, "augment": ISING}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("name", ["dense", "rnn2d"])
def test_a_run_that_was_stopped_ends_bit_for_bit_as_one_that_was_not(ising, tmp_path, name, optimizer):
    data, settings = draw(ising, 300), FitSettings(**SETTINGS, optimizer=optimizer)
    whole = fit_sequence(model_of(name), data, settings, tmp_path / "whole")
    assert not (tmp_path / "whole" / "last.safetensors").exists()

    def stop(progress):
        if progress.step == 12:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted, match="continues"):
        fit_sequence(model_of(name), data, settings, tmp_path / "part", progress=stop)
    assert (tmp_path / "part" / "last.safetensors").exists()
    again = fit_sequence(model_of(name), data, settings, tmp_path / "part", resume=True)
    first, second = (tensors(tmp_path / run / "model.safetensors") for run in ("whole", "part"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert again.record["curve"] == whole.record["curve"]
    assert again.record["held_out"] == whole.record["held_out"]


PROGRAM = """
import sys, time, numpy as np
from mlpot.lattice.sequence import FitSettings, SequenceSettings, build_sequence, fit_sequence
settings = SequenceSettings.model_validate({"network": {"architecture": "dense", "width": 64, "layers": 2}})
model = build_sequence((4, 4), 2, settings)
def wait(progress):
    if progress.step == 12:
        print("ready", flush=True)
        time.sleep(60)
settings = FitSettings.model_validate_json(sys.argv[2])
fit_sequence(model, np.load(sys.argv[1]), settings, sys.argv[3], progress=wait)
"""


def test_a_run_that_was_killed_ends_bit_for_bit_as_one_that_was_not(ising, tmp_path):
    data, settings = draw(ising, 300), FitSettings(**SETTINGS)
    np.save(tmp_path / "data.npy", data)
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(tmp_path / "data.npy"),
        settings.model_dump_json(),
        str(tmp_path / "part"),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    ) as child:
        assert child.stdout.readline() == "ready\n"
        child.kill()
    fit_sequence(model_of(), data, settings, tmp_path / "whole")
    fit_sequence(model_of(), data, settings, tmp_path / "part", resume=True)
    first, second = (tensors(tmp_path / run / "model.safetensors") for run in ("whole", "part"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_that_is_over_is_returned_and_never_overwritten(ising, tmp_path):
    data, settings = draw(ising, 300), FitSettings(**SETTINGS)
    first = fit_sequence(model_of(), data, settings, tmp_path)
    with pytest.raises(RecipeError, match="resume it"):
        fit_sequence(model_of(), data, settings, tmp_path)
    again = fit_sequence(model_of(), data, settings, tmp_path, resume=True)
    assert (again.model.evaluate(data) == first.model.evaluate(data)).all()
    assert json.loads((tmp_path / "record.json").read_text()) == again.record
    loaded, facts = load_sequence(tmp_path / "model.safetensors", (4, 4), 2)
    assert (loaded.evaluate(data) == first.model.evaluate(data)).all()
    assert facts["held_out"] == first.record["held_out"]
    with pytest.raises(RecipeError, match="other settings"):
        fit_sequence(model_of("gru"), data, settings, tmp_path, resume=True)
    with pytest.raises(RecipeError, match="other settings \\(steps\\)"):
        fit_sequence(model_of(), data, FitSettings(**{**SETTINGS, "steps": 30}), tmp_path, resume=True)


def test_a_checkpoint_of_other_settings_model_or_samples_is_refused(ising, tmp_path):
    data, settings = draw(ising, 300), FitSettings(**SETTINGS)

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_sequence(model_of(), data, settings, tmp_path, progress=stop)
    with pytest.raises(RecipeError, match="learning_rate"):
        fit_sequence(model_of(), data, FitSettings(**SETTINGS, learning_rate=0.1), tmp_path, resume=True)
    with pytest.raises(RecipeError, match="another model"):
        fit_sequence(model_of("gru"), data, settings, tmp_path, resume=True)
    with pytest.raises(RecipeError, match="other samples"):
        fit_sequence(model_of(), 1 - data, settings, tmp_path, resume=True)
    file = tmp_path / "last.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ModelFileError, match="checkpoint"):
        fit_sequence(model_of(), data, settings, tmp_path, resume=True)


def test_samples_that_do_not_fit_are_refused(ising):
    settings = FitSettings(**SETTINGS)
    with pytest.raises(DataError, match="too few"):
        fit_sequence(model_of(), draw(ising, 1), settings)
    with pytest.raises(DataError, match=r"lattice \(4, 4\)"):
        fit_sequence(model_of(), np.zeros((9, 3, 3), dtype=np.int8), settings)
    with pytest.raises(DataError, match="3 states per site"):
        fit_sequence(model_of(), Samples(draw(ising, 9), temperature=2.0, q=3), settings)
