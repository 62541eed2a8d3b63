"""Errors of correlated means, against AR(1), whose error is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from mlpot.errors import DataError
from mlpot.observables.blocks import block_average, block_levels, equilibrated, error_of_blocks


def autoregressive(phi: float, count: int, seed: int) -> np.ndarray:
    """x_t = phi x_{t-1} + noise, stationary from the start; variance 1."""
    noise = np.random.default_rng(seed).standard_normal(count) * np.sqrt(1 - phi**2)
    noise[0] /= np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.97])
def test_error_of_a_correlated_mean(phi):
    # Variance of the mean: (1 + phi) / (1 - phi) / F for F far above the correlation time.
    found = [block_average(autoregressive(phi, 20_000, seed)) for seed in range(40)]
    expected = np.sqrt((1 + phi) / (1 - phi) / 20_000)
    assert np.mean([one.error for one in found]) == pytest.approx(expected, rel=0.12)
    assert np.std([one.mean for one in found]) == pytest.approx(expected, rel=0.35)
    assert np.mean([one.inefficiency for one in found]) == pytest.approx((1 + phi) / (1 - phi), rel=0.25)
    assert all(one.converged for one in found)


def test_a_series_too_short_for_its_correlation_says_so():
    assert not block_average(autoregressive(0.999, 200, 0)).converged


def test_levels_are_those_of_flyvbjerg_and_petersen():
    values = autoregressive(0.5, 37, 3)
    levels = block_levels(values)
    assert [(size, count) for size, count, _, _ in levels] == [(1, 37), (2, 18), (4, 9), (8, 4)]
    blocks = values[:-1].reshape(18, 2).mean(axis=1)
    assert levels[1][2] == pytest.approx(np.sqrt(blocks.var() / 17))
    assert levels[1][3] == pytest.approx(levels[1][2] / np.sqrt(34))


def test_constant_series():
    found = block_average(np.full(50, 2.5))
    assert (found.mean, found.error) == (2.5, 0.0)


def test_relaxation_is_left_out():
    times = np.arange(4000)
    series = autoregressive(0.8, 4000, 1) + 30 * np.exp(-times / 150)
    start = equilibrated(series)
    assert 400 <= start <= 1400
    rest = block_average(series[start:])
    assert abs(rest.mean) < 4 * rest.error
    assert equilibrated(autoregressive(0.8, 4000, 2)) <= 1000
    assert equilibrated(autoregressive(0.8, 4000, 2), least=0.25) >= 1000


def test_error_of_curves():
    curves = np.array([[1.0, 2.0], [3.0, 2.0]])
    assert error_of_blocks(curves) == pytest.approx([1.0, 0.0])


def test_refused():
    with pytest.raises(DataError, match="4 samples"):
        block_average([1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="finite"):
        block_average([1.0, np.nan, 2.0, 3.0])
