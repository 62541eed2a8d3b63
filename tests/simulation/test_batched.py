from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms

from mlpot.errors import ElementError, GeometryError, RecipeError
from mlpot.model.committee import Committee
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.reference.classical import classical_calculator
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.simulation.dynamics import Trajectory, run_langevin
from mlpot.simulation.stability import stability
from mlpot.simulation.stopping import StopCriteria

pytest.importorskip("torch_sim", reason="torch-sim is not installed: mlpot[simulation]")

from mlpot.simulation import batched, screen
from mlpot.simulation.batched import run_langevin_batch


@pytest.fixture
def calculator(potential: Potential) -> MLPotCalculator:
    return MLPotCalculator(potential)


@pytest.fixture
def crystal() -> Atoms:
    return bulk("Si", a=5.431, cubic=True)


def assert_same(one: Trajectory, two: Trajectory, tolerance: float = 1e-9) -> None:
    assert one.survived_ps == two.survived_ps and one.reason == two.reason
    assert [sample.step for sample in one.samples] == [sample.step for sample in two.samples]
    np.testing.assert_allclose(one.positions, two.positions, atol=tolerance)
    np.testing.assert_allclose(one.total_energies, two.total_energies, atol=100 * tolerance)
    np.testing.assert_allclose(one.atoms.positions, two.atoms.positions, atol=tolerance)
    np.testing.assert_allclose(one.atoms.get_momenta(), two.atoms.get_momenta(), atol=100 * tolerance)


def test_a_replica_does_not_know_who_else_is_there(calculator: MLPotCalculator, crystal: Atoms) -> None:
    structures = [crystal, bulk("Si"), crystal * (2, 1, 1), crystal]
    temperatures, seeds = [300, 600, 900, 300], [0, 1, 2, 3]
    seen: list[tuple[float, int]] = []
    together = run_langevin_batch(
        calculator, structures, temperatures, seeds, 0.04, callback=lambda *state: seen.append(state)
    )
    for trajectory, atoms, temperature, seed in zip(together, structures, temperatures, seeds, strict=True):
        (single,) = run_langevin_batch(calculator, atoms, [temperature], [seed], 0.04)
        assert_same(trajectory, single)
        assert trajectory.completed and trajectory.survived_ps == pytest.approx(0.04)
        np.testing.assert_allclose(trajectory.times_ps, [0.0, 0.01, 0.02, 0.03, 0.04])
        masses = atoms.get_masses()[:, None]
        shift = (masses * (trajectory.atoms.positions - atoms.positions)).sum(0) / masses.sum()
        np.testing.assert_allclose(shift, 0.0, atol=1e-12)
    assert seen == [(0.0, 4), (0.25, 4), (0.5, 4), (0.75, 4), (1.0, 0)]
    assert not np.allclose(together[0].positions[-1], together[3].positions[-1])
    assert crystal.calc is None and "momenta" not in crystal.arrays


def test_it_starts_like_the_same_run_alone(calculator: MLPotCalculator, crystal: Atoms) -> None:
    seed = np.random.SeedSequence([3, 600_000])
    (batch,) = run_langevin_batch(calculator, crystal, [600], [seed], 0.001)
    ase = run_langevin(crystal, calculator, 600, 0.001, seed=seed)
    one, two = batch.samples[0], ase.samples[0]
    assert (one.energy, one.kinetic_energy) == pytest.approx((two.energy, two.kinetic_energy))
    assert one.temperature == pytest.approx(two.temperature)
    np.testing.assert_array_equal(one.positions, two.positions)


def test_the_ensemble_is_canonical_with_the_centre_of_mass_at_rest(potential: Potential) -> None:
    # Free atoms of two masses: momenta are Gaussian, and 3N - 3 of them are free.
    gas = Atoms("Si3Ge3", positions=10.0 * np.arange(6)[:, None] * [1, 0, 0], cell=[60, 20, 20], pbc=True)
    free = Potential(["Si", "Ge"], NetworkConfig(channels=4, hidden=4), repulsion=False).double()
    count, temperatures = 20, [200.0, 400.0]
    runs = run_langevin_batch(
        MLPotCalculator(free),
        gas,
        temperatures * count,
        range(2 * count),
        0.15,
        friction_per_ps=300.0,
        stop=StopCriteria(max_force=None),
    )
    for index, target in enumerate(temperatures):
        measured = np.concatenate([run.temperatures[1:] for run in runs[index::2]])
        # Momenta forget within 1 / 0.3 steps: samples, ten steps apart, are independent.
        spread = target * (2.0 / 15) ** 0.5
        assert measured.mean() == pytest.approx(target, abs=4 * spread / len(measured) ** 0.5)
        assert measured.std() == pytest.approx(spread, rel=0.2)


def test_who_fails_drops_out_and_the_others_go_on(calculator: MLPotCalculator, crystal: Atoms) -> None:
    temperatures, seeds, stop = [300, 9000, 300], [0, 1, 2], StopCriteria(min_distance=0.85, interval=3)
    seen: list[int] = []
    mixed = run_langevin_batch(
        calculator,
        crystal,
        temperatures,
        seeds,
        0.04,
        stop=stop,
        callback=lambda fraction, going: seen.append(going),
    )
    assert "of their covalent radii" in str(mixed[1].reason) and 0 < mixed[1].survived_ps < 0.04
    assert seen[0] == 3 and seen[-2:] == [2, 0]
    for index in (0, 2):
        (single,) = run_langevin_batch(calculator, crystal, [300], [index], 0.04, stop=stop)
        assert single.completed
        assert_same(mixed[index], single)


@pytest.mark.parametrize(
    "criteria",
    [
        {"min_distance": 0.85, "interval": 3},
        {"min_distance": 0.93, "interval": 1, "max_force": None, "runaway_factor": None},
        {"max_force": 2.0},
        {"runaway_factor": 1.01, "runaway_window_fs": 4.0, "max_force": None},
        {"energy_deviation": 0.01, "reference_interval": 7},
        {"max_forces_std": 0.3},
    ],
)
def test_screened_replicas_stop_as_if_each_were_watched(
    criteria: dict[str, float], crystal: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = NetworkConfig(channels=4, hidden=4)
    members = [Potential(["Si"], config, seed=seed).double() for seed in range(2)]
    calculator = MLPotCalculator(Committee(members), uncertainty=True)
    reference = classical_calculator("sw-si") if "energy_deviation" in criteria else None
    temperatures = [300, 2000, 6000, 9000]
    if "runaway_window_fs" in criteria:
        # The energy of the start overheats cold baths.
        temperatures = [1, 2, 500, 2000]
        crystal.rattle(0.15, seed=0)
    plan = (calculator, crystal, temperatures, [0, 1, 2, 3], 0.03)
    stop = StopCriteria(**criteria)
    screened = run_langevin_batch(*plan, stop=stop, reference=reference)
    monkeypatch.setattr(
        batched,
        "suspects",
        lambda criteria, model, step, temperatures, *rest: torch.ones_like(temperatures) > 0,
    )
    watched = run_langevin_batch(*plan, stop=stop, reference=reference)
    assert any(run.reason for run in watched)
    for one, two in zip(screened, watched, strict=True):
        assert_same(one, two)


def test_every_criterion_is_screened() -> None:
    assert set(StopCriteria.model_fields) == screen.SCREENED | screen.CONSTANT


def test_a_replica_that_cannot_be_computed(
    calculator: MLPotCalculator, crystal: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another structure is put where the second replica was, with two atoms in one place, at step 12.
    inner, calls = batched.langevin_step, []

    def broken(state, model, **settings):
        calls.append(0)
        if len(calls) == 12:
            state.positions[8:10] = state.positions[8]
            state.momenta[8:10] = 0.0
            state.forces[8:10] = 0.0
            settings["noise"][8:10] = 0.0
        return inner(state, model, **settings)

    monkeypatch.setattr(batched, "langevin_step", broken)
    runs = run_langevin_batch(calculator, crystal, [300] * 3, range(3), 0.03)
    assert "atoms 0 and 1 overlap" in str(runs[1].reason)
    # As in a run alone: the step that could not be made is not counted.
    assert runs[1].survived_ps == pytest.approx(0.011)
    assert [run.completed for run in runs] == [True, False, True]
    assert len(runs[1].samples) == 2 and len(runs[0].samples) == 4
    assert np.isfinite(runs[1].atoms.positions).all()


def test_positions_that_are_lost_end_where_they_were(
    calculator: MLPotCalculator, crystal: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner, calls = batched.langevin_step, []

    def broken(state, model, **settings):
        calls.append(0)
        if len(calls) == 15:
            state.positions[3] = torch.nan
        return inner(state, model, **settings)

    monkeypatch.setattr(batched, "langevin_step", broken)
    lost, other = run_langevin_batch(calculator, crystal, [300, 300], [0, 1], 0.03)
    assert "NaN or infinity" in str(lost.reason) and other.completed
    np.testing.assert_array_equal(lost.atoms.positions, lost.samples[-1].positions)


@pytest.mark.parametrize("pbc", [(True, True, False), (False, False, False)])
def test_slabs_and_clusters(calculator: MLPotCalculator, crystal: Atoms, pbc: tuple[bool, ...]) -> None:
    crystal.pbc = pbc
    if not any(pbc):
        crystal.cell = None
    runs = run_langevin_batch(
        calculator, crystal, [300, 300], [0, 1], 0.01, stop=StopCriteria(max_force=None)
    )
    assert all(run.completed for run in runs)
    assert (runs[0].atoms.pbc == pbc).all()
    for run in runs:
        run.atoms.calc = calculator
        assert run.atoms.get_potential_energy() == pytest.approx(run.samples[-1].energy)


def test_an_atom_on_its_own_is_free(calculator: MLPotCalculator) -> None:
    (run,) = run_langevin_batch(calculator, Atoms("Si", cell=[9] * 3, pbc=True), [300], [0], 0.01)
    assert run.atoms.get_momenta().any() and run.completed


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seeds": []}, "one structure, temperature and seed per replica; got 0, 2 and 0"),
        ({"temperatures": [300]}, "got 2, 1 and 2"),
        ({"temperatures": [300, -5]}, "temperature is -5 K"),
        ({"time_ps": 0.0}, "time is 0 ps"),
        ({"timestep_fs": 50.0}, "no vibration is resolved"),
        ({"friction_per_ps": 900.0}, "too strong"),
        ({"log_interval": 0}, "log interval is 0"),
        ({"stop": StopCriteria(max_forces_std=0.1)}, "has no uncertainty"),
    ],
)
def test_senseless_batches(
    calculator: MLPotCalculator, crystal: Atoms, changes: dict[str, object], match: str
) -> None:
    plan = {"temperatures": [300, 300], "seeds": [0, 1], "time_ps": 0.01} | changes
    with pytest.raises(RecipeError, match=match):
        run_langevin_batch(calculator, crystal, **plan)


def test_structures_that_cannot_be_run(calculator: MLPotCalculator, crystal: Atoms) -> None:
    def run(*structures: Atoms) -> list[Trajectory]:
        return run_langevin_batch(calculator, structures, [300, 300], [0, 1], 0.01)

    fixed, slab, near = crystal.copy(), crystal.copy(), crystal.copy()
    fixed.set_constraint(FixAtoms([0]))
    with pytest.raises(RecipeError, match=r"replica 1: constraints \(FixAtoms\) do not work in batches"):
        run(crystal, fixed)
    slab.pbc[2] = False
    with pytest.raises(RecipeError, match="replica 1 has pbc"):
        run(crystal, slab)
    near.positions[0] = near.positions[1] + [0.0, 0.0, 0.5]
    with pytest.raises(GeometryError, match="closer than the stop criterion allows"):
        run(crystal, near)
    near.positions[0] = near.positions[1] + [0.0, 0.0, 0.01]
    with pytest.raises(GeometryError, match="overlap"):
        run(crystal, near)
    with pytest.raises(GeometryError, match="replica 0: the structure has no atoms"):
        run(Atoms(), crystal)
    with pytest.raises(ElementError, match="element C is unknown"):
        run(bulk("C"), crystal)


def test_a_stability_test_in_batches(calculator: MLPotCalculator, crystal: Atoms) -> None:
    seen: list[tuple[float, str]] = []
    reference = classical_calculator("sw-si")
    plan = (calculator, crystal, [300, 900], [0, 1], 0.03)
    stop = StopCriteria(energy_deviation=None)
    report = stability(
        *plan, stop=stop, reference=reference, batch_size=3, progress=lambda *state: seen.append(state)
    )
    alone = stability(*plan, stop=stop, reference=reference)
    found, expected = report.to_dict(), alone.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["protocol"] == expected["protocol"]
    for one, two in zip(found["temperatures"], expected["temperatures"], strict=True):
        assert one.keys() == two.keys() and one["curve"] == two["curve"]
        assert one["survival_95"] == two["survival_95"]
        assert one["radial"]["reference"] == two["radial"]["reference"]
        for ours, theirs in zip(one["runs"], two["runs"], strict=True):
            assert ours | {"mean_temperature": 0} == theirs | {"mean_temperature": 0}
    (batch,) = run_langevin_batch(
        calculator, crystal, [900], [np.random.SeedSequence([1, 900_000])], 0.03, stop=stop
    )
    np.testing.assert_allclose(report.runs[3].frame.positions, batch.atoms.positions, atol=1e-9)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert any("3 runs side by side" in title for _, title in seen)


def test_batches_are_of_potentials_of_mlpot(calculator: MLPotCalculator, crystal: Atoms) -> None:
    with pytest.raises(RecipeError, match="batches need a potential of mlpot, not"):
        stability(classical_calculator("sw-si"), crystal, [300], [0], 0.01, batch_size=2)
    with pytest.raises(RecipeError, match="batch size is 0"):
        stability(calculator, crystal, [300], [0], 0.01, batch_size=0)
