from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from spring_network import SpringNetwork, face_centred

from mlpot.reference.classical import classical_calculator
from mlpot.simulation.vibration import fastest_period, timestep_advice


def test_silicon_vibrates_at_its_optical_frequency() -> None:
    """17.83 THz at Γ (issue 6), which the eight atoms of the cube have among their vibrations."""
    period = fastest_period(bulk("Si", a=5.431, cubic=True), classical_calculator("sw-si"))
    assert period == pytest.approx(1000.0 / 17.83, rel=0.01)


def test_masses_count() -> None:
    light, heavy = face_centred(), face_centred()
    heavy.set_masses(4.0 * light.get_masses())
    calculator = SpringNetwork(light)
    assert fastest_period(heavy, calculator) == pytest.approx(2.0 * fastest_period(light, calculator))


def test_a_structure_on_a_hill_has_no_period() -> None:
    pushed = face_centred()
    calculator = SpringNetwork(pushed)
    calculator.stiffness = -1.0
    assert fastest_period(pushed, calculator) is None
    assert fastest_period(molecule("O2"), NaNs()) is None


class NaNs:
    def get_forces(self, atoms: Atoms) -> np.ndarray:
        return np.full((len(atoms), 3), np.nan)


def test_advice() -> None:
    assert timestep_advice(None, 10.0) is None
    assert timestep_advice(56.0, 5.6) is None
    assert "is long: " in timestep_advice(56.0, 5.7) and "5.6 fs or less" in timestep_advice(56.0, 5.7)
    assert "is unstable" in timestep_advice(56.0, 18.0) and "beyond 18 fs" in timestep_advice(56.0, 18.0)
