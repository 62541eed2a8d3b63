"""Molecular dynamics of silicon through ASE with ``MLPotCalculator``: where the time of a step goes."""

import statistics
import time
from collections.abc import Callable

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from loop import DEVICE, OPTIONS, serve
from models import potential

from mlpot import MLPotCalculator

WARM = 5


class Stopwatch:
    """Seconds of the calls of a function."""

    def __init__(self, function: Callable) -> None:
        self.function, self.seconds = function, []  # type: tuple[Callable, list[float]]

    def __call__(self, *arguments: object, **named: object) -> object:
        """Call it and add the seconds."""
        start = time.perf_counter()
        value = self.function(*arguments, **named)
        self.seconds.append(time.perf_counter() - start)
        return value


def about(cells: int, steps: int) -> dict:
    """Run steps of 1 fs from 300 K; return mean seconds by part and how often the list was built."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(cells)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    calculator = MLPotCalculator(potential(OPTIONS.get("model")), device=DEVICE)
    model = Stopwatch(calculator.model.forward)
    calculator.model.forward = model
    calculate = Stopwatch(calculator.calculate)
    calculator.calculate = calculate
    atoms.calc = calculator
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    step = Stopwatch(lambda: dynamics.run(1))
    for _ in range(WARM + steps):
        step()
    watches = {"step": step, "calculate": calculate, "model": model}
    times = {name: watch.seconds[-steps:] for name, watch in watches.items()}
    outside = [whole - inner for whole, inner in zip(times["calculate"], times["model"], strict=True)]
    return {
        "atoms": len(atoms),
        "steps": steps,
        **{name: statistics.mean(seconds) for name, seconds in times.items()},
        "overhead": statistics.mean(outside) / statistics.mean(times["model"]),
        "builds": calculator.neighbours.builds,
    }


serve(lambda **what: lambda: None, about)
