"""How long a sampler takes to forget: pilot runs, and what is told of correlations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import order_parameter
from mlpot.lattice.autocorrelation import AutocorrelationTime, integrated_time
from mlpot.lattice.hamiltonian import Hamiltonian

#: Called with the samples made and wanted.
Progress = Callable[[int, int], None]
#: Attempted flips between two calls of it: a fraction of a second.
PORTION = 1 << 24
#: Steps of the first pilot run; it grows until the autocorrelation times are resolved.
_PILOT = 2_000
#: Attempted flips after which a pilot gives up.
_PILOT_FLIPS = 1e9


def check_temperature(temperature: float) -> float:
    """Return a temperature; :class:`LatticeError` unless it is positive and finite."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise LatticeError(f"temperature: {temperature}; it is a positive number (J/k_B).")
    return float(temperature)


def pilot(
    observed: Callable[[int, int], dict[str, np.ndarray]], flips: int, subject: str, remedy: str
) -> dict[str, AutocorrelationTime]:
    """Return autocorrelation times in steps, from runs that grow until they resolve them.

    Parameters
    ----------
    observed
        Advances by a number of records, a number of steps apart, and returns series (records, chains).
    flips
        Attempted flips in a step of all chains.
    subject, remedy
        For the message of the :class:`LatticeError` when the times stay out of reach.
    """
    steps = max(200, min(_PILOT, PORTION // flips))
    while True:
        # At most 4000 records whatever the length: a stride below the resolved time loses little.
        stride = math.ceil(steps / 4000)
        records = steps // stride
        # The first quarter does not count: it may remember the start.
        times = {
            name: integrated_time(values[records // 4 :])
            for name, values in observed(records, stride).items()
        }
        if all(time.is_resolved for time in times.values()):
            return {name: time.scaled(stride) for name, time in times.items()}
        if steps * flips > _PILOT_FLIPS:
            slowest = max(time.tau for time in times.values())
            raise LatticeError(
                f"{subject} does not decorrelate within {steps} steps (autocorrelation time "
                f"{slowest * stride:.0f} or more); take {remedy}."
            )
        steps *= 4


def observe(model: Hamiltonian, states: np.ndarray) -> dict[str, np.ndarray]:
    r"""Return energy and order parameter of configurations (times, chains, \*shape): (times, chains) each."""
    flat = states.reshape(-1, *model.lattice.shape)
    form = "clock" if model.form == "clock" else "standard"
    return {
        "energy": model.energy(flat).reshape(states.shape[:2]),
        "magnetisation": order_parameter(flat, model.q, form).reshape(states.shape[:2]),
    }


def autocorrelation_facts(
    model: Hamiltonian, states: np.ndarray, chains: int, spacing: int, pilot: dict[str, AutocorrelationTime]
) -> dict[str, Any]:
    """Return what is known about correlations as JSON: in steps (pilot), and in the samples delivered."""
    facts: dict[str, Any] = {"spacing": spacing, "steps": {}, "samples": {}}
    for name, time in pilot.items():
        facts["steps"][name] = {"tau": time.tau, "error": time.error}
    times = len(states) // chains
    if times >= 2:
        rows = states[: times * chains].reshape(times, chains, *model.lattice.shape)
        for name, values in observe(model, rows).items():
            time = integrated_time(values)
            facts["samples"][name] = {"tau": time.tau, "error": time.error, "resolved": time.is_resolved}
    return facts


def temperatures_of(values: Sequence[float]) -> list[float]:
    """Return temperatures, each checked; :class:`LatticeError` for none at all."""
    if not len(values):
        raise LatticeError("temperatures: none given.")
    return [check_temperature(value) for value in values]
