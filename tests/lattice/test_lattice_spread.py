import numpy as np
import pytest

from mlpot.errors import LatticeError
from mlpot.lattice.exact.enumeration import enumerate_states
from mlpot.lattice.hamiltonian import edwards_anderson, ising, potts
from mlpot.lattice.spread import spread_states


@pytest.mark.parametrize("model", [ising((4, 4)), potts((3, 3), 3), potts((3, 3), 3, "clock")])
def test_every_level_has_its_share(model):
    values, counts = enumerate_states(model).levels()
    spread = spread_states(model, 25 * len(values) + 3, seed=2)
    assert np.allclose(spread.energies, model.energy(spread.states))
    assert np.allclose(spread.levels, values)
    shares = np.bincount(np.searchsorted(values + 1e-6, spread.energies))
    assert set(shares) == {25, 26}
    assert np.abs(spread.log_density - np.log(counts)).max() < 0.15


def test_the_square_lattice_is_covered_from_end_to_end():
    spread = spread_states(ising((8, 8)), 630, seed=1)
    # The levels of an 8 x 8 torus: -128, 128 and all multiples of 4 between, but -124 and 124.
    assert np.array_equal(spread.levels, [-128, *range(-120, 121, 4), 128])
    assert np.bincount(((spread.energies + 128) // 4).astype(int)).max() == 10
    # P. D. Beale, Phys. Rev. Lett. 76, 78 (1996).
    assert np.exp(spread.log_density[:4]) == pytest.approx([2, 128, 256, 4672], rel=0.3)
    magnetisation = np.abs(2.0 * spread.states.reshape(630, -1).mean(axis=1) - 1)
    assert magnetisation[spread.energies <= -120].min() > 0.9
    assert magnetisation[spread.energies >= 112].max() < 0.1


def test_a_level_is_sampled_evenly():
    model = ising((4, 4))
    everything = enumerate_states(model)
    spread = spread_states(model, 15 * 640, seed=5)
    chosen = everything.numbers(spread.states[spread.energies == -20])
    counts = np.bincount(np.searchsorted(np.flatnonzero(everything.energies == -20), chosen), minlength=64)
    assert ((counts - 10) ** 2 / 10).sum() < 120  # chi-square of 63


def test_a_seed_gives_the_same_ones():
    one, two, other = (spread_states(ising((4, 4)), 50, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.states, two.states)
    assert not np.array_equal(one.states, other.states)


def test_a_glass_is_covered_as_well():
    model = edwards_anderson((4, 4), 3)
    everything = enumerate_states(model)
    spread = spread_states(model, 1000, seed=1)
    width = spread.levels[1] - spread.levels[0]
    assert abs(spread.levels[0] - everything.energies.min()) <= width
    assert abs(spread.levels[-1] - everything.energies.max()) <= width
    histogram = np.bincount(
        np.digitize(spread.energies, spread.levels + width / 2), minlength=len(spread.levels)
    )
    assert histogram.max() - histogram.min() <= 1


def test_bad_wishes():
    with pytest.raises(LatticeError, match="count"):
        spread_states(ising((4, 4)), 0)
    with pytest.raises(LatticeError, match="width"):
        spread_states(ising((4, 4)), 10, width=-1.0)
