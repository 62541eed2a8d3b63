r"""Corresponding states: one potential serves another element through two scalars.

.. math::
    E_B(\{r\}) = e\, E_A(\{s\, r\}), \qquad F_B = e\, s\, F_A(s\, r)

The scalars follow from labelled forces (:func:`fit_scales`), or, without any label, from
lattice constants and cohesive energies (:mod:`mlpot.training.scales`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from scipy.optimize import minimize_scalar
from torch_geometric.data import Batch

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.errors import DataError
from mlpot.model.potential import Potential
from mlpot.training.scales import Scales

#: The search covers lengths from 0.8 to 1.25 of what the covalent radii suggest.
_SEARCH = np.geomspace(0.8, 1.25, 13)


def set_scales(model: Potential, inherited: tuple[torch.Tensor, torch.Tensor], scales: Scales) -> None:
    """Set a model's scales relative to the ones inherited from the donor (lengths, energies)."""
    lengths, energies = inherited
    model.length_scales.copy_(lengths * scales.length)
    model.energy_scales.copy_(energies * scales.energy)


def fit_scales(
    model: Potential,
    donors: dict[str, str],
    frames: Sequence[Frame],
    progress: Callable[[int], None] | None = None,
) -> Scales:
    r"""Fit the two scalars to the forces of frames and set them in ``model``.

    For every length scale the best energy scale is a closed form,
    :math:`e = \sum F \cdot f_s / \sum f_s \cdot f_s`; the length scale minimises what is left.
    All elements of the model share the pair of scalars (an alloy keeps the ratios it inherited).

    Parameters
    ----------
    model
        As :func:`~mlpot.transfer.donor.donate` made it.
    donors
        Which element serves each target; their covalent radii start the search.
    frames
        Frames with forces.
    progress
        Called with the number of length scales tried.

    Raises
    ------
    DataError
        If no frame has forces that say anything, or the fit leaves the range of the search.
    """
    labelled = [frame for frame in frames if frame.forces is not None]
    labels = (
        np.concatenate([f.forces.ravel() for f in labelled if f.forces is not None])
        if labelled
        else np.zeros(1)
    )
    if np.abs(labels).max() < 1e-3:
        raise DataError(
            "no frame has forces above 1 meV/Å, so scales cannot be fitted; give frames off equilibrium, or "
            "lattice constants and cohesive energies."
        )
    inherited = (model.length_scales.clone(), model.energy_scales.clone())
    ratios = [
        covalent_radii[atomic_numbers[d]] / covalent_radii[atomic_numbers[t]] for t, d in donors.items()
    ]
    guess = float(np.mean(ratios))
    # One neighbour list serves every length: the network ignores what lies beyond its cutoff.
    set_scales(model, inherited, Scales(guess * _SEARCH[0], 1.0, "search"))
    batches = [batch_graphs([frame_graph(frame, model.cutoff)]) for frame in labelled]
    repulsion = _forces(model, batches, inherited, Scales(guess, 0.0, "search"))
    target, tried = labels - repulsion, 0
    best: dict[float, tuple[float, float]] = {}

    def residual(length: float) -> float:
        nonlocal tried
        forces = _forces(model, batches, inherited, Scales(length, 1.0, "search")) - repulsion
        energy = float(target @ forces / (forces @ forces))
        best[length] = (float(np.sqrt(np.mean((target - energy * forces) ** 2))), energy)
        tried += 1
        if progress is not None:
            progress(tried)
        return best[length][0]

    grid = guess * _SEARCH
    lowest = int(np.argmin([residual(float(length)) for length in grid]))
    if lowest in (0, len(grid) - 1):
        raise DataError(
            f"the best length scale lies at or beyond {grid[lowest]:.3f}, the end of the search: "
            "donor and target do not correspond; check the donor and the units of the labels."
        )
    found = minimize_scalar(
        residual,
        bounds=(float(grid[lowest - 1]), float(grid[lowest + 1])),
        method="bounded",
        options={"xatol": 2e-4},
    )
    rmse, energy = best[float(found.x)]
    if energy <= 0.0:
        raise DataError(
            "the best energy scale is negative: donor and target forces oppose each other; check the labels, "
            "and whether the donor is trained at all."
        )
    explained = 1.0 - rmse**2 / float(np.mean(target**2))
    scales = Scales(float(found.x), energy, f"force matching on {len(labelled)} frames", rmse, explained)
    set_scales(model, inherited, scales)
    return scales


def _forces(
    model: Potential, batches: Sequence[Batch], inherited: tuple[torch.Tensor, torch.Tensor], scales: Scales
) -> np.ndarray:
    set_scales(model, inherited, scales)
    with model.natively():
        return np.concatenate([model(batch).forces.numpy().ravel() for batch in batches])
