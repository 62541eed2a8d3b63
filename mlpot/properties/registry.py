"""The properties by name: what each yields, what it needs, and from which set on it is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from typing import Literal, get_args

from mlpot.errors import RecipeError
from mlpot.properties import bulk, defects, expansion, fault, migration, phases, phonons, strength, surfaces
from mlpot.properties.record import Outcome, Quantity
from mlpot.properties.subject import Subject
from mlpot.sampling.prototypes import Phase

#: Sets of properties, each with all of the one before.
Level = Literal["quick", "standard", "full"]


@dataclass(frozen=True)
class Property:
    """Something computed in one go.

    Attributes
    ----------
    name
        What a user asks for.
    level
        The first set that has it.
    quantities
        What it yields.
    compute
        The function; it returns a value, or a reason, for every quantity.
    needs
        Beside energies and forces: ``stress``, ``phonopy``, ``spglib``.
    """

    name: str
    level: Level
    quantities: tuple[Quantity, ...]
    compute: Callable[[Subject], Outcome]
    needs: tuple[str, ...] = ()


def _phase(which: Phase) -> Property:
    return Property(
        f"phase_{which}",
        "standard",
        (
            Quantity(f"energy_{which}", "eV/atom", f"energy of {which} above diamond"),
            Quantity(f"volume_{which}", "Å³/atom", f"volume of {which}"),
        ),
        partial(phases.phase, which=which),
        ("stress", "spglib"),
    )


def _hole(name: str, missing: Literal[1, 2]) -> Property:
    return Property(
        name,
        "standard",
        (
            Quantity(f"{name}_unrelaxed", "eV", f"formation energy of the {name}, atoms in place"),
            Quantity(f"{name}_symmetric", "eV", f"formation energy of the {name}, its symmetry kept"),
            Quantity(name, "eV", f"formation energy of the {name}, the lowest found"),
        ),
        partial(defects.vacancy, missing=missing),
    )


def _interstitial(site: Literal["tetrahedral", "hexagonal", "dumbbell"], words: str) -> Property:
    name = f"interstitial_{site}"
    return Property(
        name,
        "standard",
        (
            Quantity(f"{name}_unrelaxed", "eV", f"formation energy of the {words} interstitial, as built"),
            Quantity(name, "eV", f"formation energy of the {words} interstitial, relaxed"),
        ),
        partial(defects.interstitial, site=site),
    )


def _surface(orientation: Literal["100", "110", "111"]) -> Property:
    name = f"surface_{orientation}"
    return Property(
        name,
        "standard",
        (
            Quantity(f"{name}_unrelaxed", "J/m²", f"energy of the ({orientation}) surface as cut"),
            Quantity(f"{name}_1x1", "J/m²", f"energy of the ({orientation}) surface, relaxed as cut"),
            Quantity(name, "J/m²", f"energy of the ({orientation}) surface, the lowest found in a 2x2 cell"),
        ),
        partial(surfaces.surface, orientation=orientation),
    )


def _strength(direction: Literal["100", "110", "111"]) -> Property:
    name = f"ideal_strength_{direction}"
    return Property(
        name,
        "full",
        (
            Quantity(name, "GPa", f"largest tensile stress along [{direction}]"),
            Quantity(
                f"ideal_strain_{direction}", "", f"strain at the largest tensile stress along [{direction}]"
            ),
        ),
        partial(strength.strength, direction=direction),
        ("stress",),
    )


_THZ = (
    ("phonon_gamma_optical", "optical frequency at Γ"),
    ("phonon_X_TA", "lowest pair of frequencies at X"),
    ("phonon_X_LA", "middle pair of frequencies at X, longitudinal"),
    ("phonon_X_TO", "highest pair of frequencies at X"),
    ("phonon_L_TA", "frequency at L, transverse acoustic"),
    ("phonon_L_LA", "frequency at L, longitudinal, the lower one"),
    ("phonon_L_LO", "frequency at L, longitudinal, the upper one"),
    ("phonon_L_TO", "frequency at L, transverse optical"),
    ("phonon_lowest", "lowest frequency anywhere; negative: imaginary"),
)

#: All properties, in the order in which they are computed.
PROPERTIES: dict[str, Property] = {
    one.name: one
    for one in (
        Property(
            "lattice",
            "quick",
            (
                Quantity("lattice_constant", "Å", "lattice constant of diamond at 0 K"),
                Quantity("energy", "eV/atom", "energy of diamond on the calculator's own scale"),
            ),
            bulk.lattice,
            ("stress",),
        ),
        Property(
            "cohesion",
            "quick",
            (Quantity("cohesive_energy", "eV/atom", "energy of free atoms above diamond"),),
            bulk.cohesion,
        ),
        Property(
            "equation_of_state",
            "quick",
            (
                Quantity("bulk_modulus", "GPa", "bulk modulus, of the equation of state"),
                Quantity("bulk_modulus_derivative", "", "its derivative with pressure"),
            ),
            bulk.equation_of_state,
        ),
        Property(
            "elastic_constants",
            "quick",
            (
                Quantity("C11", "GPa", "elastic constant"),
                Quantity("C12", "GPa", "elastic constant"),
                Quantity("C44", "GPa", "elastic constant, atoms relaxed"),
                Quantity("C44_0", "GPa", "elastic constant, atoms held in place"),
                Quantity("anisotropy", "", "2 C44 / (C11 - C12)"),
            ),
            bulk.elastic_constants,
            ("stress",),
        ),
        Property(
            "phonons",
            "quick",
            (
                *(Quantity(name, "THz", meaning) for name, meaning in _THZ),
                Quantity("zero_point_energy", "meV/atom", "energy of vibrations at 0 K"),
                Quantity("vibrational_free_energy", "meV/atom", "free energy of vibrations"),
                Quantity("entropy", "J/(mol K)", "entropy of vibrations"),
                Quantity("heat_capacity", "J/(mol K)", "heat capacity at constant volume"),
            ),
            phonons.phonons,
            ("phonopy",),
        ),
        *(_phase(which) for which in get_args(Phase) if which != "diamond"),
        _hole("vacancy", 1),
        _hole("divacancy", 2),
        _interstitial("tetrahedral", "tetrahedral"),
        _interstitial("hexagonal", "hexagonal"),
        _interstitial("dumbbell", "split <110>"),
        _surface("100"),
        _surface("110"),
        _surface("111"),
        Property(
            "stacking_fault",
            "standard",
            (
                Quantity("stacking_fault_intrinsic", "J/m²", "energy of the intrinsic stacking fault"),
                Quantity("stacking_fault_unstable", "J/m²", "highest energy on the way to it, relaxed"),
                Quantity("stacking_fault_unstable_rigid", "J/m²", "the same, atoms held in place"),
            ),
            fault.stacking_fault,
        ),
        Property(
            "thermal_expansion",
            "full",
            (
                Quantity("thermal_expansion", "1e-6/K", "linear expansion coefficient"),
                Quantity("lattice_constant_T", "Å", "lattice constant at the temperature of the settings"),
                Quantity(
                    "lattice_constant_zero_point", "Å", "lattice constant at 0 K with zero-point motion"
                ),
            ),
            expansion.expansion,
            ("phonopy",),
        ),
        Property(
            "vacancy_migration",
            "full",
            (Quantity("vacancy_migration", "eV", "barrier of a vacancy's jump to a neighbouring site"),),
            migration.migration,
        ),
        _strength("100"),
        _strength("110"),
        _strength("111"),
    )
}


def of_set(level: Level) -> list[str]:
    """Return the names of the properties of a set.

    Raises
    ------
    RecipeError
        For another word.
    """
    levels = get_args(Level)
    if level not in levels:
        raise RecipeError(f"unknown set {level!r}; there are: {', '.join(levels)}.")
    return [name for name, one in PROPERTIES.items() if levels.index(one.level) <= levels.index(level)]


def find(names: Sequence[str]) -> list[Property]:
    """Return properties in the order in which they are computed, each once.

    ``names``: of properties, of quantities, or patterns such as ``phase_*``.

    Raises
    ------
    RecipeError
        For a name that is none, with the likely one; if there are no names.
    """
    if not names:
        raise RecipeError(f"no property was asked for; there are: {', '.join(PROPERTIES)}.")
    chosen = set()
    for name in names:
        matching = [
            one.name
            for one in PROPERTIES.values()
            if any(fnmatchcase(known, name) for known in (one.name, *(q.name for q in one.quantities)))
        ]
        if not matching:
            known = [*PROPERTIES, *(q.name for one in PROPERTIES.values() for q in one.quantities)]
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise RecipeError(f"unknown property {name!r}; {hint}There are: {', '.join(PROPERTIES)}.")
        chosen.update(matching)
    return [one for one in PROPERTIES.values() if one.name in chosen]
