import numpy as np
import pytest
import torch
from torch import nn

from mlpot.errors import DataError, LatticeError
from mlpot.lattice.coupling.joint import Joint, consistency_loss, fit_joint
from mlpot.lattice.coupling.states import SOURCES, StateMix, make_pool, targeted_states
from mlpot.lattice.coupling.two_stage import TwoStage, fit_to_sequence, log_probabilities
from mlpot.lattice.descent import Descent
from mlpot.lattice.ednn import EDNN, EDNNSettings
from mlpot.lattice.exact.enumeration import enumerate_states
from mlpot.lattice.hamiltonian import ising
from mlpot.lattice.samples import Samples

SHAPE, T0 = (3, 3), 3.0


class Listed(nn.Module):
    """A distribution over all states of a small lattice: one logit each, exactly normalised."""

    q = 2

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.as_tensor(logits, dtype=torch.float64))
        self.powers = 2 ** torch.arange(9)

    def log_prob(self, states):
        numbers = (torch.as_tensor(states).long().reshape(-1, 9) * self.powers).sum(1)
        return self.logits.log_softmax(0)[numbers]

    @torch.no_grad()
    def sample(self, n, generator=None):
        drawn = torch.multinomial(self.logits.softmax(0), n, replacement=True, generator=generator)
        return (drawn[:, None] // self.powers % 2).reshape(n, *SHAPE).to(torch.int8).numpy()


EVERY = (np.arange(512)[:, None] // 2 ** np.arange(9) % 2).astype(np.int8).reshape(-1, *SHAPE)


def exact():
    return Listed(-ising(SHAPE).energy(EVERY) / T0)


def samples_of(count=2000):
    every = enumerate_states(ising(SHAPE))
    numbers = np.random.default_rng(0).choice(512, count, p=every.probabilities(T0))
    return Samples(every.states(numbers), T0, 2, ising(SHAPE).to_dict())


def network(hidden=(16,)):
    return EDNN(EDNNSettings(SHAPE, focus=1, hidden=hidden, pairs=True, symmetric=True, states="full"))


def error(model):
    difference = model.energy(EVERY) - ising(SHAPE).energy(EVERY)
    return float(np.sqrt(((difference - difference.mean()) ** 2).mean()))


def test_two_stages_hand_the_energy_of_a_distribution_to_the_network():
    model, seen = network(), []
    assert error(model) > 3
    settings = TwoStage(states=1000, rounds=2, descent=Descent(150, learning_rate=0.02), batch=128)
    fit = fit_to_sequence(model, exact(), samples_of(), settings, progress=lambda *step: seen.append(step))
    assert error(model) < 0.3
    assert len(fit.losses) == 300 and fit.losses[-1] < 0.01 * fit.losses[0]
    assert set(fit.disagreement) == {"samples", "random", "targeted"}
    assert max(fit.disagreement.values()) < 0.5
    assert [step[0] for step in seen] == list(range(1, 301)) and seen[-1][1] == 300
    # The zero of the energy is the mean over random states, as the true Ising energy's.
    assert abs(model.energy(EVERY).mean()) < 1e-4


def test_joint_training_teaches_both():
    model, sequence = network(), Listed(np.zeros(512))
    settings = Joint(
        descent=Descent(400, learning_rate=0.05, weight_decay=0.0), energy_rate=0.4, states=512, batch=256,
        renew=100,
    )  # fmt: skip
    fit = fit_joint(model, sequence, samples_of(), settings)
    assert error(model) < 0.6
    truth = exact().logits.log_softmax(0).detach().numpy()
    learned = sequence.logits.log_softmax(0).detach().numpy()
    residual = learned - truth
    # Over all states, most of which 2000 samples hardly show: consistency has carried the energy over.
    assert np.std(residual) < 0.7
    alone = Listed(np.zeros(512))
    fit_joint(network(), alone, samples_of(), Joint(consistency=0.0, descent=settings.descent, batch=256))
    assert np.std(alone.logits.log_softmax(0).detach().numpy() - truth) > 1.4 * np.std(residual)
    assert max(fit.disagreement.values()) < 1.5


def test_a_fixed_energy_regularises_the_sequence_model():
    teacher = network(hidden=())
    fit_to_sequence(
        teacher, exact(), samples_of(), TwoStage(states=500, rounds=1, descent=Descent(150, 0.05), batch=128)
    )
    before = teacher.energy(EVERY)
    sequence = Listed(np.zeros(512))
    settings = Joint(
        consistency=20.0, train_energy=False, descent=Descent(300, 0.05, 0.0), states=512, batch=256, renew=30
    )
    fit_joint(teacher, sequence, samples_of(100), settings)
    np.testing.assert_allclose(teacher.energy(EVERY), before, atol=1e-5)
    truth = exact().logits.log_softmax(0).detach().numpy()
    assert np.std(sequence.logits.log_softmax(0).detach().numpy() - truth) < 0.8


def test_consistency_is_zero_for_the_boltzmann_relation_and_sees_its_violation():
    energies = torch.as_tensor(ising(SHAPE).energy(EVERY))
    log_p = exact().log_prob(EVERY)
    assert float(consistency_loss(log_p, energies + 7, T0, 9).detach()) < 1e-24
    assert float(consistency_loss(log_p, 2 * energies, T0, 9).detach()) > 0.1
    np.testing.assert_allclose(log_probabilities(exact(), EVERY), log_p.detach(), atol=1e-14)


def test_targeted_states_reach_all_energies():
    model = EDNN(EDNNSettings((4, 4), focus=1, hidden=(), pairs=True)).double()
    with torch.no_grad():
        model.quadratic[0, 4, 5] = model.quadratic[0, 4, 7] = -1  # the Ising energy
    states = targeted_states(model, 1000, seed=1)
    energies = ising((4, 4)).energy(states)
    assert states.shape == (1000, 4, 4) and energies.min() == -32 and energies.max() == 32
    counts = np.histogram(energies, 4)[0]
    assert counts.min() > 150
    np.testing.assert_array_equal(states, targeted_states(model, 1000, seed=1))
    with pytest.raises(LatticeError, match="same for all states"):
        targeted_states(EDNN(EDNNSettings((4, 4), focus=1, hidden=(), pairs=True)), 10)


def test_pools_hold_what_the_mix_says():
    mix = StateMix(samples=2, random=1, model=1, targeted=0)
    assert mix.counts(8) == {"samples": 4, "random": 2, "model": 2, "targeted": 0}
    pool = make_pool(mix, 100, samples_of(), exact(), network(), seed=0)
    assert len(pool.states) == 100
    assert np.bincount(pool.sources, minlength=len(SOURCES)).tolist() == [50, 25, 25, 0]


def test_mistakes_are_named():
    with pytest.raises(LatticeError, match="shares"):
        StateMix(samples=-1)
    with pytest.raises(LatticeError, match="not all 0"):
        StateMix(0, 0, 0, 0)
    with pytest.raises(LatticeError, match="rounds 0"):
        TwoStage(rounds=0)
    with pytest.raises(LatticeError, match="nothing trains the energy"):
        Joint(consistency=0, conditional=0)
    with pytest.raises(LatticeError, match="consistency -1"):
        Joint(consistency=-1)
    with pytest.raises(DataError, match="its lattice is"):
        fit_to_sequence(EDNN(EDNNSettings((4, 4))), exact(), samples_of())
    with pytest.raises(DataError, match="its lattice is"):
        fit_joint(EDNN(EDNNSettings((4, 4))), exact(), samples_of())
