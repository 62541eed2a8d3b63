"""Configurations spread uniformly over all energies, to judge learned energies by.

A random walk that is flat in energy (F. Wang and D. P. Landau, Phys. Rev. Lett. 86, 2050 (2001), with
the 1/t rule of R. E. Belardinelli and V. D. Pereyra, J. Chem. Phys. 127, 184105 (2007)) finds the
density of states from the true energies alone; a second walk with fixed weights then collects
configurations of every level, the highest as well as the lowest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.compiled import below, compiled, generator_states, uniform
from mlpot.lattice.hamiltonian import Hamiltonian
from mlpot.lattice.kernels import local_gain, total_energy

#: Attempted flips per level of the first walk, and of the second at most per configuration.
_EXPLORE = 200_000
_COLLECT = 200_000


@dataclass(frozen=True, eq=False)
class Spread:
    r"""Configurations of all energies.

    Attributes
    ----------
    states : (count, \*shape) int8
        In random order.
    energies : (count,) float64
        True energies, units of J.
    levels : (levels,) float64
        Middles of the energy levels (bins) that occur, rising.
    log_density : (levels,) float64
        ln of the number of states of each level as the walk estimated it, normalised to q^N in all.
    """

    states: np.ndarray
    energies: np.ndarray
    levels: np.ndarray
    log_density: np.ndarray


def spread_states(model: Hamiltonian, count: int, seed: int = 0, width: float | None = None) -> Spread:
    """Return configurations with equally many at each energy level.

    The remainder of ``count`` over the levels goes to levels at random. Levels of few states, such
    as the two ground states of a ferromagnet, repeat theirs.

    Parameters
    ----------
    model
        The Hamiltonian.
    count
        Configurations.
    seed
        The same seed gives the same ones.
    width
        Of an energy level; by default what one broken bond costs where all couplings are equal, so
        that levels are single energies, otherwise 1/(2N) of the range that is conceivable.

    Raises
    ------
    LatticeError
        For a count or width that is not positive, and if a level is too rare to be collected.
    """
    if count < 1:
        raise LatticeError(f"count: {count} is not positive.")
    n = model.lattice.sites
    bound = float(np.abs(model.couplings).sum() / 2 * np.abs(model.kernel).max())
    bound += float(np.abs(model.field).max(axis=1).sum())
    bonds = np.abs(model.couplings[model.neighbours >= 0])
    if width is None:
        steps = np.unique(np.round(np.diff(np.unique(model.kernel)), 9))
        alike = len(bonds) and (bonds == bonds[0]).all() and len(steps) == 1 and not model.field.any()
        width = float(bonds[0] * steps[0]) if alike else bound / n
    if not width > 0:
        raise LatticeError(f"width: {width} is not positive.")
    # Bins have the lowest conceivable energy in the middle of the first.
    lowest = -bound - width / 2
    bins = int(np.floor((bound - lowest) / width)) + 1
    generator = generator_states(seed, 1)[0]
    random = np.random.default_rng(generator[0])
    state = random.integers(0, model.q, n, dtype=np.int8)
    tables = (model.neighbours, model.couplings, model.kernel, model.field)
    weights, seen = np.zeros(bins), np.zeros(bins, dtype=np.bool_)
    _explore(state, generator, weights, seen, lowest, width, _EXPLORE, *tables)

    occupied = np.flatnonzero(seen)
    quota = np.zeros(bins, dtype=np.int64)
    quota[occupied] = count // len(occupied)
    quota[random.choice(occupied, count % len(occupied), replace=False)] += 1
    states = np.empty((count, n), dtype=np.int8)
    missing = quota.copy()
    found = _collect(
        state, generator, weights, seen, missing, states, lowest, width, _COLLECT * max(count, bins), *tables
    )
    if found < count:
        level = lowest + (np.flatnonzero(missing)[0] + 0.5) * width
        raise LatticeError(
            f"{model.name}: {count - found} of {count} configurations could not be found, first at energy "
            f"{level:.4g}; ask for fewer, or for wider levels (width: {width:.4g})."
        )
    states = states[random.permutation(count)].reshape(count, *model.lattice.shape)
    log_density = weights[occupied] - weights[occupied].max()
    log_density += n * np.log(model.q) - np.log(np.exp(log_density).sum())
    return Spread(states, model.energy(states), lowest + (occupied + 0.5) * width, log_density)


@compiled
def _explore(
    state: np.ndarray, generator: np.ndarray, weights: np.ndarray, seen: np.ndarray,
    lowest: float, width: float, flips_per_level: int,
    neighbours: np.ndarray, couplings: np.ndarray, kernel: np.ndarray, field: np.ndarray,
) -> None:  # fmt: skip
    """Walk with weights that grow where it is; they end as ln of the density of states."""
    n, q = len(state), len(kernel)
    energy = total_energy(state, neighbours, couplings, kernel, field)
    here = int((energy - lowest) / width)
    seen[here] = True
    levels, increment, fixed = 1, 1.0, False
    visited = np.zeros(len(weights), np.bool_)
    unvisited = 1
    step, last = 0, 0
    # The clock of the 1/t rule starts anew when a level is found: its weight has to catch up.
    while step - last < flips_per_level * levels:
        step += 1
        site = below(generator, n)
        new = 1 - state[site] if q == 2 else (state[site] + 1 + below(generator, q - 1)) % q
        after = energy - local_gain(state, site, new, neighbours, couplings, kernel, field)
        there = int((after - lowest) / width)
        if not seen[there]:
            seen[there] = True
            weights[there] = weights[here]
            levels += 1
            unvisited += 1
            last = step
            increment = max(increment, 1e-3)
            fixed = False
        if weights[there] <= weights[here] or uniform(generator) < np.exp(weights[here] - weights[there]):
            state[site] = new
            energy = after
            here = there
        weights[here] += increment
        if not visited[here]:
            visited[here] = True
            unvisited -= 1
        if fixed:
            increment = levels / (step - last)
        elif unvisited == 0:
            increment /= 2
            visited[:] = False
            unvisited = levels
            fixed = step > last and increment < levels / (step - last)
        if step % 1000000 == 0:  # rounding errors must not add up
            energy = total_energy(state, neighbours, couplings, kernel, field)


@compiled
def _collect(
    state: np.ndarray, generator: np.ndarray, weights: np.ndarray, seen: np.ndarray, missing: np.ndarray,
    states: np.ndarray, lowest: float, width: float, most: int,
    neighbours: np.ndarray, couplings: np.ndarray, kernel: np.ndarray, field: np.ndarray,
) -> int:  # fmt: skip
    """Walk with fixed weights and keep configurations of levels that miss some, N flips apart in each."""
    n, q = len(state), len(kernel)
    energy = total_energy(state, neighbours, couplings, kernel, field)
    here = int((energy - lowest) / width)
    kept_at = np.full(len(weights), -n)
    found = 0
    for step in range(most):
        site = below(generator, n)
        new = 1 - state[site] if q == 2 else (state[site] + 1 + below(generator, q - 1)) % q
        after = energy - local_gain(state, site, new, neighbours, couplings, kernel, field)
        there = int((after - lowest) / width)
        # A level that the first walk never saw has no weight: the walk stays out.
        if seen[there] and uniform(generator) < np.exp(min(0.0, weights[here] - weights[there])):
            state[site] = new
            energy = after
            here = there
        if missing[here] and step - kept_at[here] >= n:
            states[found] = state
            found += 1
            missing[here] -= 1
            kept_at[here] = step
            if found == len(states):
                break
        if step % 1000000 == 999999:
            energy = total_energy(state, neighbours, couplings, kernel, field)
    return found
