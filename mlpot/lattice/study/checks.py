"""What can be seen to be impossible before anything is computed."""

from __future__ import annotations

import numpy as np

from mlpot.errors import MLPotError, RecipeError
from mlpot.lattice.arms import Arm, DirectArm, EnsembleArm, JointArm, NetworkArm, NetworkSection, PairwiseArm
from mlpot.lattice.baselines.pair_basis import PairBasis, by_displacement, every_pair
from mlpot.lattice.ednn import EDNN
from mlpot.lattice.geometry import Lattice
from mlpot.lattice.hamiltonian import Hamiltonian
from mlpot.lattice.recipe import LatticeRecipe
from mlpot.lattice.sequence.build import build_sequence
from mlpot.lattice.sequence.symmetry import Symmetry
from mlpot.lattice.tiles import state_symmetries

#: Shells of neighbours that pairwise arms take where the lattice has them.
_SHELLS = 12


def network_of(recipe: LatticeRecipe, arm: Arm) -> NetworkSection:
    """Return the section of an arm's network."""
    assert isinstance(arm, NetworkArm)
    return arm.network or recipe.network


def basis_of(arm: PairwiseArm, shape: tuple[int, ...], q: int) -> PairBasis:
    """Return the couplings that a pairwise arm sets free."""
    if arm.every_pair:
        return every_pair(shape, q, arm.states)
    shells = arm.shells
    if shells is None:
        lattice, shells = Lattice(shape), 0
        while shells < _SHELLS:
            reach = np.abs(lattice.displacements(shells + 1)).max(0)
            if (2 * reach > np.array(shape)).any():
                break
            shells += 1
    return by_displacement(shape, q, shells, states=arm.states)


def check_sequence(recipe: LatticeRecipe, model: Hamiltonian | None, shape: tuple[int, ...], q: int) -> None:
    """Refuse sequence models that do not fit, and symmetries that the model does not have."""
    if not recipe.needs_sequence:
        return
    build_sequence(shape, q, recipe.sequence)
    for place, symmetry in (
        ("sequence.average", recipe.sequence.average),
        ("fit.augment", recipe.fit.augment),
    ):
        _check_symmetry(place, symmetry, model, q)


def _check_symmetry(place: str, symmetry: Symmetry, model: Hamiltonian | None, q: int) -> None:
    if model is None:
        return
    kind = {"all": "full", "cyclic": "cyclic", "dihedral": "cyclic", "none": "none"}[symmetry.states]
    _check_states(f"{place}.states", symmetry.states, kind, model, q)
    if (symmetry.point or symmetry.translations) and not model.is_translation_invariant:
        raise RecipeError(
            f"{place}: {model.name} has couplings of its own sites, which no turn or translation leaves as "
            "they are; take point: false and translations: false."
        )


def _check_states(place: str, given: str, kind: str, model: Hamiltonian, q: int) -> None:
    for swap in state_symmetries(q, kind):  # type: ignore[arg-type]
        same = np.allclose(model.kernel[np.ix_(swap, swap)], model.kernel)
        if not (same and np.allclose(model.field[:, swap], model.field)):
            raise RecipeError(
                f"{place}: {given} is no symmetry of {model.name} {model.parameters}; take none"
                + (" or cyclic." if kind == "full" and q > 2 and not model.field.any() else ".")
            )


def check_arms(recipe: LatticeRecipe, model: Hamiltonian | None, shape: tuple[int, ...], q: int) -> None:
    """Refuse arms whose tiles, couplings or symmetries do not fit the lattice and the model."""
    for name, arm in recipe.arms.items():
        if isinstance(arm, EnsembleArm):
            continue
        place = f"arms.{name}"
        if isinstance(arm, PairwiseArm):
            _at(place, lambda arm=arm: basis_of(arm, shape, q))  # type: ignore[misc]
            if model is not None:
                _check_states(f"{place}.states", arm.states, arm.states, model, q)
                if not (arm.every_pair or model.is_translation_invariant):
                    raise RecipeError(
                        f"{place}: {model.name} has couplings of its own sites; take every_pair: true."
                    )
            continue
        network = network_of(recipe, arm)
        _at(f"{place}.network", lambda network=network: EDNN(network.settings(shape, q)))  # type: ignore[misc]
        if model is not None:
            _check_states(f"{place}.network.states", network.states, network.states, model, q)
            if network.shared and not model.is_translation_invariant:
                raise RecipeError(
                    f"{place}.network: {model.name} has couplings of its own sites, which one network for "
                    "all tiles cannot tell; take shared: false."
                )
        if (
            isinstance(arm, DirectArm | JointArm)
            and arm.from_pairs
            and not (network.pairs and network.shared)
        ):
            raise RecipeError(f"{place}.from_pairs: needs a network with pairs: true and shared: true.")
        if isinstance(arm, DirectArm) and arm.beyond_pairs and not (network.pairs and network.hidden):
            raise RecipeError(f"{place}.beyond_pairs: needs a network with pairs: true and hidden layers.")


def check_extrapolation(
    recipe: LatticeRecipe, model: Hamiltonian | None, shape: tuple[int, ...], q: int
) -> None:
    """Refuse lattices to which an energy or the model cannot be taken."""
    for index, section in enumerate(recipe.extrapolation):
        for name in section.arms or list(recipe.arms):
            arm = recipe.base(name)
            own = arm.every_pair if isinstance(arm, PairwiseArm) else not network_of(recipe, arm).shared
            if section.moves == "clusters" and own:
                raise RecipeError(
                    f"extrapolation.{index}.moves: arm {name} has couplings of its own for every site or "
                    "tile, as glasses do, and no clusters; take single or auto."
                )
    wanted = [(f"score.shapes.{i}", s, list(recipe.arms)) for i, s in enumerate(recipe.score.shapes or [])]
    for index, section in enumerate(recipe.extrapolation):
        wanted += [
            (f"extrapolation.{index}.shapes.{i}", s, section.arms or list(recipe.arms))
            for i, s in enumerate(section.shapes)
        ]
    for place, other, names in wanted:
        if tuple(other) == shape:
            continue
        if len(other) != len(shape):
            raise RecipeError(f"{place}: {other} has another number of axes than {list(shape)}.")
        if model is not None:
            _at(place, lambda other=other: model.resized(other))  # type: ignore[misc]
        for name in names:
            arm = recipe.base(name)
            if isinstance(arm, PairwiseArm):
                if arm.every_pair:
                    raise RecipeError(
                        f"{place}: arm {name} has a coupling for each pair (every_pair), and no other size."
                    )
                continue
            network = network_of(recipe, arm)
            if not network.shared:
                raise RecipeError(
                    f"{place}: arm {name} has one network per tile (shared: false), and no other size."
                )
            _at(place, lambda network=network, other=other: network.settings(tuple(other), q).tiling)  # type: ignore[misc]


def _at(place: str, attempt: object) -> None:
    """Say where in the recipe it was that something does not fit."""
    try:
        attempt()  # type: ignore[operator]
    except RecipeError:
        raise
    except MLPotError as error:
        raise RecipeError(f"{place}: {error}") from None
