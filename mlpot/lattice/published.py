"""What was published for these models, and what the results here are to reach.

K. Sprague, J. F. Carrasquilla, S. Whitelam and I. Tamblyn, "Watch and learn", Mach. Learn.: Sci.
Technol. 2, 02LT02 (2021); the extensive network is that of K. Mills et al., Chem. Sci. 10, 4129
(2019). Their numbers are cited beside ours, not measured again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

CITATION = "Sprague et al., Mach. Learn.: Sci. Technol. 2, 02LT02 (2021)"
METHOD = "Mills et al., Chem. Sci. 10, 4129 (2019)"
#: Configurations the published models were trained on, and the most that ours may see.
PUBLISHED_SAMPLES = 51_200_000
MOST_SAMPLES = 1_000_000
#: Of the infinite square lattice, 2 / ln(1 + sqrt 2), and temperatures over which |M| is compared.
CRITICAL_TEMPERATURE = 2 / math.log1p(math.sqrt(2))
RANGE = (0.5, 4.9)
#: Within which a temperature counts as the one that was meant.
SAME_TEMPERATURE = 0.005

Kind = Literal[
    "score", "magnetisation", "free_energy", "entropy", "critical_temperature", "total_energy", "recovery"
]
UNITS: dict[str, str] = {"score": "J", "total_energy": "J", "free_energy": "J", "entropy": "k_B"}


@dataclass(frozen=True)
class Aim:
    """A number to reach.

    Attributes
    ----------
    kind
        ``score``: RMSE of the total energy. ``magnetisation``: largest error of |M| over the
        temperatures. ``free_energy``, ``entropy``: error per site at T_c. ``critical_temperature``:
        relative error of a Binder crossing. ``total_energy``: mean over temperatures of the error of
        the mean total energy. ``recovery``: correlation of learned couplings with the true ones,
        which is to be above the aim; all others are to be below.
    value
        The aim.
    size
        Of the lattice it is judged on, as ``8x8``; ``None``: the one trained on.
    temperature
        At which the samples were taken; ``None``: any.
    published
        The original's number as it stands there; ``None``: none was given.
    """

    kind: Kind
    value: float
    size: str | None = None
    temperature: float | None = None
    published: str | None = None

    def reached(self, value: float) -> bool:
        """Return whether a number is as good as the aim."""
        return value >= self.value if self.kind == "recovery" else value <= self.value

    @property
    def text(self) -> str:
        """The quantity in words."""
        where = "" if self.size is None else f", {self.size}"
        trained = "" if self.temperature is None else f", trained at T0 = {self.temperature:g}"
        names = {
            "score": "score (RMSE of the total energy)",
            "magnetisation": "largest error of |M|",
            "free_energy": "error of the free energy per site at T_c",
            "entropy": "error of the entropy per site at T_c",
            "critical_temperature": "relative error of T_c by Binder crossing",
            "total_energy": "mean error of the total energy over T",
            "recovery": "correlation of learned with true couplings",
        }
        return names[self.kind] + where + trained

    @property
    def bound(self) -> str:
        """The aim as text with its unit."""
        unit = f" {UNITS[self.kind]}" if self.kind in UNITS else ""
        return f"{'≥' if self.kind == 'recovery' else '≤'} {self.value:g}{unit}"


_ISING = (
    Aim("score", 0.8, "8x8", 2.2691, "1.585"),
    Aim("score", 3.2, "16x16", 2.2691, "6.39"),
    Aim("score", 0.4, "8x8", 4.0, "1.231"),
    Aim("score", 1.6, "16x16", 4.0, "4.95"),
    Aim("score", 0.3, "8x8", 8.0, "0.651"),
    Aim("score", 1.2, "16x16", 8.0, "2.56"),
    Aim("magnetisation", 0.02, "8x8", 4.0, "0.038"),
    Aim("magnetisation", 0.05, "24x24", 4.0, "0.111"),
    Aim("critical_temperature", 0.01, "128x128", 4.0),
    Aim("free_energy", 0.005, "16x16", 4.0, "0.04"),
    Aim("entropy", 0.005, "16x16", 4.0),
)
_POTTS = (Aim("magnetisation", 0.01),)
#: The original's two numbers are of its two disordered models.
_GLASS = (Aim("total_energy", 0.2, None, None, "0.34 and 0.98"), Aim("recovery", 0.99))


def aims(results: Mapping[str, Any]) -> tuple[Aim, ...]:
    """Return what is to be reached with a model trained on a lattice; nothing for any other.

    Parameters
    ----------
    results
        ``results.json``: ``model`` (name and parameters, or ``None``), ``shape`` and ``sites``.
    """
    name, parameters, plain = _model(results)
    shape, q = list(results["shape"]), parameters.get("q")
    if name == "ising" and shape == [8, 8] and plain:
        return _ISING
    if name == "potts" and q == 3 and len(shape) == 2 and plain:
        return _POTTS
    if name in ("edwards_anderson", "all_to_all") and results["sites"] == 64:
        return _GLASS
    return ()


def critical_temperature(results: Mapping[str, Any]) -> float | None:
    """Return the exact critical temperature of the infinite lattice, where this module knows it."""
    name, _, plain = _model(results)
    return CRITICAL_TEMPERATURE if name == "ising" and len(results["shape"]) == 2 and plain else None


def _model(results: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any], bool]:
    """Return name and parameters of the model, and whether J = 1 without field."""
    model = results.get("model") or {}
    parameters = model.get("parameters") or model
    plain = parameters.get("J") in (None, 1.0) and parameters.get("field") in (None, 0.0)
    return model.get("name"), parameters, plain
