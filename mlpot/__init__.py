"""mlpot: machine-learned interatomic potentials that carry what they learned to the next element.

``mlpot.load(path_or_name)`` returns a :class:`~mlpot.model.potential.Potential`, and
``mlpot.MLPotCalculator(path_or_potential)`` puts one behind ASE. Both are imported when they
are first asked for, so that ``import mlpot`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlpot.model.file import load_model as load
    from mlpot.model.potential import Potential
    from mlpot.simulation.calculator import MLPotCalculator

__version__ = "0.1.0"

__all__ = ["MLPotCalculator", "Potential", "__version__", "load"]

_LAZY = {
    "load": ("mlpot.model.file", "load_model"),
    "Potential": ("mlpot.model.potential", "Potential"),
    "MLPotCalculator": ("mlpot.simulation.calculator", "MLPotCalculator"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mlpot' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
