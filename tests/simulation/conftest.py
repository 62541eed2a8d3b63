"""A gentle random potential, and crystals to run it on."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential


@pytest.fixture(scope="session")
def potential() -> Potential:
    """A small potential with random weights in float64."""
    return Potential(["Si"], NetworkConfig(channels=8, hidden=8), seed=0).double()


@pytest.fixture
def silicon() -> Atoms:
    """Eight atoms of silicon, slightly shaken."""
    atoms = bulk("Si", cubic=True)
    atoms.positions += np.random.default_rng(0).normal(scale=0.05, size=(8, 3))
    return atoms
