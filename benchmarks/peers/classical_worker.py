"""Energy, forces and stress of rattled silicon with matscipy's Stillinger-Weber, the classical yardstick.

A call is what an MD step asks of the calculator, the neighbour list included.
"""

from collections.abc import Callable
from importlib.metadata import version

from ase.calculators.calculator import all_changes
from loop import serve, silicon

from mlpot.reference.classical import classical_calculator


def prepare(cells: int, replicas: int = 1) -> Callable[[], object]:
    """Return the call."""
    atoms, calculator = silicon(cells), classical_calculator("sw-si")
    return lambda: [
        calculator.calculate(atoms, ["energy", "forces", "stress"], all_changes) for _ in range(replicas)
    ]


def about(**what: int) -> dict:
    """Return what the contestant is."""
    return {"parameters": 0, "version": version("matscipy")}


serve(prepare, about)
