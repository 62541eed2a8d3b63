r"""What states mean: integers 0 .. q-1 in arrays (samples, \*lattice shape) of int8.

Ising: q = 2, spin = 2 state - 1. Potts: the colour. Clock: angle = 2 pi state / q.
"""

from __future__ import annotations

import numpy as np

from mlpot.errors import DataError, LatticeError

#: The largest alphabet that int8 holds.
LARGEST_Q = 127


def check_q(q: int) -> int:
    """Return the number of states, an integer from 2 to 127; :class:`LatticeError` otherwise."""
    if q != int(q) or not 2 <= q <= LARGEST_Q:
        raise LatticeError(f"q: {q} states; an alphabet has from 2 to {LARGEST_Q}.")
    return int(q)


def check_states(
    states: np.ndarray, q: int, shape: tuple[int, ...] | None = None, where: str = "states"
) -> np.ndarray:
    r"""Return states as a C-contiguous int8 array (samples, \*shape), values checked.

    Parameters
    ----------
    states
        (samples, \*shape), or \*shape alone for a single configuration; integers 0 .. q-1.
    q
        Size of the alphabet.
    shape
        Of the lattice; ``None``: whatever follows the first axis.
    where
        For messages: the file or argument that holds them.

    Raises
    ------
    DataError
        For another shape, no configuration, values that are not integers or are outside 0 .. q-1.
    """
    states = np.asarray(states)
    if shape is not None and states.shape == tuple(shape):
        states = states[None]
    if states.ndim < 2 or states.shape[0] == 0:
        raise DataError(
            f"{where}: shape {states.shape}; expected (samples, *lattice shape) and at least one."
        )
    if shape is not None and states.shape[1:] != tuple(shape):
        raise DataError(
            f"{where}: configurations of shape {states.shape[1:]}, but the lattice is {tuple(shape)}; "
            "check which file belongs to which lattice."
        )
    if states.dtype.kind not in "iub":
        raise DataError(
            f"{where}: values of type {states.dtype}; states are integers 0..{q - 1}"
            + (" (from Ising spins: (spin + 1) // 2 as int8)." if q == 2 else ".")
        )
    low, high = int(states.min()), int(states.max())
    if low < 0 or high >= q:
        hint = (
            " Ising spins -1 and 1 become states by (spin + 1) // 2." if (low, high, q) == (-1, 1, 2) else ""
        )
        raise DataError(
            f"{where}: values from {low} to {high}, but the alphabet is 0..{q - 1} (q = {q}).{hint}"
        )
    return np.ascontiguousarray(states, dtype=np.int8)


def spins(states: np.ndarray) -> np.ndarray:
    """Return Ising spins -1 and 1 (int8) of states 0 and 1, same shape."""
    return (2 * states - 1).astype(np.int8)


def states_of_spins(values: np.ndarray) -> np.ndarray:
    """Return states 0 and 1 (int8) of Ising spins -1 and 1, same shape; :class:`DataError` for others."""
    values = np.asarray(values)
    if not np.isin(values, (-1, 1)).all():
        raise DataError("spins: a value is neither -1 nor 1.")
    return ((values + 1) // 2).astype(np.int8)


def angles(states: np.ndarray, q: int) -> np.ndarray:
    """Return clock angles 2 pi state / q in radians, same shape, float64."""
    return 2 * np.pi * states / q


def populations(states: np.ndarray, q: int) -> np.ndarray:
    r"""Return the fraction of sites in each state, (samples, q) float64; states (samples, \*shape)."""
    flat = states.reshape(len(states), -1)
    return np.stack([(flat == state).mean(axis=1) for state in range(q)], axis=-1)


def order_parameter(states: np.ndarray, q: int, form: str = "standard") -> np.ndarray:
    r"""Return the magnetisation |M| per site of each configuration, (samples,) float64 in 0 .. 1.

    Parameters
    ----------
    states
        (samples, \*shape).
    q
        Size of the alphabet.
    form
        ``"standard"``: length of the Potts vector, :math:`|M|^2 = (q \sum_a n_a^2 - 1)/(q - 1)` with
        the fraction :math:`n_a` of sites in state a (states as corners of a simplex; F. Y. Wu,
        Rev. Mod. Phys. 54, 235 (1982)). ``"clock"``: :math:`|\frac1N \sum_j e^{i\theta_j}|`.
        ``"majority"``: :math:`(q \max_a n_a - 1)/(q - 1)`, the other usual Potts definition. All
        are |mean spin| for q = 2; the first two coincide for q = 3.

    Raises
    ------
    LatticeError
        For another form.
    """
    n = populations(states, q)
    if form == "standard":
        return np.sqrt(np.maximum(q * (n**2).sum(axis=1) - 1, 0) / (q - 1))
    if form == "clock":
        return np.abs(n @ np.exp(2j * np.pi * np.arange(q) / q))
    if form == "majority":
        return (q * n.max(axis=1) - 1) / (q - 1)
    raise LatticeError(f"form: {form!r} is no order parameter; known: standard, clock, majority.")
