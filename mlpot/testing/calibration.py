r"""Whether predicted deviations are as large as errors turn out to be.

With errors :math:`\Delta` and predicted standard deviations :math:`\sigma`,
:math:`z = \Delta / \sigma` has a mean square of 1 where the deviations are right, above 1 where
they are too small. The negative log-likelihood of Gaussian errors,

.. math::
    \mathrm{NLL} = \big\langle \tfrac12 z^2 + \ln \sigma + \tfrac12 \ln 2 \pi \big\rangle,

also rewards telling large errors from small ones (Gneiting & Raftery, J. Am. Stat. Assoc. 102,
359, 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from mlpot.data.frame import Frame
from mlpot.model.base import Prediction
from mlpot.model.uncertainty import NOTHING


@dataclass(frozen=True)
class CalibrationBin:
    """Values of similar predicted deviation: their number, and root mean squares."""

    count: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Calibration:
    """Predicted deviations against errors, in the unit these were given in.

    Attributes
    ----------
    count : int
        Values compared.
    predicted, observed : float
        Root mean square of deviations and of errors.
    mean_z2 : float
        Mean of the squared errors in units of their deviations; 1 if calibrated.
    correlation : float or None
        Spearman's, of absolute errors and deviations; ``None`` where either does not vary.
    nll : float
        Mean negative log-likelihood; only differences have a meaning.
    bins : tuple of CalibrationBin
        Equally many values each, by predicted deviation.
    fixed, fixed_error : int, float or None
        Values whose predicted deviation is zero but for rounding
        (:data:`~mlpot.model.uncertainty.NOTHING`), not compared, and the root mean square of
        their errors.
    """

    count: int
    predicted: float
    observed: float
    mean_z2: float
    correlation: float | None
    nll: float
    bins: tuple[CalibrationBin, ...]
    fixed: int
    fixed_error: float | None

    def asdict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def calibration(errors: np.ndarray, deviations: np.ndarray, bins: int = 10) -> Calibration:
    """Compare errors with predicted standard deviations.

    Parameters
    ----------
    errors, deviations
        Of equal shape and in one unit; deviations are not negative.
    bins
        How many; fewer where there are fewer values.

    Raises
    ------
    ValueError
        For unequal shapes, or if no deviation is above zero.
    """
    errors, deviations = np.ravel(errors).astype(float), np.ravel(deviations).astype(float)
    if errors.shape != deviations.shape:
        raise ValueError(f"{errors.size} errors, but {deviations.size} deviations")
    moving = deviations > NOTHING * _rms(deviations)
    if not moving.any():
        raise ValueError("no predicted deviation is above zero")
    fixed = errors[~moving]
    errors, deviations = errors[moving], deviations[moving]
    z2 = (errors / deviations) ** 2
    order = np.argsort(deviations, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    vary = np.ptp(deviations) > 0.0 and np.ptp(np.abs(errors)) > 0.0
    return Calibration(
        count=len(errors),
        predicted=_rms(deviations),
        observed=_rms(errors),
        mean_z2=float(z2.mean()),
        correlation=float(spearmanr(np.abs(errors), deviations).statistic) if vary else None,
        nll=float(np.mean(0.5 * z2 + np.log(deviations)) + 0.5 * np.log(2.0 * np.pi)),
        bins=tuple(CalibrationBin(len(p), _rms(deviations[p]), _rms(errors[p])) for p in parts),
        fixed=len(fixed),
        fixed_error=_rms(fixed) if len(fixed) else None,
    )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def calibrate_labels(
    frames: Sequence[Frame], predictions: Sequence[Prediction], bins: int = 10
) -> dict[str, Calibration | None]:
    """Compare predictions with the labels that frames have.

    Parameters
    ----------
    frames
        Labelled frames.
    predictions
        Theirs, with uncertainty.
    bins
        How many.

    Returns
    -------
    dict
        ``energy`` (meV/atom) and ``forces`` (meV/Å, by component); ``None`` where no frame has the
        label, or no predicted deviation is above zero.
    """
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"energy": [], "forces": []}
    for frame, prediction in zip(frames, predictions, strict=True):
        assert prediction.energy_std is not None and prediction.forces_std is not None
        if frame.energy is not None:
            factor = 1e3 / len(frame)
            error = np.atleast_1d(factor * (prediction.energy - frame.energy))
            pairs["energy"].append((error, np.atleast_1d(factor * prediction.energy_std)))
        if frame.forces is not None:
            error = 1e3 * (prediction.forces - frame.forces).ravel()
            pairs["forces"].append((error, 1e3 * prediction.forces_std.ravel()))
    found: dict[str, Calibration | None] = dict.fromkeys(pairs)
    for name, own in pairs.items():
        if own:
            errors, deviations = (np.concatenate(column) for column in zip(*own, strict=True))
            if deviations.any():
                found[name] = calibration(errors, deviations, bins)
    return found
