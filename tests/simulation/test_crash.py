from __future__ import annotations

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import all_changes
from spring_network import SpringNetwork, face_centred

from mlpot.errors import RecipeError
from mlpot.reference.classical import classical_calculator
from mlpot.simulation.crash import compress, heat


class Soft(SpringNetwork):
    """Springs that pull together what comes close: a hole below 0.97 of their length."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        if self.atoms.get_volume() < 0.97**3 * face_centred().get_volume():
            self.results = {name: -np.asarray(value) for name, value in self.results.items()}


def test_a_sound_crystal_survives_compression() -> None:
    atoms = face_centred()
    seen: list[float] = []
    result = compress(
        SpringNetwork(atoms, 20.0), atoms, [0, 1], pressures=(0.0, 60.0), time_ps=0.8, timestep_fs=2.0,
        progress=lambda fraction, text: seen.append(fraction),
    )  # fmt: skip
    assert result.survival == 1.0 and [run.reached for run in result.runs] == [60.0, 60.0]
    assert all(run.volume_per_atom < 0.99 * atoms.get_volume() / 8 for run in result.runs)
    assert seen == sorted(seen) and seen[-1] == 1.0
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert found["survival_95"] == pytest.approx([0.025**0.5, 1.0])


def test_a_hole_in_the_potential_is_found_by_compression() -> None:
    atoms = face_centred()
    result = compress(Soft(atoms, 20.0), atoms, pressures=(0.0, 200.0), time_ps=0.8, timestep_fs=2.0)
    (run,) = result.runs
    assert not run.survived and result.survival == 0.0
    assert 20.0 < run.reached < 200.0 and run.reason


def test_silicon_of_stillinger_and_weber_survives_heating() -> None:
    atoms = bulk("Si", a=5.431, cubic=True)
    result = heat(classical_calculator("sw-si"), atoms, time_ps=0.15, timestep_fs=1.5)
    assert result.survival == 1.0 and result.runs[0].reached == 3000.0


def test_senseless_seeds() -> None:
    atoms = face_centred()
    for seeds in ([], [1, 1], [-1]):
        with pytest.raises(RecipeError, match="none twice, none negative"):
            heat(SpringNetwork(atoms), atoms, seeds)
