"""Surfaces of diamond as structures of a sampling plan."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from ase import Atoms
from ase.build import bulk, diamond100, diamond111, surface
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mlpot.sampling.base import Material, Structure
from mlpot.sampling.relax import relax_positions


class Surface(Structure):
    """A slab of diamond with two free surfaces, as cut, periodic across a vacuum.

    Attributes
    ----------
    orientation
        ``"100"``: two broken bonds per atom of the surface; ``"110"``: one; ``"111"``: one, cut
        between the double layers.
    layers
        Atomic layers; even for 110 and 111, whose layers come in pairs.
    repeat
        Of the surface cell along the surface: a/√2 squared (100), a/√2 by a (110), or a rhombus
        of side a/√2 (111).
    vacuum
        Å, from one side of the slab to the other through the boundary.
    relax
        Whether atoms move until forces are below 0.01 eV/Å.
    """

    kind: Literal["surface"]
    orientation: Literal["100", "110", "111"]
    layers: Annotated[int, Field(ge=4)] = 8
    repeat: tuple[PositiveInt, PositiveInt] = (2, 2)
    vacuum: PositiveFloat = 10.0
    relax: bool = False

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if self.orientation != "100" and self.layers % 2:
            raise ValueError(
                f"layers of a {self.orientation} surface come in pairs: {self.layers} is odd; "
                f"give {self.layers - 1} or {self.layers + 1}"
            )
        return self

    @property
    def name(self) -> str:
        """``surface`` and the orientation."""
        return f"surface{self.orientation}"

    def build(self, material: Material, rng: np.random.Generator) -> Atoms:
        """Return the slab in the middle of its cell, whose third vector is the normal."""
        element, a = material.element, material.lattice_constant
        if self.orientation == "100":
            slab = diamond100(element, (*self.repeat, self.layers), a=a, vacuum=1.0)
        elif self.orientation == "110":
            across = bulk(element, "diamond", a=a, orthorhombic=True)  # its first vector is along [110]
            cell = surface(across, (1, 0, 0), self.layers // 2, vacuum=1.0)
            slab = cell.repeat((*self.repeat, 1))
        else:
            # ASE cuts through the double layers: without its outermost layers the cut is between them.
            slab = diamond111(element, (*self.repeat, self.layers + 2), a=a, vacuum=1.0)
            heights = slab.positions[:, 2]
            slab = slab[(heights > heights.min() + 0.1) & (heights < heights.max() - 0.1)]
        slab.center(vacuum=self.vacuum / 2, axis=2)
        atoms = Atoms(numbers=slab.numbers, positions=slab.positions, cell=slab.cell, pbc=True)
        if self.relax:
            relax_positions(atoms, material.calculator, self.name)
        return atoms
