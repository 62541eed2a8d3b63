import numpy as np
import pytest
import torch

from mlpot.errors import DataError, LatticeError
from mlpot.lattice.baselines.direct import conditional_loss, fit_direct, start_from_pairs
from mlpot.lattice.baselines.objectives import derivatives, site_losses
from mlpot.lattice.baselines.pair_basis import by_displacement, every_pair
from mlpot.lattice.baselines.pairwise_fit import _Problem, fit_pairwise
from mlpot.lattice.descent import Descent
from mlpot.lattice.ednn import EDNN, EDNNSettings
from mlpot.lattice.exact.enumeration import enumerate_states
from mlpot.lattice.hamiltonian import edwards_anderson, from_couplings, ising, ising_nnn, potts
from mlpot.lattice.samples import Samples
from mlpot.lattice.score import recover_couplings

OBJECTIVES = ("pseudo-likelihood", "screening")


def exact_samples(model, temperature, count, seed=0):
    """Return independent samples of a small model, drawn from its enumerated states."""
    every = enumerate_states(model)
    numbers = np.random.default_rng(seed).choice(
        len(every.energies), count, p=every.probabilities(temperature)
    )
    return Samples(every.states(numbers), temperature, model.q, model.to_dict())


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ising_couplings_are_recovered_within_their_standard_errors(objective):
    basis = by_displacement((4, 4), shells=3)
    truth = np.array([1.0, 0.5, 0.0])
    scores, sizes = [], []
    for seed in range(6):
        samples = exact_samples(ising_nnn((4, 4)), 4.0, 4000, seed)
        fit = fit_pairwise(samples, basis, objective)
        scores.append((fit.couplings - truth) / fit.errors)
        sizes.append(fit.errors)
    # 18 standardised deviations: their mean square is 1 +- 0.33 if the standard errors are right.
    assert 0.2 < np.mean(np.square(scores)) < 2.5
    assert np.abs(scores).max() < 4.5
    assert np.mean(sizes) < 0.05


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("states", ["full", "cyclic", "none"])
def test_potts_couplings_are_recovered_with_every_symmetry(objective, states):
    model = potts((3, 3), 3, "clock")
    samples = exact_samples(model, 2.5, 4000)
    fit = fit_pairwise(samples, by_displacement((3, 3), 3, shells=1, states=states), objective)
    truth = np.array([1.0] if states != "none" else [1.0, 0.0, 1.0, 0.0, 0.0])
    assert (np.abs(fit.couplings - truth) < 4 * fit.errors).all(), (fit.names, fit.couplings, fit.errors)
    random = np.random.default_rng(1).integers(0, 3, (200, 3, 3), dtype=np.int8)
    error = fit.energy.energy(random) - model.energy(random)
    assert error.std() < 0.15 * model.energy(random).std()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_glass_is_recovered_pair_by_pair(objective):
    model = edwards_anderson((3, 3), seed=3)
    fit = fit_pairwise(exact_samples(model, 2.0, 20_000), every_pair((3, 3)), objective)
    assert len(fit.names) == 36 and fit.errors is not None
    recovery = recover_couplings(fit.energy, model)
    assert recovery.correlation > 0.995 and recovery.rmse < 0.06
    with pytest.raises(LatticeError, match="no other size"):
        fit.energy.resized((4, 4))


def test_fields_are_recovered():
    model = from_couplings(ising_matrix((3, 3)), (3, 3), field=np.linspace(-0.5, 0.5, 9))
    fit = fit_pairwise(exact_samples(model, 3.0, 20_000), every_pair((3, 3), states="none"))
    fields = fit.couplings[[name.startswith("field") for name in fit.names]]
    np.testing.assert_allclose(fields, np.linspace(-0.5, 0.5, 9), atol=0.12)


def ising_matrix(shape):
    model = ising(shape)
    matrix = np.zeros((model.lattice.sites,) * 2)
    np.add.at(matrix, (np.arange(len(matrix))[:, None], model.neighbours), model.couplings)
    return matrix


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("q", "states"), [(2, "full"), (3, "none"), (4, "cyclic")])
def test_gradients_in_the_couplings_are_right(objective, q, states):
    random = np.random.default_rng(0)
    samples = Samples(random.integers(0, q, (20, 4, 4), dtype=np.int8), 2.0, q)
    basis = by_displacement((4, 4), q, shells=2, symmetric=False, states=states)
    problem = _Problem(samples, basis, objective, penalty=0.1)
    x = 0.3 * random.standard_normal(len(basis.names))
    value, gradient = problem.value(x)
    for index in range(len(x)):
        step = 1e-5 * np.eye(len(x))[index]
        slope = (problem.value(x + step)[0] - problem.value(x - step)[0]) / 2e-5
        assert abs(slope - gradient[index]) < 1e-8
    assert value > 0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_derivatives_of_objectives_are_right(objective):
    logits = torch.randn((5, 3), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    states = torch.tensor([0, 1, 2, 1, 0])
    first, second = derivatives(logits, states, objective)
    for row in range(5):
        one = states[row : row + 1]

        def loss(x, one=one):
            return site_losses(x[None], one, objective).sum()

        jacobian = torch.autograd.functional.jacobian(loss, logits[row])
        hessian = torch.autograd.functional.hessian(loss, logits[row])
        np.testing.assert_allclose(jacobian, first[row], atol=1e-12)
        np.testing.assert_allclose(hessian, second[row], atol=1e-12)


def test_the_energy_of_a_fit_is_that_of_its_parameters():
    for basis in (
        by_displacement((4, 6), 3, shells=2, symmetric=False, states="none"),
        every_pair((2, 3), 3, "none"),
    ):
        parameters = np.random.default_rng(0).standard_normal(len(basis.names))
        energy = basis.energy(parameters, temperature=2.0)
        states = np.random.default_rng(1).integers(0, 3, (4, *basis.lattice.shape), dtype=np.int8)
        problem = _Problem(Samples(states, 2.0, 3), basis, "pseudo-likelihood", 0)
        weights, fields = problem._dense(parameters)
        x = problem.encode(torch.as_tensor(states.reshape(4, -1)).long())
        expected = -2.0 * (0.5 * ((x @ weights) * x).sum(1) + x @ fields)
        np.testing.assert_allclose(energy.energy(states), expected, atol=1e-12)
        np.testing.assert_allclose(weights, weights.T, atol=1e-12)


def test_the_direct_arm_learns_the_ising_energy_from_samples_alone():
    model = ising((4, 4))
    samples = exact_samples(model, 3.0, 4000)
    ednn = EDNN(EDNNSettings((4, 4), focus=1, hidden=(8,), pairs=True, symmetric=True, states="full"))
    fit = fit_direct(
        ednn, samples, descent=Descent(200, learning_rate=0.02), batch=256, held_out=0.2,
        beyond_pairs=10.0, images=4,
    )  # fmt: skip
    assert fit.losses[0] == pytest.approx(np.log(2), abs=0.01) and fit.held_out < 0.62
    random = np.random.default_rng(0).integers(0, 2, (300, 4, 4), dtype=np.int8)
    learned, true = ednn.energy(random), model.energy(random)
    assert np.corrcoef(learned, true)[0, 1] > 0.99
    assert abs(np.polyfit(true, learned, 1)[0] - 1) < 0.1
    # The same energy on a lattice that was never seen.
    larger = np.random.default_rng(0).integers(0, 2, (300, 8, 8), dtype=np.int8)
    assert np.corrcoef(ednn.resized((8, 8)).energy(larger), ising((8, 8)).energy(larger))[0, 1] > 0.99


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_conditional_loss_of_a_network_is_that_of_its_pairs(objective):
    basis = by_displacement((4, 4), shells=1)
    samples = exact_samples(ising((4, 4)), 3.0, 50)
    problem = _Problem(samples, basis, objective, 0)
    ednn = EDNN(EDNNSettings((4, 4), focus=1, hidden=(), pairs=True)).double()
    with torch.no_grad():
        ednn.quadratic[0, 4, 5] = ednn.quadratic[0, 4, 7] = -0.9
    loss = conditional_loss(ednn, torch.as_tensor(samples.states).long(), 3.0, objective)
    assert float(loss.detach()) == pytest.approx(problem.value(np.array([0.3]))[0], abs=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"shape": (4, 4), "focus": 1},
        {"shape": (8, 8), "symmetric": True, "states": "full", "hidden": (4,)},
        {"shape": (8, 8), "everywhere": True, "hidden": ()},
        {"shape": (9, 9), "focus": 3, "q": 3, "context": 1, "states": "full"},
    ],
)
def test_tiles_share_pair_couplings_without_loss(settings):
    ednn = EDNN(EDNNSettings(**settings, pairs=True)).double()
    shells = 5
    basis = by_displacement(settings["shape"], ednn.q, shells=shells)
    energy = basis.energy(np.random.default_rng(0).standard_normal(shells), temperature=1.0)
    ednn.set_pairs(energy)
    states = np.random.default_rng(1).integers(0, ednn.q, (20, *settings["shape"]), dtype=np.int8)
    difference = ednn.energy(states) - energy.energy(states)
    np.testing.assert_allclose(difference, difference[0], atol=1e-10)


def test_a_network_starts_from_the_pair_couplings_of_the_samples():
    samples = exact_samples(ising((4, 4)), 3.0, 4000)
    ednn = EDNN(EDNNSettings((4, 4), focus=1, hidden=(8,), pairs=True, symmetric=True, states="full"))
    fit = start_from_pairs(ednn, samples)
    random = np.random.default_rng(0).integers(0, 2, (50, 4, 4), dtype=np.int8)
    difference = ednn.energy(random) - fit.energy.energy(random)
    np.testing.assert_allclose(difference, difference[0], atol=1e-4)
    with pytest.raises(LatticeError, match="pairs: true"):
        start_from_pairs(EDNN(EDNNSettings((4, 4), focus=1)), samples)
    with pytest.raises(LatticeError, match="nearest neighbours"):
        start_from_pairs(EDNN(EDNNSettings((4, 4), context=0, pairs=True)), samples)
    with pytest.raises(LatticeError, match="only up to 0 apart"):
        EDNN(EDNNSettings((9, 9), focus=3, context=0, pairs=True, everywhere=False)).set_pairs(
            by_displacement((9, 9), shells=1).energy(np.ones(1), 1.0)
        )


def test_own_networks_and_subsets_of_sites_can_be_trained():
    model = edwards_anderson((3, 3), seed=1)
    samples = exact_samples(model, 2.0, 2000)
    ednn = EDNN(EDNNSettings((3, 3), focus=1, hidden=(), pairs=True, states="full", shared=False))
    fit_direct(ednn, samples, descent=Descent(150, learning_rate=0.02), batch=128, sites=4)
    assert recover_couplings(ednn, model).correlation > 0.9


def test_mistakes_are_named():
    samples = exact_samples(ising((4, 4)), 3.0, 20)
    basis = by_displacement((4, 4), shells=1)
    with pytest.raises(LatticeError, match="objective: 'likelihood'"):
        fit_pairwise(samples, basis, "likelihood")
    with pytest.raises(LatticeError, match="more than half"):
        by_displacement((4, 4), shells=12)
    with pytest.raises(DataError, match="its lattice is"):
        fit_pairwise(samples, by_displacement((6, 6), shells=1))
    with pytest.raises(LatticeError, match="penalty: -1"):
        fit_pairwise(samples, basis, penalty=-1)
    frozen = Samples(np.zeros((50, 4, 4), dtype=np.int8), 1.0, 2)
    with pytest.raises(LatticeError, match="did not converge"):
        fit_pairwise(frozen, basis, "screening")
    ednn = EDNN(EDNNSettings((6, 6), focus=1))
    with pytest.raises(DataError, match="its lattice is"):
        fit_direct(ednn, samples)
    ednn = EDNN(EDNNSettings((4, 4), focus=1))
    with pytest.raises(LatticeError, match="beyond_pairs"):
        fit_direct(ednn, samples, beyond_pairs=1.0)
    with pytest.raises(LatticeError, match="sites 99"):
        fit_direct(ednn, samples, sites=99)
    with pytest.raises(LatticeError, match="descent"):
        Descent(steps=0)
