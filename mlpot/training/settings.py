"""Settings of a fit; every number has a unit."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlpot.recipe import Recipe


class LossTerm(Recipe):
    """Weight and unit of one label in the loss."""

    weight: float = Field(ge=0.0)
    unit: float = Field(gt=0.0)


class LossSettings(Recipe):
    r"""The loss of a batch.

    .. math::
        L = \sum_{q} w_q \left\langle \ell\big((q - \hat q) / u_q\big) \right\rangle,
        \qquad q \in \{E/N,\; F,\; \sigma\}

    averaged over frames (energy per atom, eV), components of all forces (eV/Å) and of all
    stresses (eV/Å³). ``huber``: :math:`\ell(x) = x^2/2` up to 1 and linear beyond, so that the
    unit is where errors cease to be small; ``squared``: :math:`\ell(x) = x^2/2`.
    """

    kind: Literal["huber", "squared"] = "huber"
    energy: LossTerm = LossTerm(weight=0.3, unit=0.01)
    forces: LossTerm = LossTerm(weight=1.0, unit=0.1)
    stress: LossTerm = LossTerm(weight=0.1, unit=0.005)


class FitSettings(Recipe):
    """How a potential is fitted.

    Matrices that mix channels follow the orthogonalised momentum of Muon with
    ``matrix_rate``, everything else Adam with ``rate``; both follow one schedule: linear
    warm-up over the first ``warmup`` of all steps, then a cosine to the fraction ``floor``. Validation, early
    stopping and the model that is kept use the exponential moving average of the weights. ``keep``:
    of the epochs, the ``best`` by validation (the last without validation frames), or the
    ``last``, so that the validation frames choose nothing.
    """

    epochs: int = Field(default=40, ge=0)
    batch_size: int = Field(default=4, ge=1)
    rate: float = Field(default=5e-3, gt=0.0)
    matrix_rate: float = Field(default=0.02, gt=0.0)
    warmup: float = Field(default=0.02, ge=0.0, lt=1.0)
    floor: float = Field(default=0.0, ge=0.0, le=1.0)
    gradient_clip: float = Field(default=10.0, gt=0.0)
    average: float = Field(default=0.99, ge=0.0, lt=1.0)
    patience: int | None = Field(default=None, ge=1)
    keep: Literal["best", "last"] = "best"
    precision: Literal["float32", "float64"] = "float32"
    seed: int = Field(default=0, ge=0)
    loss: LossSettings = LossSettings()
