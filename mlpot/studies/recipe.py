"""The recipe of a study: donors, a target, arms, and what judges them beyond errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from mlpot.data.section import DataSection, Elements, HoldoutSection
from mlpot.engine.settings import Engine, LocalEngine
from mlpot.recipe import Recipe, parse_recipe, read_profile
from mlpot.studies.beyond import Dynamics, Liquid, Properties, Where
from mlpot.training.run import ModelSection
from mlpot.training.settings import FitSettings
from mlpot.transfer.steps import SteppedFit
from mlpot.transfer.strategy import Strategy

#: The domain of arms that draw from the whole pool.
EVERYWHERE = "all"


class FileDonor(Recipe):
    """A donor that exists: a model file, or the name of a shipped model; the same for all seeds."""

    file: str


class TrainedDonor(Recipe):
    """A donor that is trained from scratch, anew for each seed.

    ``data.validation`` chooses the epoch that is kept; ``test`` is judged once and selects nothing.
    """

    elements: Elements
    data: DataSection
    test: str | None = None
    fit: FitSettings = FitSettings()


class CarriedDonor(Strategy):
    """A donor that starts from another one (``from``), for each seed: a link of a chain.

    The other keys are those of :class:`TrainedDonor` and the means of a transfer
    (:class:`~mlpot.transfer.strategy.Strategy`).
    """

    start: str = Field(alias="from")
    elements: Elements
    data: DataSection
    test: str | None = None

    @model_validator(mode="after")
    def _no_replay(self) -> Self:
        if self.replay is not None:
            raise ValueError("replay is for arms; a donor of a chain serves its own elements.")
        return self


def _kind(value: Any) -> str:
    keys = value if isinstance(value, dict) else value.model_dump(by_alias=True)
    return "file" if "file" in keys else "carried" if "from" in keys else "trained"


Donor = Annotated[
    Annotated[FileDonor, Tag("file")]
    | Annotated[TrainedDonor, Tag("trained")]
    | Annotated[CarriedDonor, Tag("carried")],
    Discriminator(_kind),
]


class Arm(Strategy):
    """One way to a potential of the target.

    ``donor``: the name of the donor it starts from; without one it is trained from scratch.
    ``steps``: gradient steps; by default those of the study's budget, 0 for none, ``with_donors``
    for as many as the budget and all that ``like_donor`` took in its training (a control).
    ``sizes``: numbers of frames; by default those of the study, and 0 is possible for what needs
    no frame.
    """

    donor: str | None = None
    fit: SteppedFit = SteppedFit()
    steps: Annotated[int, Field(ge=0)] | Literal["with_donors"] | None = None
    like_donor: str | None = None
    sizes: list[Annotated[int, Field(ge=0)] | Literal["all"]] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        means = set(Strategy.model_fields) - {"fit"}
        if self.donor is None and (given := sorted(name for name in means if getattr(self, name))):
            raise ValueError(f"{', '.join(given)}: nothing to carry; name the donor, or leave it out.")
        if self.donor is None and self.steps == 0:
            raise ValueError("steps: 0 leaves a potential from scratch untrained.")
        if self.adapters is not None and self.steps == 0:
            raise ValueError("adapters: with steps: 0 there is nothing to adapt; leave them out.")
        if (self.steps == "with_donors") != (self.like_donor is not None):
            raise ValueError("steps: with_donors and like_donor (whose steps are added) belong together.")
        if self.replay is not None and self.replay.data is not None:
            raise ValueError("replay.data: a study replays what the donor was trained on; leave it out.")
        return self


class Domain(Recipe):
    """A part of the pool to draw from, such as the coldest trajectories.

    ``where``: info keys and the values allowed. ``sizes`` and ``arms``: what is trained on it.
    """

    where: Where
    sizes: list[Annotated[int, Field(ge=1)] | Literal["all"]] = Field(min_length=1)
    arms: list[str] = Field(min_length=1)


class Target(Recipe):
    """The elements to be served.

    ``data.train`` is split once into a pool and the hold-out (``data.validation``, which must
    be a split by groups or a file of its own), by which every arm is judged, in all and by the
    info keys ``group_by``. ``selection``, divided once from the pool, chooses the step at which
    each training stops and its rates, with the same frames for every arm. Every seed draws its
    frames from the rest: ``draw: random`` (stratified by ``data.stratify``), or ``diverse``
    (farthest points of invariant descriptors, from a random start).
    """

    elements: Elements
    data: DataSection
    selection: HoldoutSection | None = None
    group_by: list[str] = Field(default=["group"])
    draw: Literal["random", "diverse"] = "random"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.data.frames is not None:
            raise ValueError("data.frames: a study draws its own frames; give `sizes`.")
        if self.data.validation is None:
            raise ValueError("data.validation: a study needs a hold-out; give a fraction or a file.")
        return self


class Budget(Recipe):
    """What every training of an arm may cost.

    ``steps``: gradient steps. ``checks``: how often, in them, the selection frames are looked at;
    the best state is kept.
    """

    steps: int = Field(default=1000, ge=1)
    checks: int = Field(default=20, ge=1)


class Search(Recipe):
    """A search for the rates, alike for every arm, domain and size.

    Each of ``factors`` multiplies both rates of an arm. All are tried with the first seed; the
    factor best on the selection frames (force error) serves all seeds.
    """

    factors: list[Annotated[float, Field(gt=0.0)]] = Field(default=[0.3, 1.0, 3.0], min_length=2)


class StudyRecipe(Recipe):
    """Arms compared on the same frames, sizes and seeds; see :mod:`mlpot.studies.plan`.

    ``baseline`` and ``favourite``: the arms of which the verdict speaks. ``watts``: power of one
    busy core, from which, with the measured CPU time, the energy spent follows.
    """

    title: str
    donors: dict[str, Donor] = Field(default={})
    target: Target
    arms: dict[str, Arm] = Field(min_length=2)
    baseline: str = "scratch"
    favourite: str = "transfer"
    sizes: list[Annotated[int, Field(ge=1)] | Literal["all"]] = Field(min_length=1)
    domains: dict[str, Domain] = Field(default={})
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0, 1, 2, 3, 4], min_length=1)
    model: ModelSection = ModelSection()
    budget: Budget = Budget()
    search: Search | None = None
    dynamics: Dynamics | None = None
    properties: Properties | None = None
    liquid: Liquid | None = None
    watts: float | None = Field(default=None, gt=0.0)
    engine: Engine = LocalEngine()

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        def check(where: str, name: str | None, known: Any, what: str) -> None:
            if name is not None and name not in known:
                there = ", ".join(known) or "none"
                raise ValueError(f"{where}: '{name}' is no {what}; there are: {there}.")

        for name, donor in self.donors.items():
            if isinstance(donor, CarriedDonor):
                check(f"donors.{name}.from", donor.start, self.donors, "donor")
                self._refuse_circle(name)
        for name, arm in self.arms.items():
            check(f"arms.{name}.donor", arm.donor, self.donors, "donor")
            check(f"arms.{name}.like_donor", arm.like_donor, self.donors, "donor")
            if arm.replay is not None and isinstance(self.donors[arm.donor or ""], FileDonor):
                raise ValueError(
                    f"arms.{name}.replay: the data of a model file are not known here; take a donor that the "
                    "study trains."
                )
        check("baseline", self.baseline, self.arms, "arm")
        check("favourite", self.favourite, self.arms, "arm")
        for name, domain in self.domains.items():
            if name == EVERYWHERE:
                raise ValueError(f"domains: the name '{EVERYWHERE}' is taken by the whole pool.")
            for arm_name in domain.arms:
                check(f"domains.{name}.arms", arm_name, self.arms, "arm")
        if self.search is not None and self.target.selection is None:
            raise ValueError("search: rates are chosen by frames of their own; give target.selection.")
        beyond = {
            name: section
            for name in ("dynamics", "properties", "liquid")
            if (section := getattr(self, name)) is not None
        }
        for name, section in beyond.items():
            for arm_name in section.arms:
                check(f"{name}.arms", arm_name, self.arms, "arm")
        sizes = {name: section.size for name, section in beyond.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"{' and '.join(f'{name}.size {size}' for name, size in sizes.items())}: one table tells "
                "of them, so of the same potentials; give one size."
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {self.seeds} repeat a value: the same run twice is no more evidence.")
        return self

    def _refuse_circle(self, name: str) -> None:
        seen = [name]
        while isinstance(donor := self.donors.get(seen[-1]), CarriedDonor):
            if donor.start in seen:
                raise ValueError(f"donors: {' from '.join([*seen, donor.start])} is a circle.")
            seen.append(donor.start)

    def chain(self, name: str) -> list[str]:
        """Return the donors that a donor rests on, itself last."""
        donor = self.donors[name]
        return [*(self.chain(donor.start) if isinstance(donor, CarriedDonor) else []), name]


def load_study(path: str | Path, profile: str | None = None) -> StudyRecipe:
    """Return the study of a YAML file, changed by one of its ``profiles``.

    Raises
    ------
    RecipeError
        As :func:`~mlpot.recipe.parse_recipe` and :func:`~mlpot.recipe.read_profile`.
    """
    return parse_recipe(StudyRecipe, read_profile(path, profile), str(path))
