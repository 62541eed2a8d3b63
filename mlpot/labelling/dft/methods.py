"""The ab initio methods, told apart by their ``kind``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mlpot.labelling.dft.cp2k import CP2KMethod
from mlpot.labelling.dft.espresso import EspressoMethod
from mlpot.labelling.dft.gpaw import GPAWMethod
from mlpot.labelling.dft.vasp import VaspMethod

AnyDFTMethod = Annotated[GPAWMethod | EspressoMethod | VaspMethod | CP2KMethod, Field(discriminator="kind")]
