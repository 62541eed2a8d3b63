"""All states of a small model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import order_parameter
from mlpot.lattice.hamiltonian import Hamiltonian
from mlpot.lattice.thermodynamics import CanonicalPoint

#: The most states that are enumerated: 16 million, a few hundred MB.
LARGEST = 1 << 24
_CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Enumeration:
    r"""Energy and order parameter of every state of a model.

    Attributes
    ----------
    model
        The Hamiltonian.
    energies : (q^N,) float64
        State k has the digits of k in base q, the first site first; :meth:`states` decodes them.
    magnetisations : (q^N,) float64
        :func:`~mlpot.lattice.alphabet.order_parameter` (clock form for clock models).
    """

    model: Hamiltonian
    energies: np.ndarray
    magnetisations: np.ndarray

    def states(self, numbers: np.ndarray) -> np.ndarray:
        r"""Return states by their numbers, (len(numbers), \*shape) int8."""
        return _decode(np.asarray(numbers), self.model)

    def numbers(self, states: np.ndarray) -> np.ndarray:
        r"""Return the numbers of states (samples, \*shape), (samples,) int64."""
        n, q = self.model.lattice.sites, self.model.q
        return states.reshape(-1, n).astype(np.int64) @ (q ** np.arange(n - 1, -1, -1, dtype=np.int64))

    def log_z(self, temperature: float) -> float:
        """Return ln Z."""
        return float(logsumexp(-self.energies / temperature))

    def probabilities(self, temperature: float) -> np.ndarray:
        """Return the probability of every state, (q^N,) float64."""
        return np.exp(-self.energies / temperature - self.log_z(temperature))

    def at(self, temperature: float) -> CanonicalPoint:
        """Return exact thermodynamics at a temperature."""
        p = self.probabilities(temperature)
        n = self.model.lattice.sites
        e, m = self.energies / n, self.magnetisations
        energy, magnetisation = float(p @ e), float(p @ m)
        square, fourth = float(p @ m**2), float(p @ m**4)
        free_energy = -temperature * self.log_z(temperature) / n
        return CanonicalPoint(
            temperature=temperature,
            energy=energy,
            heat_capacity=n * float(p @ (e - energy) ** 2) / temperature**2,
            free_energy=free_energy,
            entropy=(energy - free_energy) / temperature,
            magnetisation=magnetisation,
            susceptibility=n * (square - magnetisation**2) / temperature,
            binder=1 - fourth / (3 * square**2),
        )

    def levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the distinct energies, rising, and how many states have each (tolerance 1e-9)."""
        values, inverse = np.unique(np.round(self.energies, 9), return_inverse=True)
        return values, np.bincount(inverse)


def enumerate_states(model: Hamiltonian) -> Enumeration:
    """Return all states of a model.

    Raises
    ------
    LatticeError
        For more than 2^24 states.
    """
    total = model.q**model.lattice.sites
    if total > LARGEST:
        raise LatticeError(
            f"{model.name} {model.lattice.shape}: {total:.3g} states; at most 2^24 are enumerated."
        )
    energies, magnetisations = np.empty(total), np.empty(total)
    form = "clock" if model.form == "clock" else "standard"
    for start in range(0, total, _CHUNK):
        stop = min(total, start + _CHUNK)
        states = _decode(np.arange(start, stop), model)
        energies[start:stop] = model.energy(states)
        magnetisations[start:stop] = order_parameter(states, model.q, form)
    return Enumeration(model, energies, magnetisations)


def _decode(numbers: np.ndarray, model: Hamiltonian) -> np.ndarray:
    powers = model.q ** np.arange(model.lattice.sites - 1, -1, -1, dtype=np.int64)
    digits = numbers[:, None] // powers % model.q
    return digits.astype(np.int8).reshape(-1, *model.lattice.shape)
