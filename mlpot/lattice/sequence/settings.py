"""Recipes of sequence models and of their training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlpot.lattice.sequence.paths import PathKind
from mlpot.lattice.sequence.symmetry import Symmetry
from mlpot.recipe import Recipe

Couplings = Literal["all", "neighbours", "none"]


class _Network(Recipe):
    """What all architectures have: the path, and to which earlier sites each is coupled linearly."""

    path: PathKind = "row"
    couplings: Couplings = "all"


class DenseSettings(_Network):
    """Masked dense network (MADE)."""

    architecture: Literal["dense"] = "dense"
    width: int = Field(512, ge=1)
    layers: int = Field(2, ge=1)


class RecurrentSettings(_Network):
    """GRU or LSTM along the path; published: 378 units, spiral, no couplings."""

    architecture: Literal["gru", "lstm"]
    path: PathKind = "snake"
    width: int = Field(128, ge=1)
    layers: int = Field(1, ge=1)


class LatticeRecurrentSettings(_Network):
    """Recurrent network in the dimensions of the lattice."""

    architecture: Literal["rnn2d"]
    path: PathKind = "snake"
    width: int = Field(32, ge=1)


class ConvolutionSettings(_Network):
    """Masked convolution."""

    architecture: Literal["convolution"]
    channels: int = Field(16, ge=1)
    layers: int = Field(2, ge=0)
    reach: int = Field(2, ge=1)


class TransformerSettings(_Network):
    """Causal transformer."""

    architecture: Literal["transformer"]
    width: int = Field(48, ge=1)
    heads: int = Field(4, ge=1)
    layers: int = Field(2, ge=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> TransformerSettings:
        if self.width % self.heads:
            raise ValueError(
                f"width {self.width} is not a multiple of heads {self.heads}; choose one that is."
            )
        return self


NetworkSettings = Annotated[
    DenseSettings | RecurrentSettings | LatticeRecurrentSettings | ConvolutionSettings | TransformerSettings,
    Field(discriminator="architecture"),
]


class SequenceSettings(Recipe):
    """A sequence model: its network, and the group over which p is averaged (none by default)."""

    network: NetworkSettings = DenseSettings()
    average: Symmetry = Symmetry()


class FitSettings(Recipe):
    """Training of a sequence model by cross-entropy.

    Attributes
    ----------
    steps, batch
        Optimizer steps, and states in each.
    optimizer, learning_rate, weight_decay
        ``adamw``, or ``muon`` for the matrices inside networks with ``adamw`` for the rest.
    start
        States, at most, on which the linear couplings are fitted before the first step (0: not at all).
    warm_up
        Steps of linear rise of the learning rate, which then falls to zero as a cosine.
    ema
        Memory of the exponential moving average of the weights, as a fraction of the run; the averaged
        weights are what is evaluated and kept.
    clip
        Largest norm of the gradient of the mean cross-entropy of a site.
    augment
        Symmetries of the distribution; every state of a batch is transformed by a random element.
    holdout
        Fraction of the states, the last ones as they come, that measures and is not trained on.
    evaluations
        How often, evenly over the run, the held-out cross-entropy is measured and a checkpoint written.
    seed
        Of batches and transformations (weights are made before, from a seed of their own).
    """

    steps: int = Field(10000, ge=1)
    batch: int = Field(512, ge=1)
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(5e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    start: int = Field(50_000, ge=0)
    warm_up: int = Field(200, ge=0)
    ema: float = Field(0.02, ge=0, lt=1)
    clip: float = Field(1.0, gt=0)
    augment: Symmetry = Symmetry()
    holdout: float = Field(0.05, gt=0, lt=1)
    evaluations: int = Field(20, ge=1)
    seed: int = Field(0, ge=0)
