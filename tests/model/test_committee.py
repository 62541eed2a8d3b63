"""A committee is the mean of its members, also in forces and stress, and knows how far they are apart."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mlpot.errors import ElementError
from mlpot.model.committee import Committee
from mlpot.simulation.calculator import MLPotCalculator


@pytest.fixture
def crystal():
    atoms = bulk("Si", "diamond", a=5.43, cubic=True)
    atoms.rattle(0.1, seed=2)
    return atoms


def test_it_is_the_mean_of_its_members(make_potential, crystal):
    members = [make_potential(["Si"], seed=seed) for seed in range(3)]
    single = [member.predict(crystal)[0] for member in members]
    mean = Committee(members).predict(crystal)[0]
    for name in ("energy", "local_energies", "forces", "stress"):
        expected = np.mean([getattr(prediction, name) for prediction in single], axis=0)
        np.testing.assert_allclose(getattr(mean, name), expected, rtol=1e-12, atol=1e-12)


def test_both_ways_to_its_forces_agree(make_potential, crystal):
    committee = Committee([make_potential(["Si"], seed=seed) for seed in range(2)])
    calculator = MLPotCalculator(committee)
    crystal.calc = calculator
    forces = crystal.get_forces()
    step = np.zeros_like(forces)
    step[3, 1] = 1e-4
    energies = []
    for sign in (1, -1):
        moved = crystal.copy()
        moved.positions += sign * step
        energies.append(committee.predict(moved)[0].energy)
    assert forces[3, 1] == pytest.approx(-(energies[0] - energies[1]) / 2e-4, rel=1e-6)


def test_its_uncertainty_is_the_deviation_of_the_members(make_potential, crystal):
    members = [make_potential(["Si"], seed=seed) for seed in range(3)]
    committee = Committee(members)
    (found,), (plain,) = committee.predict(crystal, uncertainty=True), committee.predict(crystal)
    single = [member.predict(crystal)[0] for member in members]
    assert found.energy_std == pytest.approx(np.std([p.energy for p in single], ddof=1))
    np.testing.assert_allclose(found.forces_std, np.std([p.forces for p in single], axis=0, ddof=1))
    for name in ("energy", "local_energies", "forces", "stress"):
        np.testing.assert_allclose(getattr(found, name), getattr(plain, name), rtol=1e-12, atol=1e-12)
    assert plain.energy_std is None and plain.forces_std is None
    (same,) = Committee([members[0], members[0]]).predict(crystal, uncertainty=True)
    assert same.forces_std.max() == 0.0


def test_it_needs_two_members_of_the_same_elements(make_potential):
    with pytest.raises(ValueError, match="two or more"):
        Committee([make_potential(["Si"])])
    with pytest.raises(ElementError, match="differ"):
        Committee([make_potential(["Si"]), make_potential(["Ge"])])
