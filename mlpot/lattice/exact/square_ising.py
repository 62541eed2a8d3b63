r"""The square-lattice Ising model without field: Kaufman's torus, Onsager's and Yang's infinite lattice.

Units of J = k_B = 1 with a ferromagnetic coupling J = 1; :math:`K = 1/T`. Per site throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import ellipe, ellipkm1

from mlpot.errors import LatticeError
from mlpot.lattice.pilot import check_temperature
from mlpot.lattice.thermodynamics import CanonicalPoint

#: 2 / ln(1 + sqrt 2), where sinh(2K) = 1.
CRITICAL_TEMPERATURE = 2 / math.log1p(math.sqrt(2))

#: exp(4K) must not overflow in double precision.
_LARGEST_K = 170.0


def kaufman(shape: Sequence[int], temperature: float) -> CanonicalPoint:
    r"""Return the exact thermodynamics of the model on an n x m torus.

    B. Kaufman, Phys. Rev. 76, 1232 (1949), in the form of A. E. Ferdinand and M. E. Fisher, Phys.
    Rev. 185, 832 (1969):

    .. math::
        Z = \tfrac12 (2\sinh 2K)^{nm/2} \Bigl[
            \prod_r 2\cosh\tfrac{m\gamma_{2r+1}}2 + \prod_r 2\sinh\tfrac{m\gamma_{2r+1}}2 +
            \prod_r 2\cosh\tfrac{m\gamma_{2r}}2 + \prod_r 2\sinh\tfrac{m\gamma_{2r}}2 \Bigr],
        \quad r = 0 \dots n-1,

    with :math:`\cosh\gamma_l = \cosh^2 2K/\sinh 2K - \cos(\pi l/n)` and, signed,
    :math:`\gamma_0 = 2K + \ln\tanh K`. Products are taken relative to the first, so nothing
    overflows; energy and heat capacity are derivatives by automatic differentiation.

    Parameters
    ----------
    shape
        (n, m), at least 2 each.
    temperature
        In J/k_B, at least 1/170.

    Returns
    -------
    CanonicalPoint
        Without magnetisation, which has no closed form on a torus.

    Raises
    ------
    LatticeError
        For another number of axes or a temperature out of range.
    """
    if len(shape) != 2 or min(shape) < 2:
        raise LatticeError(f"shape: {tuple(shape)}; Kaufman's torus has two axes of 2 sites or more.")
    coupling = torch.tensor(_coupling(temperature), dtype=torch.float64, requires_grad=True)
    log_z = _log_z(coupling, int(shape[0]), int(shape[1]))
    (first,) = torch.autograd.grad(log_z, coupling, create_graph=True)
    (second,) = torch.autograd.grad(first, coupling)
    sites = int(np.prod(shape))
    energy = -first.item() / sites
    free_energy = -temperature * log_z.item() / sites
    return CanonicalPoint(
        temperature=temperature,
        energy=energy,
        heat_capacity=second.item() / sites / temperature**2,
        free_energy=free_energy,
        entropy=(energy - free_energy) / temperature,
    )


def _log_z(coupling: torch.Tensor, n: int, m: int) -> torch.Tensor:
    double = 2 * coupling
    hyperbolic = torch.cosh(double) ** 2 / torch.sinh(double)

    def gamma(index: torch.Tensor) -> torch.Tensor:
        return torch.arccosh(hyperbolic - torch.cos(math.pi * index / n))

    odd = gamma(torch.arange(1, 2 * n, 2, dtype=torch.float64)) * m / 2
    others = gamma(torch.arange(2, 2 * n, 2, dtype=torch.float64)) * m / 2
    # ln tanh K = ln(1 - exp(-2K)) - ln(1 + exp(-2K)): no digits lost at large K.
    zeroth = double + torch.log(-torch.expm1(-double)) - torch.log1p(torch.exp(-double))
    even = torch.cat([(zeroth * m / 2).reshape(1), others])

    first = _log_2cosh(odd).sum()
    third = torch.exp(_log_2cosh(even).sum() - first)
    relative = 1 + torch.tanh(odd).prod() + third * (1 + torch.tanh(even).prod())
    log_2sinh = double + torch.log(-torch.expm1(-2 * double))
    return -math.log(2) + n * m / 2 * log_2sinh + first + torch.log(relative)


def _log_2cosh(x: torch.Tensor) -> torch.Tensor:
    return x.abs() + torch.log1p(torch.exp(-2 * x.abs()))


def onsager(temperature: float) -> CanonicalPoint:
    r"""Return the exact thermodynamics of the infinite lattice.

    L. Onsager, Phys. Rev. 65, 117 (1944):
    :math:`-f/T = \ln(2\cosh 2K) + \frac1\pi\int_0^{\pi/2}\ln\frac{1+\sqrt{1-\kappa^2\sin^2\phi}}2\,d\phi`
    with :math:`\kappa = 2\sinh 2K/\cosh^2 2K`; the magnetisation is C. N. Yang's, Phys. Rev. 85, 808
    (1952), :math:`(1-\sinh^{-4}2K)^{1/8}` below the critical temperature. At the critical temperature
    itself the heat capacity is infinite; a little off in double precision, it is below 20.

    Raises
    ------
    LatticeError
        For a temperature that is not positive, or below 1/170.
    """
    k = _coupling(temperature)
    sinh, cosh, tanh = math.sinh(2 * k), math.cosh(2 * k), math.tanh(2 * k)
    modulus = min(1.0, (2 * sinh / cosh**2) ** 2)
    prime = 2 * tanh**2 - 1
    integral, _ = quad(
        lambda phi: math.log((1 + math.sqrt(max(0.0, 1 - modulus * math.sin(phi) ** 2))) / 2), 0, math.pi / 2,
        epsabs=1e-13, epsrel=1e-13,
    )  # fmt: skip
    log_2cosh = 2 * k + math.log1p(math.exp(-4 * k))
    free_energy = -temperature * (log_2cosh + integral / math.pi)
    first = float(ellipkm1(prime**2))  # 1 - kappa^2 = prime^2; it diverges where prime vanishes
    product = prime * first if prime else 0.0
    energy = -(1 + 2 / math.pi * product) / tanh
    bracket = first - float(ellipe(modulus)) - (1 - tanh**2) * (math.pi / 2 + product)
    below = temperature < CRITICAL_TEMPERATURE
    return CanonicalPoint(
        temperature=temperature,
        energy=energy,
        heat_capacity=4 / math.pi * (k / tanh) ** 2 * bracket,
        free_energy=free_energy,
        entropy=(energy - free_energy) / temperature,
        magnetisation=(1 - sinh**-4) ** 0.125 if below else 0.0,
    )


def _coupling(temperature: float) -> float:
    k = 1 / check_temperature(temperature)
    if k > _LARGEST_K:
        raise LatticeError(
            f"temperature: {temperature} is below 1/{_LARGEST_K:g}; there it is the ground state."
        )
    return k
