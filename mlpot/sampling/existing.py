"""Frames of a file as a stage: to select from a trajectory, or to label again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from mlpot.data.files import read_frames
from mlpot.data.frame import LabelKeys
from mlpot.sampling.base import Material, Part, Sampled, Start
from mlpot.sampling.stage import Stage


class FileStage(Stage):
    """The frames of a file.

    They keep their ``info``; ``config_type`` (``file``) and ``temperature_K`` are added where
    they are missing, and ``block``: see below. Labels under mlpot's default names stay if the
    plan says ``labels: false``; others are not read.

    Attributes
    ----------
    path
        Any file that mlpot reads.
    index
        Which frames: a slice, such as ``::10``.
    block
        Where frames have no ``block``: so many consecutive ones share it.
    """

    kind: Literal["file"]
    path: Path
    index: str = ":"
    block: Annotated[PositiveInt, Field(ge=1)] = 5

    @model_validator(mode="after")
    def _no_structure(self) -> Self:
        if self.structure is not None:
            raise ValueError("the structures are those of the file: leave out structure")
        return self

    def parts(self, material: Material, start: Start, seed: np.random.SeedSequence) -> Iterator[Part]:
        """Yield one part."""
        read = read_frames(self.path, LabelKeys(missing="allow"), index=self.index)

        def sampled() -> Sampled:
            for number, one in enumerate(read):
                known = {"config_type": "file", "temperature_K": 0.0, "block": number // self.block}
                yield replace(one, info=known | one.info)

        yield f"file-{self.path.stem}", len(read), sampled()
