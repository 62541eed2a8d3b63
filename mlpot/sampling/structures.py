"""The structures that stages of a sampling plan may start from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mlpot.sampling.crystals import Crystal
from mlpot.sampling.defects import Interstitial, Vacancy
from mlpot.sampling.disorder import RandomStructure
from mlpot.sampling.surfaces import Surface

AnyStructure = Annotated[
    Crystal | Vacancy | Interstitial | Surface | RandomStructure, Field(discriminator="kind")
]
