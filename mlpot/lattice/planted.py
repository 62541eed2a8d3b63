"""Ising glasses whose ground state is known because it was planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlpot.errors import LatticeError
from mlpot.lattice.alphabet import states_of_spins
from mlpot.lattice.geometry import Lattice
from mlpot.lattice.hamiltonian import Hamiltonian, from_couplings


@dataclass(frozen=True, eq=False)
class Planted:
    r"""A glass with a ground state.

    Attributes
    ----------
    model
        The Hamiltonian, named ``planted``; its parameters say how it was made and ``ground_energy``.
    state : \*shape int8
        A ground state; there may be others.
    energy
        Of the ground state, units of J.
    """

    model: Hamiltonian
    state: np.ndarray
    energy: float


def planted(
    shape: Sequence[int], seed: int, method: Literal["tiles", "loops"] = "tiles", density: float = 1.0
) -> Planted:
    """Return a frustrated Ising model with a known ground state.

    Parameters
    ----------
    shape
        Two even axes of 4 or more for tiles; two or three axes of 3 or more for loops.
    seed
        Of the disorder and of the planted state.
    method
        ``"tiles"``: every second plaquette of the square lattice, which share no bond, gets one
        bond against the planted state, and each plaquette by itself cannot do better (F. Hamze et
        al., Phys. Rev. E 97, 043303 (2018), class F22 with |J| = 1). ``"loops"``: a sum of random closed
        walks without crossings, each with one bond against the planted state (I. Hen et al.,
        Phys. Rev. A 92, 042325 (2015)).
    density
        Loops per site.

    Raises
    ------
    LatticeError
        For a shape or method that does not fit.
    """
    lattice = Lattice(tuple(shape))
    generator = np.random.default_rng(seed)
    couplings: dict[tuple[int, int], float] = {}
    if method == "tiles":
        if lattice.dimensions != 2 or any(length % 2 or length < 4 for length in lattice.shape):
            raise LatticeError(f"shape: {lattice.shape}; tiles need two even axes of 4 sites or more.")
        loops = _tiles(lattice)
    elif method == "loops":
        if lattice.dimensions < 2 or min(lattice.shape) < 3:
            raise LatticeError(f"shape: {lattice.shape}; loops need two or three axes of 3 sites or more.")
        if not density > 0:
            raise LatticeError(f"density: {density} is not positive.")
        neighbours = lattice.neighbours()
        loops = [_loop(neighbours, generator) for _ in range(max(1, round(density * lattice.sites)))]
    else:
        raise LatticeError(f"method: {method!r} is unknown; known: tiles, loops.")

    energy = 0.0
    for loop in loops:
        against = generator.integers(len(loop))
        for position, site in enumerate(loop):
            other = loop[(position + 1) % len(loop)]
            bond = (min(site, other), max(site, other))
            couplings[bond] = couplings.get(bond, 0.0) + (-1.0 if position == against else 1.0)
        energy -= len(loop) - 2
    spins = generator.choice([-1, 1], lattice.sites)
    bonds = [(i, j, J * spins[i] * spins[j]) for (i, j), J in sorted(couplings.items()) if J]
    parameters = {"seed": int(seed), "method": method, "density": float(density), "ground_energy": energy}
    model = from_couplings(np.array(bonds), lattice.shape, name="planted", parameters=parameters)
    return Planted(model, states_of_spins(spins).reshape(lattice.shape), energy)


def _tiles(lattice: Lattice) -> list[list[int]]:
    corners = lattice.coordinates()
    corners = corners[corners.sum(axis=1) % 2 == 0]
    around = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
    return lattice.index(corners[:, None] + around).tolist()


def _loop(neighbours: np.ndarray, generator: np.random.Generator) -> list[int]:
    """Return the first loop that a random walk closes, of three sites or more, without its tail."""
    path = [int(generator.integers(len(neighbours)))]
    while True:
        nearby = neighbours[path[-1]]
        if len(path) > 1:  # not straight back
            nearby = nearby[nearby != path[-2]]
        site = int(generator.choice(nearby))
        if site in path:
            return path[path.index(site) :]
        path.append(site)
