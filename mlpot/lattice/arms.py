"""Arms of a lattice study as sections of its recipe: ways from samples to an energy."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mlpot.lattice.coupling.joint import Joint
from mlpot.lattice.coupling.states import SOURCES, StateMix
from mlpot.lattice.coupling.two_stage import TwoStage
from mlpot.lattice.descent import Descent
from mlpot.lattice.ednn import EDNNSettings
from mlpot.recipe import Recipe

Objective = Literal["pseudo-likelihood", "screening"]


class NetworkSection(Recipe):
    """The extensive network, see :class:`~mlpot.lattice.ednn.EDNNSettings`; published: f = 2, c = 1."""

    focus: int = Field(default=1, ge=1)
    context: int = Field(default=1, ge=0)
    everywhere: bool = False
    hidden: list[int] = Field(default=[32, 64])
    pairs: bool = True
    symmetric: bool = True
    states: Literal["none", "cyclic", "full"] = "full"
    shared: bool = True

    def settings(self, shape: tuple[int, ...], q: int) -> EDNNSettings:
        """Return the architecture on a lattice."""
        return EDNNSettings(
            shape, q, self.focus, self.context, self.everywhere, tuple(self.hidden), self.pairs,
            self.symmetric, self.states, self.shared,
        )  # fmt: skip


class DescentSection(Recipe):
    """How a network descends, see :class:`~mlpot.lattice.descent.Descent`."""

    steps: int = Field(default=2000, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0.0)
    weight_decay: float = Field(default=1e-3, ge=0.0)
    average: float = Field(default=0.99, ge=0.0, lt=1.0)
    clip: float = Field(default=1.0, gt=0.0)

    def settings(self) -> Descent:
        """Return them as the descent takes them."""
        return Descent(self.steps, self.learning_rate, self.weight_decay, self.average, self.clip)


class MixSection(Recipe):
    """Shares of states by their sources, see :class:`~mlpot.lattice.coupling.states.StateMix`."""

    samples: float = Field(default=1.0, ge=0.0)
    random: float = Field(default=1.0, ge=0.0)
    model: float = Field(default=0.0, ge=0.0)
    targeted: float = Field(default=1.0, ge=0.0)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not any(getattr(self, name) for name in SOURCES):
            raise ValueError("all shares are 0; give one.")
        return self

    def settings(self) -> StateMix:
        """Return them as the coupling takes them."""
        return StateMix(self.samples, self.random, self.model, self.targeted)


class Arm(Recipe):
    """What all arms have."""

    @property
    def uses_sequence(self) -> bool:
        """Whether the arm needs a trained sequence model."""
        return False


class NetworkArm(Arm):
    """An arm with an extensive network; ``network``: its own instead of the recipe's."""

    network: NetworkSection | None = None
    images: int | None = Field(default=None, ge=1)


class TwoStageArm(NetworkArm):
    """The published way: a network learns -T0 ln p of the sequence model."""

    kind: Literal["two_stage"]
    mix: MixSection = MixSection()
    states: int = Field(default=20_000, ge=1)
    rounds: int = Field(default=3, ge=1)
    descent: DescentSection = DescentSection(steps=1000)
    batch: int = Field(default=512, ge=2)

    @property
    def uses_sequence(self) -> bool:
        """It does."""
        return True

    def settings(self) -> TwoStage:
        """Return them as the coupling takes them."""
        return TwoStage(
            self.mix.settings(), self.states, self.rounds, self.descent.settings(), self.batch, self.images
        )


class JointArm(NetworkArm):
    """Sequence model and network learn together, from a sequence model that was trained before.

    ``from_pairs``: the network starts from the pair couplings that explain the samples best.
    """

    kind: Literal["joint"]
    consistency: float = Field(default=1.0, ge=0.0)
    conditional: float = Field(default=1.0, ge=0.0)
    objective: Objective = "pseudo-likelihood"
    train_energy: bool = True
    mix: MixSection = MixSection()
    states: int = Field(default=4096, ge=1)
    renew: int = Field(default=200, ge=1)
    descent: DescentSection = DescentSection(learning_rate=1e-3)
    energy_rate: float = Field(default=3.0, ge=0.0)
    batch: int = Field(default=256, ge=2)
    translate: bool = True
    from_pairs: bool = False

    @property
    def uses_sequence(self) -> bool:
        """It does."""
        return True

    def settings(self) -> Joint:
        """Return them as the coupling takes them."""
        return Joint(
            self.consistency, self.conditional, self.objective, self.train_energy, self.mix.settings(),
            self.states, self.renew, self.descent.settings(), self.energy_rate, self.batch, self.translate,
            self.images,
        )  # fmt: skip


class DirectArm(NetworkArm):
    """A network learns by conditional likelihood, without any sequence model."""

    kind: Literal["direct"]
    objective: Objective = "pseudo-likelihood"
    descent: DescentSection = DescentSection()
    batch: int = Field(default=1024, ge=1)
    sites: int | None = Field(default=None, ge=1)
    beyond_pairs: float = Field(default=0.0, ge=0.0)
    translate: bool = True
    from_pairs: bool = False
    held_out: float = Field(default=0.05, ge=0.0, lt=1.0)


class PairwiseArm(Arm):
    """Pair couplings by a convex fit.

    ``shells`` of neighbours (as many as fit the lattice, up to 12), or with ``every_pair`` a coupling
    for each pair of sites. ``states``: symmetry of the states; ``none`` also frees fields.
    """

    kind: Literal["pseudo_likelihood", "screening"]
    shells: int | None = Field(default=None, ge=1)
    every_pair: bool = False
    states: Literal["none", "cyclic", "full"] = "full"
    penalty: float = Field(default=0.0, ge=0.0)
    iterations: int = Field(default=500, ge=1)

    @property
    def objective(self) -> Objective:
        """The objective by its name."""
        return "screening" if self.kind == "screening" else "pseudo-likelihood"


class EnsembleArm(Arm):
    """The mean of ``members`` networks of the arm ``of``, which differ by the seed of their training."""

    kind: Literal["ensemble"]
    of: str
    members: int = Field(default=3, ge=2)
