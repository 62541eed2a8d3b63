"""The recipe of ``mlpot active``: a potential, where it goes, what is labelled of that, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from mlpot.data.section import DataSection, Elements, HoldoutSection
from mlpot.engine.settings import Engine, LocalEngine
from mlpot.labelling.recipe import LabelRecipe
from mlpot.recipe import Recipe, read_yaml
from mlpot.training.run import ModelSection
from mlpot.transfer.steps import SteppedFit
from mlpot.transfer.strategy import Strategy


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _label_recipe(value: Any) -> Any:
    return read_yaml(value) if isinstance(value, str) else value


class FirstFrames(DataSection):
    """The frames that are labelled before the first round.

    Nothing is held out unless it is said how; frames held out are never trained on: they choose the
    epoch that each training keeps, and scale a posterior.
    """

    validation: str | HoldoutSection | None = None


class Training(Strategy):
    """How every potential of every round is made, from all frames labelled so far.

    ``donor``: what it starts from, a model file or a shipped model, or several of them, which the
    members of a committee take in turn; without one it is trained from scratch. ``steps``: of the
    gradient. The other keys are the means of a transfer
    (:class:`~mlpot.transfer.strategy.Strategy`).
    """

    donor: Annotated[list[str], BeforeValidator(_as_list)] = Field(default=[])
    steps: PositiveInt = 400
    fit: SteppedFit = SteppedFit()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        means = set(Strategy.model_fields) - {"fit"}
        if not self.donor and (given := sorted(name for name in means if getattr(self, name))):
            raise ValueError(f"{', '.join(given)}: nothing to carry; name the donor, or leave it out.")
        if self.replay is not None and self.replay.data is None:
            raise ValueError("replay: say where the donor's own frames are (replay.data).")
        return self


class CommitteeSection(Recipe):
    """Potentials that differ in their seeds; how far they are apart is the uncertainty.

    ``members``: two or more. ``resample``: each is trained on as many frames as there are, drawn
    with replacement (bagging; Breiman, Mach. Learn. 24, 123, 1996). Members that start from one
    donor would otherwise differ in the order of their batches alone.
    """

    kind: Literal["committee"] = "committee"
    members: int = 4
    resample: bool = True

    @field_validator("members")
    @classmethod
    def _are_several(cls, value: int) -> int:
        if value < 2:
            raise ValueError(
                f"{value}: a committee has two or more members; for one potential take `kind: posterior`."
            )
        return value


class PosteriorSection(Recipe):
    """One potential and the posterior of its head (:mod:`mlpot.model.uncertainty`), of ``heads`` samples."""

    kind: Literal["posterior"]
    heads: int = Field(default=16, ge=2)


def _kind(value: Any) -> Any:
    """Let a section without ``kind`` be a committee."""
    return {"kind": "committee", **value} if isinstance(value, dict) else value


UncertaintySection = Annotated[
    Annotated[CommitteeSection | PosteriorSection, Field(discriminator="kind")], BeforeValidator(_kind)
]


class Exploration(Recipe):
    """Langevin dynamics with the mean potential, one trajectory for each combination of what is listed.

    Attributes
    ----------
    structures
        Files (``FILE@INDEX``) that they start from.
    supercell
        Repeats of each along its lattice vectors.
    volumes
        Factors on the volume of the cell.
    strains
        Of the cell: components xx yy zz yz xz xy of the symmetric strain tensor.
    temperatures
        K.
    time_ps, timestep_fs, friction_per_ps
        Of each trajectory.
    interval
        Steps between the frames that may be chosen.
    max_forces_std
        Where the predicted standard deviation of the force on any atom exceeds this (eV/Å), the
        trajectory ends.
    min_distance
        As a fraction of the sum of covalent radii; a frame with closer atoms is never labelled.
    max_force
        eV/Å; a frame with a larger one, by the potential, is never labelled.
    """

    structures: Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]
    supercell: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 1, 1)
    volumes: list[PositiveFloat] = Field(default=[1.0], min_length=1)
    strains: list[tuple[float, float, float, float, float, float]] = Field(default=[(0.0,) * 6], min_length=1)
    temperatures: list[PositiveFloat] = Field(min_length=1)
    time_ps: PositiveFloat
    timestep_fs: PositiveFloat = 1.0
    friction_per_ps: PositiveFloat = 10.0
    interval: PositiveInt = 50
    max_forces_std: PositiveFloat
    min_distance: float = Field(default=0.6, gt=0.0, lt=1.0)
    max_force: PositiveFloat = 30.0


class Choosing(Recipe):
    """Which frames of the dynamics are labelled; see :func:`mlpot.active.choose.choose`.

    Attributes
    ----------
    choose
        ``uncertainty``: those the potential knows least, far from each other and from what is
        labelled. ``random``: any, to compare with.
    frames
        How many in a round.
    quantile
        Of the uncertainties of all candidates, below which a frame is not chosen.
    threshold
        eV/Å: neither is a frame of less uncertainty. When no frame of a round reaches it and all
        trajectories came to their end, the potential is finished.
    separation
        Smallest distance in the potential's features to any other frame that is labelled, as a
        fraction of the spread of all frames.
    """

    choose: Literal["uncertainty", "random"] = "uncertainty"
    frames: PositiveInt
    quantile: float = Field(default=0.5, ge=0.0, lt=1.0)
    threshold: PositiveFloat | None = None
    separation: float = Field(default=0.05, gt=0.0)


class ActiveRecipe(Recipe):
    """Everything that ``mlpot active`` needs to know.

    Attributes
    ----------
    title
        What this is, for people.
    elements
        Of the potential, chemical symbols.
    training
        See :class:`Training`.
    model
        Shape of a potential that is trained from scratch.
    data
        The first labelled frames.
    test
        Labelled frames, a file, by which every round is judged; they choose nothing.
    uncertainty
        ``kind: committee`` or ``kind: posterior``.
    dynamics
        Where the potential meets new frames.
    selection
        Which of them are labelled.
    label
        The label recipe, or its file: method and engine.
    rounds
        How often frames are labelled, at most.
    max_labels
        Labelled frames, those of ``data`` included, at most.
    seed
        Of all random numbers.
    engine
        What trains and runs dynamics.
    """

    title: str
    elements: Elements
    training: Training = Training()
    model: ModelSection = ModelSection()
    data: FirstFrames
    test: str | None = None
    uncertainty: UncertaintySection = CommitteeSection()
    dynamics: Exploration
    selection: Choosing
    label: Annotated[LabelRecipe, BeforeValidator(_label_recipe)]
    rounds: PositiveInt
    max_labels: PositiveInt | None = None
    seed: int = Field(default=0, ge=0)
    engine: Engine = LocalEngine()

    @model_validator(mode="after")
    def _posterior_needs_held_out_frames(self) -> Self:
        if isinstance(self.uncertainty, PosteriorSection) and self.data.validation is None:
            raise ValueError(
                "uncertainty: a posterior is scaled on frames that are not trained on; give data.validation."
            )
        return self

    @property
    def members(self) -> int:
        """How many potentials are trained in a round."""
        return self.uncertainty.members if isinstance(self.uncertainty, CommitteeSection) else 1
