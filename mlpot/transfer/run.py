"""A transfer from its recipe: carry a model to other elements, fine-tune it, report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, PositiveFloat, field_validator, model_validator

from mlpot.data.frame import Frame
from mlpot.data.section import DataSection
from mlpot.errors import RecipeError
from mlpot.model.file import load_model, read_header, save_model
from mlpot.model.potential import Potential
from mlpot.recipe import Recipe
from mlpot.training.errors import summarise
from mlpot.training.fit import check_run, fit
from mlpot.training.run import provenance, start_run
from mlpot.transfer.carry import FineTuning, carry
from mlpot.transfer.corresponding import Scales, scales_from_properties, tabulated_scales
from mlpot.transfer.donor import complete_donors
from mlpot.transfer.freeze import freeze


class PropertiesSection(Recipe):
    """Lattice constants (Å) and cohesive energies (eV/atom), donor first, then target."""

    lattice_constants: tuple[PositiveFloat, PositiveFloat]
    cohesive_energies: tuple[PositiveFloat, PositiveFloat]


class TransferRecipe(Recipe):
    """Everything that ``mlpot transfer`` needs to know.

    ``model``: path or name of the potential to start from. ``targets``: elements of the new
    one. ``donors``: which element of the model serves each target, where it is not obvious.
    ``scales``: ``fit`` (force matching on the training frames), ``properties`` (from
    ``properties``, or tabulated experiment) or ``none`` (both 1); by default ``properties`` if
    these are given or there are no data, else ``fit``. ``freeze``: shell
    patterns of weights that stay the donor's. ``fit``: the fine-tuning, with the
    defaults of :class:`~mlpot.transfer.carry.FineTuning`.
    """

    model: str
    targets: list[str] = Field(min_length=1)
    donors: dict[str, str] = Field(default={})
    data: DataSection | None = None
    scales: Literal["fit", "properties", "none"] | None = None
    properties: PropertiesSection | None = None
    freeze: list[str] = Field(default=[])
    fit: FineTuning = FineTuning()

    @field_validator("targets", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.data is None and self.scales == "fit":
            raise ValueError("scales: fit needs labelled frames; give data, or scales: properties.")
        if self.data is None and "fit" in self.model_fields_set and self.fit.epochs > 0:
            raise ValueError("fit: there is nothing to fine-tune on; give data, or epochs: 0.")
        if self.properties is not None and self.scales in ("fit", "none"):
            raise ValueError(f"properties are given, but scales: {self.scales} does not use them.")
        return self

    def resolved(self, donors: dict[str, str]) -> TransferRecipe:
        """Return the same recipe with every choice spelled out."""
        by_default = "properties" if self.properties is not None or self.data is None else "fit"
        tuning = self.fit if self.data is not None else self.fit.model_copy(update={"epochs": 0})
        return self.model_copy(
            update={"donors": donors, "scales": self.scales or by_default, "fit": tuning},
        )


def transfer(
    recipe: TransferRecipe, run: str | Path, resume: bool = False, progress: bool = False
) -> dict[str, Any]:
    """Carry a model to other elements, fine-tune it, and leave it in a run directory.

    Next to what :func:`~mlpot.training.run.train` leaves there is ``transfer.json``: what became
    of every tensor, scales, and errors.

    Parameters
    ----------
    recipe
        What to do.
    run
        Run directory.
    resume
        Continue the fine-tuning that is there, with the same recipe.
    progress
        Show a progress bar.

    Returns
    -------
    dict
        Plain values: path of the model, donors, scales, offsets, counts of frames, the report
        on tensors, and, where there are validation frames, the errors on them before
        (``zero-shot``) and after (``fine-tuned``) gradient steps.

    Raises
    ------
    MLPotError
        For a model, data, settings or a directory that cannot be used; :class:`Interrupted` on
        Ctrl-C.
    """
    run = Path(run)
    resumed = check_run(run, resume)
    precision = read_header(recipe.model)["precision"]
    donor = load_model(recipe.model, torch.float64 if precision == "float64" else torch.float32)
    recipe = recipe.resolved(complete_donors(donor, recipe.targets, recipe.donors))
    sets = recipe.data.load() if recipe.data is not None else None
    frames, validation = (sets.train, sets.validation) if sets is not None else ([], [])
    carried = carry(donor, recipe.targets, frames, recipe.donors, _scales(recipe))
    model = carried.model
    freeze(model, recipe.freeze, carried.report)
    summary: dict[str, Any] = {
        "run": str(run),
        "model": str(run / "model.safetensors"),
        "from": recipe.model,
        "targets": recipe.targets,
        "donors": recipe.donors,
        "scales": carried.scales.asdict(),
        "offsets": {
            "eV": dict(zip(model.symbols, model.offsets.tolist(), strict=True)),
            "residual_eV_per_atom": carried.offset_residual,
        },
        "frames": sets.counts() if sets is not None else None,
        "notes": [*(sets.notes if sets is not None else []), *carried.report.notes],
    }
    if not resumed:
        start_run(run, recipe, sets, summary)
    errors = {"zero-shot": _errors(model, validation)}
    model.provenance = {"kind": "transfer", **model.provenance, **provenance(recipe, sets)}
    if frames and recipe.fit.epochs > 0:
        result = fit(model, frames, validation, recipe.fit, run, resume, progress)
        errors["fine-tuned"] = _errors(model, validation)
        summary |= {"epochs": result.epochs, "seconds": result.seconds}
    else:
        save_model(model, run / "model.safetensors")
        summary |= {"epochs": 0, "seconds": 0.0}
    summary |= {"errors": errors if validation else None, "report": carried.report.asdict()}
    (run / "transfer.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def _errors(model: Potential, frames: Sequence[Frame]) -> dict[str, Any] | None:
    return asdict(summarise(frames, model.predict(frames))) if frames else None


def _scales(recipe: TransferRecipe) -> Scales | None:
    """Return the scales that the recipe decides; ``None`` where the frames shall."""
    if recipe.scales == "fit":
        return None
    if recipe.scales == "none":
        return Scales(1.0, 1.0, "none: the donor's units")
    pairs = sorted({(donor, target) for target, donor in recipe.donors.items()})
    if len(pairs) > 1:
        raise RecipeError(
            f"scales from properties serve one target, not {', '.join(recipe.targets)}; give labelled frames "
            "(--data) to fit them, or --scales none."
        )
    if recipe.properties is None:
        return tabulated_scales(*pairs[0])
    lattice, cohesive = recipe.properties.lattice_constants, recipe.properties.cohesive_energies
    return scales_from_properties((lattice[0], cohesive[0]), (lattice[1], cohesive[1]))
