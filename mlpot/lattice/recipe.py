"""The recipe of ``mlpot lattice learn``: a model, samples of it, and arms that learn from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Discriminator, Field, Tag, model_validator

from mlpot.engine.settings import Engine, LocalEngine
from mlpot.errors import RecipeError
from mlpot.lattice.arms import (
    Arm,
    DirectArm,
    EnsembleArm,
    JointArm,
    NetworkSection,
    PairwiseArm,
    TwoStageArm,
)
from mlpot.lattice.hamiltonian import (
    Hamiltonian,
    all_to_all,
    edwards_anderson,
    from_couplings,
    ising,
    ising_nnn,
    potts,
)
from mlpot.lattice.planted import planted
from mlpot.lattice.sequence.settings import FitSettings, SequenceSettings
from mlpot.recipe import Recipe, parse_recipe, read_profile

Temperature = Annotated[float, Field(gt=0.0)]
Shape = Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1, max_length=3)]

#: Which keys each model takes besides its name.
_KEYS: dict[str, set[str]] = {
    "ising": {"J", "field"},
    "ising_nnn": {"J", "J2", "field"},
    "potts": {"q", "form", "J", "field"},
    "edwards_anderson": {"seed", "distribution"},
    "all_to_all": {"seed", "variance"},
    "planted": {"seed", "method", "density"},
    "custom": {"couplings", "q", "form"},
}
_NEEDED = {
    "potts": {"q"}, "edwards_anderson": {"seed"}, "all_to_all": {"seed"}, "planted": {"seed"},
    "custom": {"couplings"},
}  # fmt: skip


class ModelSection(Recipe):
    """A Hamiltonian by name, with the parameters that its maker takes.

    ``couplings``: for ``custom``, a file with a bond ``i j J`` on every line.
    """

    name: Literal["ising", "ising_nnn", "potts", "edwards_anderson", "all_to_all", "planted", "custom"]
    J: float | None = None
    J2: float | None = None
    field: float | None = None
    q: int | None = Field(default=None, ge=2)
    form: Literal["standard", "clock", "ising"] | None = None
    seed: int | None = Field(default=None, ge=0)
    distribution: Literal["gaussian", "bimodal"] | None = None
    variance: float | None = Field(default=None, gt=0.0)
    method: Literal["tiles", "loops"] | None = None
    density: float | None = Field(default=None, gt=0.0)
    couplings: str | None = None

    @model_validator(mode="after")
    def _keys_belong(self) -> Self:
        given = {key for key, value in self.parameters.items() if value is not None}
        if foreign := sorted(given - _KEYS[self.name]):
            there = ", ".join(sorted(_KEYS[self.name]))
            raise ValueError(f"{self.name} takes no {', '.join(foreign)}; it takes: {there}.")
        if missing := sorted(_NEEDED.get(self.name, set()) - given):
            raise ValueError(f"{self.name} needs {', '.join(missing)}; give it.")
        return self

    @property
    def parameters(self) -> dict[str, Any]:
        """All keys but the name."""
        return {key: getattr(self, key) for key in type(self).model_fields if key != "name"}

    def build(self, shape: list[int] | tuple[int, ...]) -> Hamiltonian:
        """Return the Hamiltonian on a lattice; :class:`~mlpot.errors.LatticeError` if it does not fit."""
        given = {key: value for key, value in self.parameters.items() if value is not None}
        if self.name == "custom":
            bonds = _read_bonds(given.pop("couplings"))
            return from_couplings(bonds, shape, **given)
        if self.name == "all_to_all":
            return all_to_all(list(shape), **given)
        if self.name == "planted":
            return planted(shape, **given).model
        makers: dict[str, Callable[..., Hamiltonian]] = {
            "ising": ising, "ising_nnn": ising_nnn, "potts": potts, "edwards_anderson": edwards_anderson
        }  # fmt: skip
        return makers[self.name](shape, **given)


def _read_bonds(path: str) -> np.ndarray:
    try:
        bonds = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read as bonds, i j J on every line: {error}") from None
    if bonds.shape[1] != 3:
        raise RecipeError(f"{path}: {bonds.shape[1]} numbers on a line; a bond is i j J.")
    return bonds


class SamplingSection(Recipe):
    """How samples are made, see :func:`mlpot.lattice.sampling.sample`."""

    method: Literal["auto", "metropolis", "heat_bath", "wolff", "swendsen_wang", "tempering"] = "auto"
    order: Literal["random", "sequential", "checkerboard"] = "random"
    stream: int | None = Field(default=None, ge=1)
    chains: int | None = Field(default=None, ge=1)
    burn_in: int | None = Field(default=None, ge=0)
    hottest: float | None = Field(default=None, gt=0.0)


class ScoreSection(Recipe):
    """What learned energies are judged by.

    ``shapes``: lattices (default: the one that is learned from); ``configurations``, spread
    uniformly over all energies; ``random_states``, which fix the offset; ``seed`` of both.
    """

    shapes: list[Shape] | None = Field(default=None, min_length=1)
    configurations: int = Field(default=5000, ge=1)
    random_states: int = Field(default=20_000, ge=1)
    seed: int = Field(default=0, ge=0)


class ExtrapolationSection(Recipe):
    """Monte Carlo with learned energies over temperatures and lattices.

    ``arms`` (all), ``learned_at`` (temperatures, the first), ``counts`` (the largest), ``seeds`` (all)
    choose the energies. ``chains`` per temperature, ``burn_in`` sweeps, then ``steps`` recordings
    ``every`` so many sweeps; they ``start`` from random states, or from one that is all alike.
    ``moves``: after every sweep of single turns also clusters, where the energy has them (``auto``).
    ``truth``: samples of the true model per temperature, 0 for none. ``free_energy``: also free energy
    and entropy, which need chains on the way to infinite temperature.
    """

    shapes: list[Shape] = Field(min_length=1)
    temperatures: list[Temperature] = Field(min_length=1)
    arms: list[str] | None = Field(default=None, min_length=1)
    learned_at: list[Temperature] | None = Field(default=None, min_length=1)
    counts: list[int] | None = Field(default=None, min_length=1)
    seeds: list[int] | None = Field(default=None, min_length=1)
    chains: int = Field(default=8, ge=8)
    steps: int = Field(default=1000, ge=10)
    every: int = Field(default=2, ge=1)
    burn_in: int = Field(default=500, ge=0)
    start: Literal["random", "uniform"] = "random"
    moves: Literal["auto", "single", "clusters"] = "auto"
    truth: int = Field(default=4000, ge=0)
    free_energy: bool = True


def _kind(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, dict) else value.kind
    return "pairwise" if kind in ("pseudo_likelihood", "screening") else str(kind)


ArmSection = Annotated[
    Annotated[TwoStageArm, Tag("two_stage")]
    | Annotated[JointArm, Tag("joint")]
    | Annotated[DirectArm, Tag("direct")]
    | Annotated[PairwiseArm, Tag("pairwise")]
    | Annotated[EnsembleArm, Tag("ensemble")],
    Discriminator(_kind),
]


class LatticeRecipe(Recipe):
    """Arms that learn from the same samples, and what they are asked afterwards.

    ``samples``: a file, the same for every seed, instead of samples made here with each seed;
    ``model`` may then be left out, and nothing is compared with a truth. ``q``: states of a site,
    where neither file nor model says.
    """

    title: str
    model: ModelSection | None = None
    shape: Shape
    samples: str | None = None
    q: int | None = Field(default=None, ge=2)
    temperatures: list[Temperature] = Field(min_length=1)
    counts: list[Annotated[int, Field(ge=40)]] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0, 1, 2], min_length=1)
    sampling: SamplingSection = SamplingSection()
    network: NetworkSection = NetworkSection()
    sequence: SequenceSettings = SequenceSettings()
    fit: FitSettings = FitSettings()
    arms: dict[str, ArmSection] = Field(min_length=1)
    score: ScoreSection = ScoreSection()
    extrapolation: list[ExtrapolationSection] = Field(default=[])
    engine: Engine = LocalEngine()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model is None and self.samples is None:
            raise ValueError("model: name one, or give samples of your own (samples, --samples).")
        for name in ("temperatures", "counts", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: {values} repeats a value.")
        if self.samples is not None and len(self.temperatures) > 1:
            raise ValueError("temperatures: a sample file has one; give that one alone.")
        for name, arm in self.arms.items():
            if isinstance(arm, EnsembleArm):
                base = self.arms.get(arm.of)
                if base is None or isinstance(base, EnsembleArm | PairwiseArm):
                    raise ValueError(f"arms.{name}.of: '{arm.of}' is no arm with a network of its own.")
        taken: set[tuple[int, ...]] = set()
        for index, section in enumerate(self.extrapolation):
            place = f"extrapolation.{index}"
            for arm_name in section.arms or []:
                if arm_name not in self.arms:
                    there = ", ".join(self.arms)
                    raise ValueError(f"{place}.arms: '{arm_name}' is no arm; there are: {there}.")
            for key, known in (
                ("learned_at", self.temperatures), ("counts", self.counts), ("seeds", self.seeds)
            ):  # fmt: skip
                for value in getattr(section, key) or []:
                    if value not in known:
                        raise ValueError(f"{place}.{key}: {value} is not among those learned, {known}.")
            for shape in map(tuple, section.shapes):
                if shape in taken:
                    raise ValueError(f"{place}.shapes: {list(shape)} is there already; list it once.")
                taken.add(shape)
        return self

    @property
    def needs_sequence(self) -> bool:
        """Whether an arm learns from a sequence model."""
        return any(self.base(name).uses_sequence for name in self.arms)

    def base(self, name: str) -> Arm:
        """Return an arm, for an ensemble that of its members."""
        arm = self.arms[name]
        return self.arms[arm.of] if isinstance(arm, EnsembleArm) else arm


def load_lattice(
    path: str | Path, profile: str | None = None, changes: dict[str, Any] | None = None
) -> LatticeRecipe:
    """Return the recipe in a YAML file, changed by one of its ``profiles``, then by flags.

    Raises
    ------
    RecipeError
        As :func:`~mlpot.recipe.parse_recipe` and :func:`~mlpot.recipe.read_profile`.
    """
    raw = read_profile(path, profile)
    raw |= {key: value for key, value in (changes or {}).items() if value is not None}
    return parse_recipe(LatticeRecipe, raw, str(path))
