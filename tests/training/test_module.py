"""The schedule of the learning rate and the order of batches."""

from __future__ import annotations

import math

import pytest

from mlpot.training.loaders import EpochShuffle
from mlpot.training.module import learning_rate


def test_rate_starts_full_without_warmup_and_ends_at_zero():
    assert learning_rate(0, 100, 0.0) == 1.0
    assert learning_rate(50, 100, 0.0) == pytest.approx(0.5)
    assert learning_rate(100, 100, 0.0) == pytest.approx(0.0, abs=1e-15)
    assert learning_rate(150, 100, 0.0) == pytest.approx(0.0, abs=1e-15)
    assert learning_rate(50, 100, 0.0, floor=0.2) == pytest.approx(0.6)
    assert learning_rate(100, 100, 0.0, floor=0.2) == pytest.approx(0.2)


def test_rate_rises_linearly_over_the_warmup():
    for step in range(10):
        cosine = 0.5 * (1.0 + math.cos(math.pi * step / 100))
        assert learning_rate(step, 100, 0.1) == pytest.approx((step + 1) / 11 * cosine)
    assert learning_rate(10, 100, 0.1) == pytest.approx(0.5 * (1.0 + math.cos(math.pi * 0.1)))


def test_rate_of_a_single_step_is_not_zero():
    assert learning_rate(0, 1, 0.02) > 0.9


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        shuffle = EpochShuffle(20, seed)
        shuffle.set_epoch(epoch)
        return list(shuffle)

    assert sorted(order(0, 0)) == list(range(20))
    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)
    assert len(EpochShuffle(20, 0)) == 20
