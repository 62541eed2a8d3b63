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
