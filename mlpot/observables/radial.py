"""Radial distributions: how far atoms are from each other, and how far two distributions are apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from scipy.stats import wasserstein_distance

from mlpot.data.neighbours import find_neighbours
from mlpot.errors import DataError, GeometryError, RecipeError


def radial_distribution(
    frames: Sequence[Atoms], r_max: float, bins: int = 200, pairs: tuple[str, str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the radial distribution function, averaged over frames.

    .. math::
        g_{AB}(r) = \left\langle \frac{V}{N_A N_B} \frac{n_{AB}(r)}{v(r)} \right\rangle

    with :math:`n_{AB}` the directed pairs, periodic images included, in a shell of volume v.
    ``r_max`` may exceed half the cell. The integral of :math:`4 \pi r^2 (N_B / V) g_{AB}` is
    the number of B around an A; in an ideal gas g is 1 (up to 1/N).

    Parameters
    ----------
    frames
        Structures, periodic in all directions; cells may differ.
    r_max
        Å.
    bins
        Shells of equal thickness.
    pairs
        Chemical symbols of A and B; by default all atoms.

    Returns
    -------
    r, g : (bins,)
        Midpoints of the shells (Å), and g.

    Raises
    ------
    GeometryError
        For a frame that is not periodic in all directions, or with overlapping atoms.
    RecipeError
        For no frames, ``r_max`` or ``bins`` that are not positive, or an element of ``pairs``
        that does not occur.
    """
    if not frames or not 0.0 < r_max < np.inf or bins < 1:
        raise RecipeError(
            f"a radial distribution needs frames, r_max > 0 and bins > 0; got {len(frames)} "
            f"frames, r_max {r_max}, bins {bins}."
        )
    edges = np.linspace(0.0, r_max, bins + 1)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    total = np.zeros(bins)
    for index, atoms in enumerate(frames):
        if not atoms.pbc.all():
            raise GeometryError(
                f"frame {index}: a radial distribution needs a density, so periodic boundaries in "
                f"all directions; this structure has pbc {atoms.pbc.tolist()}."
            )
        cell = atoms.cell.array
        neighbours = find_neighbours(atoms.positions, cell, atoms.pbc, r_max, f"frame {index}")
        distances = np.linalg.norm(neighbours.vectors(atoms.positions, cell), axis=1)
        first, second = _members(atoms, pairs, index)
        chosen = first[neighbours.centre] & second[neighbours.neighbour]
        counts, _ = np.histogram(distances[chosen], bins=edges)
        total += atoms.get_volume() / (first.sum() * second.sum()) * counts / shells
    return 0.5 * (edges[1:] + edges[:-1]), total / len(frames)


def radial_distribution_error(g: np.ndarray, reference: np.ndarray) -> float:
    r"""Return :math:`\frac{1}{r_\mathrm{max}} \int_0^{r_\mathrm{max}} |g - g_\mathrm{ref}|\, dr`.

    Both on the same shells. 0: identical; a crystal against a liquid gives about 1.
    """
    return float(np.abs(g - reference).mean())


def radial_distance(r: np.ndarray, g: np.ndarray, reference: np.ndarray) -> float:
    r"""Return the Wasserstein distance (Å) of two radial distributions.

    .. math::
        W_1 = \int_0^{r_\mathrm{max}} |F(r) - F_\mathrm{ref}(r)|\, dr, \quad
        F(r) = \int_0^r g\, dr' \Big/ \int_0^{r_\mathrm{max}} g\, dr'

    How far the weight of g must be moved along r to become the other: peaks that shift by d Å
    count d times their share. Each is taken as a distribution of r up to ``r_max``, so only the
    same ``r_max`` compares.

    Parameters
    ----------
    r : (bins,)
        Midpoints of equal shells, Å.
    g, reference : (bins,)
        Values there.

    Raises
    ------
    DataError
        If one of them is zero everywhere, or of another length.
    """
    if not r.shape == g.shape == reference.shape:
        raise DataError(f"radial distributions differ in shape: {r.shape}, {g.shape}, {reference.shape}.")
    if not (g.sum() > 0 and reference.sum() > 0):
        raise DataError("a radial distribution is zero everywhere; raise r_max.")
    return float(wasserstein_distance(r, r, g, reference))


def first_minimum(r: np.ndarray, g: np.ndarray) -> float:
    """Return where (Å) a radial distribution has its first minimum after its first peak.

    It lies where g is below 1 between the first two regions above 1; g is smoothed over 0.15 Å
    before. Between the peaks of a crystal, where g vanishes, it is the middle of the gap.

    Raises
    ------
    DataError
        If there is none: a gas, or an r_max too small.
    """
    width = max(1, round(0.15 / (r[1] - r[0])))
    smooth = np.convolve(g, np.ones(width) / width, mode="same")
    high = smooth > 1.0
    peak = int(np.argmax(high))
    end = peak + int(np.argmin(high[peak:]))
    after = end + int(np.argmax(high[end:]))
    if not (high[peak] and end > peak and after > end):
        raise DataError(
            f"the radial distribution has no minimum between two peaks up to {r[-1]:.3g} Å; give a cutoff, "
            "or a larger r_max."
        )
    dip = smooth[end:after]
    return float(r[end + round(np.flatnonzero(dip <= dip.min() + 1e-12).mean())])


def _members(atoms: Atoms, pairs: tuple[str, str] | None, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which atoms are A and which are B."""
    if pairs is None:
        everyone = np.ones(len(atoms), dtype=bool)
        return everyone, everyone
    symbols = np.array(atoms.get_chemical_symbols())
    first, second = symbols == pairs[0], symbols == pairs[1]
    for symbol, members in zip(pairs, (first, second), strict=True):
        if not members.any():
            raise RecipeError(
                f"frame {index} holds no {symbol}, only {', '.join(sorted(set(symbols)))}; "
                "choose the pair among them."
            )
    return first, second
