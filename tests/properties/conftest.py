from __future__ import annotations

import pytest

from mlpot.reference.calculators import build, choose


@pytest.fixture(scope="session")
def force_field():
    """Return the calculator of a classical force field, LAMMPS's where it is installed."""
    return lambda name: build(choose(name))
