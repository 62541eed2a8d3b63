"""Trainings measured in gradient steps, so that they are alike for few frames and for many."""

from __future__ import annotations

import math
from typing import TypeVar

from pydantic import field_validator

from mlpot.transfer.carry import FineTuning

S = TypeVar("S", bound="SteppedFit")


class SteppedFit(FineTuning):
    """Settings of a training whose epochs follow from its steps."""

    epochs: int = 0

    @field_validator("epochs")
    @classmethod
    def _counts_steps(cls, value: int) -> int:
        if value:
            raise ValueError("trainings that are compared count gradient steps, not epochs; give `steps`.")
        return value


def in_steps(settings: S, steps: int, checks: int, frames: int) -> tuple[S, int]:
    """Return settings with epochs for so many steps, and how often each frame comes in an epoch.

    Frames are repeated within an epoch, so that there are about ``checks`` epochs, at whose ends the
    validation frames are looked at, whatever the number of frames; with so many frames that an
    epoch takes longer there are fewer.
    """
    batch = settings.batch_size
    repeats = max(1, round(steps / checks * batch / frames))
    epochs = max(1, round(steps / math.ceil(repeats * frames / batch)))
    return settings.model_copy(update={"epochs": epochs}), repeats
