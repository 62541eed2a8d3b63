"""What moves a Hamiltonian allows: orders of sites, reflections of states, tables of flips."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from mlpot.lattice import kernels
from mlpot.lattice.hamiltonian import Hamiltonian

#: Neighbourhoods in a table of flip probabilities: what stays in the cache.
_LARGEST_TABLE = 4096


def colouring(model: Hamiltonian) -> np.ndarray:
    """Return a colour for each site, (N,) int64, such that no bond joins two sites of one colour.

    The checkerboard where it will do; otherwise greedy, site by site.
    """
    checkerboard = model.lattice.colours()
    bonded = model.neighbours >= 0
    if checkerboard is not None:
        other = np.where(bonded, checkerboard[model.neighbours], 1 - checkerboard[:, None])
        if (other != checkerboard[:, None]).all():
            return checkerboard.astype(np.int64)
    colours = np.full(model.lattice.sites, -1)
    for site in range(model.lattice.sites):
        taken = set(colours[model.neighbours[site][bonded[site]]].tolist())
        colours[site] = next(colour for colour in range(len(colours)) if colour not in taken)
    return colours


def reflections(model: Hamiltonian) -> np.ndarray:
    """Return the reflections of the alphabet that leave the energy of pairs alone, (R, q) int8."""
    return reflections_of(model.kernel[None])


def reflections_of(kernels: np.ndarray) -> np.ndarray:
    """Return the reflections of the alphabet that leave all of some kernels (n, q, q) alone, (R, q) int8.

    All swaps of two states if all pairs of different states are alike (Ising, standard Potts,
    clock of q = 3); the q mirrors of a clock; otherwise none.
    """
    q = kernels.shape[-1]
    if all(is_potts_like(kernel) for kernel in kernels):
        swaps = []
        for a, b in combinations(range(q), 2):
            swap = np.arange(q)
            swap[[a, b]] = b, a
            swaps.append(swap)
        return np.array(swaps, dtype=np.int8)
    mirrors = (np.arange(q)[:, None] - np.arange(q)) % q
    alike = [mirror for mirror in mirrors if _same(kernels[:, mirror][:, :, mirror], kernels)]
    return np.array(alike if len(alike) == q else np.empty((0, q)), dtype=np.int8)


def is_potts_like(kernel: np.ndarray) -> bool:
    """Say whether all pairs of different states are alike in a kernel (q, q), and all pairs of like ones."""
    off = kernel[~np.eye(len(kernel), dtype=bool)]
    diagonal = kernel.diagonal()
    return _same(off, off[0]) and _same(diagonal, diagonal[0])


def _same(values: np.ndarray, others: np.ndarray) -> bool:
    """Say whether values are the same but for rounding."""
    return bool(np.allclose(values, others, rtol=1e-12, atol=1e-14))


def symmetries(model: Hamiltonian) -> np.ndarray:
    """Return generators of the global symmetry of the states, (R, q) int8: none in a field."""
    return np.empty((0, model.q), dtype=np.int8) if model.field.any() else reflections(model)


def is_ferromagnetic(model: Hamiltonian) -> bool:
    """Say whether no coupling is negative and like neighbours are favoured: nothing is frustrated."""
    best = model.kernel.max(axis=1)
    return bool((model.couplings >= 0).all() and (model.kernel.diagonal() == best).all())


def flip_table(
    model: Hamiltonian, temperature: float, method: str, fixed_order: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return strides and thresholds for :func:`~mlpot.lattice.kernels.tabled_flips`.

    ``None`` unless sites have two states and all the same couplings and fields, of few values.
    """
    couplings, fields = model.couplings, model.field
    if model.q != 2 or (couplings != couplings[0]).any() or (fields != fields[0]).any():
        return None
    if (model.neighbours < 0).any():
        return None
    values, group, counts = np.unique(couplings[0], return_inverse=True, return_counts=True)
    if np.prod(counts + 1) > _LARGEST_TABLE:
        return None
    step = np.cumprod(np.append(1, counts[:-1] + 1))
    ups = np.indices(tuple((counts + 1).tolist())).reshape(
        len(counts), -1, order="F"
    )  # of each group, for each number
    up_field = (
        values @ (ups * model.kernel[1, 1] + (counts[:, None] - ups) * model.kernel[1, 0]) + fields[0, 1]
    )
    down_field = (
        values @ (ups * model.kernel[0, 1] + (counts[:, None] - ups) * model.kernel[0, 0]) + fields[0, 0]
    )
    gain = np.stack([up_field - down_field, down_field - up_field]) / temperature
    with np.errstate(over="ignore"):
        probability = np.exp(np.minimum(gain, 0)) if method == "metropolis" else 1 / (1 + np.exp(-gain))
    if method == "metropolis" and fixed_order:
        probability *= kernels.PROPOSED
    return step[group], np.round(probability * 2.0**40).astype(np.uint64)


def shuffle_symmetrically(
    states: np.ndarray, generators: np.ndarray, seed: int | np.random.SeedSequence
) -> None:
    r"""Apply a random element of the group of some reflections (R, q) to each configuration, in place."""
    q = generators.shape[1]
    random = np.random.default_rng(seed)
    if len(generators) == q * (q - 1) // 2:  # all swaps: the symmetric group
        maps = np.argsort(random.random((len(states), q)), axis=1).astype(np.int8)
    else:  # the mirrors of a clock: rotations, half of them after a mirror
        turned = random.integers(0, q, (len(states), 1)) + np.arange(q) * random.choice(
            [-1, 1], (len(states), 1)
        )
        maps = (turned % q).astype(np.int8)
    flat = states.reshape(len(states), -1)
    flat[:] = np.take_along_axis(maps, flat.astype(np.int64), axis=1)
