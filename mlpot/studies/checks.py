"""What a study refuses before any computing: what cannot be, and what would prove nothing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from mlpot.data.frame import Frame
from mlpot.data.overlap import refuse_overlap
from mlpot.errors import DataError, RecipeError
from mlpot.model.file import read_header
from mlpot.model.potential import Potential
from mlpot.properties.references import references
from mlpot.recipe import parse_recipe
from mlpot.reference.classical import force_field
from mlpot.studies.recipe import Arm, CarriedDonor, FileDonor, StudyRecipe
from mlpot.studies.tasks import Plan
from mlpot.training.optimizer import rate_factors
from mlpot.transfer.adapters import adapt
from mlpot.transfer.donor import complete_donors
from mlpot.transfer.freeze import freeze
from mlpot.transfer.steps import SteppedFit


def check_elements(plan: Plan) -> None:
    """Refuse frames of other elements, and donors that cannot serve the target."""
    recipe = plan.recipe
    owners = [
        ("target", recipe.target.elements, [*plan.frames.pool, *plan.frames.holdout, *plan.frames.selection])
    ]
    for name, sets in plan.donors.items():
        donor = recipe.donors[name]
        assert not isinstance(donor, FileDonor)
        owners.append((f"donors.{name}", donor.elements, [*sets.train, *sets.validation, *plan.tests[name]]))
    for where, elements, frames in owners:
        for frame in frames:
            if strange := sorted(set(frame.symbols) - set(elements)):
                raise DataError(
                    f"{where}: {frame.source} contains {', '.join(strange)}, but elements are "
                    f"{', '.join(elements)}; add it there, or take the frame out."
                )
    ours = {"network": recipe.model.network().asdict(), "repulsion": recipe.model.repulsion}
    for name, donor in recipe.donors.items():
        if isinstance(donor, FileDonor) and (theirs := read_header(donor.file)["architecture"]) != ours:
            raise RecipeError(
                f"donors.{name}: the architecture of {donor.file} is {theirs}, that of the study {ours}; "
                "arms of unlike networks cannot be compared: give `model:` the donor's numbers."
            )
        elif isinstance(donor, CarriedDonor):
            complete_donors(_symbols(recipe, donor.start), donor.elements, donor.donors)
    for arm in recipe.arms.values():
        if arm.donor is not None:
            complete_donors(_symbols(recipe, arm.donor), recipe.target.elements, arm.donors)


def _symbols(recipe: StudyRecipe, name: str) -> Sequence[str]:
    donor = recipe.donors[name]
    return read_header(donor.file)["elements"] if isinstance(donor, FileDonor) else donor.elements


def check_sides(plan: Plan) -> None:
    """Refuse frames that are trained on and judged by."""
    for name, sets in plan.donors.items():
        for what, judging in (
            ("the hold-out of the target", plan.frames.holdout),
            (f"donors.{name}.test", plan.tests[name]),
        ):
            refuse_overlap(
                [*sets.train, *sets.validation],
                judging,
                lambda frame, other, name=name, what=what: (  # type: ignore[misc]
                    f"donors.{name}: {frame} is also in {what} ({other}); remove it from one side."
                ),
            )
    refuse_overlap(
        [*plan.frames.pool, *plan.frames.selection],
        plan.frames.holdout,
        lambda frame, other: f"target: {frame} equals {other} of the hold-out; remove one.",
    )


def check_arm(plan: Plan, name: str, arm: Arm) -> None:
    """Try patterns and adapters on an untrained potential of the same shape."""
    try:
        shape = plan.recipe.model
        model = Potential(plan.recipe.target.elements, shape.network(), shape.repulsion)
        freeze(model, arm.freeze)
        if arm.adapters is not None:
            adapt(model, arm.adapters)
        rate_factors(model, arm.fit.rate_factors)
    except RecipeError as error:
        raise RecipeError(f"arms.{name}: {error}") from None
    for factor in plan.recipe.search.factors if plan.recipe.search is not None else ():
        rates = {"rate": factor * arm.fit.rate, "matrix_rate": factor * arm.fit.matrix_rate}
        parse_recipe(
            SteppedFit, arm.fit.model_dump() | rates, f"arms.{name}.fit, times search.factors {factor:g}"
        )


def check_dynamics(plan: Plan) -> None:
    """Refuse batches without the package that runs them."""
    section = plan.recipe.dynamics
    if section is not None and section.batched and find_spec("torch_sim") is None:
        raise RecipeError(
            "dynamics.batched: torch-sim must be installed: pip install 'mlpot[simulation]'; or leave it out."
        )


def check_properties(plan: Plan) -> None:
    """Refuse properties that cannot be computed, or compared as asked."""
    section = plan.recipe.properties
    if section is None:
        return
    element, elements = section.of(plan.recipe.target.elements), plan.recipe.target.elements
    if element not in elements:
        raise RecipeError(
            f"properties.element: {element} is not among target.elements ({', '.join(elements)}); name one."
        )
    if section.reference is not None and element not in force_field(section.reference).elements:
        raise DataError(f"properties.reference: {section.reference} is not a force field of {element}.")
    known = references(element)
    if strange := [kind for kind in section.references if kind not in known]:
        raise RecipeError(
            f"properties.references: of {element} there are none of the kind {', '.join(strange)}; there "
            f"are: {', '.join(known) or 'none'}."
        )
    needed = {need for one in section.computed() for need in one.needs} - {"stress"}
    if missing := sorted(need for need in needed if find_spec(need) is None):
        raise RecipeError(
            f"properties: {' and '.join(missing)} must be installed for these quantities: pip install "
            "'mlpot[properties]'."
        )


def check_liquid(plan: Plan) -> None:
    """Refuse a structure that no frame tells, or that has no density."""
    section = plan.recipe.liquid
    if section is None:
        return
    frames = structure_frames(plan)
    if not frames:
        raise DataError(f"liquid.where: no frame of target.data is {section.where}; name values that occur.")
    for frame in frames:
        if not frame.pbc.all():
            raise DataError(
                f"liquid.where: {frame.source} is not periodic, so it has no density; leave it out."
            )


def structure_frames(plan: Plan) -> list[Frame]:
    """Return the frames whose structure is the reference of ``liquid``: of the whole target."""
    assert plan.recipe.liquid is not None
    where = plan.recipe.liquid.where
    everything = [*plan.frames.pool, *plan.frames.selection, *plan.frames.holdout]
    found = [
        frame for frame in everything if all(frame.info.get(key) in values for key, values in where.items())
    ]
    return sorted(found, key=lambda frame: frame.source)
