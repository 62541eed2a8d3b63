"""Compiled Monte Carlo moves for any Hamiltonian of pair couplings.

All kernels take configurations (chains, N) int8 with one generator per chain, change both in place,
and write ``records`` configurations, ``spacing`` steps apart, to ``out`` (records, chains, N). The
model is (neighbours, couplings, kernel, field) as in :class:`~mlpot.lattice.hamiltonian.Hamiltonian`.
One step is N attempted flips, except for Wolff, where it is one cluster.
"""

from __future__ import annotations

import numpy as np

from mlpot.lattice.compiled import below, compiled, next_word, uniform

#: Probability to propose a flip when sites of two states are visited in a fixed order.
PROPOSED = 15 / 16


@compiled
def local_gain(
    state: np.ndarray, site: int, new: int, neighbours: np.ndarray, couplings: np.ndarray, kernel: np.ndarray,
    field: np.ndarray,
) -> float:  # fmt: skip
    """Return by how much -E grows when a site of a configuration (N,) turns to ``new``."""
    old = state[site]
    gain = field[site, new] - field[site, old]
    for slot in range(neighbours.shape[1]):
        other = neighbours[site, slot]
        if other >= 0:
            there = state[other]
            gain += couplings[site, slot] * (kernel[new, there] - kernel[old, there])
    return gain


@compiled
def total_energy(
    state: np.ndarray, neighbours: np.ndarray, couplings: np.ndarray, kernel: np.ndarray, field: np.ndarray
) -> float:
    """Return the energy of a configuration (N,)."""
    energy = 0.0
    for site in range(len(state)):
        energy -= field[site, state[site]]
        for slot in range(neighbours.shape[1]):
            other = neighbours[site, slot]
            if other > site:
                energy -= couplings[site, slot] * kernel[state[site], state[other]]
    return energy


@compiled
def metropolis(
    states: np.ndarray, generators: np.ndarray, out: np.ndarray, spacing: int, beta: float, order: np.ndarray,
    neighbours: np.ndarray, couplings: np.ndarray, kernel: np.ndarray, field: np.ndarray,
) -> int:  # fmt: skip
    """Run Metropolis flips over the sites of ``order`` (N,), or random sites if it is empty.

    A proposal is one of the other q - 1 states. N. Metropolis et al., J. Chem. Phys. 21, 1087 (1953).
    For q = 2 in a fixed order, one of 16 flips is not even proposed: flips that cost nothing would
    always be accepted, and some configurations (stripes) go round in a circle of them for ever.
    Returns the number of accepted flips.
    """
    n, q = states.shape[1], len(kernel)
    at_random = len(order) == 0
    eager = at_random or q > 2
    proposed = 1.0 if eager else PROPOSED
    accepted = 0
    for chain in range(states.shape[0]):
        state, generator = states[chain], generators[chain]
        for record in range(out.shape[0]):
            for _ in range(spacing):
                for attempt in range(n):
                    site = below(generator, n) if at_random else order[attempt]
                    new = 1 - state[site] if q == 2 else (state[site] + 1 + below(generator, q - 1)) % q
                    gain = beta * local_gain(state, site, new, neighbours, couplings, kernel, field)
                    if (gain >= 0 and eager) or uniform(generator) < proposed * np.exp(min(0.0, gain)):
                        state[site] = new
                        accepted += 1
            out[record, chain] = state
    return accepted


@compiled
def tabled_flips(
    states: np.ndarray, generators: np.ndarray, out: np.ndarray, spacing: int, order: np.ndarray,
    neighbours: np.ndarray, strides: np.ndarray, thresholds: np.ndarray,
) -> int:  # fmt: skip
    """Flip two-state sites with probabilities from a table: Metropolis or heat bath of a uniform model.

    A neighbourhood has the number sum of ``strides`` (K,) times states around; ``thresholds`` (2,
    numbers) uint64 hold 2^40 times the probability to flip a site in each state. The word that decides
    also chooses the site, by its upper 24 bits; the generator lives in registers. Returns the
    number of flips.
    """
    n, width = states.shape[1], neighbours.shape[1]
    at_random = len(order) == 0
    flips = 0
    for chain in range(states.shape[0]):
        state = states[chain]
        s0, s1, s2, s3 = generators[chain]
        for record in range(out.shape[0]):
            for _ in range(spacing):
                for attempt in range(n):
                    total = s0 + s3  # next_word()
                    word = ((total << np.uint64(23)) | (total >> np.uint64(41))) + s0
                    shifted = s1 << np.uint64(17)
                    s2 ^= s0
                    s3 ^= s1
                    s1 ^= s2
                    s0 ^= s3
                    s2 ^= shifted
                    s3 = (s3 << np.uint64(45)) | (s3 >> np.uint64(19))
                    if at_random:
                        site = ((word >> np.uint64(40)) * np.uint64(n)) >> np.uint64(24)
                    else:
                        site = np.uint64(order[attempt])
                    number = np.uint64(0)  # unsigned: a negative index would have to be looked for
                    for slot in range(width):
                        around = np.uint64(state[np.uint64(neighbours[site, slot])])
                        number += np.uint64(strides[slot]) * around
                    here = state[site]
                    flip = (word & np.uint64(0xFFFFFFFFFF)) < thresholds[here, number]
                    state[site] = here ^ flip
                    flips += flip
            out[record, chain] = state
        generators[chain, 0], generators[chain, 1] = s0, s1
        generators[chain, 2], generators[chain, 3] = s2, s3
    return flips


@compiled
def heat_bath(
    states: np.ndarray, generators: np.ndarray, out: np.ndarray, spacing: int, beta: float, order: np.ndarray,
    neighbours: np.ndarray, couplings: np.ndarray, kernel: np.ndarray, field: np.ndarray,
) -> int:  # fmt: skip
    """Draw sites from their conditional distribution, in the order of ``order`` or at random if empty.

    Glauber's dynamics for q = 2. Returns the number of sites that changed.
    """
    n, q = states.shape[1], len(kernel)
    at_random = len(order) == 0
    weights = np.empty(q)
    changed = 0
    for chain in range(states.shape[0]):
        state, generator = states[chain], generators[chain]
        for record in range(out.shape[0]):
            for _ in range(spacing):
                for attempt in range(n):
                    site = below(generator, n) if at_random else order[attempt]
                    old = state[site]
                    if q == 2:
                        gain = beta * local_gain(state, site, 1 - old, neighbours, couplings, kernel, field)
                        if uniform(generator) * (1 + np.exp(-gain)) < 1:
                            state[site] = 1 - old
                            changed += 1
                        continue
                    weights[:] = field[site]
                    for slot in range(neighbours.shape[1]):
                        other = neighbours[site, slot]
                        if other >= 0:
                            for new in range(q):
                                weights[new] += couplings[site, slot] * kernel[new, state[other]]
                    largest, total = weights.max(), 0.0
                    for new in range(q):
                        total += np.exp(beta * (weights[new] - largest))
                        weights[new] = total
                    drawn = uniform(generator) * total
                    new = 0
                    while weights[new] <= drawn and new < q - 1:
                        new += 1
                    state[site] = new
                    changed += new != old
            out[record, chain] = state
    return changed


@compiled
def wolff(
    states: np.ndarray, generators: np.ndarray, out: np.ndarray, spacing: int, beta: float,
    reflections: np.ndarray, moving: np.ndarray,
    neighbours: np.ndarray, couplings: np.ndarray, kernel: np.ndarray,
) -> int:  # fmt: skip
    """Grow one cluster per step from a random site and reflect it.

    U. Wolff, Phys. Rev. Lett. 62, 361 (1989), with reflections R of the alphabet that leave the
    kernel alone (all swaps of two colours, or the mirrors of a clock): a bond joins with probability
    1 - exp(-beta J (K[a, b] - K[a, R b])). ``reflections`` (R, q); ``moving`` (q, q - 1): those that
    move a state. Returns the number of sites in all clusters.
    """
    n = states.shape[1]
    stack = np.empty(n, np.int64)
    joined = np.zeros(n, np.int64)  # the last cluster of each site
    cluster, flipped = 0, 0
    for chain in range(states.shape[0]):
        state, generator = states[chain], generators[chain]
        for record in range(out.shape[0]):
            for _ in range(spacing):
                seed = below(generator, n)
                choices = moving[state[seed]]
                mirror = reflections[choices[below(generator, len(choices))]]
                # A site is reflected when it joins. Those that the mirror leaves alone never join.
                stack[0], size = seed, 1
                state[seed] = mirror[state[seed]]
                cluster += 1
                joined[seed] = cluster
                flipped += 1
                while size:
                    size -= 1
                    site = stack[size]
                    after = state[site]
                    before = mirror[after]
                    for slot in range(neighbours.shape[1]):
                        other = neighbours[site, slot]
                        if other < 0 or joined[other] == cluster:
                            continue
                        there = state[other]
                        gap = couplings[site, slot] * (kernel[before, there] - kernel[after, there])
                        if gap > 0 and uniform(generator) < -np.expm1(-beta * gap):
                            state[other] = mirror[there]
                            joined[other] = cluster
                            stack[size] = other
                            size += 1
                            flipped += 1
            out[record, chain] = state
    return flipped


@compiled
def _root(parent: np.ndarray, site: int) -> int:
    while parent[site] != site:
        parent[site] = parent[parent[site]]
        site = parent[site]
    return site


@compiled
def swendsen_wang(
    states: np.ndarray, generators: np.ndarray, out: np.ndarray, spacing: int, beta: float,
    reflections: np.ndarray, recolour: bool,
    neighbours: np.ndarray, couplings: np.ndarray, kernel: np.ndarray,
) -> int:  # fmt: skip
    """Join bonds to clusters and redraw each cluster.

    R. H. Swendsen and J.-S. Wang, Phys. Rev. Lett. 58, 86 (1987). With ``recolour`` (all pairs of
    different states have the same energy, no J < 0) each cluster gets any colour; otherwise a
    random reflection, as in :func:`wolff`, is applied to half of them. Returns the number of clusters.
    """
    n, q = states.shape[1], len(kernel)
    parent = np.empty(n, np.int64)
    fresh = np.empty(n, np.int8)
    clusters = 0
    for chain in range(states.shape[0]):
        state, generator = states[chain], generators[chain]
        for record in range(out.shape[0]):
            for _ in range(spacing):
                mirror = reflections[below(generator, len(reflections))]
                for site in range(n):
                    parent[site] = site
                for site in range(n):
                    here = state[site]
                    for slot in range(neighbours.shape[1]):
                        other = neighbours[site, slot]
                        if other <= site:
                            continue
                        there = state[other]
                        if recolour:
                            gap = kernel[0, 0] - kernel[0, 1] if here == there else 0.0
                        else:
                            gap = kernel[here, there] - kernel[here, mirror[there]]
                        gap *= couplings[site, slot]
                        if gap > 0 and uniform(generator) < -np.expm1(-beta * gap):
                            one, two = _root(parent, site), _root(parent, other)
                            parent[max(one, two)] = min(one, two)
                for site in range(n):  # a root comes before the rest of its cluster
                    root = _root(parent, site)
                    if root == site:
                        clusters += 1
                        fresh[site] = (
                            below(generator, q) if recolour else next_word(generator) >> np.uint64(63)
                        )
                    if recolour:
                        state[site] = fresh[root]
                    elif fresh[root]:
                        state[site] = mirror[state[site]]
            out[record, chain] = state
    return clusters


@compiled
def tempering(
    states: np.ndarray, generators: np.ndarray, out: np.ndarray, energies: np.ndarray, spacing: int,
    betas: np.ndarray, recorded: np.ndarray, swaps: np.ndarray,
    neighbours: np.ndarray, couplings: np.ndarray, kernel: np.ndarray, field: np.ndarray,
) -> None:  # fmt: skip
    """Run parallel tempering: a heat bath or Metropolis sweep at every temperature, then exchanges.

    K. Hukushima and K. Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996). ``states`` (chains, R, N): the
    configuration at each of ``betas`` (R,); ``generators`` (chains, 4); ``out`` (records, len(recorded),
    chains, N) and ``energies`` (records, R, chains) are written; ``swaps`` (R - 1,) counts accepted
    exchanges, of which half as many as steps are tried.
    """
    replicas, n = states.shape[1], states.shape[2]
    q = len(kernel)
    current = np.empty(replicas)
    for chain in range(states.shape[0]):
        generator = generators[chain]
        for record in range(out.shape[0]):
            for step in range(spacing):
                for replica in range(replicas):
                    state, beta = states[chain, replica], betas[replica]
                    for _ in range(n):
                        site = below(generator, n)
                        new = 1 - state[site] if q == 2 else (state[site] + 1 + below(generator, q - 1)) % q
                        gain = beta * local_gain(state, site, new, neighbours, couplings, kernel, field)
                        if gain >= 0 or uniform(generator) < np.exp(gain):
                            state[site] = new
                    current[replica] = total_energy(state, neighbours, couplings, kernel, field)
                parity = (record * spacing + step) % 2
                for lower in range(parity, replicas - 1, 2):
                    upper = lower + 1
                    gain = (betas[lower] - betas[upper]) * (current[lower] - current[upper])
                    if gain >= 0 or uniform(generator) < np.exp(gain):
                        for site in range(n):
                            kept = states[chain, lower, site]
                            states[chain, lower, site] = states[chain, upper, site]
                            states[chain, upper, site] = kept
                        current[lower], current[upper] = current[upper], current[lower]
                        swaps[lower] += 1
            for index in range(len(recorded)):
                out[record, index, chain] = states[chain, recorded[index]]
            for replica in range(replicas):
                energies[record, replica, chain] = current[replica]
