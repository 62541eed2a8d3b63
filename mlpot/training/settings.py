"""Settings of a fit; every number has a unit."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

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
    r"""How a potential is fitted.

    Matrices that mix channels follow the orthogonalised momentum of Muon with
    ``matrix_rate``, everything else Adam with ``rate``; both follow one schedule: linear
    warm-up over the first ``warmup`` of all steps, then a cosine to the fraction ``floor``. Validation, early
    stopping and the model that is kept use the exponential moving average of the weights. ``keep``:
    of the epochs, the ``best`` by validation (the last without validation frames), or the
    ``last``, so that the validation frames choose nothing.

    ``rate_factors``: shell patterns on the names of weights, and the factors by which both rates
    are multiplied there (discriminative fine-tuning; Howard & Ruder, ACL 2018); a weight that no
    pattern matches has 1. ``pull``: draws weights back to where the fit started (L2-SP; Li,
    Grandvalet & Davoine, ICML 2018), apart from the gradient as the weight decay of AdamW: after
    each step :math:`\theta \leftarrow \theta - \eta_t\, p\, (\theta - \theta_0)`, with the
    rate :math:`\eta_t` of that weight at that step (schedule and factor included; ``matrix_rate``
    for matrices). It is a pure number: without gradients about :math:`\exp(-p \sum_t \eta_t)` of
    the distance would be left.
    """

    epochs: int = Field(default=40, ge=0)
    batch_size: int = Field(default=4, ge=1)
    rate: float = Field(default=5e-3, gt=0.0)
    matrix_rate: float = Field(default=0.02, gt=0.0)
    rate_factors: dict[str, Annotated[float, Field(gt=0.0)]] = Field(default={})
    pull: float = Field(default=0.0, ge=0.0)
    warmup: float = Field(default=0.02, ge=0.0, lt=1.0)
    floor: float = Field(default=0.0, ge=0.0, le=1.0)
    gradient_clip: float = Field(default=10.0, gt=0.0)
    average: float = Field(default=0.99, ge=0.0, lt=1.0)
    patience: int | None = Field(default=None, ge=1)
    keep: Literal["best", "last"] = "best"
    precision: Literal["float32", "float64"] = "float32"
    seed: int = Field(default=0, ge=0)
    loss: LossSettings = LossSettings()

    @model_validator(mode="after")
    def _pull_ends_at_the_start(self) -> Self:
        rate = max(self.rate, self.matrix_rate) * max(self.rate_factors.values(), default=1.0)
        if self.pull * rate > 1.0:
            raise ValueError(
                f"pull: {self.pull:g} times a rate of {rate:g} takes weights beyond their start in one step; "
                f"choose it below {1.0 / rate:g}."
            )
        return self
