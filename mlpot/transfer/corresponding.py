r"""Corresponding states: one potential serves another element through two scalars.

.. math::
    E_B(\{r\}) = e\, E_A(\{s\, r\}), \qquad F_B = e\, s\, F_A(s\, r)

The scalars follow from labelled forces and stresses (:func:`fit_scales`), or, without any label, from
lattice constants and cohesive energies (:mod:`mlpot.training.scales`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii
from scipy.optimize import minimize_scalar

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.errors import DataError
from mlpot.model.potential import Potential
from mlpot.training.scales import Scales
from mlpot.training.settings import LossSettings

#: The search covers lengths from 0.8 to 1.25 of what the covalent radii suggest.
_SEARCH = np.geomspace(0.8, 1.25, 13)
#: Where errors of forces and of stresses weigh the same: as in the loss.
_UNITS = LossSettings()
#: Labels that say nothing, in these units.
_NOTHING = 0.01


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
    r"""Fit the two scalars to the forces and stresses of frames and set them in ``model``.

    For every length scale the best energy scale is a closed form,
    :math:`e = \sum y \cdot x_s / \sum x_s \cdot x_s` over labels :math:`y` and the donor's values
    :math:`x_s`, forces and stresses in the units of the loss
    (:class:`~mlpot.training.settings.LossSettings`); the length scale minimises what is left. In one
    strained crystal all forces follow from a single number, so that two scalars need its stress.
    All elements of the model share the pair of scalars (an alloy keeps the ratios it inherited).

    Parameters
    ----------
    model
        As :func:`~mlpot.transfer.donor.donate` made it.
    donors
        Which element serves each target; their covalent radii start the search.
    frames
        Frames with forces; their stresses count where they have them.
    progress
        Called with the number of length scales tried.

    Raises
    ------
    DataError
        If no frame has forces or stresses that say anything, they do not tell the two scalars
        apart, or the fit leaves the range of the search.
    """
    labelled = [frame for frame in frames if frame.forces is not None]
    labels = _stack([(frame.forces, frame.stress) for frame in labelled])
    forces = sum(3 * len(frame.numbers) for frame in labelled)
    if not labelled or np.abs(labels).max() < _NOTHING:
        raise DataError(
            f"no frame has forces above {1e3 * _NOTHING * _UNITS.forces.unit:.0f} meV/Å (or a stress as "
            "telling), so scales cannot be fitted; give frames off equilibrium, or lattice constants and "
            "cohesive energies."
        )
    inherited = (model.length_scales.clone(), model.energy_scales.clone())
    ratios = [
        covalent_radii[atomic_numbers[d]] / covalent_radii[atomic_numbers[t]] for t, d in donors.items()
    ]
    guess = float(np.mean(ratios))
    # One neighbour list serves every length: the network ignores what lies beyond its cutoff.
    set_scales(model, inherited, Scales(guess * _SEARCH[0], 1.0, "search"))
    batches = [batch_graphs([frame_graph(frame, model.cutoff)]) for frame in labelled]
    stressed = [frame.stress is not None for frame in labelled]

    def values(length: float, energy: float) -> np.ndarray:
        set_scales(model, inherited, Scales(length, energy, "search"))
        with model.natively():
            outputs = [model(batch) for batch in batches]
        set_scales(model, inherited, Scales(1.0, 1.0, "inherited"))
        return _stack(
            [
                (output.forces.numpy(), output.stress[0].numpy() if known else None)
                for output, known in zip(outputs, stressed, strict=True)
            ]
        )

    repulsion = values(guess, 0.0)
    target, tried = labels - repulsion, 0
    best: dict[float, tuple[float, float, float]] = {}

    def residual(length: float) -> float:
        nonlocal tried
        donated = values(length, 1.0) - repulsion
        energy = float(target @ donated / (donated @ donated))
        left = target - energy * donated
        rmse = _UNITS.forces.unit * float(np.sqrt(np.mean(left[:forces] ** 2)))
        best[length] = (float(np.sqrt(np.mean(left**2))), energy, rmse)
        tried += 1
        if progress is not None:
            progress(tried)
        return best[length][0]

    grid = guess * _SEARCH
    residuals = np.array([residual(float(length)) for length in grid])
    if np.median(residuals) < 1e-4 * np.sqrt(np.mean(target**2)):
        raise DataError(
            f"the labels of these {len(labelled)} frames fit any length scale equally well: they do not "
            "tell two scalars apart (all forces of a strained crystal follow from one number); give "
            "stresses, other frames, or lattice constants and cohesive energies."
        )
    lowest = int(np.argmin(residuals))
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
    left, energy, rmse = best[float(found.x)]
    if energy <= 0.0:
        raise DataError(
            "the best energy scale is negative: donor and target forces oppose each other; check the labels, "
            "and whether the donor is trained at all."
        )
    explained = 1.0 - left**2 / float(np.mean(target**2))
    what = "forces and stresses" if any(stressed) else "forces"
    scales = Scales(float(found.x), energy, f"{what} of {len(labelled)} frames", rmse, explained)
    set_scales(model, inherited, scales)
    return scales


def _stack(labels: Sequence[tuple[np.ndarray | None, np.ndarray | None]]) -> np.ndarray:
    """Return all forces, then all stresses, flat and in the units of the loss."""
    forces = [force.ravel() / _UNITS.forces.unit for force, _ in labels if force is not None]
    stresses = [stress.ravel() / _UNITS.stress.unit for _, stress in labels if stress is not None]
    return np.concatenate([*forces, *stresses]) if forces else np.zeros(0)
