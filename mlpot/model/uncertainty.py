r"""How far a potential may be off: the posterior of its head.

Energies and forces are linear in the head (:mod:`mlpot.model.head`), so that what the training
frames leave open about it has a closed form, the last-layer posterior (Bigi, Chong, Ceriotti &
Grasselli, Mach. Learn.: Sci. Technol. 5, 045018, 2024): a Gaussian around the head as it is, with
the covariance

.. math::
    C = \alpha^2 \Big( \sum_q \frac{s_q}{n_q} X_q^T X_q + \lambda I \Big)^{-1},

from the design matrices :math:`X_q` of the training frames
(:mod:`mlpot.model.design`). The two numbers :math:`\lambda` and :math:`\alpha` maximise the
likelihood of the errors on held-out frames. K samples of it, kept with the potential, are heads
of a shallow ensemble (Kellner & Ceriotti, Mach. Learn.: Sci. Technol. 5, 035006, 2024): how far
their energies and forces are from those of the potential is the predicted deviation, at the cost
of K more evaluations. The predictions themselves do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from mlpot.data.frame import Frame
from mlpot.data.overlap import refuse_overlap
from mlpot.errors import DataError
from mlpot.model.design import STRENGTHS, Label, design_rows, head_equations, in_double
from mlpot.model.potential import Potential

#: Deviations below this fraction of their root mean square are zero but for rounding: forces that
#: symmetry fixes, in whose errors there is nothing to predict.
NOTHING = 1e-3


@dataclass(frozen=True)
class PosteriorFit:
    r"""What :func:`add_uncertainty` found.

    Attributes
    ----------
    strength : float
        :math:`\lambda`.
    scale : float
        :math:`\alpha`.
    heads : int
        Samples kept.
    frames, held_out : int
        Frames that make the covariance, and that calibrate it.
    values : int
        Energies and components of forces among the latter.
    """

    strength: float
    scale: float
    heads: int
    frames: int
    held_out: int
    values: int

    def asdict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def add_uncertainty(
    model: Potential,
    frames: Sequence[Frame],
    held_out: Sequence[Frame],
    scales: Mapping[Label, float],
    heads: int = 16,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PosteriorFit:
    """Give a potential an uncertainty: sets its ``head_deviations``, in place.

    Parameters
    ----------
    model
        A trained potential.
    frames
        Labelled frames it was trained on.
    held_out
        Labelled frames it was not trained on; energies per atom and forces count. Their design
        matrices are kept in memory, 3 N times P numbers a frame.
    scales
        Weight of each label by the square of its unit, as in the loss of the training.
    heads
        How many samples; deviations vary between sets of K by about 1 / sqrt(2 K) of their size.
    seed
        Of the samples.
    progress
        Called with frames done and in all.

    Raises
    ------
    DataError
        If there are no labels on either side, or frames are on both sides.
    ElementError, GeometryError
        See :func:`~mlpot.model.design.design_rows`.
    """
    refuse_overlap(
        held_out,
        frames,
        lambda frame, other: (
            f"{frame} is also among the training frames ({other}); errors on frames that were trained on "
            "are too small to calibrate with: remove it from one side."
        ),
    )
    double, total = in_double(model), len(frames) + len(held_out)

    def report(done: int, _: int) -> None:
        if progress is not None:
            progress(done, total)

    equations = head_equations(double, frames, scales, report)
    sums = equations.sums
    if not sums:
        raise DataError("uncertainty: no training frame has a label; give labelled frames.")
    parts, errors = [], []
    for done, frame in enumerate(held_out, start=len(frames) + 1):
        for name, rows in design_rows(double, frame).items():
            if name != "stress":
                parts.append(rows.matrix)
                errors.append(rows.target)
        report(done, total)
    if not parts:
        raise DataError("uncertainty: no held-out frame has an energy or forces; give labelled frames.")
    matrix, error = np.concatenate(parts), np.concatenate(errors)

    def variances(strength: float) -> np.ndarray:
        whitened = np.linalg.solve(np.linalg.cholesky(equations.precision(sums, strength)), matrix.T)
        return np.square(whitened).sum(0)

    strength = min(STRENGTHS, key=lambda value: likelihood(error, variances(value))[1])
    factor = np.linalg.cholesky(equations.precision(sums, strength))
    noise = np.random.default_rng(seed).normal(size=(len(factor), heads))
    samples = np.linalg.solve(factor.T, noise)
    # Calibrated as sampled: few heads underestimate some deviations more than they overestimate others.
    scale, _ = likelihood(error, np.square(matrix @ samples).mean(1))
    model.head_deviations = torch.from_numpy(np.ascontiguousarray(scale * samples.T))
    return PosteriorFit(strength, scale, heads, len(frames), len(held_out), len(error))


def likelihood(errors: np.ndarray, variances: np.ndarray) -> tuple[float, float]:
    """Return the factor by which Gaussian deviations fit errors best, and what is then left.

    Parameters
    ----------
    errors, variances : (R,)
        In one unit and its square.

    Returns
    -------
    factor : float
        Of the deviations; maximises the likelihood of the errors.
    loss : float
        The mean negative logarithm of that likelihood, but for a constant.
    """
    moving = variances > NOTHING**2 * variances.mean()
    ratio = float(np.mean(np.square(errors[moving]) / variances[moving]))
    return ratio**0.5, 0.5 * (np.log(ratio) + float(np.mean(np.log(variances[moving]))))
