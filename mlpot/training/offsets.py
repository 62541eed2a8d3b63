r"""Energy offsets: what an atom of each element has before any interaction.

A policy, never a guess, because for a set of one composition the offset and the cohesive
energy cannot be separated: any constant per atom may move from one to the other.

``least_squares``
    Offsets such that the rest of the model has to explain as little energy as possible:
    :math:`\min \sum (E - \sum_z n_z E_0(z))^2 / N^2`. For one element, the mean energy per
    atom. An isolated atom then has that energy, which is not physical.
``given``
    Energies of isolated atoms in the method of the labels; the network carries the cohesion
    and an isolated atom comes out right.
``shifted``
    What a transferred model needs: the least-squares fit of what the labels leave of the
    model's own interaction energies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from mlpot.data.frame import Frame
from mlpot.data.store import StoredFrames
from mlpot.errors import DataError, RecipeError


def composition(frames: Sequence[Frame], elements: Sequence[int]) -> np.ndarray:
    """Return how many atoms of each element every frame has, (frames, elements)."""
    if isinstance(frames, StoredFrames):
        return frames.table.counts(elements)
    return np.array([[int((frame.numbers == z).sum()) for z in elements] for frame in frames], dtype=float)


def energies(frames: Sequence[Frame]) -> np.ndarray:
    """Return the energy labels (frames,), eV; NaN where there is none."""
    if isinstance(frames, StoredFrames):
        return frames.table.energies
    return np.array([np.nan if frame.energy is None else frame.energy for frame in frames], dtype=float)


def least_squares_offsets(
    frames: Sequence[Frame], elements: Sequence[int], interaction: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Fit offsets to the energies of frames, less the model's ``interaction`` energies.

    Parameters
    ----------
    frames
        Frames; those without an energy are not used.
    elements
        Atomic numbers.
    interaction : (frames,), optional
        Energies (eV) that are explained already; zero if not given.

    Returns
    -------
    offsets : (elements,)
        eV. Elements that always occur in the same proportion share evenly (minimum norm).
    residual : float
        Root mean square of what is left, eV/atom.

    Raises
    ------
    DataError
        If no frame has an energy, or an element occurs in none that has.
    """
    labels = energies(frames)
    known = np.isfinite(labels)
    if not known.any():
        raise DataError("no frame has an energy, so no offsets can be fitted; give them in the recipe.")
    counts = composition(frames, elements)[known]
    absent = [chemical_symbols[z] for z, n in zip(elements, counts.sum(0), strict=True) if n == 0]
    if absent:
        raise DataError(
            f"no frame with an energy contains {', '.join(absent)}; give its offset in the recipe."
        )
    explain = labels[known]
    if interaction is not None:
        explain = explain - np.asarray(interaction)[known]
    atoms = counts.sum(1)
    offsets = np.linalg.lstsq(counts / atoms[:, None], explain / atoms, rcond=None)[0]
    return offsets, float(np.sqrt(np.mean(((explain - counts @ offsets) / atoms) ** 2)))


def given_offsets(values: Mapping[str, float], elements: Sequence[int]) -> np.ndarray:
    """Return given offsets (eV) in the order of ``elements``.

    Raises
    ------
    RecipeError
        If an element has no value, or a value belongs to no element.
    """
    symbols = [chemical_symbols[z] for z in elements]
    unknown = [symbol for symbol in values if symbol not in atomic_numbers]
    missing = [symbol for symbol in symbols if symbol not in values]
    if unknown or missing:
        raise RecipeError(
            f"offsets: expected the energy of an isolated atom (eV) for each of {', '.join(symbols)}; "
            + (f"no value for {', '.join(missing)}" if missing else f"{unknown[0]} is no element")
            + "."
        )
    return np.array([float(values[symbol]) for symbol in symbols])
