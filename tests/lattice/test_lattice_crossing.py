"""Binder crossings: found where they are, with right errors, and refused where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from mlpot.errors import LatticeError
from mlpot.lattice.crossing import binder_crossing
from mlpot.lattice.exact.enumeration import enumerate_states
from mlpot.lattice.exact.square_ising import CRITICAL_TEMPERATURE
from mlpot.lattice.hamiltonian import ising


def cumulant(t: np.ndarray, length: int) -> np.ndarray:
    return 2 / 3 / (1 + np.exp(0.6 * length * (t - CRITICAL_TEMPERATURE)))


def pairs(values: np.ndarray, error: float) -> list[tuple[float, float]]:
    return [(float(value), error) for value in values]


def test_exact_cumulants_of_small_lattices_cross_near_the_critical_temperature() -> None:
    temperatures = np.arange(1.6, 3.0, 0.1)
    small, large = (
        [(enumerate_states(ising((length, length))).at(t).binder, 0.0) for t in temperatures]
        for length in (3, 4)
    )
    crossing = binder_crossing(temperatures, small, large)
    assert crossing.value == pytest.approx(CRITICAL_TEMPERATURE, rel=0.05)
    assert crossing.error < 1e-3


def test_noise_far_from_the_transition_does_not_distract_and_the_error_is_right() -> None:
    temperatures = np.arange(1.0, 4.0, 0.05)
    found = []
    for seed in range(40):
        noise = 0.004 * np.random.default_rng(seed).standard_normal((2, len(temperatures)))
        small, large = cumulant(temperatures, 16) + noise[0], cumulant(temperatures, 32) + noise[1]
        found.append(binder_crossing(temperatures, pairs(small, 0.004), pairs(large, 0.004), seed))
    z = np.array([one.z(CRITICAL_TEMPERATURE) for one in found])
    assert max(one.error for one in found) < 0.02
    assert abs(z.mean()) < 0.5
    assert 0.6 < z.std() < 1.5


@pytest.mark.parametrize("part", [slice(0, 20), slice(40, None)])
def test_no_crossing_among_the_temperatures(part: slice) -> None:
    temperatures = np.arange(1.0, 4.0, 0.05)[part]
    noise = 1e-3 * np.random.default_rng(0).standard_normal((2, len(temperatures)))
    small, large = cumulant(temperatures, 16) + noise[0], cumulant(temperatures, 32) + noise[1]
    with pytest.raises(LatticeError, match=r"none between .* take temperatures on both sides"):
        binder_crossing(temperatures, pairs(small, 1e-3), pairs(large, 1e-3))


def test_temperatures_ascend() -> None:
    with pytest.raises(LatticeError, match="ascending"):
        binder_crossing([2.0, 1.0], [(0.5, 0.1)] * 2, [(0.5, 0.1)] * 2)
