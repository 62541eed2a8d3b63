"""Padded tables of bonds against loops over pairs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from ase import Atoms

from mlpot.model.environment import FAR, Environments


def brute_force(atoms: Atoms, cutoff: float) -> list[list[tuple[int, np.ndarray]]]:
    """Return (neighbour, vector) of every bond of every atom by looping over everything."""
    reach = [range(-4, 5) if periodic else range(1) for periodic in atoms.pbc]
    bonds: list[list[tuple[int, np.ndarray]]] = [[] for _ in atoms]
    for i, j in product(range(len(atoms)), repeat=2):
        for shift in product(*reach):
            vector = atoms.positions[j] - atoms.positions[i] + np.array(shift) @ atoms.cell.array
            if 1e-6 < np.linalg.norm(vector) < cutoff:
                bonds[i].append((j, vector))
    return bonds


@pytest.fixture
def uneven() -> Atoms:
    """Return a chain whose atoms have one, two and three neighbours, and a lone atom."""
    positions = [[0, 0, 0], [2, 0, 0], [4, 0, 0], [4, 2, 0], [6, 0, 0], [50, 0, 0]]
    return Atoms("SiGeSi2GeSi", positions=positions)


@pytest.mark.parametrize(
    ("name", "cutoff"), [("uneven", 2.5), ("single", 4.0), ("skewed", 5.0), ("slab", 4.5), ("cubic", 5.0)]
)
def test_table_equals_a_loop_over_pairs(
    request: pytest.FixtureRequest, make_environments: Callable[..., Environments], name: str, cutoff: float
) -> None:
    atoms = request.getfixturevalue(name)
    environments = make_environments(atoms, cutoff)
    expected = brute_force(atoms, cutoff)
    distances = environments.distances
    assert distances.shape == (len(atoms), max(map(len, expected)))
    for i, bonds in enumerate(expected):
        filled = distances[i] < cutoff
        assert int(filled.sum()) == len(bonds)
        found = list(
            zip(
                environments.neighbour[i][filled].tolist(),
                environments.vectors[i][filled].numpy(),
                strict=True,
            )
        )
        for j, vector in bonds:
            matches = [
                k for k, (j2, v2) in enumerate(found) if j2 == j and np.allclose(v2, vector, atol=1e-12)
            ]
            assert len(matches) == 1
            found.pop(matches[0])
        assert not found
        # Empty slots: far away, pointing at themselves.
        slots = torch.arange(distances.numel()).view(distances.shape)[i]
        assert (distances[i][~filled] == FAR).all()
        assert (environments.neighbour[i][~filled] == i).all()
        assert torch.equal(environments.reverse[i][~filled], slots[~filled])


def test_counts_that_differ_are_padded(make_environments: Callable[..., Environments], uneven: Atoms) -> None:
    environments = make_environments(uneven, 2.5)
    assert (environments.distances < 2.5).sum(1).tolist() == [1, 2, 3, 1, 1, 0]


@pytest.mark.parametrize("count", [1, 3])
def test_no_neighbours_at_all(make_environments: Callable[..., Environments], count: int) -> None:
    atoms = Atoms(f"Si{count}", positions=[[30.0 * i, 0.0, 0.0] for i in range(count)])
    environments = make_environments(atoms, 5.0)
    assert environments.vectors.shape == (count, 1, 3)
    assert (environments.distances == FAR).all()
    values = torch.randn(count, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(environments.exchange(values), values)


@pytest.mark.parametrize("name", ["uneven", "single", "skewed", "slab", "cubic"])
def test_exchange_is_an_involution(
    request: pytest.FixtureRequest, make_environments: Callable[..., Environments], name: str
) -> None:
    environments = make_environments(request.getfixturevalue(name), 4.5)
    n, k = environments.neighbour.shape
    values = torch.randn(n, k, 3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(environments.exchange(environments.exchange(values)), values)


@pytest.mark.parametrize("name", ["uneven", "single", "skewed", "slab", "cubic"])
def test_exchange_turns_bonds_round(
    request: pytest.FixtureRequest, make_environments: Callable[..., Environments], name: str
) -> None:
    environments = make_environments(request.getfixturevalue(name), 4.5)
    filled = environments.distances < 4.5
    centre = torch.arange(len(filled))[:, None].expand(filled.shape)
    swapped = environments.exchange(environments.vectors)
    assert torch.allclose(swapped[filled], -environments.vectors[filled], rtol=0, atol=1e-12)
    assert torch.equal(
        environments.exchange(centre[..., None])[..., 0][filled], environments.neighbour[filled]
    )
    assert torch.equal(swapped[~filled], environments.vectors[~filled])


def test_exchange_has_first_and_second_derivatives(
    make_environments: Callable[..., Environments], uneven: Atoms
) -> None:
    environments = make_environments(uneven, 2.5)
    n, k = environments.neighbour.shape
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(n, k, 2, dtype=torch.float64, generator=generator, requires_grad=True)

    # The cube makes second derivatives that are not zero.
    def function(x: torch.Tensor) -> torch.Tensor:
        return environments.exchange(x).pow(3) * x

    assert torch.autograd.gradcheck(function, values)
    assert torch.autograd.gradgradcheck(function, values)


def test_scaled_stretches_bonds(make_environments: Callable[..., Environments], cubic: Atoms) -> None:
    environments = make_environments(cubic, 4.0)
    factors = torch.linspace(0.5, 1.5, environments.distances.numel(), dtype=torch.float64)
    factors = factors.view(environments.distances.shape)
    scaled = environments.scaled(factors)
    assert torch.allclose(scaled.distances, environments.distances * factors, rtol=1e-14)
