"""The recipe of a study: donor, target, seeds, and molecular dynamics to judge by."""

from __future__ import annotations

from pydantic import Field

from mlpot.data.section import DataSection
from mlpot.recipe import Recipe
from mlpot.training.run import ModelSection
from mlpot.training.settings import FitSettings
from mlpot.transfer.carry import FineTuning


class DonorSection(Recipe):
    """What the donor learns from; ``test`` is judged once and selects nothing."""

    element: str
    data: DataSection
    test: str | None = None
    fit: FitSettings = FitSettings()


class ScratchSection(Recipe):
    """The arm without a donor: settings, and the pairs of rates (Adam, Muon) to choose from."""

    fit: FitSettings = FitSettings(epochs=200, batch_size=2, average=0.98, loss=FineTuning().loss)
    rates: list[tuple[float, float]] = Field(default=[(5e-3, 2e-2), (2e-3, 1e-2), (1e-3, 5e-3)], min_length=1)


class TargetSection(Recipe):
    """The element to be served.

    ``data.train`` is split once into a pool and the hold-out (``data.validation``, which must
    be a split by groups or a file of its own); every seed draws ``frames`` from the pool.
    """

    element: str
    data: DataSection
    frames: int = Field(default=10, ge=1)
    fine_tuning: FineTuning = FineTuning()
    scratch: ScratchSection = ScratchSection()


class DynamicsSection(Recipe):
    """Langevin dynamics with the potentials of the first seed, against the true dynamics.

    ``reference`` names a classical force field (:mod:`mlpot.reference.classical`), whose
    equilibrium crystal (diamond, ``repeat`` conventional cells along each axis) is the start
    unless ``structure`` names a file; without a reference it must.
    """

    arms: list[str] = Field(default=["scratch", "transfer"], min_length=1)
    reference: str | None = None
    structure: str | None = None
    repeat: int = Field(default=2, ge=1)
    temperatures: list[float] = Field(default=[300.0, 1200.0], min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    time_ps: float = Field(default=1.0, gt=0.0)
    timestep_fs: float = Field(default=2.0, gt=0.0)


class StudyRecipe(Recipe):
    """Scratch against transfer; see :mod:`mlpot.studies.compare`."""

    title: str
    donor: DonorSection
    target: TargetSection
    model: ModelSection = ModelSection()
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    dynamics: DynamicsSection | None = None
