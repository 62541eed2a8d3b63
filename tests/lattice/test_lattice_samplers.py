import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from mlpot.errors import LatticeError
from mlpot.lattice.compiled import below, generator_states, next_word, uniform
from mlpot.lattice.exact.enumeration import enumerate_states
from mlpot.lattice.hamiltonian import (
    all_to_all,
    edwards_anderson,
    from_couplings,
    ising,
    ising_nnn,
    potts,
)
from mlpot.lattice.moves import colouring, flip_table, reflections
from mlpot.lattice.samples import load_samples
from mlpot.lattice.sampling import Chains, choose_method, sample
from mlpot.lattice.tempering import Tempering, ladder, sample_tempered

#: Each of some sixty comparisons would fail by chance once in ten thousand seeds; the seeds are fixed.
RARE = 1e-4


def assert_drawn_from(model, temperature, samples):
    """Chi-square of the histogram of energies and z of the order parameter, against all states."""
    everything = enumerate_states(model)
    p = everything.probabilities(temperature)
    values, level = np.unique(np.round(everything.energies, 9), return_inverse=True)
    expected = np.bincount(level, p) * len(samples)
    counts = np.bincount(
        np.searchsorted(values, np.round(model.energy(samples.states), 9)), minlength=len(values)
    )
    # Pool levels, in order of energy, until each bin expects ten.
    edges = np.unique(np.floor(np.cumsum(expected) / max(10, len(samples) / 40)).clip(0), return_index=True)[
        1
    ]
    expected, counts = np.add.reduceat(expected, edges), np.add.reduceat(counts, edges)
    keep = expected > 5
    chi_square = ((counts - expected) ** 2 / expected)[keep].sum()
    assert stats.chi2.sf(chi_square, max(1, keep.sum() - 1)) > RARE, (model.name, chi_square, keep.sum())

    m = everything.magnetisations
    mean, variance = p @ m, p @ m**2 - (p @ m) ** 2
    drawn = m[everything.numbers(samples.states)]
    z = (drawn.mean() - mean) / np.sqrt(1.1 * variance / len(samples))
    assert abs(z) < stats.norm.isf(RARE / 2), (model.name, z)


CASES = [
    (ising((4, 4)), 2.5, "metropolis", "random"),
    (ising((4, 4)), 2.5, "metropolis", "sequential"),
    (ising((4, 4)), 2.5, "metropolis", "checkerboard"),
    (ising((4, 4)), 1.8, "heat_bath", "random"),
    (ising((4, 4)), 1.8, "heat_bath", "checkerboard"),
    (ising((4, 4)), 2.2691, "wolff", "random"),
    (ising((4, 4)), 2.2691, "swendsen_wang", "random"),
    (ising((3, 5), field=0.2), 3.0, "metropolis", "random"),
    (ising((2, 4)), 3.0, "swendsen_wang", "random"),
    (ising((2, 2, 3)), 5.0, "wolff", "random"),
    (ising((10,)), 1.0, "wolff", "random"),
    (ising_nnn((4, 4)), 4.0, "swendsen_wang", "random"),
    (potts((3, 3), 3), 1.0, "metropolis", "random"),
    (potts((3, 3), 3), 1.0, "heat_bath", "random"),
    (potts((3, 3), 3), 1.0, "wolff", "random"),
    (potts((3, 3), 3, "clock"), 1.5, "swendsen_wang", "random"),
    (potts((2, 4), 4, "clock"), 1.2, "wolff", "random"),
    (potts((2, 4), 4, "clock"), 1.2, "swendsen_wang", "random"),
    (potts((3, 2), 5, "clock"), 1.0, "wolff", "random"),
    (potts((3, 2), 5, "clock", field=0.3), 1.0, "heat_bath", "random"),
    (potts((4, 2), 3, J=-1.0), 0.8, "wolff", "random"),
    (edwards_anderson((4, 4), 1), 1.5, "metropolis", "checkerboard"),
    (edwards_anderson((4, 4), 1), 1.5, "wolff", "random"),
    (edwards_anderson((4, 4), 1), 1.5, "swendsen_wang", "random"),
    (edwards_anderson((4, 4), 1), 0.4, "tempering", "random"),
    (all_to_all((4, 4), 2), 0.5, "tempering", "random"),
    (from_couplings([[0, 1, 1.0], [1, 2, -2.0]], (5,), field=[0.3, 0, 0, 0, -1]), 1.0, "heat_bath", "random"),
]


@pytest.mark.parametrize(
    ("model", "temperature", "method", "order"),
    CASES,
    ids=[f"{m.name}{m.q}{m.lattice.shape}-{how}-{order}" for m, _, how, order in CASES],
)
def test_samples_have_the_distribution(model, temperature, method, order):
    samples = sample(model, temperature, 4000, method, order, seed=11)
    assert_drawn_from(model, temperature, samples)
    for facts in samples.autocorrelation["samples"].values():
        assert facts["tau"] - 3 * facts["error"] < 0.55
    assert not samples.drift_test().is_visible


def test_every_state_has_its_probability():
    model = potts((4,), 3, "clock")
    samples = sample(model, 1.0, 20_000, "swendsen_wang", seed=3)
    everything = enumerate_states(model)
    expected = everything.probabilities(1.0) * len(samples)
    counts = np.bincount(everything.numbers(samples.states), minlength=81)
    assert stats.chisquare(counts, expected).pvalue > RARE


def test_a_stream_is_what_the_chain_gives():
    model = ising((6, 6))
    samples = sample(model, 2.3, 50, "metropolis", seed=5, stream=2, burn_in=10)
    chain = Chains(model, 2.3, "metropolis", seed=5)
    chain.run(1, 10)
    assert np.array_equal(samples.states, chain.run(50, 2)[:, 0])
    assert samples.provenance["stream"] == 2
    assert not samples.provenance["symmetrised"]
    assert samples.autocorrelation["steps"] == {}


def test_a_correlated_stream_is_reported_as_such():
    stream = sample(ising((8, 8)), 2.2691, 4000, "metropolis", seed=5, stream=1)
    decorrelated = sample(ising((8, 8)), 2.2691, 4000, "metropolis", seed=5)
    assert stream.autocorrelation["samples"]["energy"]["tau"] > 3
    assert decorrelated.autocorrelation["samples"]["energy"]["tau"] < 0.75
    spacing = decorrelated.autocorrelation["spacing"]
    assert spacing > decorrelated.autocorrelation["steps"]["magnetisation"]["tau"] > 3


@pytest.mark.parametrize("method", ["metropolis", "swendsen_wang", "tempering"])
def test_a_seed_gives_the_same_samples(tmp_path, method):
    one, two, other = (sample(ising((4, 4)), 2.0, 100, method, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.states, two.states)
    assert not np.array_equal(one.states, other.states)
    one.save(tmp_path / "one.npz")
    assert load_samples(tmp_path / "one.npz").provenance == one.provenance


def test_both_signs_occur_below_the_critical_temperature():
    samples = sample(ising((8, 8)), 1.2, 400, "metropolis", seed=1)
    up = samples.states.reshape(400, -1).mean(axis=1) > 0.5
    assert 140 < up.sum() < 260


def test_progress_is_told():
    seen = []
    sample(ising((4, 4)), 3.0, 100, seed=1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (100, 100)


def test_what_auto_stands_for():
    assert choose_method(ising((4, 4))) == "swendsen_wang"
    assert choose_method(potts((4, 4), 5, "clock")) == "swendsen_wang"
    assert choose_method(ising((4, 4), field=0.1)) == "heat_bath"
    assert choose_method(edwards_anderson((4, 4), 1)) == "tempering"
    assert choose_method(ising((4, 4), J=-1.0)) == "tempering"


@pytest.mark.parametrize("model", [ising((4, 4)), ising((5, 4)), ising_nnn((4, 4)), all_to_all(7, 0)])
def test_no_bond_joins_two_sites_of_a_colour(model):
    colours = colouring(model)
    assert (colours[model.neighbours] != colours[:, None]).all()


def test_reflections_leave_the_energy_alone():
    for model in (ising((4, 4)), potts((4, 4), 4), potts((4, 4), 3, "clock"), potts((4, 4), 6, "clock")):
        states = np.random.default_rng(0).integers(0, model.q, (5, 4, 4))
        mirrors = reflections(model)
        assert len(mirrors) == (
            model.q if model.form == "clock" and model.q > 3 else model.q * (model.q - 1) // 2
        )
        for mirror in mirrors:
            assert np.array_equal(mirror[mirror], np.arange(model.q))
            assert np.allclose(model.energy(mirror[states]), model.energy(states))


def test_tempering_exchanges_along_the_ladder():
    model = edwards_anderson((6, 6), 4)
    tempering = Tempering(model, [0.3, 1.0], chains=2, seed=1)
    states, energies = tempering.run(400, 2)
    assert states.shape == (2, 400, 2, 6, 6)
    assert energies.shape == (400, len(tempering.ladder), 2)
    recorded = energies[:, tempering.recorded]
    for index in range(2):
        assert np.allclose(model.energy(states[index].reshape(-1, 6, 6)), recorded[:, index].ravel())
    assert (tempering.exchange > 0.2).all()
    assert (tempering.exchange < 1).all()


def test_tempering_gives_all_its_temperatures_at_once():
    model = edwards_anderson((4, 4), 7)
    for temperature, samples in zip(
        (1.0, 0.5), sample_tempered(model, [1.0, 0.5], 2000, seed=2), strict=True
    ):
        assert samples.temperature == temperature
        assert_drawn_from(model, temperature, samples)


def test_a_ladder_holds_the_temperatures_asked_for():
    steps = ladder(edwards_anderson((4, 4), 7), [1.0, 0.5])
    assert {0.5, 1.0} <= set(steps)
    assert (np.diff(steps) > 0).all()
    assert steps[-1] > 2
    assert ladder(ising((4, 4)), [0.5], hottest=4.0)[-1] == 4.0


def test_random_numbers():
    # The first words of xoshiro256++ from this state, by the authors' C code's recurrence.
    state = np.array([1, 2, 3, 4], dtype=np.uint64)
    assert [int(next_word(state)) for _ in range(2)] == [41943041, 58720359]
    generators = generator_states(0, 2)
    assert not np.array_equal(generators[0], generators[1])
    numbers = np.array([uniform(generators[0]) for _ in range(20_000)])
    assert stats.kstest(numbers, "uniform").pvalue > RARE
    digits = np.bincount([below(generators[1], 7) for _ in range(20_000)], minlength=7)
    assert stats.chisquare(digits).pvalue > RARE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "positive number"),
        ({"temperature": float("nan")}, "positive number"),
        ({"method": "langevin"}, "method: 'langevin'"),
        ({"order": "spiral", "method": "metropolis"}, "order: 'spiral'"),
        ({"count": 0}, "count: 0"),
        ({"chains": 0}, "chains: 0"),
        ({"stream": 0}, "stream: 0"),
        ({"hottest": 9.0}, "hottest: is the top"),
        ({"hottest": 1.0, "method": "tempering"}, "hottest: 1.0 is below"),
        ({"model": ising((4, 4), field=0.1), "method": "wolff"}, "without field"),
    ],
)
def test_settings_that_make_no_sense(change, message):
    settings = {"model": ising((4, 4)), "temperature": 2.0, "count": 10, "seed": 1} | change
    with pytest.raises(LatticeError, match=message):
        sample(**settings)


@pytest.mark.parametrize("order", ["sequential", "checkerboard"])
def test_no_chain_goes_round_in_circles_of_free_flips(order):
    # With every flip that costs nothing accepted, one of these 64 stays at E = 0 for ever.
    model = ising((4, 4))
    states = Chains(model, 2.5, "metropolis", order, chains=64, seed=1).run(1100)[100:]
    energies = model.energy(states.reshape(-1, 4, 4)).reshape(1000, 64)
    white = energies.std() / np.sqrt(1000)
    assert energies.mean(axis=0).std() < 3 * white  # tau is about 1.5


def test_tabled_flips_are_the_general_ones():
    model = ising_nnn((5, 4), J=0.7, J2=-0.3, field=0.2)
    for method in ("metropolis", "heat_bath"):
        table = flip_table(model, 1.7, method, fixed_order=False)
        strides, thresholds = table
        state = np.random.default_rng(1).integers(0, 2, (5, 4)).astype(np.int8)
        fields = model.local_fields(state)[0]
        flat = state.ravel()
        numbers = flat[model.neighbours].astype(int) @ strides
        sites = np.arange(20)
        gain = (fields[sites, 1 - flat] - fields[sites, flat]) / 1.7
        expected = np.exp(np.minimum(0, gain)) if method == "metropolis" else 1 / (1 + np.exp(-gain))
        assert np.allclose(thresholds[flat, numbers] / 2**40, expected)
    assert flip_table(edwards_anderson((4, 4), 1), 1.0, "metropolis", fixed_order=False) is None


def test_chains_that_never_decorrelate(monkeypatch):
    monkeypatch.setattr("mlpot.lattice.pilot._PILOT_FLIPS", 1e6)
    with pytest.raises(LatticeError, match="does not decorrelate within"):
        sample(edwards_anderson((8, 8), 1), 0.15, 100, "metropolis", seed=1, chains=4)


def test_without_numba_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import mlpot.lattice.hamiltonian, mlpot.lattice.samples\n"
        "import mlpot.lattice.sampling"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "LatticeError" in done.stderr
    assert "pip install 'mlpot[lattice]'" in done.stderr
