"""Clusters in a learned energy: exactly its distribution, whatever grows them."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from mlpot.errors import LatticeError
from mlpot.lattice.autocorrelation import integrated_time
from mlpot.lattice.baselines.pair_basis import by_displacement, every_pair
from mlpot.lattice.clusters import mirrors_of
from mlpot.lattice.ednn import EDNN, EDNNSettings
from mlpot.lattice.learned_mc import LearnedMonteCarlo, effective_pairs, scan_temperatures

BETA = 0.6


def random_network(shape, q=2, scale=1.0, largest_table=1 << 24, **settings):
    """Return a network with random weights beside the couplings of the Ising or Potts model."""
    model = EDNN(EDNNSettings(shape, q, focus=1, hidden=(8,), pairs=True, **settings), seed=3).double()
    with torch.no_grad():
        for parameter in (*model.weights, *model.biases):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
        model.weights[0] *= scale
        model.weights[-1] *= 0.08 * scale
        model.quadratic[0] = torch.as_tensor(nearest(model))
    return model.frozen(largest_table)


def nearest(model):
    width, r = model.tiling.width, model.q - 1
    grid = np.stack(np.unravel_index(np.arange(model.tiling.slots), (width,) * model.tiling.dimensions), -1)
    bonded = np.triu(np.abs(grid[:, None] - grid).sum(-1) == 1)
    return -0.12 * np.kron(bonded, np.eye(r))


def every_state(shape, q):
    n = int(np.prod(shape))
    return (np.arange(q**n)[:, None] // q ** np.arange(n) % q).astype(np.int8).reshape(-1, *shape)


def codes(states, q):
    return states.reshape(len(states), -1).astype(np.int64) @ q ** np.arange(states[0].size)


def p_of(counts, probability):
    """Return the p of chi-square, states or bins expected fewer than ten times taken together."""
    order = np.argsort(probability)
    counts, expected = counts[order], probability[order] * counts.sum()
    rare = max(1, int(np.searchsorted(np.cumsum(expected), 10.0)) + 1)
    rare = max(rare, int((expected < 10).sum()))
    counts = np.append(counts[:rare].sum(), counts[rare:])
    expected = np.append(expected[:rare].sum(), expected[rare:])
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1)


def boltzmann(energies):
    weights = np.exp(-BETA * (energies - energies.min()))
    return weights / weights.sum()


CASES = {
    "Ising": lambda: random_network((3, 3)),
    "Ising by perceptrons": lambda: random_network((3, 3), largest_table=0),
    "Potts": lambda: random_network((6,), q=3),
}  # fmt: skip


def test_energies_are_distributed_as_those_of_all_states():
    energy = random_network((4, 4))
    pairs = effective_pairs(energy, [1 / BETA])
    states = every_state((4, 4), 2)
    energies = energy.energy(states)
    edges = np.quantile(energies, np.linspace(0, 1, 41)[1:-1])
    walk = LearnedMonteCarlo(energy, 400, seed=2, clusters=pairs)
    walk.run(BETA, 50)
    counts = np.zeros(40)
    for _ in range(100):
        walk.run(BETA, 10)
        counts += np.bincount(np.searchsorted(edges, walk.energies), minlength=40)
    assert walk.drift() < 1e-9
    assert 0.05 < walk.turned.sum() / walk.offered.sum() < 0.95

    def shares(of):
        return np.bincount(np.searchsorted(edges, energies), boltzmann(of), minlength=40)

    assert p_of(counts, shares(energies)) > 1e-3
    # The effective energy alone, or a temperature 2 % off, would have been seen.
    assert p_of(counts, shares(pairs.energy(states))) < 1e-6
    assert p_of(counts, shares(1.02 * energies)) < 1e-6


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("coupling", ["fitted", "foreign"])
def test_one_round_of_clusters_leaves_the_distribution_of_states_alone(case, coupling):
    energy = CASES[case]()
    states = every_state(energy.shape, energy.q)
    probability = boltzmann(energy.energy(states))
    pairs = effective_pairs(energy, [1 / BETA])
    if coupling == "foreign":  # antiferromagnetic, frustrated
        foreign = by_displacement(energy.shape, energy.q, shells=2 if energy.shape == (6,) else 1)
        pairs = foreign.energy(np.array([-0.3, 0.2])[: len(foreign.names)], temperature=1 / BETA)
    drawn = np.random.default_rng(7).choice(len(states), 20 * len(states), p=probability)
    walk = LearnedMonteCarlo(energy, states[drawn], seed=1, clusters=pairs)
    walk.run(BETA, 1, single=False)
    after = codes(walk.states, energy.q)
    assert (after != drawn).mean() > 0.1
    assert walk.drift() < 1e-9
    assert p_of(np.bincount(after, minlength=len(states)), probability) > 1e-3
    # Starts that were not in equilibrium are told from those that were.
    uniform = np.full(len(states), 1 / len(states))
    assert p_of(np.bincount(after, minlength=len(states)), uniform) < 1e-6


def test_flows_between_states_are_balanced_in_detail():
    energy = random_network((3,))
    states = every_state((3,), 2)
    pairs = effective_pairs(energy, [1 / BETA])
    probability = boltzmann(energy.energy(states))
    drawn = np.random.default_rng(0).choice(8, 40_000, p=probability)
    walk = LearnedMonteCarlo(energy, states[drawn], seed=4, clusters=pairs)
    walk.run(BETA, 1, single=False)
    flow = np.bincount(drawn * 8 + codes(walk.states, 2), minlength=64).reshape(8, 8)
    above, below = flow[np.triu_indices(8, 1)], flow.T[np.triu_indices(8, 1)]
    seen = above + below > 0
    z2 = (above - below)[seen] ** 2 / (above + below)[seen]
    assert chi2.sf(z2.sum(), seen.sum()) > 1e-3
    assert seen.sum() > 20


def test_where_the_effective_energy_is_the_energy_all_offers_are_taken():
    energy = by_displacement((8, 8), shells=2).energy(np.array([1.0, 0.2]), temperature=1.0)
    walk = LearnedMonteCarlo(energy, 4, seed=0, clusters=energy)
    walk.run(0.3, 20)
    assert (walk.turned == walk.offered).all()
    # Half of the clusters are offered their turn.
    assert walk.offered.sum() / (4 * 20 * 64) == pytest.approx(0.5, abs=0.05)


def test_clusters_forget_where_single_turns_remember():
    energy = random_network((24, 24), scale=0.3, symmetric=True, states="full")
    pairs = effective_pairs(energy, [2.0])
    strength = -pairs.matrices[0, 1, 1]
    beta = np.log1p(2**0.5) / 2 / strength
    taus = []
    for clusters in (None, pairs):
        walk = LearnedMonteCarlo(energy, 8, seed=0, clusters=clusters)
        walk.run(beta, 200)
        series = np.empty((600, 8))
        for record in series:
            walk.run(beta, 1)
            record[:] = np.abs(2 * walk.states.reshape(8, -1).mean(1) - 1)
        taus.append(integrated_time(series).tau)
    assert taus[1] < 8 < 20 < taus[0]


def test_a_scan_with_clusters_says_how_they_fared():
    energy = random_network((8, 8), symmetric=True, states="full")
    settings = {"chains": 4, "steps": 10, "burn_in": 5}
    scan = scan_temperatures(energy, [1.0, 3.0, np.inf], moves="auto", **settings)
    assert scan.turned.shape == (3,) and ((scan.turned > 0) & (scan.turned <= 1)).all()
    assert scan.turned[2] == 1
    assert scan_temperatures(energy, [1.0], **settings).turned is None


@pytest.mark.parametrize("q", [2, 3, 4])
def test_effective_couplings_have_reflections(q):
    energy = random_network((8, 8) if q < 4 else (8,), q=q)
    pairs = effective_pairs(energy, [2.0, 4.0])
    mirrors = mirrors_of(pairs)
    assert len(mirrors) == {2: 1, 3: 3, 4: 4}[q]
    for mirror in mirrors:
        np.testing.assert_allclose(pairs.matrices[:, mirror][:, :, mirror], pairs.matrices, atol=1e-12)


def test_the_fit_finds_couplings_and_no_more_shells_than_it_needs():
    one = by_displacement((32, 32), shells=1).energy(np.array([1.0]), temperature=1.0)
    found = effective_pairs(one, [2.0, 2.5])
    assert found.shape == (32, 32) and len(found.displacements) == 4
    np.testing.assert_allclose(found.matrices, one.matrices, atol=1e-9)
    two = by_displacement((32, 32), shells=2).energy(np.array([1.0, 0.5]), temperature=1.0)
    found = effective_pairs(two, [3.0, 4.0])
    np.testing.assert_allclose(found.matrices, two.matrices, atol=1e-9)


def test_glasses_and_other_mistakes_are_refused():
    glass = every_pair((4, 4)).energy(np.random.default_rng(0).normal(size=120), temperature=1.0)
    with pytest.raises(LatticeError, match=r"that of a glass.*moves: single"):
        effective_pairs(glass, [1.0])
    with pytest.raises(LatticeError, match="a network for each tile"):
        effective_pairs(EDNN(EDNNSettings((4, 4), focus=1, hidden=(4,), shared=False)), [1.0])
    settings = {"chains": 1, "steps": 1, "burn_in": 0}
    assert scan_temperatures(glass, [1.0], moves="auto", **settings).turned is None
    with pytest.raises(LatticeError, match="moves: 'wolff' is unknown"):
        scan_temperatures(glass, [1.0], moves="wolff", **settings)
    energy = random_network((4, 4))
    with pytest.raises(LatticeError, match=r"on \(4, 4\) with q = 2; resized"):
        LearnedMonteCarlo(energy, 1, clusters=by_displacement((6, 6), shells=1).energy(np.ones(1), 1.0))
    with pytest.raises(LatticeError, match="no clusters"):
        LearnedMonteCarlo(energy, 1, clusters=glass)
    with pytest.raises(LatticeError, match="no clusters"):
        LearnedMonteCarlo(energy, 1).run(1.0, 1, single=False)
