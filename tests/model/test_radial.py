"""Radial functions and their cutoff."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mlpot.model.radial import RadialBasis, smooth_cutoff


def derivatives(x: float) -> list[float]:
    """Return value, first and second derivative of the cutoff at x."""
    point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = smooth_cutoff(point)
    (first,) = torch.autograd.grad(value, point, create_graph=True)
    (second,) = torch.autograd.grad(first, point)
    return [value.item(), first.item(), second.item()]


def test_cutoff_is_one_at_the_centre_and_exactly_zero_beyond() -> None:
    x = torch.tensor([0.0, 0.5, 1.0, 1.0 + 1e-12, 1.5, 1e3], dtype=torch.float64)
    values = smooth_cutoff(x)
    assert values[0] == 1.0
    assert float(values[1]) == pytest.approx(0.75**3, rel=1e-15)
    assert (values[2:] == 0.0).all()


@pytest.mark.parametrize("x", [1.0, 1.0 + 1e-9, 2.0])
def test_cutoff_has_no_derivatives_at_and_beyond_the_cutoff(x: float) -> None:
    assert derivatives(x) == [0.0, 0.0, 0.0]


def test_cutoff_derivatives_vanish_continuously() -> None:
    for step in (1e-3, 1e-5, 1e-7):
        value, first, second = derivatives(1.0 - step)
        assert abs(value) < 9 * step**3
        assert abs(first) < 25 * step**2
        assert abs(second) < 50 * step


def test_cutoff_falls_monotonically() -> None:
    values = smooth_cutoff(torch.linspace(0, 1, 1001, dtype=torch.float64))
    assert (values.diff() < 0).all()


def test_primitives_are_bessel_functions_under_the_cutoff() -> None:
    cutoff, size = 5.0, 8
    r = np.linspace(0.3, 4.9, 7)
    n = np.arange(1, size + 1)
    expected = (
        np.sin(n * math.pi * r[:, None] / cutoff)
        / (r[:, None] / cutoff)
        * (1.0 - (r[:, None] / cutoff) ** 2) ** 3
    )
    basis = RadialBasis(cutoff, size, 2).double()
    assert basis.primitives(torch.as_tensor(r)).numpy() == pytest.approx(expected, abs=1e-13)


def test_basis_and_its_derivative_are_exactly_zero_beyond_the_cutoff() -> None:
    basis = RadialBasis(5.0, 8, 3).double()
    r = torch.tensor([5.0, 5.0 + 1e-9, 6.0, 1e3], dtype=torch.float64, requires_grad=True)
    values = basis(r)
    assert values.shape == (4, 4, 8)
    assert (values == 0.0).all()
    (gradient,) = torch.autograd.grad(values.sum(), r)
    assert (gradient == 0.0).all()


def test_basis_goes_to_zero_smoothly() -> None:
    basis = RadialBasis(5.0, 8, 3).double()
    for step in (1e-2, 1e-4):
        r = torch.tensor([5.0 - step], dtype=torch.float64, requires_grad=True)
        values = basis(r)
        # sin(n pi x) also vanishes at the cutoff: fourth order in all.
        assert values.abs().max() < 10 * step**4
        assert torch.autograd.functional.jacobian(basis, r).abs().max() < 40 * step**3
