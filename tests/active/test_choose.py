"""The rule by which frames are chosen, on points in a plane."""

from __future__ import annotations

import numpy as np
import pytest

from mlpot.active.choose import choose
from mlpot.active.recipe import Choosing

#: Candidates on a line; the first two are next to each other.
FEATURES = np.array([[0.0, 0.0], [0.01, 0.0], [1.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
KNOWN = np.array([[0.0, 1.0]])
STD = np.array([0.5, 0.6, 0.1, 0.7, 0.8])


def chosen(count=5, known=KNOWN, deviations=STD, seed=0, **settings):
    section = Choosing(**{"frames": 1, "quantile": 0.0, **settings})
    return choose(section, count, deviations, FEATURES, known, np.random.default_rng(seed))


def test_farthest_from_what_is_known_and_from_each_other():
    found = chosen(3)
    # (4, 0) is the farthest from (0, 1); then (2, 0): sqrt(5) to the known, 2 to the taken; then (0.01, 0).
    assert found.indices == [4, 3, 1]
    assert found.distances == sorted(found.distances, reverse=True)
    everything = np.concatenate([FEATURES, KNOWN])
    spread = np.sqrt(np.square(everything - everything.mean(0)).sum(1).mean())
    assert found.distances[0] == pytest.approx(np.sqrt(17) / spread)


def test_what_is_certain_is_left_out_by_quantile_and_by_threshold():
    assert set(chosen(quantile=0.5, separation=1e-6).indices) == {1, 3, 4}
    assert set(chosen(threshold=0.65, separation=1e-6).indices) == {3, 4}
    assert chosen(threshold=0.9).indices == [] and chosen(threshold=0.9).eligible == 0


@pytest.mark.parametrize("rule", ["uncertainty", "random"])
def test_near_duplicates_are_never_taken(rule):
    for seed in range(10):
        found = chosen(choose=rule, seed=seed)
        assert len({0, 1} & set(found.indices)) == 1 and len(found.indices) == 4
        assert found.near_duplicates == 1
    known = np.concatenate([KNOWN, FEATURES[3:] + 0.01])
    assert not {3, 4} & set(chosen(choose=rule, known=known).indices)


def test_random_asks_for_no_uncertainty_and_repeats_by_its_seed():
    firsts = {chosen(1, choose="random", seed=seed, threshold=0.75).indices[0] for seed in range(30)}
    assert firsts == set(range(5))
    assert chosen(choose="random", seed=3) == chosen(choose="random", seed=3)


def test_nothing_but_copies_leaves_nothing_to_choose():
    copies = np.ones((3, 2))
    for rule in ("uncertainty", "random"):
        section = Choosing(frames=2, choose=rule)
        found = choose(section, 2, np.ones(3), copies, copies[:1], np.random.default_rng(0))
        assert found.indices == [] and found.near_duplicates == 3
        assert choose(section, 2, np.ones(0), np.ones((0, 2)), copies, np.random.default_rng(0)).indices == []
