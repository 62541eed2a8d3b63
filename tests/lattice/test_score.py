import numpy as np
import pytest

from mlpot.lattice.baselines.pair_basis import by_displacement
from mlpot.lattice.geometry import Lattice
from mlpot.lattice.hamiltonian import edwards_anderson, ising, potts
from mlpot.lattice.score import Judge, interactions, recover_couplings


class Shifted:
    """A true energy, scaled and shifted: an energy whose score is known."""

    def __init__(self, model, scale=1.0, offset=0.0):
        self.model, self.scale, self.offset, self.q = model, scale, offset, model.q

    def energy(self, states):
        return self.scale * self.model.energy(states) + self.offset


@pytest.fixture(scope="module")
def judge():
    return Judge(ising((4, 4)), count=300, random_states=20_000, seed=1)


def test_an_offset_does_not_count(judge):
    score = judge.score(Shifted(judge.model, offset=5.0))
    assert score.rmse < 1e-10 and score.largest < 1e-10
    assert score.offset == pytest.approx(5.0) and score.slope == pytest.approx(1.0)
    assert score.to_dict()["shape"] == [4, 4]


def test_a_wrong_scale_counts_by_the_energies_judged(judge):
    score = judge.score(Shifted(judge.model, scale=1.1))
    # Energies are spread uniformly over their levels: the rms is theirs, not that of random states.
    spread = judge.spread.energies
    random = judge.random_energies.mean()
    assert score.rmse == pytest.approx(0.1 * np.sqrt(((spread - random) ** 2).mean()))
    assert score.rmse > 2.5 * score.random_rmse
    assert score.slope == pytest.approx(1.1)


def test_configurations_cover_all_energies_alike(judge):
    levels, counts = np.unique(judge.spread.energies, return_counts=True)
    assert levels.min() == -32 and levels.max() == 32 and np.ptp(counts) <= 1


def test_couplings_are_read_from_any_energy():
    model = edwards_anderson((4, 4), seed=2)
    neighbours = model.neighbours[:, :2]
    pairs = np.stack([np.repeat(np.arange(16), 2), neighbours.ravel()], 1)
    read = interactions(Shifted(model), (4, 4), pairs, backgrounds=2)
    np.testing.assert_allclose(read, model.couplings[:, :2].ravel(), atol=1e-12)
    recovery = recover_couplings(Shifted(model), model, backgrounds=2)
    assert recovery.correlation == pytest.approx(1) and recovery.rmse < 1e-12 and recovery.pairs == 32
    everything = recover_couplings(Shifted(model, scale=0.5), model, bonded_only=False, backgrounds=2)
    assert everything.pairs == 120 and everything.rmse > 0.1


@pytest.mark.parametrize("form", ["standard", "clock"])
def test_potts_couplings_mean_the_same_on_both_sides(form):
    model = potts((3, 3), 3, form)
    recovery = recover_couplings(Shifted(model), model, backgrounds=2)
    assert recovery.rmse < 1e-12 and np.isnan(recovery.correlation)
    fit = by_displacement((3, 3), 3, shells=1).energy(
        np.array([2 / 3 if form == "standard" else 1.0]), temperature=1.0
    )
    assert recover_couplings(fit, model, backgrounds=2).rmse < 1e-12
    assert Lattice((3, 3)).sites == 9
