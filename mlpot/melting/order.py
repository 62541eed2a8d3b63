"""Which share of a structure is crystal: told by bond order, calibrated on crystal and liquid alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms

from mlpot.melting.settings import MeltingError
from mlpot.observables.steinhardt import BondOrder

#: Bonds of an atom in diamond, and the degree of the order parameter.
_BONDS, _DEGREE = 4, 6
#: Difference of the shares of ordered atoms in crystal and liquid below which they are one phase.
_APART = 0.8


def order(atoms: Atoms) -> np.ndarray:
    """Return the averaged bond order of degree 6 with the 4 nearest atoms, (N,); 0.63 in diamond at rest."""
    return BondOrder(atoms, nearest=_BONDS).q(_DEGREE, averaged=True)


@dataclass(frozen=True)
class Solidity:
    """How crystal and liquid differ at one temperature.

    Attributes
    ----------
    threshold
        Atoms with more order are called ordered.
    solid, liquid
        Shares of ordered atoms in the crystal and in the liquid.
    """

    threshold: float
    solid: float
    liquid: float

    def fraction(self, atoms: Atoms) -> float:
        """Return the share of crystal: 1 in the crystal, 0 in the liquid, up to fluctuations."""
        ordered = float((order(atoms) > self.threshold).mean())
        return (ordered - self.liquid) / (self.solid - self.liquid)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def calibrate(solid: Sequence[Atoms], liquid: Sequence[Atoms]) -> Solidity:
    """Return the threshold that tells most atoms of a crystal from those of a liquid.

    Raises
    ------
    MeltingError
        If the two cannot be told apart: one of them is not what it should be.
    """
    above, below = (np.sort(np.concatenate([order(atoms) for atoms in side])) for side in (solid, liquid))
    thresholds = np.linspace(below[0], above[-1], 400)
    solids = 1.0 - np.searchsorted(above, thresholds, side="right") / len(above)
    liquids = 1.0 - np.searchsorted(below, thresholds, side="right") / len(below)
    best = int(np.argmax(solids - liquids))
    found = Solidity(float(thresholds[best]), float(solids[best]), float(liquids[best]))
    if found.solid - found.liquid < _APART:
        raise MeltingError(
            f"crystal and liquid cannot be told apart by bond order: {found.solid:.0%} and "
            f"{found.liquid:.0%} of their atoms are ordered; the liquid froze, the crystal melted, or the "
            "crystal is not diamond under this potential. Give another guess."
        )
    return found
