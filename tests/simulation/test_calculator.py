from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from mlpot.conventions import voigt_to_matrix
from mlpot.errors import ElementError, GeometryError, RecipeError
from mlpot.model.committee import Committee
from mlpot.model.file import load_model, save_model
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.model.repulsion import ZBL
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.simulation.dynamics import run_nve


def assert_equals_prediction(atoms: Atoms, potential: Potential) -> None:
    expected = potential.predict(atoms)[0]
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-11)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-11)
    np.testing.assert_allclose(atoms.get_potential_energies(), expected.local_energies, atol=1e-11)
    np.testing.assert_allclose(voigt_to_matrix(atoms.get_stress()), expected.stress, atol=1e-12)


def test_equals_predict_and_adds_up(potential: Potential, silicon: Atoms) -> None:
    silicon.calc = MLPotCalculator(potential)
    assert_equals_prediction(silicon, potential)
    energy = silicon.get_potential_energy()
    assert silicon.get_potential_energies().sum() == pytest.approx(energy, abs=1e-12)
    assert silicon.get_potential_energy(force_consistent=True) == energy
    assert silicon.get_forces().shape == (8, 3)
    assert silicon.get_stress().shape == (6,)


def test_equals_predict_at_every_step_of_md(potential: Potential, silicon: Atoms) -> None:
    calculator = MLPotCalculator(potential, skin=0.3)
    silicon.calc = calculator
    silicon.set_momenta(np.random.default_rng(1).normal(scale=3.0, size=(8, 3)))
    for step, _ in enumerate(VelocityVerlet(silicon, 2.0 * units.fs).irun(30)):
        assert_equals_prediction(silicon, potential)
        if step == 15:
            silicon.wrap()
    assert 1 < calculator.neighbours.builds < 15


def test_uncertainty_of_a_committee(potential: Potential, silicon: Atoms, tmp_path: Path) -> None:
    """Of objects and of files; only where it is asked for."""
    others = [Potential(["Si"], NetworkConfig(channels=8, hidden=8), seed=seed).double() for seed in (1, 2)]
    (expected,) = Committee([potential, *others]).predict(silicon, uncertainty=True)
    files = [tmp_path / f"{seed}.safetensors" for seed in range(3)]
    for path, member in zip(files, [potential, *others], strict=True):
        save_model(member, path)
    for members, rtol in (([potential, *others], 1e-9), (files, 1e-3)):
        silicon.calc = MLPotCalculator(members, uncertainty=True)
        assert silicon.get_potential_energy() == pytest.approx(expected.energy, rel=1e-5)
        assert silicon.calc.results["energy_std"] == pytest.approx(expected.energy_std, rel=rtol)
        np.testing.assert_allclose(silicon.calc.results["forces_std"], expected.forces_std, rtol=rtol)
        assert silicon.calc.get_property("energy_std", silicon) > 0.0
    silicon.calc = MLPotCalculator([potential, *others])
    silicon.get_potential_energy()
    assert "energy_std" not in silicon.calc.results
    assert "energy_std" not in MLPotCalculator.implemented_properties


def test_uncertainty_of_one_potential(potential: Potential, silicon: Atoms, tmp_path: Path) -> None:
    """Carried by the model file; refused where there is none."""
    with pytest.raises(RecipeError, match="this Potential has no uncertainty: make one with mlpot calibrate"):
        MLPotCalculator(potential, uncertainty=True)
    bare, path = tmp_path / "bare.safetensors", tmp_path / "model.safetensors"
    save_model(potential, bare)
    with pytest.raises(RecipeError, match=r"bare\.safetensors has no uncertainty"):
        MLPotCalculator(bare, uncertainty=True)
    uncertain = copy.deepcopy(potential)
    noise = torch.randn(4, 33, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    uncertain.head_deviations = 0.01 * noise
    save_model(uncertain, path)
    (expected,) = uncertain.predict(silicon, uncertainty=True)
    silicon.calc = MLPotCalculator(path, uncertainty=True)
    np.testing.assert_allclose(silicon.get_forces(), potential.predict(silicon)[0].forces, atol=1e-4)
    assert silicon.calc.results["energy_std"] == pytest.approx(expected.energy_std, rel=1e-4)
    np.testing.assert_allclose(silicon.calc.results["forces_std"], expected.forces_std, rtol=1e-3)
    assert silicon.calc.results["forces_std"].shape == (8, 3)


def test_changing_cell_and_elements(potential: Potential, silicon: Atoms) -> None:
    both = Potential(["Si", "Ge"], NetworkConfig(channels=8, hidden=8), seed=0).double()
    both.length_scales[1] = 0.94
    silicon.calc = MLPotCalculator(both)
    assert_equals_prediction(silicon, both)
    for change in (1.01, 0.97, 1.05, 0.9):
        silicon.set_cell(silicon.cell.array * change, scale_atoms=True)
        assert_equals_prediction(silicon, both)
    silicon.symbols[2] = "Ge"
    assert_equals_prediction(silicon, both)
    silicon.pbc = [True, False, True]
    assert_equals_prediction(silicon, both)
    del silicon[3]
    assert_equals_prediction(silicon, both)


def test_never_touches_the_atoms(potential: Potential, silicon: Atoms) -> None:
    silicon.positions[0] -= 20.0
    before = silicon.copy()
    silicon.calc = MLPotCalculator(potential)
    silicon.get_potential_energy()
    silicon.get_stress()
    assert silicon.calc.get_forces(silicon) is not silicon.calc.results["forces"]
    assert set(before.arrays) == set(silicon.arrays)
    for name, values in before.arrays.items():
        assert np.array_equal(values, silicon.arrays[name])
    assert np.array_equal(before.cell, silicon.cell)


def test_nve_conserves_energy(potential: Potential, silicon: Atoms) -> None:
    # Velocity Verlet errs by the square of the time step: a wrong force would not.
    spread = {}
    for timestep in (2.0, 1.0):
        run = run_nve(
            silicon, MLPotCalculator(potential), 0.1, temperature=600, timestep_fs=timestep, log_interval=1
        )
        assert run.completed
        spread[timestep] = np.ptp(run.total_energies)
        assert spread[timestep] < 0.01 * np.ptp(run.energies)
    assert spread[2.0] / spread[1.0] == pytest.approx(4.0, rel=0.2)


def test_relaxes_atoms_and_cell() -> None:
    # Nuclear repulsion alone: the compressed crystal expands until it no longer touches.
    atoms = bulk("Si", a=3.6, cubic=True)
    atoms.calc = MLPotCalculator(ZBL([14]).double())
    assert np.trace(voigt_to_matrix(atoms.get_stress())) < 0.0
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.05, steps=200)
    assert np.abs(atoms.get_stress()).max() < 0.01
    assert atoms.get_distance(0, 1, mic=True) > 1.6


def test_bfgs_lowers_the_energy(potential: Potential, silicon: Atoms) -> None:
    silicon.calc = MLPotCalculator(potential)
    before, force = silicon.get_potential_energy(), np.abs(silicon.get_forces()).max()
    BFGS(silicon, logfile=None).run(fmax=0.01, steps=15)
    assert silicon.get_potential_energy() < before
    assert np.abs(silicon.get_forces()).max() < 0.5 * force


def test_cluster_without_volume(potential: Potential) -> None:
    atoms = Atoms("Si3", positions=[[0, 0, 0], [2.3, 0, 0], [0, 2.4, 0]])
    atoms.calc = MLPotCalculator(potential)
    expected = potential.predict(atoms)[0]
    assert atoms.get_potential_energy() == pytest.approx(expected.energy, abs=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-12)
    assert "stress" not in atoms.calc.results
    with pytest.raises(PropertyNotImplementedError, match="no volume"):
        atoms.get_stress()


def test_slab_without_third_vector_equals_slab_with_vacuum(potential: Potential, silicon: Atoms) -> None:
    silicon.calc = MLPotCalculator(potential)
    silicon.pbc = [True, True, False]
    energy, forces = silicon.get_potential_energy(), silicon.get_forces()
    silicon.cell[2] = 0.0
    assert silicon.get_potential_energy() == pytest.approx(energy, abs=1e-12)
    np.testing.assert_allclose(silicon.get_forces(), forces, atol=1e-12)


def test_isolated_atom_has_its_offset() -> None:
    potential = Potential(["Si"], NetworkConfig(channels=8, hidden=8), seed=0).double()
    potential.offsets[0] = -0.8
    atoms = Atoms("Si", calculator=MLPotCalculator(potential))
    assert atoms.get_potential_energy() == pytest.approx(-0.8, abs=1e-12)
    assert np.array_equal(atoms.get_forces(), np.zeros((1, 3)))


def test_from_file(tmp_path: Path, potential: Potential, silicon: Atoms) -> None:
    path = tmp_path / "model.safetensors"
    save_model(potential, path)
    silicon.calc = MLPotCalculator(load_model(path, dtype=torch.float64))
    assert_equals_prediction(silicon, potential)
    for source in (path, str(path)):
        silicon.calc = MLPotCalculator(source)
        assert silicon.calc.model.dtype == torch.float32
        assert silicon.get_potential_energy() == pytest.approx(potential.predict(silicon)[0].energy, abs=1e-5)


def test_bad_structures(potential: Potential, silicon: Atoms) -> None:
    calculator = MLPotCalculator(potential)
    with pytest.raises(GeometryError, match="no atoms"):
        Atoms(calculator=calculator).get_potential_energy()
    silicon.calc = calculator
    silicon.get_potential_energy()
    silicon.positions[4] = silicon.positions[2]
    with pytest.raises(GeometryError, match="atoms 2 and 4 overlap"):
        silicon.get_potential_energy()
    silicon.positions[4] = np.nan
    with pytest.raises(GeometryError, match="NaN"):
        silicon.get_forces()
    with pytest.raises(ElementError, match="element C is unknown"):
        Atoms("C", calculator=calculator).get_potential_energy()
