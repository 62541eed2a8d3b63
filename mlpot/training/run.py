"""A training run from its recipe: frames, a new potential, the fit, and what came of it."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from mlpot.data.files import count_labels
from mlpot.data.frame import Frame
from mlpot.data.section import DataSections, DataSets, known_symbols, load_sections
from mlpot.errors import DataError
from mlpot.model.file import amend_provenance
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.recipe import Recipe, dump_recipe
from mlpot.training.errors import check_keys, errors_by_group
from mlpot.training.fit import check_run, fit
from mlpot.training.hardware import Hardware
from mlpot.training.initialise import new_potential
from mlpot.training.offsets import composition, energies
from mlpot.training.record import domain, error_record
from mlpot.training.scales import ElementScales, given_scales
from mlpot.training.score import ScoreSettings, check_snapshots, force_loss, positions_only
from mlpot.training.settings import FitSettings

_PACKAGES = ("torch", "lightning", "e3nn", "torch-geometric", "ase", "numpy")


class ModelSection(Recipe):
    """Shape of a new potential; see :class:`~mlpot.model.network.NetworkConfig`."""

    cutoff: float = Field(default=NetworkConfig.cutoff, gt=0.0)
    radial: int = Field(default=NetworkConfig.radial, ge=1)
    l_max: int = Field(default=NetworkConfig.l_max, ge=0, le=6)
    l_features: int = Field(default=NetworkConfig.l_features, ge=0, le=6)
    channels: int = Field(default=NetworkConfig.channels, ge=1)
    layers: int = Field(default=NetworkConfig.layers, ge=1)
    hidden: int = Field(default=NetworkConfig.hidden, ge=1)
    repulsion: bool = True

    @field_validator("l_features")
    @classmethod
    def _no_degree_beyond_density(cls, value: int, info: Any) -> int:
        if "l_max" in info.data and value > info.data["l_max"]:
            raise ValueError(f"{value} exceeds l_max = {info.data['l_max']}; features come from densities.")
        return value

    def network(self) -> NetworkConfig:
        """Return the shape of the network alone."""
        return NetworkConfig(**self.model_dump(exclude={"repulsion"}))


class CardSection(Recipe):
    """What only its maker can say of a model; see :func:`~mlpot.model.card.model_card`.

    ``licence`` and ``citations`` are those of the data of this recipe; ``domain`` says in words
    what the model is for, and what not.
    """

    title: str | None = None
    description: str | None = None
    licence: str | None = None
    citations: list[str] = Field(default=[])
    domain: str | None = None


class ReportedRecipe(Recipe):
    """What a recipe says on the reporting of its result.

    ``group_by``: info keys by whose values errors and coverage of the data are told apart.
    ``card``: see :class:`CardSection`.
    """

    group_by: list[str] = Field(default=[])
    card: CardSection = CardSection()

    @field_validator("group_by", mode="before")
    @classmethod
    def _one_key_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class TrainRecipe(ReportedRecipe):
    """Everything that ``mlpot train`` needs to know.

    ``elements``: chemical symbols, by default those of the data. ``offsets``:
    ``least_squares``, or the energy of an isolated atom (eV) of each element; see
    :mod:`mlpot.training.offsets`. ``scales``: length and energy scale of elements that share
    the network through corresponding states; see :mod:`mlpot.training.scales`. ``loss``:
    ``labels``, or the ``score`` of snapshots without any, as the section of that name says; see
    :mod:`mlpot.training.score`.
    """

    data: DataSections
    elements: list[str] | None = Field(default=None, min_length=1)
    model: ModelSection = ModelSection()
    offsets: Literal["least_squares"] | dict[str, float] = "least_squares"
    scales: dict[str, ElementScales] = Field(default={})
    loss: Literal["labels", "score"] = "labels"
    score: ScoreSettings | None = None
    fit: FitSettings = FitSettings()
    hardware: Hardware = Hardware()

    @model_validator(mode="after")
    def _one_loss(self) -> Self:
        if (self.loss == "score") != (self.score is not None):
            raise ValueError(
                "loss: score goes with a section score, which has the temperature (K) of the snapshots, and "
                "the section with that loss; give both or neither."
            )
        self.resolved()  # what contradicts loss: score is told now
        return self

    def resolved(self) -> TrainRecipe:
        """Return the same recipe with the loss and the labels that ``loss: score`` implies."""
        if self.score is None:
            return self
        fit_settings = self.fit.model_copy(update={"loss": force_loss(self.fit.loss)})
        return self.model_copy(
            update={"fit": fit_settings, "data": [positions_only(section) for section in self.data]}
        )


def train(
    recipe: TrainRecipe, run: str | Path, resume: bool = False, progress: bool = False
) -> dict[str, Any]:
    """Train a new potential and leave it in a run directory.

    The directory then holds ``recipe.yaml`` (all defaults spelled out), ``split.json`` (which
    frame was on which side), and what :func:`~mlpot.training.fit.fit` writes.

    Parameters
    ----------
    recipe
        What to do.
    run
        Run directory.
    resume
        Continue the run that is there, with the same recipe.
    progress
        Show a progress bar.

    Returns
    -------
    dict
        Plain values: path of the model, elements, scales, counts of frames, offsets with what
        they leave (eV/atom), errors on the validation frames, of all (``errors``) and of each
        element and group (``errors_by_group``; ``None`` without any;
        :class:`~mlpot.training.errors.ErrorSummary`), notes.

    Raises
    ------
    MLPotError
        For data, settings or a directory that cannot be used; :class:`Interrupted` on Ctrl-C.
    """
    run, recipe, score = Path(run), recipe.resolved(), recipe.score
    recipe.hardware.check(recipe.fit.batch_size)
    resumed = check_run(run, resume)
    sets = load_sections(recipe.data)
    check_keys(sets.train, recipe.group_by, "group_by")
    elements = recipe.elements or sets.symbols
    recipe = recipe.model_copy(update={"elements": elements})
    notes = list(sets.notes)
    offsets = recipe.offsets if isinstance(recipe.offsets, dict) else None
    if score is not None:
        for side in (sets.train, sets.validation):
            check_snapshots(side, score)
        if offsets is None:
            offsets = dict.fromkeys(elements, 0.0)
        notes.append("loss: score tells energies up to a constant, and no pressure: see docs/score.md.")
    scales = given_scales(recipe.scales, elements)
    potential = new_potential(
        sets.train,
        elements,
        recipe.model.network(),
        recipe.model.repulsion,
        offsets,
        recipe.fit.seed,
        scales=scales,
        force_size=score.force_size if score is not None else None,
    )
    if offsets is None and len(potential.elements) == 1:
        notes.append(
            f"the offset of {potential.symbols[0]} is the mean energy per atom: with one element, offset and "
            "cohesive energy are not separable; give the energy of the isolated atom for absolute energies."
        )
    summary = {
        "run": str(run),
        "model": str(run / "model.safetensors"),
        "elements": list(potential.symbols),
        "parameters": sum(parameter.numel() for parameter in potential.parameters()),
        "frames": sets.counts(),
        "scales": {symbol: own.asdict() for symbol, own in scales.items()},
        "offsets": offset_summary(potential, sets.train),
        "notes": notes,
    }
    if not resumed and recipe.hardware.leads():
        start_run(run, recipe, sets, summary)
    potential.provenance = {"kind": "train", **provenance(recipe, sets)}
    result = fit(
        potential, sets.train, sets.validation, recipe.fit, run, resume, progress,
        hardware=recipe.hardware, score=score,
    )  # fmt: skip
    errors = finish(potential, recipe, sets, run, chooses(recipe.fit)) if recipe.hardware.leads() else None
    return summary | {
        "epochs": result.epochs,
        "seconds": result.seconds,
        "errors": errors["all"] if errors else None,
        "errors_by_group": errors,
    }


def chooses(settings: FitSettings) -> bool:
    """Return whether validation frames, where there are any, choose the epoch that is kept."""
    return settings.epochs > 0 and settings.keep == "best"


def finish(
    potential: Potential, recipe: ReportedRecipe, sets: DataSets, run: Path, chosen: bool
) -> dict[str, Any] | None:
    """Note in the model file of a run what its data cover and its validation errors; return the errors."""
    entries: dict[str, Any] = {"domain": domain(sets.train, recipe.group_by)}
    errors = None
    if sets.validation and any(count_labels(sets.validation).values()):
        errors = errors_by_group(potential, sets.validation, recipe.group_by)
        use = "not trained on" + (
            ", but the epoch that was kept is the best on these frames" if chosen else ""
        )
        record = error_record("validation", use, sets.validation, sets.files, recipe.group_by, errors)
        entries["errors"] = [record]
    amend_provenance(run / "model.safetensors", entries)
    return errors and {name: summary.asdict() for name, summary in errors.items()}


def start_run(run: Path, recipe: Recipe, sets: DataSets | None, summary: dict[str, Any]) -> None:
    """Write down, before any computing, what a run will do."""
    run.mkdir(parents=True, exist_ok=True)
    if sets is not None:
        (run / "split.json").write_text(json.dumps(sets.membership(), indent=1) + "\n", encoding="utf-8")
    with (run / "log.txt").open("a", encoding="utf-8") as log:
        for name, value in summary.items():
            log.write(f"{name}: {json.dumps(value, ensure_ascii=False)}\n")
    dump_recipe(recipe, run / "recipe.yaml")


def provenance(recipe: Recipe, sets: DataSets | None) -> dict[str, Any]:
    """Return what a model file keeps of its making: recipe, hashes of the data, versions."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "data": sets.files if sets is not None else {},
        "frames": {"train": len(sets.train), "validation": len(sets.validation)} if sets is not None else {},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def offset_summary(potential: Potential, frames: Sequence[Frame]) -> dict[str, Any]:
    """Return the offsets (eV) and the root mean square energy (eV/atom) that they leave of the labels.

    Raises
    ------
    DataError
        If the frames hold elements that the potential does not know.
    """
    values = dict(zip(potential.symbols, potential.offsets.tolist(), strict=True))
    unknown = known_symbols(frames) - set(values)
    if unknown:
        raise DataError(f"the frames contain {', '.join(sorted(unknown))}, unknown to the potential.")
    labels = energies(frames)
    known = np.isfinite(labels)
    if not known.any():
        return {"eV": values, "residual_eV_per_atom": None}
    counts = composition(frames, potential.elements)[known]
    left = (labels[known] - counts @ potential.offsets.numpy()) / counts.sum(1)
    return {"eV": values, "residual_eV_per_atom": float(np.sqrt(np.mean(left**2)))}
