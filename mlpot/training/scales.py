r"""Corresponding states: two scalars of an element, and what gives them without any label.

.. math::
    E_B(\{r\}) = e\, E_A(\{s\, r\}), \qquad F_B = e\, s\, F_A(s\, r)

They are given as they are, or follow from lattice constants and cohesive energies:
:math:`s = a_A / a_B`, :math:`e = E_B / E_A`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Self

from ase.data import atomic_numbers, reference_states
from pydantic import PositiveFloat, model_validator

from mlpot.errors import RecipeError
from mlpot.recipe import Recipe

#: Cohesive energies at 0 K, eV/atom: C. Kittel, Introduction to Solid State Physics, 8th ed., table 3.1.
COHESIVE_ENERGIES = {
    "Li": 1.63, "C": 7.37, "Na": 1.113, "Mg": 1.51, "Al": 3.39, "Si": 4.63, "K": 0.934, "Ca": 1.84,
    "Ti": 4.85, "V": 5.31, "Cr": 4.10, "Fe": 4.28, "Co": 4.39, "Ni": 4.44, "Cu": 3.49, "Zn": 1.35,
    "Ge": 3.85, "Nb": 7.57, "Mo": 6.82, "Pd": 3.89, "Ag": 2.95, "Sn": 3.14, "Ta": 8.10, "W": 8.90,
    "Pt": 5.84, "Au": 3.81, "Pb": 2.03,
}  # fmt: skip


@dataclass(frozen=True)
class Scales:
    """The two scalars and where they come from.

    ``length`` multiplies distances before the network sees them, ``energy`` its energies, both
    relative to the donor. ``force_rmse`` (eV/Å) is what is left of the forces they were fitted to
    and ``explained`` the fraction of the mean square of all labels that is accounted for, forces and
    stresses in the units of the loss; ``None`` if there were no frames.
    """

    length: float
    energy: float
    origin: str
    force_rmse: float | None = None
    explained: float | None = None

    def asdict(self) -> dict[str, float | str | None]:
        """Return plain values for JSON."""
        return asdict(self)


def scales_from_properties(
    donor: tuple[float, float], target: tuple[float, float], origin: str = "given properties"
) -> Scales:
    """Return the scales from (lattice constant in Å, cohesive energy in eV/atom) of both elements.

    Raises
    ------
    RecipeError
        If a number is not positive.
    """
    if min(*donor, *target) <= 0:
        raise RecipeError(
            f"lattice constants and cohesive energies must be positive, got {donor} and {target}."
        )
    return Scales(donor[0] / target[0], target[1] / donor[1], origin)


def element_properties(symbol: str) -> tuple[str, float, float]:
    """Return crystal structure, lattice constant (Å) and cohesive energy (eV/atom) of an element.

    Experimental values: ASE's reference states and Kittel's table.

    Raises
    ------
    RecipeError
        If the tables do not have the element.
    """
    state = reference_states[atomic_numbers.get(symbol, 0)] or {}
    if "a" not in state or symbol not in COHESIVE_ENERGIES:
        raise RecipeError(
            f"no tabulated lattice constant and cohesive energy of {symbol}; give --lattice-constants and "
            "--cohesive-energies of donor and target, or labelled frames."
        )
    return str(state["symmetry"]), float(state["a"]), COHESIVE_ENERGIES[symbol]


def tabulated_scales(donor: str, target: str) -> Scales:
    """Return the scales between two elements of the same crystal structure from experiment.

    Raises
    ------
    RecipeError
        If a table lacks an element, or the structures differ.
    """
    (structure, *first), (other, *second) = element_properties(donor), element_properties(target)
    if structure != other:
        raise RecipeError(
            f"{donor} is {structure} and {target} is {other}: their lattice constants do not compare; "
            "give --lattice-constants and --cohesive-energies in one structure, or labelled frames."
        )
    return scales_from_properties(
        (first[0], first[1]),
        (second[0], second[1]),
        f"experimental lattice constants and cohesive energies, {structure}",
    )


class PropertiesSection(Recipe):
    """Lattice constants (Å) and cohesive energies (eV/atom): of the donor (scales 1), then of the target."""

    lattice_constants: tuple[PositiveFloat, PositiveFloat]
    cohesive_energies: tuple[PositiveFloat, PositiveFloat]

    def scales(self) -> Scales:
        """Return the scales that follow."""
        lattice, cohesive = self.lattice_constants, self.cohesive_energies
        return scales_from_properties((lattice[0], cohesive[0]), (lattice[1], cohesive[1]))


class ElementScales(Recipe):
    """The scales of one element: ``length`` and ``energy`` as they are (1 if left out), or ``properties``."""

    length: PositiveFloat = 1.0
    energy: PositiveFloat = 1.0
    properties: PropertiesSection | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.properties is not None and self.model_fields_set & {"length", "energy"}:
            raise ValueError("give length and energy, or properties, not both.")
        return self

    def scales(self) -> Scales:
        """Return the scales that are meant."""
        if self.properties is not None:
            return self.properties.scales()
        return Scales(self.length, self.energy, "given")


def given_scales(sections: Mapping[str, ElementScales], elements: Sequence[str]) -> dict[str, Scales]:
    """Return the scales of each element (chemical symbol); 1 and 1 where nothing is said.

    Raises
    ------
    RecipeError
        If scales are given for what is not among the elements.
    """
    strangers = [symbol for symbol in sections if symbol not in elements]
    if strangers:
        raise RecipeError(f"scales: {', '.join(strangers)} is not among the elements {', '.join(elements)}.")
    unsaid = ElementScales()
    return {symbol: sections.get(symbol, unsaid).scales() for symbol in elements}
