r"""Transfer matrices of strips: exact thermodynamics of narrow lattices of any length."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.hamiltonian import Hamiltonian
from mlpot.lattice.pilot import check_temperature
from mlpot.lattice.thermodynamics import CanonicalPoint

#: The largest matrix: Ising to a width of 11, three colours to 7.
LARGEST = 2500


class _Series:
    r"""A matrix to second order in a change of beta, :math:`e^s (A_0 + A_1 x + A_2 x^2)`, scaled by s."""

    def __init__(self, orders: list[np.ndarray], log_scale: float = 0.0) -> None:
        scale = np.abs(orders[0]).max()
        self.orders = [order / scale for order in orders]
        self.log_scale = log_scale + math.log(scale)

    def __matmul__(self, other: _Series) -> _Series:
        a, b = self.orders, other.orders
        return _Series(
            [a[0] @ b[0], a[0] @ b[1] + a[1] @ b[0], a[0] @ b[2] + a[1] @ b[1] + a[2] @ b[0]],
            self.log_scale + other.log_scale,
        )


def strip(model: Hamiltonian, temperature: float, length: int | None = None) -> CanonicalPoint:
    r"""Return exact thermodynamics of a nearest-neighbour model on a periodic strip or ring.

    :math:`Z = \mathrm{Tr}\,V^L`; H. A. Kramers and G. H. Wannier, Phys. Rev. 60, 252 (1941). Powers are
    taken by squaring, with their first two derivatives by beta, which give energy and heat
    capacity without numerical differentiation.

    Parameters
    ----------
    model
        ``ising`` or ``potts``, in one dimension (L,) or two (L, width), fields included.
    temperature
        In J/k_B.
    length
        L, if not the model's own; at least 2.

    Raises
    ------
    LatticeError
        For other models, strips too wide, and temperatures that are not positive.
    """
    check_temperature(temperature)
    shape = model.lattice.shape
    if model.name not in ("ising", "potts") or len(shape) > 2:
        raise LatticeError(f"{model.name} {shape}: transfer matrices are for ising and potts in 1-D and 2-D.")
    length = shape[0] if length is None else length
    if length < 2:
        raise LatticeError(f"length: {length} is below 2.")
    width = shape[1] if len(shape) == 2 else 1
    if model.q**width > LARGEST:
        raise LatticeError(f"width: {model.q}^{width} states of a row; at most {LARGEST} are treated.")

    rows = np.array(list(product(range(model.q), repeat=width)))
    coupling, field = model.couplings[0, 0], model.field[0]
    within = -field[rows].sum(axis=1)
    if width > 1:  # a pair of sites is bonded twice at width 2, as on Lattice
        within -= coupling * model.kernel[rows, np.roll(rows, 1, axis=1)].sum(axis=1)
    between = -coupling * sum(model.kernel[np.ix_(rows[:, i], rows[:, i])] for i in range(width))
    energy = within[:, None] + between
    lowest = float(energy.min())  # taken out: exp() must not overflow, nor squares lose digits
    energy -= lowest
    weight = np.exp(-energy / temperature)
    base = _Series([weight, -energy * weight, energy**2 * weight / 2])

    power, remaining, result = base, length, None
    while remaining:
        if remaining & 1:
            result = power if result is None else result @ power
        remaining >>= 1
        if remaining:
            power = power @ power
    assert result is not None
    zeroth, first, second = (float(order.trace()) for order in result.orders)
    sites = length * width
    # ln Z(beta + x) = ln Z + x (ln Z)' + x^2 (ln Z)''/2
    slope = first / zeroth
    curvature = 2 * second / zeroth - slope**2
    per_site = (lowest * length - slope) / sites
    free_energy = (lowest * length - temperature * (result.log_scale + math.log(zeroth))) / sites
    return CanonicalPoint(
        temperature=temperature,
        energy=per_site,
        heat_capacity=curvature / sites / temperature**2,
        free_energy=free_energy,
        entropy=(per_site - free_energy) / temperature,
    )
