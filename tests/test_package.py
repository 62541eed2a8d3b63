"""The top level of the package: light to import, complete when asked."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mlpot


def test_import_is_light() -> None:
    """No torch, no ASE: the command line answers before either is needed."""
    code = (
        "import sys, mlpot; print(mlpot.__version__, *({'torch', 'ase', 'e3nn', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [mlpot.__version__]


def test_names_arrive_when_asked_for() -> None:
    from mlpot.model.file import load_model
    from mlpot.model.potential import Potential
    from mlpot.simulation.calculator import MLPotCalculator

    assert mlpot.load is load_model
    assert mlpot.Potential is Potential
    assert mlpot.MLPotCalculator is MLPotCalculator
    assert set(mlpot.__all__) <= set(dir(mlpot))


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'mlpot' has no attribute 'Potentials'"):
        _ = mlpot.Potentials
