"""What judges the potentials of a study beyond errors on frames: sections of its recipe."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mlpot.errors import RecipeError
from mlpot.properties.record import Quantity
from mlpot.properties.registry import PROPERTIES, Level, Property, find, of_set
from mlpot.properties.subject import PropertySettings
from mlpot.recipe import Recipe


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: own if isinstance(own, list) else [own] for key, own in value.items()}
    return value


#: Info keys and the values that frames may have; one value need not be a list.
Where = Annotated[dict[str, list[str | int | float]], Field(min_length=1), BeforeValidator(_lists)]


class Judges(Recipe):
    """Which potentials are judged: those of all seeds of ``arms``, trained on ``size`` frames of the pool."""

    arms: list[str] = Field(default=["scratch", "transfer"], min_length=1)
    size: int | Literal["all"]


class Dynamics(Judges):
    """Langevin dynamics with the potentials of all seeds.

    They start from
    ``structure`` (a file), or from diamond of ``lattice_constant`` (Å) or of the equilibrium of
    ``reference``, ``repeat`` conventional cells along each axis. ``reference`` names a classical
    force field (:mod:`mlpot.reference.classical`), whose own dynamics are the truth.
    ``seeds``: of the dynamics, for each potential. ``batched``: temperatures and seeds of a
    potential side by side, through torch-sim.
    """

    reference: str | None = None
    structure: str | None = None
    lattice_constant: float | None = Field(default=None, gt=0.0)
    repeat: int = Field(default=2, ge=1)
    temperatures: list[float] = Field(default=[300.0, 1200.0], min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    time_ps: float = Field(default=1.0, gt=0.0)
    timestep_fs: float = Field(default=2.0, gt=0.0)
    batched: bool = False

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        if self.structure is not None and self.lattice_constant is not None:
            raise ValueError("give `structure` or `lattice_constant`, not both.")
        if self.structure is None and self.lattice_constant is None and self.reference is None:
            raise ValueError(
                "give `structure` (a file), `lattice_constant`, or `reference` (a classical force field)."
            )
        return self


class OwnReference(Recipe):
    """A value to compare with, in the unit of the quantity, and where it is from."""

    value: float
    source: str

    @field_validator("value")
    @classmethod
    def _not_zero(cls, value: float) -> float:
        if value == 0.0:
            raise ValueError("0: deviations are relative to the reference; leave it out.")
        return value


class Properties(Judges):
    """Properties of diamond of an element, by the potentials of all seeds, beside references.

    Attributes
    ----------
    element
        By default the only one of the target.
    quantities
        Names or patterns, or a set: ``quick``, ``standard``, ``full`` (docs/properties.md).
    settings
        How they are computed.
    reference
        A classical force field, whose own properties, computed alike, are the truth.
    references
        Instead: kinds of published values (mlpot/properties/references.yaml), such as ``PBE``; the
        first that has a quantity serves.
    values
        Values of one's own, by quantity; they come before both.
    """

    element: str | None = None
    quantities: Level | list[str] = Field(
        default=[
            "lattice_constant", "bulk_modulus", "C11", "C12", "C44", "C44_0", "phonon_gamma_optical",
            "vacancy",
        ]
    )  # fmt: skip
    settings: PropertySettings = PropertySettings()
    reference: str | None = None
    references: list[str] = Field(default=[])
    values: dict[str, OwnReference] = Field(default={})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.reference is not None and self.references:
            raise ValueError("give `reference` (a force field) or `references` (kinds), not both.")
        try:
            names = [quantity.name for quantity in self.chosen()]
        except RecipeError as error:
            raise ValueError(f"quantities: {error}") from None
        if strange := [name for name in self.values if name not in names]:
            raise ValueError(f"values: {', '.join(strange)} is not among the quantities; add it there.")
        return self

    def of(self, elements: Sequence[str]) -> str:
        """Return the element whose crystal is meant.

        Raises
        ------
        RecipeError
            If there are several to choose from.
        """
        if self.element is None and len(elements) > 1:
            raise RecipeError(f"properties.element: name one of {', '.join(elements)}.")
        return self.element or elements[0]

    def chosen(self) -> list[Quantity]:
        """Return the quantities that are looked at, in the order in which they are computed.

        Raises
        ------
        RecipeError
            For a name that is none, or no names.
        """
        everything = [quantity for one in PROPERTIES.values() for quantity in one.quantities]
        if isinstance(self.quantities, str):
            computed = of_set(self.quantities)
            return [quantity for name in computed for quantity in PROPERTIES[name].quantities]
        for name in self.quantities:
            if not any(fnmatchcase(quantity.name, name) for quantity in everything):
                close = get_close_matches(name, [quantity.name for quantity in everything], n=1, cutoff=0.4)
                hint = f"; did you mean {close[0]!r}?" if close else "; see docs/properties.md."
                raise RecipeError(f"{name!r} is no quantity{hint}")
        found = [q for q in everything if any(fnmatchcase(q.name, name) for name in self.quantities)]
        if not found:
            raise RecipeError("none are given; name some, or a set such as quick.")
        return found

    def computed(self) -> list[Property]:
        """Return the properties that yield these quantities."""
        return find([quantity.name for quantity in self.chosen()])


class Liquid(Judges):
    """Langevin dynamics at the density of labelled frames, whose structure is the reference.

    For labels without dynamics of their own, such as ab initio ones. The structure is that of all
    frames of the target with ``where`` (info keys and values), of one temperature (K), the first of
    which is the start; their labels are not looked at. The radial distribution leaves out the first
    fifth of ``time_ps`` and has ``bins`` up to ``r_max`` (Å). ``seeds``: of the dynamics.
    """

    where: Where
    temperature: float = Field(gt=0.0)
    seeds: list[int] = Field(default=[0], min_length=1)
    time_ps: float = Field(default=10.0, gt=0.0)
    timestep_fs: float = Field(default=2.0, gt=0.0)
    r_max: float = Field(default=8.0, gt=0.0)
    bins: int = Field(default=80, ge=1)
