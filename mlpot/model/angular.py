"""Angular basis: real spherical harmonics and the Lebedev grid for their products.

Order and sign are e3nn's (``l = 1`` is x, y, z); normalisation is "integral": the harmonics
are orthonormal on the sphere, so that projection is the quadrature sum and nothing else.
"""

from __future__ import annotations

from functools import cache

import torch
from e3nn import o3
from scipy.integrate import lebedev_rule
from torch import Tensor


def components(l_max: int) -> int:
    """Return the number of components of all degrees up to ``l_max``."""
    return (l_max + 1) ** 2


@cache
def degrees(l_max: int) -> Tensor:
    """Return the degree of every component, ((l_max + 1)²,) int64."""
    return torch.repeat_interleave(torch.arange(l_max + 1), 2 * torch.arange(l_max + 1) + 1)


def spherical_harmonics(directions: Tensor, l_max: int) -> Tensor:
    """Return the harmonics of unit vectors (..., 3) as (..., (l_max + 1)²)."""
    return o3.spherical_harmonics(
        list(range(l_max + 1)), directions, normalize=False, normalization="integral"
    )


@cache
def product_grid(l_in: int, order: int, l_out: int) -> tuple[Tensor, Tensor]:
    """Return evaluation and projection on the smallest exact Lebedev grid.

    A product of ``order`` fields of degree ``l_in``, projected to degree ``l_out``, is a
    polynomial of degree ``order * l_in + l_out``; a Lebedev rule of that degree integrates it
    exactly, hence the product is exactly equivariant under rotation and inversion.

    Returns
    -------
    evaluate : (points, (l_in + 1)²) float64
        Field values from coefficients.
    project : ((l_out + 1)², points) float64
        Coefficients from field values.
    """
    needed = order * l_in + l_out
    points, weights = lebedev_rule(needed + (needed + 1) % 2)
    harmonics = spherical_harmonics(torch.as_tensor(points.T).contiguous(), max(l_in, l_out))
    evaluate = harmonics[:, : components(l_in)].contiguous()
    project = (harmonics[:, : components(l_out)] * torch.as_tensor(weights)[:, None]).T.contiguous()
    return evaluate, project


@cache
def harmonic_steps(l_max: int) -> tuple[tuple[Tensor, ...], Tensor]:
    r"""Return the tables that build the harmonics degree by degree and differentiate them.

    For the solid harmonics :math:`R_{lm}(r) = r^l Y_{lm}(\hat r)` there are constants W with

    .. math::
        R_{lm} = \sum_{a m'} W^l_{am',m}\, r_a R_{l-1,m'} \qquad
        \partial_a R_{lm} = l \sum_{m'} W^l_{am',m}\, R_{l-1,m'},

    because :math:`r_a R_{l-1}` contains degree l exactly once, and so does the gradient of
    :math:`R_l` degree l - 1 (Schur's lemma; the factor l is Euler's theorem).

    Returns
    -------
    up : l_max tables (3 (2l - 1), 2l + 1) float64
        From ``r_a R_{l-1,m'}`` (a slow) to ``R_lm``, for l = 1 ... l_max.
    gradient : ((l_max + 1)² - 1, 3 l_max²) float64
        From the slopes by components 1, 2, ... to the coefficients, by component of the
        gradient, of the harmonics of degrees below l_max.
    """
    points, weights = lebedev_rule(2 * l_max + 1)
    directions = torch.as_tensor(points.T).contiguous()
    harmonics = spherical_harmonics(directions, l_max)
    up, gradient = [], torch.zeros(components(l_max) - 1, 3, l_max**2, dtype=torch.float64)
    for degree in range(1, l_max + 1):
        lower = slice((degree - 1) ** 2, degree**2)
        outer = (directions[:, :, None] * harmonics[:, None, lower]).flatten(1)
        coupling = outer.T @ (
            harmonics[:, degree**2 : components(degree)] * torch.as_tensor(weights)[:, None]
        )
        table = coupling / coupling.square().sum(0).mean()
        up.append(table)
        gradient[degree**2 - 1 : components(degree) - 1, :, lower] = degree * table.T.unflatten(1, (3, -1))
    return tuple(up), gradient.flatten(1)
