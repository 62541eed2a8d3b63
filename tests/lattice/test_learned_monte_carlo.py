import numpy as np
import pytest
import torch

from mlpot.errors import DataError, LatticeError
from mlpot.lattice.baselines.pair_basis import by_displacement
from mlpot.lattice.ednn import EDNN, EDNNSettings
from mlpot.lattice.ensemble import Ensemble
from mlpot.lattice.exact.enumeration import enumerate_states
from mlpot.lattice.hamiltonian import ising
from mlpot.lattice.learned_mc import LearnedMonteCarlo, scan_temperatures


def exact_ising(shape):
    """Return an EDNN (f = 2, c = 1) that is the nearest-neighbour Ising energy, J = 1, exactly."""
    model = EDNN(EDNNSettings(shape, hidden=(), pairs=True)).double()
    with torch.no_grad():
        for row in (1, 2):
            for column in (1, 2):
                # Each site of the focus has the bonds to the next row and the next column.
                slot = 4 * row + column
                model.quadratic[0, slot, slot + 1] = model.quadratic[0, slot, slot + 4] = -1
    return model


def pairs_of_ising(shape):
    return by_displacement(shape, shells=1).energy(np.array([1 / 2.0]), temperature=2.0)


def network(shape, q=2, **settings):
    model = EDNN(EDNNSettings(shape, q, **settings), seed=2).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 2
    return model


FORMS = {
    "table": lambda: exact_ising((4, 4)).frozen(),
    "network": lambda: exact_ising((4, 4)).frozen(largest_table=0),
    "pairs": lambda: pairs_of_ising((4, 4)),
}


@pytest.mark.parametrize("form", FORMS)
def test_exact_tiles_give_the_true_energy(form):
    states = np.random.default_rng(0).integers(0, 2, (50, 4, 4), dtype=np.int8)
    np.testing.assert_allclose(FORMS[form]().energy(states), ising((4, 4)).energy(states), atol=1e-12)


@pytest.mark.parametrize(
    ("form", "order"),
    [
        ("table", "random"),
        ("table", "checkerboard"),
        ("table", "sequential"),
        ("network", "random"),
        ("pairs", "checkerboard"),
    ],
)
def test_averages_are_those_of_exact_enumeration(form, order):
    temperatures = [1.8, 2.5, 4.0, -3.0]
    scan = scan_temperatures(
        FORMS[form](), temperatures, chains=40, steps=100, burn_in=40, every=2, seed=5, order=order
    )
    levels = enumerate_states(ising((4, 4))).levels()
    for temperature, energies in zip(temperatures, scan.energies, strict=True):
        weights = levels[1] * np.exp(-(levels[0] - levels[0].min()) / abs(temperature))
        if temperature < 0:  # the lattice has two sublattices: energies are symmetric about zero
            weights = weights[::-1]
        exact = (levels[0] * weights).sum() / weights.sum()
        chains = energies.mean(0)
        error = chains.std(ddof=1) / len(chains) ** 0.5
        assert abs(chains.mean() - exact) < 4.5 * error, (temperature, chains.mean(), exact, error)
        assert error < 0.6


@pytest.mark.parametrize("settings", [
    {"shape": (8, 8)},
    {"shape": (8, 8), "focus": 1, "symmetric": True, "states": "full", "pairs": True},
    {"shape": (6, 6), "q": 3, "focus": 1, "hidden": (8, 5), "states": "full", "pairs": True},
    {"shape": (9,), "focus": 3, "hidden": (7,)},
    {"shape": (6, 6), "focus": 1, "shared": False, "hidden": (8,)},
    {"shape": (6, 6), "everywhere": True, "hidden": (8,)},
    {"shape": (4, 4, 4), "context": 0, "hidden": (8,)},
])  # fmt: skip
def test_the_running_energy_is_the_full_energy(settings):
    model = network(**settings)
    twins = []
    for frozen in (model.frozen(), model.frozen(largest_table=0)):
        walk = LearnedMonteCarlo(frozen, 3, seed=1)
        before = walk.energies.copy()
        rate = walk.run(0.7, 10)
        assert walk.drift() < 1e-9
        assert (walk.energies != before).any() and (rate > 0).all()
        np.testing.assert_allclose(walk.energies, model.energy(walk.states), atol=1e-9)
        twins.append(walk.states)
    # Table and network see the same random numbers and take the same turns.
    np.testing.assert_array_equal(*twins)


@pytest.mark.parametrize("form", FORMS)
def test_the_cost_of_a_turn_does_not_depend_on_the_size(form):
    costs = []
    for length in (8, 16, 32):
        energy = FORMS[form]().resized((length, length))
        walk = LearnedMonteCarlo(energy, 1, seed=0)
        walk.run(0.3, 2)
        costs.append(walk.evaluations / (2 * length**2))
    assert costs == [4.0, 4.0, 4.0]


def test_the_same_seed_gives_the_same_walk_and_another_a_different_one():
    energy = exact_ising((8, 8))
    walks = [LearnedMonteCarlo(energy, 4, seed=seed) for seed in (3, 3, 4)]
    for walk in walks:
        walk.run(0.4, 5)
    np.testing.assert_array_equal(walks[0].states, walks[1].states)
    assert (walks[0].states != walks[2].states).any()
    assert (walks[0].states[0] != walks[0].states[1]).any()


def test_runs_continue_where_they_stopped():
    one, two = (LearnedMonteCarlo(exact_ising((8, 8)), 2, seed=3) for _ in range(2))
    one.run(0.4, 6)
    two.run(0.4, 2)
    two.run(0.4, 4)
    np.testing.assert_array_equal(one.states, two.states)


def test_a_scan_records_what_it_visits():
    energy = exact_ising((4, 4))
    scan = scan_temperatures(
        energy, [4.0, 1.0, np.inf], chains=3, steps=5, burn_in=3, seed=0, keep_states=True,
        observe=lambda states: np.abs(2.0 * states.mean((1, 2)) - 1),
    )  # fmt: skip
    assert scan.states.shape == (3, 5, 3, 4, 4) and scan.exchanged.shape == (2,)
    np.testing.assert_allclose(
        energy.energy(scan.states.reshape(-1, 4, 4)).reshape(3, 5, 3), scan.energies, atol=1e-9
    )
    np.testing.assert_allclose(scan.observed, np.abs(2 * scan.states.mean((-1, -2)) - 1))
    assert scan.energies[1].mean() < scan.energies[0].mean() < scan.energies[2].mean()
    assert scan.acceptance[2] == 1 and scan.acceptance[1] < scan.acceptance[0] < 1


def test_an_ensemble_walks_in_its_mean():
    members = tuple(network((4, 4), focus=1) if seed else exact_ising((4, 4)) for seed in range(1))
    walk = LearnedMonteCarlo(Ensemble(members), 2, seed=0)
    walk.run(0.4, 3)
    np.testing.assert_allclose(Ensemble(members).energy(walk.states), walk.energies, atol=1e-9)


def test_mistakes_are_named():
    energy = exact_ising((4, 4))
    with pytest.raises(LatticeError, match="no local form"):
        LearnedMonteCarlo("energy", 1)
    with pytest.raises(LatticeError, match="chains: 0"):
        LearnedMonteCarlo(energy, 0)
    with pytest.raises(LatticeError, match="order: 'spiral'"):
        LearnedMonteCarlo(energy, 1, order="spiral")
    with pytest.raises(DataError, match="the lattice is"):
        LearnedMonteCarlo(energy, np.zeros((2, 5, 5), dtype=np.int8))
    with pytest.raises(LatticeError, match="temperatures"):
        scan_temperatures(energy, [0.0], chains=1, steps=1, burn_in=0)
    with pytest.raises(LatticeError, match="at least 1, 1, 1 and 0"):
        scan_temperatures(energy, [1.0], chains=1, steps=0, burn_in=0)
    with pytest.raises(LatticeError, match="whole number of ladders"):
        LearnedMonteCarlo(energy, 3).exchange(np.array([0.1, 0.2]))
