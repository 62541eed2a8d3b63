"""Small potentials and structures for the tests of the model package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from mlpot.data.neighbours import find_neighbours
from mlpot.model.environment import Bonds, Environments, gather_environments
from mlpot.model.file import save_model
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential


@pytest.fixture
def make_potential() -> Callable[..., Potential]:
    """Return a maker of small potentials whose elements differ in every table and scalar."""

    def make(
        elements: Sequence[str] = ("Si", "Ge"),
        dtype: torch.dtype = torch.float64,
        repulsion: bool = True,
        scalars: bool = True,
        seed: int = 0,
    ) -> Potential:
        potential = Potential(elements, NetworkConfig(channels=8, hidden=8), repulsion, seed).to(dtype)
        generator = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for parameter in potential.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(0.1 * noise.to(dtype))
        if scalars:
            n = len(elements)
            potential.offsets.copy_(torch.linspace(-5.4, -4.5, n))
            potential.energy_scales.copy_(torch.linspace(1.0, 0.9, n))
            potential.length_scales.copy_(torch.linspace(1.0, 0.96, n))
            potential.energy_unit.fill_(0.3)
        return potential

    return make


@pytest.fixture
def saved(make_potential: Callable[..., Potential], tmp_path: Path) -> Path:
    """Return the path of a float32 model file."""
    path = tmp_path / "model.safetensors"
    save_model(make_potential(dtype=torch.float32), path)
    return path


@pytest.fixture
def make_environments() -> Callable[..., Environments]:
    """Return a maker of environments from atoms; species are the rows of sorted elements."""

    def make(atoms: Atoms, cutoff: float, dtype: torch.dtype = torch.float64) -> Environments:
        pairs = find_neighbours(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
        species = np.unique(atoms.numbers, return_inverse=True)[1]
        return gather_environments(
            Bonds(
                vectors=torch.as_tensor(pairs.vectors(atoms.positions, atoms.cell.array)).to(dtype),
                centre=torch.as_tensor(pairs.centre),
                neighbour=torch.as_tensor(pairs.neighbour),
                reverse=torch.as_tensor(pairs.reverse),
                species=torch.as_tensor(species),
                counts=torch.bincount(torch.as_tensor(pairs.centre), minlength=len(atoms)),
            )
        )

    return make


def _rattled(atoms: Atoms, seed: int, scale: float = 0.1) -> Atoms:
    atoms.positions += np.random.default_rng(seed).normal(scale=scale, size=atoms.positions.shape)
    return atoms


@pytest.fixture
def cubic() -> Atoms:
    """Return eight atoms, silicon and germanium, in a cubic cell."""
    atoms = bulk("Si", "diamond", a=5.5, cubic=True)
    atoms.symbols[[1, 4, 6]] = "Ge"
    return _rattled(atoms, 0)


@pytest.fixture
def skewed() -> Atoms:
    """Return four atoms in a strongly skewed cell, one angle of it below 45 degrees."""
    cell = [[4.5, 0.0, 0.0], [3.9, 3.6, 0.0], [-1.7, 1.4, 5.2]]
    scaled = [[0.0, 0.0, 0.0], [0.2, 0.45, 0.3], [0.6, 0.1, 0.55], [0.45, 0.6, 0.85]]
    return Atoms("SiGeSi2", scaled_positions=scaled, cell=cell, pbc=True)


@pytest.fixture
def primitive() -> Atoms:
    """Return the two-atom primitive cell of diamond, distorted; images of an atom are its neighbours."""
    atoms = bulk("Si", "diamond", a=5.43)
    atoms.symbols[1] = "Ge"
    atoms.set_cell(
        atoms.cell.array @ [[1.0, 0.03, 0.0], [0.0, 0.98, 0.05], [0.02, 0.0, 1.02]], scale_atoms=True
    )
    return _rattled(atoms, 1)


@pytest.fixture
def single() -> Atoms:
    """Return one atom in a sheared primitive cell of 2.7 Å."""
    return Atoms("Si", cell=[[2.7, 0.0, 0.0], [0.4, 2.6, 0.1], [0.9, 0.5, 2.5]], pbc=True)


@pytest.fixture
def slab() -> Atoms:
    """Return six atoms, periodic in the plane only."""
    atoms = bulk("Si", "diamond", a=5.43).repeat((3, 1, 1))
    atoms.pbc = (True, True, False)
    atoms.symbols[[0, 3]] = "Ge"
    return _rattled(atoms, 2)


@pytest.fixture
def cluster() -> Atoms:
    """Return seven atoms, no cell, all within 5 Å of one another."""
    rng = np.random.default_rng(3)
    positions = np.array(
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]], dtype=float
    )
    return Atoms("SiGeSi2GeSi2", positions=2.2 * positions + rng.normal(scale=0.1, size=(7, 3)))
