"""Radial basis: Bessel functions under a smooth cutoff."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def smooth_cutoff(x: Tensor) -> Tensor:
    """Return ``(1 - x²)³`` for ``x < 1`` and exactly 0 beyond; two continuous derivatives."""
    return (1.0 - x.clamp(max=1.0).square()).pow(3)


class RadialBasis(nn.Module):
    r"""Radial functions of every degree, scaled to the densities of real data.

    Spherical Bessel functions of order zero under a cutoff,
    :math:`b_n(r) = \sin(n \pi r / r_c) / r \cdot f_c(r / r_c)` (Gasteiger et al., ICLR 2020).
    ``scale`` brings the density coefficients of each degree and order to a root mean square of
    :math:`1/n` over the training data: unit size, because products of small numbers learn
    slowly, with a preference for smooth functions, because forces grow with n. It is set once,
    by :meth:`set_scale`, and then belongs to the model.

    Parameters
    ----------
    cutoff
        :math:`r_c` in (reduced) Å.
    size
        Number of functions per degree.
    l_max
        Largest degree.
    """

    def __init__(self, cutoff: float, size: int, l_max: int) -> None:
        super().__init__()
        self.cutoff, self.size, self.l_max = cutoff, size, l_max
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(l_max + 1, size, dtype=torch.float64))

    def primitives(self, distances: Tensor) -> Tensor:
        """Return :math:`b_n(r)`, (..., size)."""
        x = distances[..., None] / self.cutoff
        orders = math.pi * torch.arange(1, self.size + 1, dtype=x.dtype, device=x.device)
        return torch.sin(orders * x) * (smooth_cutoff(x) / x)

    def forward(self, distances: Tensor) -> Tensor:
        """Return the functions of all degrees, (..., l_max + 1, size)."""
        return self.primitives(distances)[..., None, :] * self.scale

    def set_scale(self, mean_squares: Tensor) -> None:
        """Set the scale from the mean squares (l_max + 1, size) of the unscaled densities.

        Degrees that vanish by symmetry in all of the data (perfect crystals have no l = 1) are
        treated as if they reached a thousandth of the largest density.
        """
        orders = torch.arange(1, self.size + 1, dtype=torch.float64, device=mean_squares.device)
        size = mean_squares.double().sqrt()
        size = size.clamp(min=1e-3 * float(size.max()))
        self.scale.copy_(1.0 / (orders * size))
