import math

import numpy as np
import pytest

from mlpot.errors import LatticeError
from mlpot.lattice.exact.enumeration import enumerate_states
from mlpot.lattice.exact.square_ising import CRITICAL_TEMPERATURE, kaufman, onsager
from mlpot.lattice.exact.transfer import strip
from mlpot.lattice.hamiltonian import edwards_anderson, ising, potts
from mlpot.lattice.planted import planted
from mlpot.lattice.tempering import Tempering

QUANTITIES = ("energy", "heat_capacity", "free_energy", "entropy")


def assert_alike(one, other, tolerance=1e-11, quantities=QUANTITIES):
    for name in quantities:
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=tolerance), name


def test_enumeration_counts_levels():
    energies, counts = enumerate_states(ising((4, 4))).levels()
    assert np.array_equal(energies[:4], [-32, -24, -20, -16])
    assert np.array_equal(counts[:4], [2, 32, 64, 424])
    assert counts.sum() == 2**16


def test_enumeration_numbers_its_states():
    everything = enumerate_states(potts((2, 3), 3))
    numbers = np.array([0, 5, 100, 3**6 - 1])
    states = everything.states(numbers)
    assert np.array_equal(everything.numbers(states), numbers)
    assert np.allclose(everything.model.energy(states), everything.energies[numbers])


def test_enumeration_is_consistent_with_itself():
    everything = enumerate_states(potts((3, 3), 3, "clock", field=0.2))
    t, h = 1.3, 1e-4
    point = everything.at(t)
    # C = dE/dT, S = -dF/dT.
    above, below = everything.at(t + h), everything.at(t - h)
    assert point.heat_capacity == pytest.approx((above.energy - below.energy) / (2 * h), rel=1e-6)
    assert point.entropy == pytest.approx(-(above.free_energy - below.free_energy) / (2 * h), rel=1e-6)
    assert everything.probabilities(t).sum() == pytest.approx(1)
    assert enumerate_states(ising((3, 3))).at(1e6).entropy == pytest.approx(math.log(2))


@pytest.mark.parametrize("shape", [(4, 4), (3, 4), (4, 3), (2, 5), (2, 2), (3, 3)])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.2691, 5.0, 100.0])
def test_kaufman_is_enumeration(shape, temperature):
    assert_alike(kaufman(shape, temperature), enumerate_states(ising(shape)).at(temperature))


@pytest.mark.parametrize("temperature", [0.02, 1.0, 2.0, 2.6, 10.0])
def test_kaufman_tends_to_onsager(temperature):
    large, limit = kaufman((256, 256), temperature), onsager(temperature)
    assert_alike(large, limit, 1e-8, ("energy", "heat_capacity"))
    # Below the critical temperature there are two phases: ln 2 in all.
    degeneracy = math.log(2) / 256**2 if temperature < CRITICAL_TEMPERATURE else 0
    assert large.entropy == pytest.approx(limit.entropy + degeneracy, abs=1e-8)


def test_onsager_at_the_critical_temperature():
    point = onsager(CRITICAL_TEMPERATURE)
    catalan = 0.915965594177219
    assert point.energy == pytest.approx(-math.sqrt(2), abs=1e-12)
    assert -point.free_energy / point.temperature == pytest.approx(
        math.log(2) / 2 + 2 * catalan / math.pi, abs=1e-10
    )
    assert point.magnetisation == 0
    # Finite tori approach it from below like 1/L: E. A. Ferdinand and M. E. Fisher (1969).
    gaps = [kaufman((n, n), CRITICAL_TEMPERATURE).energy - point.energy for n in (32, 64)]
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.01)


def test_onsagers_derivatives_and_yangs_magnetisation():
    for t in (1.7, 3.1):
        above, here, below = onsager(t + 1e-4), onsager(t), onsager(t - 1e-4)
        assert here.heat_capacity == pytest.approx((above.energy - below.energy) / 2e-4, rel=1e-6)
        assert here.entropy == pytest.approx(-(above.free_energy - below.free_energy) / 2e-4, rel=1e-6)
    # Series at low temperature: m = 1 - 2 u^2 - 8 u^3 - ... with u = exp(-4/T).
    u = math.exp(-4 / 0.8)
    assert onsager(0.8).magnetisation == pytest.approx(
        1 - 2 * u**2 - 8 * u**3 - 34 * u**4 - 152 * u**5, abs=1e-10
    )
    assert onsager(3.0).magnetisation == 0


@pytest.mark.parametrize(
    "model",
    [ising((4, 4)), ising((4, 3), field=0.3), ising((3, 2), J=-1.0), ising((9,), field=-0.2),
     potts((3, 3), 3), potts((4, 2), 3, "clock", field=0.4), potts((5,), 4, "clock")],
    ids=lambda model: f"{model.name}{model.lattice.shape}",
)  # fmt: skip
@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_a_strip_is_enumeration(model, temperature):
    assert_alike(strip(model, temperature), enumerate_states(model).at(temperature))


def test_a_strip_is_kaufman_and_a_ring_is_textbook():
    assert_alike(strip(ising((8, 6)), 2.3), kaufman((8, 6), 2.3))
    assert_alike(strip(ising((4, 8)), 1.9, length=1000), kaufman((1000, 8), 1.9), 1e-9)
    ring = strip(ising((4,)), 0.9, length=10**9)
    assert ring.energy == pytest.approx(-math.tanh(1 / 0.9))
    assert ring.free_energy == pytest.approx(-0.9 * math.log(2 * math.cosh(1 / 0.9)))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: enumerate_states(ising((8, 8))), "at most 2\\^24"),
        (lambda: kaufman((8,), 1.0), "two axes"),
        (lambda: kaufman((8, 8), -1.0), "positive"),
        (lambda: kaufman((8, 8), 1e-3), "ground state"),
        (lambda: onsager(0.0), "positive"),
        (lambda: strip(edwards_anderson((4, 4), 1), 1.0), "transfer matrices are for"),
        (lambda: strip(ising((4, 20)), 1.0), "width"),
        (lambda: strip(ising((4, 4)), 1.0, length=1), "length"),
        (lambda: strip(ising((4, 4)), 0.0), "positive"),
        (lambda: planted((4, 5), 1), "even axes"),
        (lambda: planted((4,), 1, "loops"), "three axes"),
        (lambda: planted((4, 4), 1, "loops", density=0), "density"),
        (lambda: planted((4, 4), 1, "wishart"), "unknown"),
    ],
)
def test_questions_without_an_answer(ask, message):
    with pytest.raises(LatticeError, match=message):
        ask()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("shape", "method"), [((4, 4), "tiles"), ((4, 4), "loops"), ((3, 5), "loops")])
def test_no_state_is_below_a_planted_one(shape, method, seed):
    glass = planted(shape, seed, method)
    assert glass.model.energy(glass.state)[0] == pytest.approx(glass.energy)
    assert enumerate_states(glass.model).energies.min() == pytest.approx(glass.energy)
    assert glass.model.parameters["ground_energy"] == glass.energy
    # It is frustrated: some bond is against its two spins.
    assert np.abs(glass.model.couplings).sum() / 2 > -glass.energy


def test_tempering_finds_a_planted_ground_state():
    for glass in (planted((10, 10), 4), planted((4, 4, 4), 5, "loops")):
        _, energies = Tempering(glass.model, [0.2], chains=2, seed=1).run(600)
        assert energies.min() == pytest.approx(glass.energy)
