"""Every architecture is an exactly normalised, causal distribution that samples what it says."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from mlpot.errors import DataError, ModelFileError, RecipeError
from mlpot.lattice.sequence import SequenceSettings, build_sequence, load_sequence, save_sequence

NETWORKS = {
    "dense": {"width": 20, "layers": 3},
    "gru": {"width": 7, "layers": 2},
    "lstm": {"width": 7},
    "rnn2d": {"width": 6},
    "convolution": {"channels": 5, "layers": 2, "reach": 1},
    "transformer": {"width": 8, "heads": 2, "layers": 2},
}
GROUPS = {
    "none": {},
    "flip": {"states": "all"},
    "point": {"point": True},
    "everything": {"states": "all", "point": True, "translations": True},
}


def make(name, shape=(3, 3), q=2, group="none", seed=0, **more):
    """Return a model in float64 with random weights everywhere, so that nothing is hidden by zeros."""
    settings = SequenceSettings.model_validate(
        {"network": {"architecture": name, **NETWORKS[name], **more}, "average": GROUPS[group]}
    )
    model = build_sequence(shape, q, settings, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64))
    return model


def all_states(shape, q):
    sites = math.prod(shape)
    return np.array(list(itertools.product(range(q), repeat=sites)), dtype=np.int8).reshape(-1, *shape)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("shape", "q", "group"),
    [((3, 3), 2, group) for group in GROUPS] + [((2, 3), 3, group) for group in ("none", "flip", "point")],
)
def test_the_probabilities_of_all_states_sum_to_one(name, shape, q, group):
    p = np.exp(make(name, shape, q, group).evaluate(all_states(shape, q)))
    assert p.sum() == pytest.approx(1, abs=1e-10)
    assert p.std() > 0.1 * p.mean()


@pytest.mark.parametrize("name", NETWORKS)
def test_single_precision_is_normalised_too(name):
    p = make(name).float().evaluate(all_states((3, 3), 2))
    assert np.exp(p).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["row", "snake", "spiral"])
def test_the_logits_of_a_step_depend_on_every_earlier_step_or_none_but_never_on_a_later(name, kind):
    model = make(name, (3, 4), 3, path=kind)
    generator = torch.Generator().manual_seed(1)
    states = torch.randint(3, (5, 12), generator=generator)
    before = model.logits(states)
    for step in range(12):
        changed = states.clone()
        changed[:, step] = (changed[:, step] + 1) % 3
        moved = (model.logits(changed) - before).abs().amax((0, 2))
        assert (moved[: step + 1] < 1e-13).all()
        if step < 11:
            assert moved[step + 1 :].max() > 1e-4


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("couplings", ["all", "neighbours", "none"])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 2)])
def test_a_step_at_a_time_gives_the_same_logits(name, couplings, shape):
    model = make(name, shape, 3, couplings=couplings, path="snake")
    states = torch.as_tensor(model.sample(6, torch.Generator().manual_seed(2))).reshape(6, -1).long()
    sequence = states[:, model.order]
    whole = model.network(sequence)
    memory, previous = model.begin(6), None
    with torch.no_grad():
        for step in range(model.sites):
            torch.testing.assert_close(
                model.advance(memory, step, previous), whole[:, step], rtol=0, atol=1e-12
            )
            previous = sequence[:, step]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("group", ["none", "everything"])
def test_states_are_drawn_with_their_probabilities(name, group):
    model = make(name, (2, 3), 2, group)
    drawn = model.sample(20_000, torch.Generator().manual_seed(3))
    assert drawn.dtype == np.int8 and drawn.shape == (20_000, 2, 3)
    counts = np.bincount(drawn.reshape(-1, 6) @ (1 << np.arange(5, -1, -1)), minlength=64)
    p = np.exp(model.evaluate(all_states((2, 3), 2)))
    assert stats.chisquare(counts, counts.sum() * p / p.sum()).pvalue > 1e-3


def test_sampling_is_a_function_of_the_generator():
    model = make("dense")
    first, second = (model.sample(50, torch.Generator().manual_seed(4), batch=20) for _ in range(2))
    assert (first == second).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_an_average_over_a_group_is_invariant(name):
    states = all_states((3, 3), 2)[::7]
    model = make(name, group="everything")
    p = model.evaluate(states)
    for image in (1 - states, states[:, ::-1], states.transpose(0, 2, 1), np.roll(states, (1, 2), (1, 2))):
        np.testing.assert_allclose(model.evaluate(np.ascontiguousarray(image)), p, rtol=0, atol=1e-12)
    assert np.abs(model.inner.evaluate(1 - states) - model.inner.evaluate(states)).max() > 0.01


@pytest.mark.parametrize("name", NETWORKS)
def test_an_untrained_model_is_uniform_and_its_probabilities_have_gradients(name):
    settings = SequenceSettings.model_validate({"network": {"architecture": name, **NETWORKS[name]}})
    model = build_sequence((3, 3), 2, settings)
    states = all_states((3, 3), 2)[:64]
    logs = model.log_prob(states)
    assert logs.dtype == torch.float64
    assert logs.detach().numpy() == pytest.approx(-9 * math.log(2), abs=1e-6)
    logs.sum().backward()
    assert model.couplings.grad.abs().sum() > 0 and model.last.weight.grad.abs().sum() > 0


def test_couplings_alone_are_exact_where_all_neighbours_are_known():
    """The last site of an Ising model: its log-odds are linear in its neighbours, with 2 beta each."""
    model = build_sequence((3, 3), 2, dtype=torch.float64)
    with torch.no_grad():
        for step in (2, 5, 6, 7):
            model.couplings[16:, 2 * step : 2 * step + 2] = (
                0.3 / 2 * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
            )
    for states in all_states((3, 3), 2)[::37]:
        up, down = states.copy(), states.copy()
        up[2, 2], down[2, 2] = 1, 0
        field = (2 * states.astype(int) - 1).reshape(-1)[[2, 5, 6, 7]].sum()
        odds = np.subtract(*model.evaluate(np.stack([up, down])))
        assert odds == pytest.approx(2 * 0.3 * field, abs=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("group", ["none", "everything"])
def test_a_file_gives_back_the_model(tmp_path, name, group):
    model, states = make(name, group=group), all_states((3, 3), 2)[::9]
    save_sequence(model, tmp_path / "a.safetensors", {"temperature": 4.0})
    again, facts = load_sequence(tmp_path / "a.safetensors", (3, 3), 2)
    assert facts == {"temperature": 4.0} and again.settings == model.settings
    assert (again.evaluate(states) == model.evaluate(states)).all()


def test_files_that_are_not_the_model_asked_for_are_refused(tmp_path):
    file = tmp_path / "a.safetensors"
    with pytest.raises(ModelFileError, match="no such file"):
        load_sequence(file)
    save_sequence(make("dense"), file)
    with pytest.raises(ModelFileError, match=r"lattice \(3, 3\), asked for \(4, 4\)"):
        load_sequence(file, (4, 4))
    with pytest.raises(ModelFileError, match="2 states per site, asked for 3"):
        load_sequence(file, (3, 3), 3)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="cut off"):
        load_sequence(file)


def test_states_of_another_lattice_or_alphabet_are_refused():
    model = make("dense")
    with pytest.raises(DataError, match=r"lattice \(3, 3\)"):
        model.log_prob(np.zeros((2, 4, 4), dtype=np.int8))
    with pytest.raises(DataError, match="another alphabet"):
        model.log_prob(np.full((2, 3, 3), 2, dtype=np.int8))
    with pytest.raises(DataError, match="convert"):
        model.log_prob(np.zeros((2, 3, 3)))
    with pytest.raises(RecipeError, match="at least 2 states"):
        build_sequence((3, 3), 1)


def test_colours_may_be_permuted_as_declared():
    for kind, size in (("cyclic", 4), ("dihedral", 8), ("all", 24)):
        settings = SequenceSettings.model_validate({"average": {"states": kind}})
        assert len(build_sequence((2, 2), 4, settings).group) == size
    with pytest.raises(RecipeError, match="declare cyclic or dihedral"):
        build_sequence((2, 2), 6, SequenceSettings.model_validate({"average": {"states": "all"}}))
