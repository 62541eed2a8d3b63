"""The static structure factor: from the wave vectors that a cell allows, and from g(r)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from mlpot.errors import GeometryError, RecipeError

#: Wave vectors held in memory at a time.
_AT_ONCE = 2000


def structure_factor(
    frames: Sequence[Atoms], q_max: float, width: float = 0.1, vectors: int = 200, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Return the structure factor at the wave vectors that the cell allows.

    .. math:: S(q) = \frac{1}{N} \left\langle \Big| \sum_j e^{i q \cdot r_j} \Big|^2 \right\rangle

    over :math:`q = 2 \pi\, (h, k, l) \cdot A^{-1}` (all atoms alike), averaged over directions in
    shells of :math:`|q|`. Without order it is 1; at a Bragg peak of a crystal N.

    Parameters
    ----------
    frames
        Structures, periodic in all directions; cells may differ.
    q_max
        1/Å.
    width
        Of the shells, 1/Å.
    vectors
        At most so many of a shell are used, drawn at random; of q and -q one.
    seed
        Of the drawing.

    Returns
    -------
    q, s, count : (B,)
        Mean :math:`|q|` of the shell (1/Å), S, and how many vectors it rests on, of all frames;
        shells without any are left out.

    Raises
    ------
    RecipeError
        For no frames, or numbers that are not positive.
    GeometryError
        For a frame that is not periodic in all directions.
    """
    if not frames or not 0 < q_max < np.inf or not 0 < width <= q_max or vectors < 1:
        raise RecipeError(
            f"a structure factor needs frames, q_max > 0, a width up to q_max and vectors; got "
            f"{len(frames)} frames, q_max {q_max}, width {width}, vectors {vectors}."
        )
    shells = int(np.ceil(q_max / width))
    total, lengths, counts = np.zeros(shells), np.zeros(shells), np.zeros(shells, dtype=np.int64)
    rng = np.random.default_rng(seed)
    chosen: np.ndarray | None = None
    before: np.ndarray | None = None
    for index, atoms in enumerate(frames):
        if not atoms.pbc.all():
            raise GeometryError(
                f"frame {index}: a structure factor needs periodic boundaries in all directions; this "
                f"structure has pbc {atoms.pbc.tolist()}."
            )
        reciprocal = 2 * np.pi * np.linalg.inv(atoms.cell.array).T
        if chosen is None or before is None or not np.allclose(reciprocal, before, rtol=1e-9):
            chosen, before = _allowed(reciprocal, q_max, width, vectors, rng), reciprocal
        waves = chosen @ reciprocal
        norms = np.linalg.norm(waves, axis=1)
        shell = np.minimum((norms / width).astype(int), shells - 1)
        values = np.empty(len(waves))
        for start in range(0, len(waves), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            phases = waves[part] @ atoms.positions.T
            values[part] = np.cos(phases).sum(axis=1) ** 2 + np.sin(phases).sum(axis=1) ** 2
        total += np.bincount(shell, values / len(atoms), shells)
        lengths += np.bincount(shell, norms, shells)
        counts += np.bincount(shell, minlength=shells)
    some = counts > 0
    return lengths[some] / counts[some], total[some] / counts[some], counts[some]


def _allowed(
    reciprocal: np.ndarray, q_max: float, width: float, vectors: int, rng: np.random.Generator
) -> np.ndarray:
    """Return integers (M, 3) of wave vectors up to q_max without the origin, of q and -q one."""
    # |h_a| <= q_max |A_a| / 2 pi, A_a the lattice vector: h_a = q . A_a / 2 pi.
    lattice = 2 * np.pi * np.linalg.inv(reciprocal).T
    most = np.floor(q_max * np.linalg.norm(lattice, axis=1) / (2 * np.pi) + 1e-9).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij"), axis=-1).reshape(-1, 3)
    # Of q and -q that whose first index that is not zero is positive.
    grid = grid[np.lexsort(grid.T[::-1])]
    grid = grid[len(grid) // 2 + 1 :]
    norms = np.linalg.norm(grid @ reciprocal, axis=1)
    grid, norms = grid[norms <= q_max], norms[norms <= q_max]
    # At random within shells: the first so many of each.
    order = rng.permutation(len(grid))
    grid, shell = grid[order], (norms[order] / width).astype(int)
    order = np.argsort(shell, kind="stable")
    counts = np.bincount(shell)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(grid[order[rank < vectors]])


def structure_factor_of_g(
    r: np.ndarray, g: np.ndarray, density: float, q: np.ndarray, lorch: bool = True
) -> np.ndarray:
    r"""Return the structure factor that belongs to a radial distribution.

    .. math::
        S(q) = 1 + 4 \pi \rho \int_0^R r^2 \left( g(r) - 1 \right) \frac{\sin qr}{qr} W(r)\, dr,
        \quad W(r) = \frac{\sin(\pi r / R)}{\pi r / R}

    Parameters
    ----------
    r, g : (bins,)
        Midpoints of equal shells (Å), and the distribution of all atoms.
    density
        Atoms per Å³.
    q : (B,)
        1/Å, above zero.
    lorch
        Whether the end at R is smoothed by the window W (Lorch, J. Phys. C 2, 229 (1969)), which
        widens peaks to about 2 π / R, or W is 1.

    Returns
    -------
    (B,)
    """
    step = r[1] - r[0]
    end = r[-1] + step / 2
    window = np.sinc(r / end) if lorch else 1.0
    kernel = np.sinc(np.outer(q, r) / np.pi)
    return np.asarray(1 + 4 * np.pi * density * step * kernel @ (r**2 * (g - 1) * window))
