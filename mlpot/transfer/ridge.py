"""The head of a potential in closed form: ridge regression on frozen features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from mlpot.conventions import GPA
from mlpot.data.frame import Frame
from mlpot.errors import DataError
from mlpot.model.design import LABELS, STRENGTHS, Label, head_equations, in_double
from mlpot.model.head import head_names, read_head, write_head
from mlpot.model.potential import Potential
from mlpot.recipe import Recipe
from mlpot.training.settings import LossSettings, LossTerm


class SquaredLoss(LossSettings):
    """Weights and units of the labels; the loss is squared, as a closed form needs."""

    kind: Literal["squared"] = "squared"
    energy: LossTerm = LossTerm(weight=0.05, unit=0.01)


class Ridge(Recipe):
    r"""Settings of :func:`fit_head`.

    Parameters
    ----------
    strength
        :math:`\lambda` of the penalty :math:`\tfrac12 \lambda |\Delta w|^2` on the change of the
        head's weights, next to the mean squared loss; ``None``: the best of a grid by the loss
        of frames left out one at a time. At large strengths the potential stays what it is.
    loss
        Weights and units of energies per atom, forces and stress.
    """

    strength: float | None = Field(default=None, gt=0.0)
    loss: SquaredLoss = SquaredLoss()


@dataclass(frozen=True)
class HeadFit:
    """What :func:`fit_head` did.

    Attributes
    ----------
    strength : float
        Penalty of the solution.
    chosen : bool
        Whether it was chosen by leave-one-out.
    frames : int
        Frames fitted.
    tensors : list of str
        Names of the tensors that were fitted.
    weights : int
        Numbers of the head, without offsets.
    change : float
        Norm of the change of these, relative to the norm they had.
    training, left_out : dict
        Root mean square errors on the frames, fitted on all of them, and fitted on all but the
        frame in question: ``energy`` (meV/atom), ``forces`` (meV/Å) and ``stress`` (GPa), those
        that have labels. ``left_out`` is ``None`` with a single frame.
    grid : list of (strength, loss)
        Leave-one-out loss over the grid; empty where the strength was given.
    """

    strength: float
    chosen: bool
    frames: int
    tensors: list[str]
    weights: int
    change: float
    training: dict[str, float]
    left_out: dict[str, float] | None
    grid: list[tuple[float, float]]

    def asdict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def fit_head(
    model: Potential,
    frames: Sequence[Frame],
    settings: Ridge | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> HeadFit:
    """Fit the last linear maps of a potential, and its offsets, to frames; in place.

    Parameters
    ----------
    model
        Changed: ``readout.outer`` and ``readout.direct`` of every layer, and the offsets. It
        stays an ordinary potential.
    frames
        Labelled frames of elements that the model knows.
    settings
        Default: ``Ridge()``.
    progress
        Called with frames done and in all.

    Raises
    ------
    DataError
        Without frames or labels; for a single frame where no ``strength`` is given.
    ElementError, GeometryError
        For unknown elements, or atoms on top of each other.
    """
    settings = settings or Ridge()
    scales = label_scales(settings.loss)
    labelled = sum(any(frame.label(name) is not None for name in used(scales)) for frame in frames)
    if labelled == 0:
        raise DataError(
            f"head: none of {len(frames)} frames has a label with a weight in the loss; give labelled frames."
        )
    if labelled == 1 and settings.strength is None:
        raise DataError(
            "head: with a single labelled frame no frame can be left out to choose the strength of the "
            "penalty; give `strength` (1 is a start), or more frames."
        )
    double = in_double(model)
    equations = head_equations(double, frames, scales, progress)
    sums, grid = equations.sums, []
    if settings.strength is None:
        grid = [(strength, equations.loss(equations.left_out(strength))) for strength in STRENGTHS]
        strength = min(grid, key=lambda entry: entry[1])[0]
    else:
        strength = settings.strength
    change = equations.solve(sums, strength)
    weights, offsets = (torch.from_numpy(part) for part in np.split(change, [equations.size]))
    old = read_head(double.network).cpu()
    write_head(model.network, old + weights)
    model.offsets += offsets.to(model.offsets)
    # What was known of the uncertainty belonged to the old head.
    model.head_deviations = None
    return HeadFit(
        strength=strength,
        chosen=settings.strength is None,
        frames=len(frames),
        tensors=[f"network.{name}" for name in head_names(model.network)]
        + (["offsets"] if "energy" in sums else []),
        weights=equations.size,
        change=float(weights.norm() / old.norm()),
        training=root_mean_squares(equations.errors(change)),
        left_out=root_mean_squares(equations.left_out(strength)) if labelled > 1 else None,
        grid=grid,
    )


def label_scales(loss: LossSettings) -> dict[Label, float]:
    """Return weight by square of the unit of each label."""
    terms: dict[Label, LossTerm] = {name: getattr(loss, name) for name in LABELS}
    return {name: term.weight / term.unit**2 for name, term in terms.items()}


def used(scales: Mapping[Label, float]) -> list[Label]:
    """Return the labels that count."""
    return [name for name, scale in scales.items() if scale > 0.0]


def root_mean_squares(errors: Mapping[Label, float]) -> dict[str, float]:
    """Return roots of mean squared errors in meV/atom, meV/Å and GPa."""
    units = {"energy": 1e-3, "forces": 1e-3, "stress": GPA}
    return {name: error**0.5 / units[name] for name, error in errors.items()}
