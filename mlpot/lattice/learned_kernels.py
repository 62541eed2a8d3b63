"""Compiled Monte Carlo with learned energies: one turned site costs O(1), a cluster O(its sites).

There is one walk for all energies. What it asks of them, the change of the energy when a site is
turned, is chosen by the type of the energy's form when the walk is compiled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlpot.lattice.compiled import below, compiled_bare, compiled_by_type, next_word, uniform


class TableForm(NamedTuple):
    """The energy of tiles in a table, and where they are in it now.

    ``tiles`` (T, S) sites, ``slots`` (N, K) tiles of a site (-1 pads), ``place`` (N, K) its slot in
    them; ``table`` (1 or T, q^S), ``powers`` (S,) of q; ``weight`` of a tile. Room: ``codes`` (T,).
    """

    tiles: np.ndarray
    slots: np.ndarray
    place: np.ndarray
    weight: float
    table: np.ndarray
    powers: np.ndarray
    codes: np.ndarray


class NetworkForm(NamedTuple):
    """The energy of tiles by perceptrons, see :class:`~mlpot.lattice.tile_energy.NetworkEnergy`.

    Tiles as in :class:`TableForm`. Room: energies of tiles ``current`` (T,) and ``trial`` (K,), the
    states ``digits`` (S,) of one, hidden layers ``x`` and ``y``.
    """

    tiles: np.ndarray
    slots: np.ndarray
    place: np.ndarray
    weight: float
    first: np.ndarray
    stack: np.ndarray
    layers: np.ndarray
    biases: np.ndarray
    widths: np.ndarray
    pairs: np.ndarray
    constant: np.ndarray
    current: np.ndarray
    trial: np.ndarray
    digits: np.ndarray
    x: np.ndarray
    y: np.ndarray


class PairForm(NamedTuple):
    """The energy of pairs.

    ``neighbours`` (N, K) with -1 for none, ``kinds`` (N, K) numbers of ``matrices`` (kinds, q, q),
    ``fields`` (N, q): the energy of a site is the sum of matrices[kind][its state, the other's]
    and its field.
    """

    neighbours: np.ndarray
    kinds: np.ndarray
    matrices: np.ndarray
    fields: np.ndarray


class ClusterForm(NamedTuple):
    """What clusters are grown with.

    ``pairs``: energy whose bonds join sites, every bond from both ends; ``once``: the places in its
    lists that name each bond once; ``mirrors`` (R, q) int8: reflections of the states that leave the
    matrices alone. Room: ``joined`` (once, q, q), ``parent``, ``following`` and ``last`` (N,).
    """

    pairs: PairForm
    once: np.ndarray
    mirrors: np.ndarray
    joined: np.ndarray
    parent: np.ndarray
    following: np.ndarray
    last: np.ndarray


@compiled_bare(fastmath={"reassoc", "contract", "nsz"})
def _tile_energy(form: NetworkForm, row: int) -> float:
    """Return the energy of the tile whose states are ``form.digits``."""
    digits, x, y = form.digits, form.x, form.y
    result = form.constant[row]
    slots = digits.size
    for i in range(slots):
        for j in range(i + 1, slots):
            result += form.pairs[row, i, j, digits[i], digits[j]]
    images, depth = form.first.shape[1], form.widths.size - 1
    for image in range(images):
        one = form.stack[image]
        for h in range(form.widths[0]):
            x[h] = form.biases[row, one, 0, h]
        for slot in range(slots):
            for h in range(form.widths[0]):
                x[h] += form.first[row, image, slot, digits[slot], h]
        for level in range(depth):
            for h in range(form.widths[level + 1]):
                y[h] = form.biases[row, one, level + 1, h]
            for i in range(form.widths[level]):
                value = x[i] / (1.0 + np.exp(-x[i]))
                for h in range(form.widths[level + 1]):
                    y[h] += value * form.layers[row, one, level, i, h]
            for h in range(form.widths[level + 1]):
                x[h] = y[h]
        result += x[0] / images
    return result


def _start_table(form: Any, state: Any) -> None:
    for tile in range(form.tiles.shape[0]):
        code = 0
        for slot in range(form.tiles.shape[1]):
            code += state[form.tiles[tile, slot]] * form.powers[slot]
        form.codes[tile] = code


def _start_network(form: Any, state: Any) -> None:
    own = form.first.shape[0] > 1
    for tile in range(form.tiles.shape[0]):
        for slot in range(form.tiles.shape[1]):
            form.digits[slot] = state[form.tiles[tile, slot]]
        form.current[tile] = _tile_energy(form, tile if own else 0)


def _start_pairs(form: Any, state: Any) -> None:
    pass


def _change_table(form: Any, state: Any, site: Any, old: Any, new: Any) -> Any:
    own = form.table.shape[0] > 1
    change, count = 0.0, 0
    for k in range(form.slots.shape[1]):
        tile = form.slots[site, k]
        if tile < 0:
            break
        row = tile if own else 0
        code = form.codes[tile]
        change += (
            form.table[row, code + (new - old) * form.powers[form.place[site, k]]] - form.table[row, code]
        )
        count += 1
    return change * form.weight, count


def _change_network(form: Any, state: Any, site: Any, old: Any, new: Any) -> Any:
    own = form.first.shape[0] > 1
    change, count = 0.0, 0
    for k in range(form.slots.shape[1]):
        tile = form.slots[site, k]
        if tile < 0:
            break
        for slot in range(form.tiles.shape[1]):
            form.digits[slot] = state[form.tiles[tile, slot]]
        form.digits[form.place[site, k]] = new
        form.trial[k] = _tile_energy(form, tile if own else 0)
        change += form.trial[k] - form.current[tile]
        count += 1
    return change * form.weight, count


def _change_pairs(form: Any, state: Any, site: Any, old: Any, new: Any) -> Any:
    change, count = form.fields[site, new] - form.fields[site, old], 0
    for k in range(form.neighbours.shape[1]):
        other = form.neighbours[site, k]
        if other < 0:
            break
        value = state[other]
        kind = form.kinds[site, k]
        change += form.matrices[kind, new, value] - form.matrices[kind, old, value]
        count += 1
    return change, count


def _turn_table(form: Any, state: Any, site: Any, old: Any, new: Any) -> None:
    for k in range(form.slots.shape[1]):
        tile = form.slots[site, k]
        if tile < 0:
            break
        form.codes[tile] += (new - old) * form.powers[form.place[site, k]]
    state[site] = new


def _turn_network(form: Any, state: Any, site: Any, old: Any, new: Any) -> None:
    for k in range(form.slots.shape[1]):
        if form.slots[site, k] < 0:
            break
        form.current[form.slots[site, k]] = form.trial[k]
    state[site] = new


def _turn_pairs(form: Any, state: Any, site: Any, old: Any, new: Any) -> None:
    state[site] = new


def _return_network(form: Any, state: Any, site: Any, old: Any, new: Any) -> None:
    # What its tiles were before is not kept: evaluated again.
    _change_in(form, state, site, old, new)
    _turn_in(form, state, site, old, new)


_start = compiled_by_type({TableForm: _start_table, NetworkForm: _start_network, PairForm: _start_pairs})
_change_in = compiled_by_type(
    {TableForm: _change_table, NetworkForm: _change_network, PairForm: _change_pairs}
)
#: Only right after the same change was asked for.
_turn_in = compiled_by_type({TableForm: _turn_table, NetworkForm: _turn_network, PairForm: _turn_pairs})
_return_in = compiled_by_type({TableForm: _turn_table, NetworkForm: _return_network, PairForm: _turn_pairs})


@compiled_bare(inline="always")
def _proposal(state: np.ndarray, old: int, q: int) -> int:
    """Return one of the other states, all alike."""
    if q == 2:
        return 1 - old
    new = below(state, q - 1)
    return new if new < old else new + 1


@compiled_bare()
def _root(parent: np.ndarray, site: int) -> int:
    while parent[site] != site:
        parent[site] = parent[parent[site]]
        site = parent[site]
    return site


@compiled_bare()
def _join(
    clusters: ClusterForm, state: np.ndarray, beta: float, mirror: np.ndarray, stream: np.ndarray
) -> None:
    """Join bonds at random and list the sites of each cluster, the first of which is its root.

    A bond joins with probability 1 - exp(-beta V'), where V' > 0 is what it would cost to reflect
    one of its ends.
    """
    pairs, parent, following, last = clusters.pairs, clusters.parent, clusters.following, clusters.last
    sites, q = state.size, mirror.size
    joined = clusters.joined
    for index in range(clusters.once.size):
        matrix = pairs.matrices[pairs.kinds[0, clusters.once[index]]]
        for a in range(q):
            for b in range(q):
                joined[index, a, b] = -np.expm1(min(0.0, -beta * (matrix[a, mirror[b]] - matrix[a, b])))
    for site in range(sites):
        parent[site] = site
    for site in range(sites):
        for index in range(clusters.once.size):
            other = pairs.neighbours[site, clusters.once[index]]
            probability = joined[index, state[site], state[other]]
            if probability > 0 and uniform(stream) < probability:
                one, two = _root(parent, site), _root(parent, other)
                parent[max(one, two)] = min(one, two)
    for site in range(sites):
        root = _root(parent, site)
        following[site] = -1
        if root != site:
            following[last[root]] = site
        last[root] = site


@compiled_bare()
def _offer(form: Any, clusters: ClusterForm, state: np.ndarray, beta: float, stream: np.ndarray) -> Any:
    """Join sites to clusters and offer half of these their reflection.

    The bonds are in equilibrium with the pair energy already: a cluster is turned with the Metropolis
    probability of what the energy changes beyond it. Returns the change of the energy, sites
    offered, sites turned, and tiles evaluated.
    """
    mirror = clusters.mirrors[below(stream, len(clusters.mirrors))]
    _join(clusters, state, beta, mirror, stream)
    energy, offered, turned, evaluated = 0.0, 0, 0, 0
    # Either way round: one order alone would keep the distribution, but not balance in detail.
    forward = next_word(stream) >> np.uint64(63)
    for place in range(state.size):
        root = place if forward else state.size - 1 - place
        if clusters.parent[root] != root or mirror[state[root]] == state[root]:
            continue
        # Were all turned that may be, none would move against the others.
        if next_word(stream) >> np.uint64(63):
            continue
        change, joined, size = 0.0, 0.0, 0
        site = root
        while site >= 0:
            old = np.int64(state[site])
            new = np.int64(mirror[old])
            step, count = _change_in(form, state, site, old, new)
            change += step
            evaluated += count
            joined += _change_in(clusters.pairs, state, site, old, new)[0]
            _turn_in(form, state, site, old, new)
            size += 1
            site = clusters.following[site]
        offered += size
        exponent = -beta * (change - joined)
        if exponent >= 0 or uniform(stream) < np.exp(exponent):
            energy += change
            turned += size
            continue
        site = root
        while site >= 0:
            new = np.int64(state[site])
            _return_in(form, state, site, new, np.int64(mirror[new]))
            site = clusters.following[site]
    return energy, offered, turned, evaluated


@compiled_bare()
def walk(
    states: np.ndarray, energies: np.ndarray, random: np.ndarray, beta: np.ndarray, sweeps: int,
    visits: np.ndarray, q: int, turns: int, form: Any, rounds: int, clusters: ClusterForm, counts: np.ndarray,
) -> int:  # fmt: skip
    """Turn sites, one at a time and in clusters.

    ``states`` (C, N) int8, ``energies`` (C,) and ``random`` (C, 4) are changed in place; ``beta``
    (C,) inverse temperatures of either sign; ``visits`` (N,) the order of a sweep, empty: random
    sites; a sweep is ``turns`` of them, and then ``rounds`` times clusters. To ``counts`` (C, 3) are added
    accepted turns,
    sites offered in clusters and sites turned in them. Returns the number of tiles or pairs evaluated.
    """
    chains, sites = states.shape
    evaluated = 0
    for chain in range(chains):
        state, stream = states[chain], random[chain]
        _start(form, state)
        energy, accepted = energies[chain], 0
        for _ in range(sweeps):
            for step in range(turns):
                site = visits[step] if visits.size else below(stream, sites)
                old = np.int64(state[site])
                new = _proposal(stream, old, q)
                change, count = _change_in(form, state, site, old, new)
                evaluated += count
                exponent = -beta[chain] * change
                if exponent >= 0 or uniform(stream) < np.exp(exponent):
                    _turn_in(form, state, site, old, new)
                    energy += change
                    accepted += 1
            for _ in range(rounds):
                change, offered, turned, count = _offer(form, clusters, state, beta[chain], stream)
                energy += change
                counts[chain, 1] += offered
                counts[chain, 2] += turned
                evaluated += count
        energies[chain] = energy
        counts[chain, 0] += accepted
    return evaluated
