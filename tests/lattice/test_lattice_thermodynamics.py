import math

import numpy as np
import pytest

from mlpot.errors import LatticeError
from mlpot.lattice.autocorrelation import integrated_time
from mlpot.lattice.exact.enumeration import enumerate_states
from mlpot.lattice.exact.square_ising import kaufman
from mlpot.lattice.hamiltonian import edwards_anderson, ising, potts
from mlpot.lattice.reweighting import (
    Anchor,
    MultiHistogram,
    infinite,
    integrate_energy,
    log_z_from_probabilities,
)
from mlpot.lattice.samples import Samples
from mlpot.lattice.sampling import sample
from mlpot.lattice.tempering import sample_tempered
from mlpot.lattice.thermodynamics import Estimate, block_numbers, jackknife, measure


def autoregressive(correlation, times, chains=1, seed=0):
    noise = np.random.default_rng(seed).standard_normal((times + 200, chains))
    for row in range(1, len(noise)):
        noise[row] += correlation * noise[row - 1]
    return noise[200:]


@pytest.mark.parametrize(("correlation", "chains"), [(0.0, 1), (0.5, 1), (0.9, 1), (0.9, 8), (-0.4, 1)])
def test_the_autocorrelation_time_of_a_known_series(correlation, chains):
    exact = 0.5 * (1 + correlation) / (1 - correlation)
    time = integrated_time(autoregressive(correlation, 20_000, chains))
    assert time.tau == pytest.approx(exact, abs=4 * time.error + 0.02 * exact)
    assert time.error < 0.15 * exact
    assert time.is_resolved
    # Values that far apart correlate by 2 % or less.
    assert max(correlation, 0) ** time.spacing < 0.03


def test_a_series_too_short_to_say():
    assert not integrated_time(np.linspace(0, 1, 500)).is_resolved
    assert integrated_time(np.full(100, 3.0)).tau == 0.5
    assert integrated_time(autoregressive(0.9, 1000)[::5]).scaled(5).times == 1000


def test_jackknife_errors_of_a_correlated_series():
    errors, values = [], []
    for seed in range(40):
        series = autoregressive(0.8, 4000, seed=seed)
        estimate = jackknife(series, block_numbers(series), lambda mean: mean)[0]
        values.append(estimate.value)
        errors.append(estimate.error)
    # 40 values scatter by 11 % of their scatter.
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.35)
    assert np.mean(errors) == pytest.approx(5 / math.sqrt(4000), rel=0.15)


def test_blocks_keep_chains_apart_and_times_together():
    blocks = block_numbers(autoregressive(0.9, 2000, 4, seed=1).reshape(-1, 1), chains=4)
    rows = blocks.reshape(2000, 4)
    assert (np.diff(rows, axis=0) >= 0).all()
    assert not set(rows[:, 0]) & set(rows[:, 1])
    assert np.bincount(blocks).min() >= 80
    with pytest.raises(LatticeError, match="independent blocks"):
        block_numbers(autoregressive(0.99, 400))


@pytest.mark.parametrize(
    ("model", "temperature"),
    [(ising((4, 4)), 2.0), (ising((4, 4)), 4.0), (ising((3, 4), field=0.3), 2.5), (potts((3, 3), 3), 1.0),
     (potts((3, 3), 3, "clock"), 1.2), (potts((2, 4), 4, "clock"), 1.0)],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
def test_estimates_are_within_their_errors_of_the_truth(model, temperature):
    exact = enumerate_states(model).at(temperature)
    measured = measure(sample(model, temperature, 10_000, seed=4))
    for name in ("energy", "heat_capacity", "magnetisation", "susceptibility", "binder"):
        estimate = getattr(measured, name)
        assert abs(estimate.z(getattr(exact, name))) < 4, name
        assert 0 < estimate.error < 0.1 * max(1, abs(estimate.value))


def test_errors_of_a_stream_know_its_correlations():
    model = ising((8, 8))
    stream = measure(sample(model, 2.2691, 20_000, "metropolis", seed=1, stream=1))
    exact = kaufman((8, 8), 2.2691)
    assert abs(stream.energy.z(exact.energy)) < 4
    assert abs(stream.heat_capacity.z(exact.heat_capacity)) < 4
    naive = math.sqrt(exact.heat_capacity * 2.2691**2 / 64 / 20_000)
    assert stream.energy.error > 2.5 * naive


def test_the_correlation_length_is_that_of_the_transfer_matrix():
    # Of a ring: exp(-r / xi) with xi = -1/ln tanh K; second moment: 1 / (2 sinh(1 / (2 xi))).
    temperature = 0.8
    xi = -1 / math.log(math.tanh(1 / temperature))
    measured = measure(sample(ising((64,)), temperature, 20_000, seed=2)).correlation_length
    assert abs(measured.z(1 / (2 * math.sinh(1 / (2 * xi))))) < 4
    assert measured.error < 0.2


def test_energies_of_ones_own():
    samples = sample(ising((4, 4)), 3.0, 500, seed=1)
    own = Samples(samples.states, 3.0, 2, provenance=samples.provenance)
    energies = samples.model.energy(samples.states)
    assert measure(own, energies).energy == measure(samples).energy
    assert measure(samples).to_dict()["energy"]["error"] > 0
    with pytest.raises(LatticeError, match="knows no Hamiltonian"):
        measure(own)
    with pytest.raises(LatticeError, match="energies: shape"):
        measure(own, energies[:10])


@pytest.fixture(scope="module")
def glass():
    model = edwards_anderson((4, 4), 3)
    temperatures = [0.5, 0.8, 1.2, 2.0, 4.0, 10.0]
    samples = sample_tempered(model, temperatures, 4000, seed=1)
    return model, temperatures, samples, enumerate_states(model)


@pytest.mark.parametrize("anchored", ["infinity", "learned"])
def test_one_partition_function_gives_free_energies_at_all_temperatures(glass, anchored):
    model, temperatures, samples, everything = glass
    anchor = Anchor(2.0, everything.log_z(2.0) + 0.02, 0.03)
    if anchored == "infinity":
        # At infinite temperature all states are alike: a set of its own, which costs nothing.
        anchor = infinite(16, 2)
        uniform = np.random.default_rng(0).integers(0, 2, (4000, 4, 4))
        energies = [model.energy(uniform), *(model.energy(s.states) for s in samples)]
        temperatures = [math.inf, *temperatures]
    else:
        energies = [model.energy(s.states) for s in samples]
    curve = MultiHistogram(temperatures, energies, 16, chains=4).curve([0.55, 1.0, 3.0, 8.0], anchor)
    for index, temperature in enumerate(curve.temperatures):
        exact = everything.at(temperature)
        for name in ("energy", "heat_capacity", "free_energy", "entropy"):
            estimate = getattr(curve, name)[index]
            assert abs(estimate.z(getattr(exact, name))) < 4, (temperature, name)
        assert curve.energy[index].error < 0.02
    if anchored == "learned":
        assert curve.entropy[2].error > 0.03 / 16


def test_integrating_energies_agrees_with_the_truth():
    everything = enumerate_states(ising((4, 4)))
    temperatures = [1.0, 1.5, 1.8, 2.1, 2.4, 2.8, 3.5, 5.0, 10.0, 40.0]
    points = [everything.at(t) for t in temperatures]
    energy = [Estimate(point.energy, 1e-3) for point in points]
    capacity = [Estimate(point.heat_capacity, 1e-3) for point in points]
    for anchor in (Anchor(40.0, everything.log_z(40.0)), Anchor(2.0, everything.log_z(2.0), 0.01)):
        free, entropy = integrate_energy(temperatures, energy, anchor, 16, capacity)
        for f, s, point in zip(free, entropy, points, strict=True):
            assert f.value == pytest.approx(point.free_energy, abs=2e-3)
            assert s.value == pytest.approx(point.entropy, abs=2e-3)
    assert free[0].error > 0.01 / 16
    without, _ = integrate_energy(temperatures, energy, anchor, 16)
    assert without[0].value == pytest.approx(points[0].free_energy, abs=2e-2)


def test_integration_from_infinite_temperature():
    everything = enumerate_states(ising((3, 3)))
    beta = np.linspace(0, 0.6, 25)
    temperatures = [math.inf, *(1 / beta[1:])]
    energy = [Estimate(everything.at(t).energy if math.isfinite(t) else 0.0, 0.0) for t in temperatures]
    free, entropy = integrate_energy(temperatures, energy, infinite(9, 2), 9)
    assert math.isnan(free[0].value)
    assert entropy[0].value == pytest.approx(math.log(2))
    assert entropy[-1].value == pytest.approx(everything.at(temperatures[-1]).entropy, abs=1e-3)


def test_ln_z_from_a_wrong_model_of_the_distribution():
    everything = enumerate_states(ising((3, 3)))
    log_p = -everything.energies / 3.5 - everything.log_z(3.5)  # of another temperature
    drawn = np.random.default_rng(0).choice(2**9, 20_000, p=np.exp(log_p))
    anchor = log_z_from_probabilities(log_p[drawn], everything.energies[drawn], 3.0)
    assert abs(anchor.log_z - everything.log_z(3.0)) < 4 * anchor.error < 0.02
    exact = log_z_from_probabilities(log_p[drawn], everything.energies[drawn], 3.5)
    assert exact.log_z == pytest.approx(everything.log_z(3.5), abs=1e-12)
    with pytest.raises(LatticeError, match="effective samples"):
        log_z_from_probabilities(log_p[drawn[:40]], everything.energies[drawn[:40]], 3.0)


def test_temperatures_out_of_reach(glass):
    model, temperatures, samples, _ = glass
    energies = [model.energy(s.states) for s in samples]
    with pytest.raises(LatticeError, match="no two alike"):
        integrate_energy([2.0], [Estimate(0, 0)], infinite(16, 2), 16)
    with pytest.raises(LatticeError, match="outside the temperatures"):
        integrate_energy([2.0, 1.0], [Estimate(0, 0)] * 2, infinite(16, 2), 16)
    with pytest.raises(LatticeError, match="sets of samples"):
        MultiHistogram(temperatures[:2], energies, 16)
    with pytest.raises(LatticeError, match="not positive"):
        MultiHistogram([-1.0], energies[:1], 16)
    hot = sample(ising((8, 8)), 8.0, 1000, seed=1)
    with pytest.raises(LatticeError, match="effective samples"):
        MultiHistogram([8.0], [hot.model.energy(hot.states)], 64, hot.chains).curve([1.0], Anchor(8.0, 1.0))
