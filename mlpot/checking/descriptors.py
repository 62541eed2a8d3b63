"""Cheap invariant descriptors of atoms, for regression and for telling what a set covers."""

from __future__ import annotations

from itertools import pairwise
from math import factorial

import numpy as np
from ase.data import covalent_radii

from mlpot.data.neighbours import Neighbours

#: How far an atom sees, in sums of covalent radii (silicon 5.3 Å).
REACH = 2.4
_RADIAL = 5
_CENTRES = np.linspace(0.9, 2.1, _RADIAL)
_WIDTH = _CENTRES[1] - _CENTRES[0]
_DEGREE = 4
#: Exponents of the monomials x^a y^b z^c of degree 0 to 4, and their multinomial coefficients, by
#: which products of monomials add up to powers of a scalar product.
_MONOMIALS = [
    (a, b, d - a - b) for d in range(_DEGREE + 1) for a in range(d, -1, -1) for b in range(d - a, -1, -1)
]
_COEFFICIENTS = np.array(
    [factorial(a + b + c) / (factorial(a) * factorial(b) * factorial(c)) for a, b, c in _MONOMIALS]
)
_DEGREES = np.array([sum(monomial) for monomial in _MONOMIALS])


def atomic_descriptors(
    numbers: np.ndarray, pairs: Neighbours, directions: np.ndarray, reduced: np.ndarray, weighted: bool
) -> np.ndarray:
    """Return invariants of the surroundings of each atom, (N, D), float64.

    Densities g_n = Σ_j B_n(r_ij) of five radial functions, and their angular correlations
    Σ_jk B_n(r_ij) B_m(r_ik) (r̂_ij·r̂_ik)^l for l up to 4: moments of the neighbour density as in
    moment tensor potentials (Shapeev, Multiscale Model. Simul. 14, 1153 (2016)), a linear
    combination of the power spectrum of SOAP.

    Parameters
    ----------
    numbers : (N,)
        Atomic numbers.
    pairs
        All neighbours up to ``REACH`` at least.
    directions : (E, 3)
        Unit bond vectors.
    reduced : (E,)
        Distances over the sums of covalent radii.
    weighted
        Whether a second density, with each neighbour weighed by its covalent radius, tells elements
        apart.
    """
    inside = reduced < REACH
    centre, x, u = pairs.centre[inside], reduced[inside], directions[inside]
    radial = np.exp(-0.5 * ((x[:, None] - _CENTRES) / _WIDTH) ** 2)
    radial *= 0.5 * (1 + np.cos(np.pi * x / REACH))[:, None]
    if weighted:
        weight = covalent_radii[numbers[pairs.neighbour[inside]]]
        radial = np.concatenate([radial, radial * weight[:, None]], axis=1)
    powers = np.stack([u**k for k in range(_DEGREE + 1)])
    angular = np.stack([powers[a, :, 0] * powers[b, :, 1] * powers[c, :, 2] for a, b, c in _MONOMIALS], 1)
    first = np.searchsorted(centre, np.arange(len(numbers) + 1))
    # Bonds are sorted by centre, so that the sum over neighbours is a product for each atom.
    density = np.stack([radial[i:j].T @ angular[i:j] for i, j in pairwise(first)])
    rows, columns = np.triu_indices(density.shape[1])
    parts = [density[:, :, 0]]
    for degree in range(_DEGREE + 1):
        own = np.equal(_DEGREES, degree)
        correlation = (density[:, :, own] * _COEFFICIENTS[own]) @ density[:, :, own].transpose(0, 2, 1)
        parts.append(correlation[:, rows, columns])
    return np.concatenate(parts, axis=1)
