"""The recipe of a study: donor, target, seeds, and molecular dynamics to judge by."""

from __future__ import annotations

from pydantic import Field

from mlpot.data.section import DataSection
from mlpot.model.network import NetworkConfig
from mlpot.recipe import Recipe
from mlpot.training.settings import FitSettings
from mlpot.transfer.carry import FINE_TUNING


class NetworkSection(Recipe):
    """Shape of the network; see :class:`~mlpot.model.network.NetworkConfig`."""

    cutoff: float = Field(default=NetworkConfig.cutoff, gt=0.0)
    radial: int = Field(default=NetworkConfig.radial, ge=1)
    l_max: int = Field(default=NetworkConfig.l_max, ge=0)
    l_features: int = Field(default=NetworkConfig.l_features, ge=0)
    channels: int = Field(default=NetworkConfig.channels, ge=1)
    layers: int = Field(default=NetworkConfig.layers, ge=1)
    hidden: int = Field(default=NetworkConfig.hidden, ge=1)

    def config(self) -> NetworkConfig:
        """Return the configuration the network is built from."""
        return NetworkConfig(**self.model_dump())


class DonorSection(Recipe):
    """What the donor learns from; ``test`` is judged once and selects nothing."""

    element: str
    data: DataSection
    test: str | None = None
    fit: FitSettings = FitSettings()


class ScratchSection(Recipe):
    """The arm without a donor: settings, and the pairs of rates (Adam, Muon) to choose from."""

    fit: FitSettings = FINE_TUNING
    rates: list[tuple[float, float]] = [(5e-3, 2e-2), (2e-3, 1e-2), (1e-3, 5e-3)]


class TargetSection(Recipe):
    """The element to be served.

    ``data.train`` is split once into a pool and the hold-out (``data.validation``, which must
    be a split by groups or a file of its own); every seed draws ``frames`` from the pool.
    """

    element: str
    data: DataSection = Field(...)
    frames: int = Field(default=10, ge=1)
    fine_tuning: FitSettings = FINE_TUNING
    scratch: ScratchSection = ScratchSection()


class DynamicsSection(Recipe):
    """Langevin dynamics with the potentials of the first seed, against the true dynamics.

    ``reference`` names a classical force field (:mod:`mlpot.reference.classical`), whose
    equilibrium crystal, ``repeat`` conventional cells along each axis, is the start; without it
    the hottest hold-out frame would be arbitrary, so ``structure`` must name a file.
    """

    arms: list[str] = ["scratch", "transfer"]
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
    network: NetworkSection = NetworkSection()
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    dynamics: DynamicsSection | None = None
