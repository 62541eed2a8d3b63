"""What is known of a true model: exact curves where there are any, and Monte Carlo of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import order_parameter
from mlpot.lattice.exact.enumeration import Enumeration, enumerate_states
from mlpot.lattice.exact.square_ising import kaufman
from mlpot.lattice.exact.transfer import LARGEST, strip
from mlpot.lattice.hamiltonian import Hamiltonian
from mlpot.lattice.sampling import choose_method, sample
from mlpot.lattice.study.points import curve, exact, hot_anchor, ladder
from mlpot.lattice.tempering import sample_tempered
from mlpot.lattice.thermodynamics import CanonicalPoint, default_form

#: States that are enumerated without a second thought.
_ENUMERATED = 1 << 20


def exact_kind(model: Hamiltonian) -> str | None:
    """Return how a model's thermodynamics are known exactly; ``None`` if they are not."""
    shape = model.lattice.shape
    if model.lattice.sites * np.log2(model.q) <= np.log2(_ENUMERATED):
        return "enumeration"
    parameters = model.parameters
    if model.name == "ising" and len(shape) == 2 and parameters == {"J": 1.0, "field": 0.0}:
        return "kaufman"
    width = shape[1] if len(shape) == 2 else 1
    if model.name in ("ising", "potts") and len(shape) <= 2 and model.q**width <= min(LARGEST, 1024):
        return "transfer matrix"
    return None


def exact_point(model: Hamiltonian, temperature: float, states: Enumeration | None = None) -> CanonicalPoint:
    """Return exact thermodynamics at a temperature; :class:`LatticeError` where there are none."""
    kind = exact_kind(model)
    if kind == "enumeration":
        return (states or enumerate_states(model)).at(temperature)
    if kind == "kaufman":
        return kaufman(model.lattice.shape, temperature)
    if kind == "transfer matrix":
        return strip(model, temperature)
    raise LatticeError(f"{model.name} {model.lattice.shape}: no exact thermodynamics are known here.")


def exact_entropy(model: Hamiltonian | None, temperature: float) -> float | None:
    """Return the entropy of a whole lattice in nats, ``None`` where it is not known."""
    if model is None or exact_kind(model) is None:
        return None
    return exact_point(model, temperature).entropy * model.lattice.sites


def mean_random_energy(model: Hamiltonian | None) -> float:
    """Return the mean energy of uniformly random states, exactly; 0 if the model is unknown."""
    if model is None:
        return 0.0
    bonds = float(model.couplings.sum()) / 2
    return -bonds * float(model.kernel.mean()) - float(model.field.mean(axis=1).sum()) + 0.0


def truth(
    model: Hamiltonian, temperatures: Sequence[float], samples: int, seed: int, free_energy: bool = True
) -> list[dict[str, Any]]:
    """Return curves of a true model, ``{"kind", "points", "missing"}`` each.

    The exact one where there is one, without magnetisation unless states are enumerated, and then
    Monte Carlo: cluster moves where they work, otherwise parallel tempering, ``samples`` at each
    temperature, free energies from near infinite temperature on.
    """
    curves: list[dict[str, Any]] = []
    kind = exact_kind(model)
    if kind is not None:
        states = enumerate_states(model) if kind == "enumeration" else None
        points = [exact(exact_point(model, t, states)) for t in temperatures]
        curves.append({"kind": kind, "points": points, "missing": []})
    if kind == "enumeration" or not samples:
        return curves
    rungs = ladder(temperatures, None, free_energy)
    chains = 8
    count = max(samples, 40 * chains) // chains * chains
    form = default_form(model)
    if choose_method(model) == "tempering":
        sets = sample_tempered(model, rungs, count, seed, chains=chains)
        kind = "tempering"
    else:
        sets = [sample(model, t, count, chains=chains, seed=seed + k) for k, t in enumerate(rungs)]
        kind = "monte carlo"
    energies = [model.energy(one.states) for one in sets]
    magnetisations = [order_parameter(one.states, model.q, form) for one in sets]
    sites = model.lattice.sites
    anchor = hot_anchor(energies[-1], sites, model.q) if free_energy else None
    points, missing = curve(rungs, energies, magnetisations, chains, sites, temperatures, anchor)
    curves.append({"kind": kind, "points": points, "missing": missing})
    return curves
