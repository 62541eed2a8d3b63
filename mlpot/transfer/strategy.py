"""A strategy: by which means a donor is carried to its targets and fine-tuned there.

Each means is a field, and they can be combined. What is left out is not done; with nothing but
the defaults, all weights are fine-tuned from the donor in reduced units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from mlpot.data.frame import Frame
from mlpot.data.section import DataSection
from mlpot.errors import RecipeError
from mlpot.model.potential import Potential
from mlpot.recipe import Recipe
from mlpot.training.fit import FitResult, fit
from mlpot.training.hardware import Hardware
from mlpot.training.scales import (
    ElementScales,
    PropertiesSection,
    Scales,
    given_scales,
    tabulated_scales,
)
from mlpot.training.settings import FitSettings
from mlpot.transfer.adapters import Adapters, adapt
from mlpot.transfer.carry import Carried, FineTuning, carry
from mlpot.transfer.freeze import freeze
from mlpot.transfer.ridge import HeadFit, Ridge, fit_head


class Replay(Recipe):
    """Frames of the donor's own elements, trained on beside those of the target.

    One network serves both, each element with its rows of the tables (joint training), so that
    what was learned first is not forgotten. The result knows the donor's elements too. ``ratio``:
    frames of the donor for each of the target, drawn once. ``data``: where they are; a study
    takes those that its donor was trained on.
    """

    ratio: float = Field(default=1.0, gt=0.0)
    data: DataSection | None = None

    def draw(self, frames: Sequence[Frame], targets: int, seed: int) -> list[Frame]:
        """Return the frames to replay, at most all there are, beside so many of the target."""
        count = min(len(frames), max(1, round(self.ratio * targets)))
        chosen = np.random.default_rng([seed, len(frames)]).permutation(len(frames))[:count]
        return [frames[i] for i in chosen]


class Strategy(Recipe):
    """The means of a transfer.

    ``donors``: which element of the donor serves each target, where it is not obvious.
    ``scales``: ``fit`` (to forces and stresses of the training frames, one pair for all targets),
    ``properties`` (from ``properties``, or tabulated experiment), ``none`` (both 1), or the
    scales of each target relative to its donor (1 and 1 where nothing is said); by default
    ``properties`` if these are given or there are no frames, else ``fit``. ``head``: the
    readout in closed form (:mod:`mlpot.transfer.ridge`), before any gradient step. ``freeze``:
    shell patterns of weights that stay the donor's. ``adapters``: low-rank changes of the
    channel matrices alone (:mod:`mlpot.transfer.adapters`). ``replay``: :class:`Replay`.
    ``fit``: the fine-tuning; there ``rate_factors`` slows layers down and ``pull`` keeps weights
    near the donor's. Offsets are always estimated anew from the frames.
    """

    donors: dict[str, str] = Field(default={})
    scales: Literal["fit", "properties", "none"] | dict[str, ElementScales] | None = None
    properties: PropertiesSection | None = None
    head: Ridge | None = None
    freeze: list[str] = Field(default=[])
    adapters: Adapters | None = None
    replay: Replay | None = None
    fit: FineTuning = FineTuning()

    @model_validator(mode="after")
    def _scales_agree(self) -> Self:
        if self.properties is not None and self.scales not in (None, "properties"):
            how = self.scales if isinstance(self.scales, str) else "given for each target"
            raise ValueError(f"properties are given, but scales: {how} does not use them.")
        return self

    def target_scales(self, donors: dict[str, str], has_frames: bool) -> dict[str, Scales] | None:
        """Return the scales of each target that are decided without frames; ``None`` if frames shall.

        Parameters
        ----------
        donors
            Which element serves each target, complete.
        has_frames
            Whether there are labelled frames, which decide by default.

        Raises
        ------
        RecipeError
            If ``properties`` would have to serve several targets.
        """
        by_default = "properties" if self.properties is not None or not has_frames else "fit"
        choice = self.scales or by_default
        if choice == "fit":
            return None
        if isinstance(choice, dict):
            return given_scales(choice, list(donors))
        if choice == "none":
            return dict.fromkeys(donors, Scales(1.0, 1.0, "none: the donor's units"))
        pairs = {target: (donor, target) for target, donor in donors.items()}
        # Next to others, an element that serves itself stays as it is; alone, it goes to new properties.
        foreign = {pair for pair in pairs.values() if pair[0] != pair[1]} or set(pairs.values())
        if self.properties is not None and len(foreign) > 1:
            raise RecipeError(
                f"properties serve one target, not {', '.join(donors)}; give `scales` for each target, "
                "or labelled frames to fit them."
            )

        def scales(pair: tuple[str, str]) -> Scales:
            if pair not in foreign:
                return Scales(1.0, 1.0, "its own donor")
            return self.properties.scales() if self.properties is not None else tabulated_scales(*pair)

        return {target: scales(pair) for target, pair in pairs.items()}


@dataclass(frozen=True)
class Begun:
    """A potential that was carried to its targets and stands before its fine-tuning.

    ``frames``: those of the targets and, with a replay, of the donor. ``head``: how the readout
    was fitted in closed form, if it was.
    """

    carried: Carried
    frames: Sequence[Frame]
    head: HeadFit | None

    @property
    def model(self) -> Potential:
        """The potential."""
        return self.carried.model


def begin(
    donor: Potential,
    targets: Sequence[str],
    donors: dict[str, str],
    frames: Sequence[Frame],
    strategy: Strategy,
    replayed: Sequence[Frame] = (),
) -> Begun:
    """Carry a donor to its targets and choose which weights will be fine-tuned.

    Parameters
    ----------
    donor
        Stays as it is.
    targets
        Chemical symbols.
    donors
        Which element serves each target, complete
        (:func:`~mlpot.transfer.donor.complete_donors`).
    frames
        Labelled frames of the targets.
    strategy
        The means.
    replayed
        Frames of the donor, of those that ``strategy.replay`` draws.

    Raises
    ------
    MLPotError
        As :func:`~mlpot.transfer.carry.carry`, :func:`~mlpot.transfer.ridge.fit_head`,
        :func:`~mlpot.transfer.freeze.freeze` and :func:`~mlpot.transfer.adapters.adapt`.
    """
    carried = carry(donor, targets, frames, donors, strategy.target_scales(donors, bool(frames)), replayed)
    head = None
    if strategy.head is not None:
        head = fit_head(carried.model, frames, strategy.head)
        for name in head.tensors:
            carried.report.mark(name, "re-estimated", "closed form on the frames")
    freeze(carried.model, strategy.freeze, carried.report)
    if strategy.adapters is not None:
        adapt(carried.model, strategy.adapters, carried.report)
    return Begun(carried, [*frames, *replayed] if replayed else frames, head)


def fine_tune(
    begun: Begun,
    validation: Sequence[Frame],
    settings: FitSettings,
    run: str | Path,
    resume: bool = False,
    progress: bool = False,
    hardware: Hardware | None = None,
    repeats: int = 1,
) -> FitResult:
    """Fine-tune in place.

    ``repeats``: how often each frame comes in an epoch. See :func:`~mlpot.training.fit.fit` for
    the other parameters and the errors.
    """
    frames = list(begun.frames) * repeats if repeats > 1 else begun.frames
    return fit(begun.model, frames, validation, settings, run, resume, progress, hardware=hardware)
