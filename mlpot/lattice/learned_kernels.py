"""Compiled loops of Monte Carlo with learned energies: one turned site costs O(1)."""

from __future__ import annotations

import numpy as np

from mlpot.lattice.compiled import below, compiled, uniform


@compiled(inline="always")
def _proposal(state: np.ndarray, old: int, q: int) -> int:
    """Return one of the other states, all alike."""
    if q == 2:
        return 1 - old
    new = below(state, q - 1)
    return new if new < old else new + 1


@compiled()
def metropolis_table(
    states: np.ndarray, energies: np.ndarray, random: np.ndarray, beta: np.ndarray, sweeps: int,
    visits: np.ndarray, q: int, tiles: np.ndarray, slots: np.ndarray, place: np.ndarray,
    table: np.ndarray, weight: float,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """Turn sites with the energy of tiles in a table.

    ``states`` (C, N) int8, ``energies`` (C,) and ``random`` (C, 4) are changed in place; ``beta``
    (C,) inverse temperatures of either sign; ``visits`` (N,) the order of a sweep, empty: random
    sites; ``tiles`` (T, S) sites, ``slots`` (N, K) tiles of a site (-1 pads), ``place`` (N, K) its
    slot in them. Returns accepted turns (C,) and the number of tiles looked up.
    """
    chains, sites = states.shape
    own = table.shape[0] > 1
    powers = np.empty(tiles.shape[1], np.int64)
    powers[0] = 1
    for slot in range(1, tiles.shape[1]):
        powers[slot] = powers[slot - 1] * q
    codes = np.empty(tiles.shape[0], np.int64)
    accepted = np.zeros(chains, np.int64)
    looked_up = 0
    for chain in range(chains):
        for tile in range(tiles.shape[0]):
            code = 0
            for slot in range(tiles.shape[1]):
                code += states[chain, tiles[tile, slot]] * powers[slot]
            codes[tile] = code
        stream = random[chain].copy()
        energy = energies[chain]
        for step in range(sweeps * sites):
            site = visits[step % sites] if visits.size else below(stream, sites)
            old = np.int64(states[chain, site])
            new = _proposal(stream, old, q)
            change = 0.0
            for k in range(slots.shape[1]):
                tile = slots[site, k]
                if tile < 0:
                    break
                row = tile if own else 0
                code = codes[tile]
                change += table[row, code + (new - old) * powers[place[site, k]]] - table[row, code]
                looked_up += 1
            change *= weight
            exponent = -beta[chain] * change
            if exponent >= 0 or uniform(stream) < np.exp(exponent):
                states[chain, site] = new
                energy += change
                accepted[chain] += 1
                for k in range(slots.shape[1]):
                    tile = slots[site, k]
                    if tile < 0:
                        break
                    codes[tile] += (new - old) * powers[place[site, k]]
        energies[chain] = energy
        random[chain] = stream
    return accepted, looked_up


@compiled(fastmath={"reassoc", "contract", "nsz"})
def _tile_energy(
    digits: np.ndarray, row: int, first: np.ndarray, stack: np.ndarray, layers: np.ndarray,
    biases: np.ndarray, widths: np.ndarray, pairs: np.ndarray, constant: np.ndarray,
    x: np.ndarray, y: np.ndarray,
) -> float:  # fmt: skip
    """Return the energy of one tile; ``x`` and ``y`` are room for the hidden layers."""
    result = constant[row]
    slots = digits.size
    for i in range(slots):
        for j in range(i + 1, slots):
            result += pairs[row, i, j, digits[i], digits[j]]
    images, depth = first.shape[1], widths.size - 1
    for image in range(images):
        one = stack[image]
        for h in range(widths[0]):
            x[h] = biases[row, one, 0, h]
        for slot in range(slots):
            for h in range(widths[0]):
                x[h] += first[row, image, slot, digits[slot], h]
        for level in range(depth):
            for h in range(widths[level + 1]):
                y[h] = biases[row, one, level + 1, h]
            for i in range(widths[level]):
                value = x[i] / (1.0 + np.exp(-x[i]))
                for h in range(widths[level + 1]):
                    y[h] += value * layers[row, one, level, i, h]
            for h in range(widths[level + 1]):
                x[h] = y[h]
        result += x[0] / images
    return result


@compiled()
def metropolis_network(
    states: np.ndarray, energies: np.ndarray, random: np.ndarray, beta: np.ndarray, sweeps: int,
    visits: np.ndarray, q: int, tiles: np.ndarray, slots: np.ndarray, place: np.ndarray,
    first: np.ndarray, stack: np.ndarray, layers: np.ndarray, biases: np.ndarray,
    widths: np.ndarray, pairs: np.ndarray, constant: np.ndarray, weight: float,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """Turn sites with the energy of tiles from a network; as :func:`metropolis_table`."""
    chains, sites = states.shape
    own = first.shape[0] > 1
    current = np.empty(tiles.shape[0])
    trial = np.empty(slots.shape[1])
    digits = np.empty(tiles.shape[1], np.int64)
    x, y = np.zeros(first.shape[4]), np.zeros(first.shape[4])
    accepted = np.zeros(chains, np.int64)
    evaluated = 0
    for chain in range(chains):
        for tile in range(tiles.shape[0]):
            for slot in range(tiles.shape[1]):
                digits[slot] = states[chain, tiles[tile, slot]]
            row = tile if own else 0
            current[tile] = _tile_energy(
                digits, row, first, stack, layers, biases, widths, pairs, constant, x, y
            )
        stream = random[chain].copy()
        energy = energies[chain]
        for step in range(sweeps * sites):
            site = visits[step % sites] if visits.size else below(stream, sites)
            old = np.int64(states[chain, site])
            new = _proposal(stream, old, q)
            change = 0.0
            for k in range(slots.shape[1]):
                tile = slots[site, k]
                if tile < 0:
                    break
                for slot in range(tiles.shape[1]):
                    digits[slot] = states[chain, tiles[tile, slot]]
                digits[place[site, k]] = new
                row = tile if own else 0
                trial[k] = _tile_energy(
                    digits, row, first, stack, layers, biases, widths, pairs, constant, x, y
                )
                change += trial[k] - current[tile]
                evaluated += 1
            change *= weight
            exponent = -beta[chain] * change
            if exponent >= 0 or uniform(stream) < np.exp(exponent):
                states[chain, site] = new
                energy += change
                accepted[chain] += 1
                for k in range(slots.shape[1]):
                    if slots[site, k] < 0:
                        break
                    current[slots[site, k]] = trial[k]
        energies[chain] = energy
        random[chain] = stream
    return accepted, evaluated


@compiled()
def metropolis_pairs(
    states: np.ndarray, energies: np.ndarray, random: np.ndarray, beta: np.ndarray, sweeps: int,
    visits: np.ndarray, q: int, neighbours: np.ndarray, kinds: np.ndarray, matrices: np.ndarray,
    fields: np.ndarray,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """Turn sites with an energy of pairs; as :func:`metropolis_table`, and returns pairs looked up.

    ``neighbours`` (N, K) with -1 for none, ``kinds`` (N, K) numbers of ``matrices`` (kinds, q, q),
    ``fields`` (N, q): the energy of a site is the sum of matrices[kind][its state, the other's]
    and its field.
    """
    chains, sites = states.shape
    accepted = np.zeros(chains, np.int64)
    looked_up = 0
    for chain in range(chains):
        stream = random[chain].copy()
        energy = energies[chain]
        for step in range(sweeps * sites):
            site = visits[step % sites] if visits.size else below(stream, sites)
            old = np.int64(states[chain, site])
            new = _proposal(stream, old, q)
            change = fields[site, new] - fields[site, old]
            for k in range(neighbours.shape[1]):
                other = neighbours[site, k]
                if other < 0:
                    break
                value = states[chain, other]
                change += matrices[kinds[site, k], new, value] - matrices[kinds[site, k], old, value]
                looked_up += 1
            exponent = -beta[chain] * change
            if exponent >= 0 or uniform(stream) < np.exp(exponent):
                states[chain, site] = new
                energy += change
                accepted[chain] += 1
        energies[chain] = energy
        random[chain] = stream
    return accepted, looked_up
