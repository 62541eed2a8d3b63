"""A potential under examination: how it is called, and what is measured before any check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, Calculator

from mlpot.errors import RecipeError
from mlpot.model.base import LocalEnergyModel
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.testing.behaviour import noise_level, relative_noise
from mlpot.testing.diatomics import Diatomic, diatomic_curves
from mlpot.testing.evaluation import Evaluate, Evaluation, Precision, Tolerances, evaluator, model_of
from mlpot.testing.structures import (
    boxed,
    default_spacing,
    distorted_cluster,
    distorted_crystal,
    ideal_crystal,
)

#: A model, an ASE calculator, or what makes one at each call.
Potential: TypeAlias = LocalEnergyModel | Calculator | Callable[[], Calculator]
#: Distance (Å) beyond which a calculator's interactions are not looked for.
FARTHEST = 15.0
#: Added to a cutoff: clusters this much farther apart do not see each other.
_MARGIN = 0.5
#: Relative noise above which numbers are not those of float64.
_SINGLE = 1e-9
#: Forces below this part of the typical one are none; and the steps (Å) in which an atom approaches.
_NOTHING, _STEP = {"float64": 1e-12, "float32": 1e-6}, 0.25
#: Scales of the default spacing between which the crystal at rest is looked for.
_AT_REST = np.linspace(0.85, 1.35, 51)


@dataclass
class Subject:
    """A potential under examination.

    Attributes
    ----------
    evaluate_in_place : callable
        Energy, forces and stress of a structure, which a potential may change.
    evaluate : callable
        The same of a copy, so that no check spoils the structures of the next.
    evaluate_cluster : callable
        The same for open structures; in a periodic box where the potential refuses them.
    calculator : Calculator
        The potential as an ASE calculator.
    make : callable or None
        Makes another such calculator; ``None``: it cannot be made.
    model : LocalEnergyModel or None
        The model of mlpot behind it.
    symbols : tuple of str
        Elements to check with.
    spacing : float
        Nearest-neighbour distance of the test crystals, Å.
    precision : str
        Which sets the tolerances.
    noise : (float, float)
        Of energy (eV) and force components (eV/Å), by rounding or chance.
    cutoff : float or None
        Å, a model's own, or measured; ``None``: interactions do not end within 15 Å.
    reach : float
        Distance (Å) at which atoms are taken to be apart.
    refusal : str or None
        What the potential said to an open structure.
    cubic, small, cluster : Atoms
        Distorted crystals of eight and two atoms, and four atoms.
    """

    evaluate_in_place: Evaluate
    evaluate: Evaluate
    evaluate_cluster: Evaluate
    calculator: Calculator
    make: Callable[[], Calculator] | None
    model: LocalEnergyModel | None
    symbols: tuple[str, ...]
    spacing: float
    precision: Precision
    noise: tuple[float, float]
    cutoff: float | None
    reach: float
    refusal: str | None
    cubic: Atoms
    small: Atoms
    cluster: Atoms

    @property
    def tolerances(self) -> Tolerances:
        """What the precision allows."""
        return Tolerances.of(self.precision)

    @cached_property
    def diatomics(self) -> list[Diatomic]:
        """Curves of all pairs of elements."""
        return diatomic_curves(self.evaluate_cluster, self.symbols, self.reach)

    @cached_property
    def spacing_at_rest(self) -> float:
        """Spacing (Å) at which the ideal crystal has its lowest energy; the given one if that is nowhere."""
        energies = [self.evaluate(ideal_crystal(self.symbols, s * self.spacing)).energy for s in _AT_REST]
        lowest = int(np.argmin(energies))
        inside = 0 < lowest < len(_AT_REST) - 1
        return self.spacing * float(_AT_REST[lowest]) if inside else self.spacing


def examine(
    potential: Potential,
    symbols: Sequence[str],
    *,
    spacing: float | None = None,
    reach: float | None = None,
    precision: Precision | None = None,
    seed: int = 0,
) -> Subject:
    """Measure what the checks need to know of a potential: precision and noise, cutoff, manners.

    Parameters
    ----------
    potential
        A model, an ASE calculator, or a function that makes one at each call.
    symbols
        Elements to check with.
    spacing
        Nearest-neighbour distance of the test crystals, Å; by default from covalent radii.
    reach
        Distance (Å) beyond which atoms do not interact; by default half an Å more than a model's
        cutoff, or than where an approaching atom feels its first force, 15 Å if it always does.
    precision
        Sets the tolerances; by default that of a model, of a calculator that of its noise.
    seed
        Of the structures.

    Raises
    ------
    RecipeError
        For no elements, or lengths that are not positive.
    Exception
        Whatever the potential raises on an ordinary crystal (for instance ElementError).
    """
    if not symbols:
        raise RecipeError("physics checks need at least one chemical symbol.")
    for name, length in (("spacing", spacing), ("reach", reach)):
        if length is not None and not 0.0 < length < np.inf:
            raise RecipeError(f"{name} is {length} Å; it must be above zero.")
    kinds, distance = tuple(dict.fromkeys(symbols)), spacing or default_spacing(symbols)
    rng = np.random.default_rng(seed)
    cubic = distorted_crystal(kinds, distance, rng)
    small = distorted_crystal(kinds, distance, rng, primitive=True)
    cluster = distorted_cluster(kinds, distance, rng)

    make: Callable[[], Calculator] | None = None
    if isinstance(potential, LocalEnergyModel):
        here: LocalEnergyModel = potential

        def make_own() -> Calculator:
            return MLPotCalculator(here)

        make, calculator, evaluate_in_place = make_own, make_own(), evaluator(potential)
    else:
        make = None if isinstance(potential, BaseCalculator) else potential
        calculator = potential if make is None else make()
        evaluate_in_place = evaluator(calculator)

    def evaluate(atoms: Atoms) -> Evaluation:
        return evaluate_in_place(atoms.copy())

    model = model_of(calculator)
    first = evaluate(cubic)
    noise = noise_level(evaluate, cubic, rng)
    if precision is None and model is not None:
        precision = "float32" if model.dtype == torch.float32 else "float64"
    if precision is None:
        precision = "float32" if not relative_noise(noise, first)[0] <= _SINGLE else "float64"

    refusal = None
    evaluate_cluster = evaluate
    try:
        evaluate(cluster)
    except Exception as error:  # whatever a potential says to a structure without a cell
        refusal = f"{type(error).__name__}: {error}"
        vacuum = reach or FARTHEST

        def evaluate_cluster(atoms: Atoms) -> Evaluation:
            found = evaluate(boxed(atoms, vacuum))
            return Evaluation(found.energy, found.forces, None)

    if model is not None:
        cutoff: float | None = model.cutoff
    else:
        cutoff = interaction_range(evaluate_cluster, kinds, cluster, _NOTHING[precision])
    far = reach or (FARTHEST if cutoff is None else cutoff + _MARGIN)
    return Subject(
        evaluate_in_place, evaluate, evaluate_cluster, calculator, make, model, kinds, distance, precision,
        noise, cutoff, far, refusal, cubic, small, cluster,
    )  # fmt: skip


def interaction_range(
    evaluate: Evaluate, symbols: Sequence[str], cluster: Atoms, nothing: float
) -> float | None:
    """Return the distance (Å) at which an atom coming from afar feels its first force.

    Parameters
    ----------
    evaluate
        Of open structures.
    symbols
        Elements that approach, each by itself.
    cluster
        What they approach, at its first atom.
    nothing
        Part of a typical force of the cluster that is none.

    Returns
    -------
    float or None
        To 0.01 Å; ``None``: there still is a force at 15 Å.
    """
    smallest = nothing * evaluate(cluster).force_scale
    outwards = cluster.positions[0] - cluster.positions.mean(0)
    outwards /= np.linalg.norm(outwards)

    def feels(symbol: str, distance: float) -> bool:
        # Closest to the first atom: the others lie behind it.
        probe = Atoms(symbol, positions=[cluster.positions[0] + distance * outwards])
        return not float(np.abs(evaluate(cluster + probe).forces[-1]).max()) <= smallest

    farthest = 0.0
    for symbol in symbols:
        far = FARTHEST
        if feels(symbol, far):
            return None
        while far - _STEP > max(farthest, _STEP) and not feels(symbol, far - _STEP):
            far -= _STEP
        near = far - _STEP
        while far - near > 0.01:
            middle = 0.5 * (near + far)
            near, far = (middle, far) if feels(symbol, middle) else (near, middle)
        farthest = max(farthest, far)
    return farthest
