r"""Corresponding states: one potential serves another element through two scalars.

.. math::
    E_B(\{r\}) = e\, E_A(\{s\, r\}), \qquad F_B = e\, s\, F_A(s\, r)

The scalars follow from labelled forces (:func:`fit_scales`), or, without any label, from
lattice constants and cohesive energies: :math:`s = a_A / a_B`, :math:`e = E_B / E_A`
(:func:`scales_from_properties`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from ase.data import atomic_numbers, covalent_radii, reference_states
from scipy.optimize import minimize_scalar
from torch_geometric.data import Batch

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.errors import DataError, RecipeError
from mlpot.model.potential import Potential

#: Cohesive energies at 0 K, eV/atom: C. Kittel, Introduction to Solid State Physics, 8th ed., table 3.1.
COHESIVE_ENERGIES = {
    "Li": 1.63, "C": 7.37, "Na": 1.113, "Mg": 1.51, "Al": 3.39, "Si": 4.63, "K": 0.934, "Ca": 1.84,
    "Ti": 4.85, "V": 5.31, "Cr": 4.10, "Fe": 4.28, "Co": 4.39, "Ni": 4.44, "Cu": 3.49, "Zn": 1.35,
    "Ge": 3.85, "Nb": 7.57, "Mo": 6.82, "Pd": 3.89, "Ag": 2.95, "Sn": 3.14, "Ta": 8.10, "W": 8.90,
    "Pt": 5.84, "Au": 3.81, "Pb": 2.03,
}  # fmt: skip
#: The search covers lengths from 0.8 to 1.25 of what the covalent radii suggest.
_SEARCH = np.geomspace(0.8, 1.25, 13)


@dataclass(frozen=True)
class Scales:
    """The two scalars and where they come from.

    ``length`` multiplies distances before the network sees them, ``energy`` its energies, both
    relative to the donor. ``force_rmse`` (eV/Å) is what is left on the frames they were fitted
    to and ``explained`` the fraction of the mean square force that is accounted for, ``None`` if
    there were no frames.
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


def set_scales(model: Potential, inherited: tuple[torch.Tensor, torch.Tensor], scales: Scales) -> None:
    """Set a model's scales relative to the ones inherited from the donor (lengths, energies)."""
    lengths, energies = inherited
    model.length_scales.copy_(lengths * scales.length)
    model.energy_scales.copy_(energies * scales.energy)


def fit_scales(
    model: Potential,
    donors: dict[str, str],
    frames: Sequence[Frame],
    progress: Callable[[int], None] | None = None,
) -> Scales:
    r"""Fit the two scalars to the forces of frames and set them in ``model``.

    For every length scale the best energy scale is a closed form,
    :math:`e = \sum F \cdot f_s / \sum f_s \cdot f_s`; the length scale minimises what is left.
    All elements of the model share the pair of scalars (an alloy keeps the ratios it inherited).

    Parameters
    ----------
    model
        As :func:`~mlpot.transfer.donor.donate` made it.
    donors
        Which element serves each target; their covalent radii start the search.
    frames
        Frames with forces.
    progress
        Called with the number of length scales tried.

    Raises
    ------
    DataError
        If no frame has forces that say anything, or the fit leaves the range of the search.
    """
    labelled = [frame for frame in frames if frame.forces is not None]
    labels = (
        np.concatenate([f.forces.ravel() for f in labelled if f.forces is not None])
        if labelled
        else np.zeros(1)
    )
    if np.abs(labels).max() < 1e-3:
        raise DataError(
            "no frame has forces above 1 meV/Å, so scales cannot be fitted; give frames off equilibrium, or "
            "lattice constants and cohesive energies."
        )
    inherited = (model.length_scales.clone(), model.energy_scales.clone())
    ratios = [
        covalent_radii[atomic_numbers[d]] / covalent_radii[atomic_numbers[t]] for t, d in donors.items()
    ]
    guess = float(np.mean(ratios))
    # One neighbour list serves every length: the network ignores what lies beyond its cutoff.
    set_scales(model, inherited, Scales(guess * _SEARCH[0], 1.0, "search"))
    batches = [batch_graphs([frame_graph(frame, model.cutoff)]) for frame in labelled]
    repulsion = _forces(model, batches, inherited, Scales(guess, 0.0, "search"))
    target, tried = labels - repulsion, 0
    best: dict[float, tuple[float, float]] = {}

    def residual(length: float) -> float:
        nonlocal tried
        forces = _forces(model, batches, inherited, Scales(length, 1.0, "search")) - repulsion
        energy = float(target @ forces / (forces @ forces))
        best[length] = (float(np.sqrt(np.mean((target - energy * forces) ** 2))), energy)
        tried += 1
        if progress is not None:
            progress(tried)
        return best[length][0]

    grid = guess * _SEARCH
    lowest = int(np.argmin([residual(float(length)) for length in grid]))
    if lowest in (0, len(grid) - 1):
        raise DataError(
            f"the best length scale lies at or beyond {grid[lowest]:.3f}, the end of the search: "
            "donor and target do not correspond; check the donor and the units of the labels."
        )
    found = minimize_scalar(
        residual,
        bounds=(float(grid[lowest - 1]), float(grid[lowest + 1])),
        method="bounded",
        options={"xatol": 2e-4},
    )
    rmse, energy = best[float(found.x)]
    if energy <= 0.0:
        raise DataError(
            "the best energy scale is negative: donor and target forces oppose each other; check the labels, "
            "and whether the donor is trained at all."
        )
    explained = 1.0 - rmse**2 / float(np.mean(target**2))
    scales = Scales(float(found.x), energy, f"force matching on {len(labelled)} frames", rmse, explained)
    set_scales(model, inherited, scales)
    return scales


def _forces(
    model: Potential, batches: Sequence[Batch], inherited: tuple[torch.Tensor, torch.Tensor], scales: Scales
) -> np.ndarray:
    set_scales(model, inherited, scales)
    return np.concatenate([model(batch).forces.numpy().ravel() for batch in batches])
