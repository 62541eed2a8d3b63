"""A transfer from its recipe: carry a model to other elements, fine-tune it, report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, field_validator, model_validator

from mlpot.data.frame import Frame
from mlpot.data.section import DataSections, load_sections
from mlpot.model.file import load_model, read_header, save_model
from mlpot.model.potential import Potential
from mlpot.training.errors import check_keys, summarise
from mlpot.training.fit import check_run
from mlpot.training.hardware import Hardware
from mlpot.training.run import ReportedRecipe, chooses, finish, provenance, start_run
from mlpot.transfer.donor import complete_donors
from mlpot.transfer.strategy import Strategy, begin, fine_tune


class TransferRecipe(Strategy, ReportedRecipe):
    """Everything that ``mlpot transfer`` needs to know.

    ``model``: path or name of the potential to start from. ``targets``: elements of the new
    one. The other keys are the means of the transfer
    (:class:`~mlpot.transfer.strategy.Strategy`).
    """

    model: str
    targets: list[str] = Field(min_length=1)
    data: DataSections | None = None
    hardware: Hardware = Hardware()

    @field_validator("targets", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.data is None:
            if self.scales == "fit":
                raise ValueError("scales: fit needs labelled frames; give data, or scales: properties.")
            if "fit" in self.model_fields_set and self.fit.epochs > 0:
                raise ValueError("fit: there is nothing to fine-tune on; give data, or epochs: 0.")
            for name in ("head", "replay"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs labelled frames of the targets; give data.")
        if self.adapters is not None and self.fit.epochs == 0:
            raise ValueError("adapters: with fit.epochs: 0 there is nothing to adapt; leave them out.")
        if self.replay is not None and self.replay.data is None:
            raise ValueError("replay: say where the donor's own frames are (replay.data).")
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
        (``zero-shot``) and after (``fine-tuned``) gradient steps, and those of the final model
        for each element and group (``errors_by_group``).

    Raises
    ------
    MLPotError
        For a model, data, settings or a directory that cannot be used; :class:`Interrupted` on
        Ctrl-C.
    """
    run = Path(run)
    recipe.hardware.check(recipe.fit.batch_size)
    resumed = check_run(run, resume)
    header = read_header(recipe.model)
    donor = load_model(recipe.model, torch.float64 if header["precision"] == "float64" else torch.float32)
    recipe = recipe.resolved(complete_donors(donor.symbols, recipe.targets, recipe.donors))
    sets = load_sections(recipe.data) if recipe.data is not None else None
    frames, validation = (sets.train, sets.validation) if sets is not None else ([], [])
    check_keys(frames, recipe.group_by, "group_by")
    replayed = _replayed(recipe, len(frames))
    begun = begin(donor, recipe.targets, recipe.donors, frames, recipe, replayed)
    carried, model = begun.carried, begun.model
    summary: dict[str, Any] = {
        "run": str(run),
        "model": str(run / "model.safetensors"),
        "from": recipe.model,
        "targets": recipe.targets,
        "donors": recipe.donors,
        "scales": {target: scales.asdict() for target, scales in carried.scales.items()},
        "offsets": {
            "eV": dict(zip(model.symbols, model.offsets.tolist(), strict=True)),
            "residual_eV_per_atom": carried.offset_residual,
        },
        "frames": sets.counts() if sets is not None else None,
        "replayed": len(replayed),
        "head": begun.head.asdict() if begun.head is not None else None,
        "notes": [*(sets.notes if sets is not None else []), *carried.report.notes],
    }
    leads = recipe.hardware.leads()
    if not resumed and leads:
        start_run(run, recipe, sets, summary)
    errors = {"zero-shot": _errors(model, validation)}
    model.provenance["parent"] |= {"file": recipe.model, "checksum": header["checksum"]}
    model.provenance = {"kind": "transfer", **model.provenance, **provenance(recipe, sets)}
    if frames and recipe.fit.epochs > 0:
        result = fine_tune(begun, validation, recipe.fit, run, resume, progress, recipe.hardware)
        summary |= {"epochs": result.epochs, "seconds": result.seconds}
    elif leads:
        save_model(model, run / "model.safetensors")
        summary |= {"epochs": 0, "seconds": 0.0}
    if not leads:
        return summary
    tuned = summary["epochs"] > 0
    by_group = finish(model, recipe, sets, run, tuned and chooses(recipe.fit)) if sets is not None else None
    if by_group and tuned:
        errors["fine-tuned"] = by_group["all"]
    summary |= {"errors": errors if validation else None, "errors_by_group": by_group}
    summary["report"] = carried.report.asdict()
    (run / "transfer.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def tensor_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """Return what became of the tensors, per action and detail: action, tensors, values, detail."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in report["tensors"]:
        kinds.setdefault((record["action"], record["detail"]), []).append(record)
    return [
        [action, str(len(own)), str(sum(prod(one["shape"]) for one in own)), detail or "as they are"]
        for (action, detail), own in kinds.items()
    ]


def _replayed(recipe: TransferRecipe, targets: int) -> list[Frame]:
    """Return the frames of the donor that are trained on beside those of the targets."""
    if recipe.replay is None or recipe.replay.data is None:
        return []
    return recipe.replay.draw(recipe.replay.data.load().train, targets, recipe.fit.seed)


def _errors(model: Potential, frames: Sequence[Frame]) -> dict[str, Any] | None:
    return asdict(summarise(frames, model.predict(frames))) if frames else None
