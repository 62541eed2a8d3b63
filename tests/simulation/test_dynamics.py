from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.constraints import FixAtoms

from mlpot.errors import ElementError, GeometryError, RecipeError
from mlpot.model.potential import Potential
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.simulation.dynamics import Sample, run_langevin, run_nve
from mlpot.simulation.stopping import StopCriteria


class Springs(Calculator):
    """Independent harmonic oscillators about the start: everything about them is known."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, centre: np.ndarray, stiffness: float = 5.0) -> None:
        super().__init__()
        self.centre, self.stiffness = centre, stiffness

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        away = self.atoms.positions - self.centre
        self.results = {"energy": 0.5 * self.stiffness * (away**2).sum(), "forces": -self.stiffness * away}


class Poisoned(Springs):
    """Forces become NaN after some calls."""

    calls = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls > 25:
            self.results["forces"][3, 1] = np.nan


@pytest.fixture
def crystal() -> Atoms:
    return bulk("Si", cubic=True).repeat((2, 2, 1))


def springs(atoms: Atoms, stiffness: float = 5.0) -> Springs:
    return Springs(atoms.positions.copy(), stiffness)


def test_langevin_samples_the_canonical_ensemble(crystal: Atoms) -> None:
    run = run_langevin(crystal, springs(crystal), 500.0, 6.0, timestep_fs=2.0, friction_per_ps=20.0, seed=1)
    assert run.completed
    assert run.survived_ps == pytest.approx(6.0)
    settled = run.times_ps > 1.0
    # 93 degrees of freedom (the centre of mass is at rest), each with kT/2 twice.
    kt = 8.617333e-5 * 500.0
    assert run.temperatures[settled].mean() == pytest.approx(500.0, rel=0.06)
    assert run.energies[settled].mean() == pytest.approx(0.5 * 93 * kt, rel=0.08)
    # Canonical fluctuation of the kinetic temperature.
    assert run.temperatures[settled].std() == pytest.approx(500.0 * np.sqrt(2 / 93), rel=0.4)


def test_centre_of_mass_rests_and_input_is_untouched(crystal: Atoms) -> None:
    before = crystal.copy()
    run = run_langevin(crystal, springs(crystal), 800.0, 0.1, seed=2)
    assert crystal == before
    assert crystal.calc is None
    assert not crystal.has("momenta")
    np.testing.assert_allclose(run.positions.mean(1) - run.positions[0].mean(0), 0.0, atol=1e-10)
    assert run.atoms.constraints == []
    assert run.atoms.calc is None
    np.testing.assert_allclose(run.atoms.get_momenta().sum(0), 0.0, atol=1e-10)


def test_same_seed_same_run(crystal: Atoms) -> None:
    runs = [run_langevin(crystal, springs(crystal), 300.0, 0.05, seed=seed) for seed in (3, 3, 4)]
    assert np.array_equal(runs[0].positions, runs[1].positions)
    assert not np.allclose(runs[0].positions[-1], runs[2].positions[-1])
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    run_langevin(crystal, springs(crystal), 300.0, 0.01, seed=3)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_initial_velocities_are_maxwell_boltzmann(crystal: Atoms) -> None:
    runs = [run_nve(crystal, springs(crystal), 0.001, temperature=700.0, seed=seed) for seed in range(40)]
    first = np.array([run.temperatures[0] for run in runs])
    # Mean T, spread T sqrt(2 / 93), over forty draws.
    assert first.mean() == pytest.approx(700.0, abs=4 * 700.0 * np.sqrt(2 / 93 / 40))
    assert first.std() == pytest.approx(700.0 * np.sqrt(2 / 93), rel=0.5)


def test_nve_conserves_energy_and_period(crystal: Atoms) -> None:
    moving = crystal.copy()
    moving.positions[0, 0] += 0.2
    moving.positions[1, 0] -= 0.2
    run = run_nve(moving, springs(crystal), 0.2, timestep_fs=0.5, log_interval=1)
    np.testing.assert_allclose(run.total_energies, run.total_energies[0], rtol=1e-3)
    # x(t) = 0.2 cos(omega t) with omega from stiffness and mass.
    omega = np.sqrt(5.0 / moving.get_masses()[0]) / 10.180505
    expected = crystal.positions[0, 0] + 0.2 * np.cos(omega * 1000 * run.times_ps)
    np.testing.assert_allclose(run.positions[:, 0, 0], expected, atol=2e-3)


def test_nve_keeps_given_velocities(crystal: Atoms) -> None:
    moving = crystal.copy()
    momenta = np.random.default_rng(0).normal(size=(len(crystal), 3))
    momenta -= momenta.mean(0)
    moving.set_momenta(momenta)
    run = run_nve(moving, springs(crystal), 0.001)
    assert run.samples[0].kinetic_energy == pytest.approx(moving.get_kinetic_energy())


def test_constraints_are_kept(crystal: Atoms) -> None:
    crystal.set_constraint(FixAtoms([0, 5]))
    run = run_langevin(crystal, springs(crystal), 600.0, 0.05, seed=1)
    assert np.array_equal(run.positions[:, [0, 5]], np.repeat(crystal.positions[None, [0, 5]], 6, axis=0))
    assert isinstance(run.atoms.constraints[0], FixAtoms)


def test_one_atom_runs() -> None:
    atom = Atoms("Si", cell=[9.0] * 3, pbc=True)
    run = run_langevin(atom, springs(atom), 300.0, 0.02)
    assert run.completed
    assert np.isfinite(run.temperatures).all()


def test_samples_and_callback(crystal: Atoms) -> None:
    seen: list[Sample] = []
    run = run_langevin(
        crystal, springs(crystal), 300.0, 0.04, timestep_fs=2.0, log_interval=5, callback=seen.append
    )
    assert seen == run.samples
    np.testing.assert_allclose(run.times_ps, [0.0, 0.01, 0.02, 0.03, 0.04])
    assert run.positions.shape == (5, 32, 3)
    frames = run.frames(after_ps=0.02)
    assert len(frames) == 3
    assert np.array_equal(frames[-1].positions, run.positions[-1])
    assert np.array_equal(frames[0].cell, crystal.cell)


def test_stops_at_nan(crystal: Atoms) -> None:
    run = run_langevin(crystal, Poisoned(crystal.positions.copy()), 300.0, 0.5, log_interval=5)
    assert run.reason == "energy or forces are not finite"
    assert not run.completed
    assert 0.01 < run.survived_ps < 0.03
    assert np.isfinite(run.atoms.positions).all()


def test_stops_at_large_forces(crystal: Atoms) -> None:
    run = run_langevin(crystal, springs(crystal, 20.0), 3000.0, 0.5, stop=StopCriteria(max_force=5.0))
    assert run.reason is not None and "force of" in run.reason and "limit 5" in run.reason


def test_stops_when_atoms_come_close() -> None:
    # A weak attraction pulls two atoms together; 0.6 of 2 x 1.11 Å is 1.33 Å.
    pair = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.3]])
    middle = np.array([[0, 0, 1.15], [0, 0, 1.15]])
    run = run_nve(pair, Springs(middle, 5.0), 1.0, log_interval=1)
    assert run.reason is not None and "atoms 0 and 1 (Si, Si) at" in run.reason
    distances = np.linalg.norm(run.positions[:, 1] - run.positions[:, 0], axis=1)
    last = np.linalg.norm(run.atoms.positions[1] - run.atoms.positions[0])
    assert last < 0.6 * 2.22 < distances[-6]


def test_stops_at_temperature_runaway(crystal: Atoms) -> None:
    # Released from a stretched state, the springs heat the crystal tenfold.
    stretched = crystal.copy()
    stretched.positions += np.random.default_rng(0).normal(scale=0.15, size=stretched.positions.shape)
    stop = StopCriteria(min_distance=None, runaway_window_fs=10.0)
    run = run_langevin(stretched, springs(crystal, 50.0), 100.0, 1.0, friction_per_ps=0.1, stop=stop)
    assert run.reason is not None and "temperature" in run.reason and "target 100 K" in run.reason
    off = StopCriteria(min_distance=None, runaway_factor=None)
    assert run_langevin(
        stretched, springs(crystal, 50.0), 100.0, 0.1, friction_per_ps=0.1, stop=off
    ).completed


def test_few_atoms_do_not_run_away_by_fluctuation() -> None:
    pair = Atoms("Si2", positions=[[0, 0, 0], [0, 0, 2.3]])
    stop = StopCriteria(min_distance=None, runaway_factor=1.5, runaway_window_fs=0.0)
    assert run_langevin(pair, springs(pair), 300.0, 5.0, timestep_fs=2.0, stop=stop, seed=5).completed


def test_stops_when_energy_leaves_the_reference(crystal: Atoms) -> None:
    stop = StopCriteria(energy_deviation=0.01, reference_interval=5)
    soft, hard = springs(crystal, 4.0), springs(crystal, 6.0)
    run = run_langevin(crystal, soft, 900.0, 1.0, stop=stop, reference=hard, seed=1)
    assert run.reason is not None and "eV/atom from the reference" in run.reason
    # A constant difference between energy zeros is no deviation.
    assert run_langevin(
        crystal, soft, 900.0, 0.1, stop=stop, reference=Shifted(crystal, 4.0), seed=1
    ).completed


class Shifted(Springs):
    """The same springs with another zero of energy."""

    def __init__(self, atoms: Atoms, stiffness: float) -> None:
        super().__init__(atoms.positions.copy(), stiffness)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.results["energy"] += 1000.0


class Refusing(Springs):
    """Raises after some calls, as a potential does on a structure it cannot evaluate."""

    calls = 0

    def __init__(self, centre: np.ndarray, error: Exception) -> None:
        super().__init__(centre)
        self.error = error

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        if self.calls > 25:
            raise self.error


@pytest.mark.parametrize("error", [GeometryError("atoms 1 and 2 overlap"), CalculationFailed("no SCF")])
def test_structure_refused_during_the_run_ends_it(crystal: Atoms, error: Exception) -> None:
    run = run_langevin(crystal, Refusing(crystal.positions.copy(), error), 300.0, 0.5, log_interval=5)
    assert run.reason == str(error)
    assert run.survived_ps == pytest.approx(0.024)
    assert np.isfinite(run.atoms.positions).all()


def test_other_errors_during_the_run_are_raised(crystal: Atoms) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run_langevin(crystal, Refusing(crystal.positions.copy(), ZeroDivisionError("a bug")), 300.0, 0.5)


def test_bad_start(potential: Potential, crystal: Atoms) -> None:
    calculator = MLPotCalculator(potential)
    close = crystal.copy()
    close.positions[1] = close.positions[0] + [0.0, 0.0, 0.9]
    with pytest.raises(GeometryError, match=r"starting structure is closer .* atoms 0 and 1"):
        run_langevin(close, calculator, 300.0, 0.1)
    close.positions[1] = close.positions[0]
    with pytest.raises(GeometryError, match="overlap"):
        run_langevin(close, calculator, 300.0, 0.1)
    with pytest.raises(ElementError, match="Ge is unknown"):
        run_langevin(bulk("Ge", cubic=True), calculator, 300.0, 0.1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"temperature": -300.0}, "temperature is -300 K; it must be above zero"),
        ({"temperature": 0.0}, "temperature is 0 K"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"time_ps": 0.0}, "time is 0 ps"),
        ({"timestep_fs": 0.0}, "time step is 0 fs"),
        ({"timestep_fs": -1.0}, "time step is -1 fs"),
        ({"timestep_fs": 25.0}, "beyond 20 fs"),
        ({"friction_per_ps": 0.0}, "friction is 0 1/ps"),
        ({"friction_per_ps": 1000.0}, "too strong"),
        ({"log_interval": 0}, "log interval is 0"),
    ],
)
def test_senseless_settings(crystal: Atoms, options: dict[str, float], match: str) -> None:
    settings = {"temperature": 300.0, "time_ps": 0.01} | options
    with pytest.raises(RecipeError, match=match):
        run_langevin(crystal, springs(crystal), **settings)


def test_unknown_criterion_is_refused() -> None:
    with pytest.raises(ValueError, match="min_distanse"):
        StopCriteria.model_validate({"min_distanse": 0.5})


class Doubtful(Springs):
    """Less certain the further from the start, in one component of each force."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "forces_std"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        deviations = np.zeros_like(self.results["forces"])
        deviations[:, 1] = np.linalg.norm(self.results["forces"], axis=1)
        self.results["forces_std"] = deviations


def test_an_uncertain_force_ends_the_run() -> None:
    """At the first step whose largest deviation is beyond the limit, and not without a limit."""
    atoms = bulk("Si", cubic=True)
    calculator = Doubtful(atoms.positions.copy())
    arguments = {"temperature": 600.0, "timestep_fs": 1.0, "log_interval": 1}
    whole = run_nve(atoms, calculator, 0.05, **arguments)
    largest = [
        np.linalg.norm(calculator.stiffness * (positions - atoms.positions), axis=1).max()
        for positions in whole.positions
    ]
    limit = 0.5 * max(largest)
    ended = run_nve(atoms, calculator, 0.05, stop=StopCriteria(max_forces_std=limit), **arguments)
    first = int(np.argmax(np.array(largest) > limit))
    assert whole.completed and first > 0
    assert ended.survived_ps == pytest.approx(first * 1e-3)
    assert ended.reason is not None and f"predicted deviation of {largest[first]:.2f} eV/Å" in ended.reason
    np.testing.assert_allclose(ended.atoms.positions, whole.positions[first])


def test_a_limit_of_uncertainty_needs_one() -> None:
    atoms = bulk("Si", cubic=True)
    with pytest.raises(RecipeError, match="max_forces_std: this Springs has no uncertainty"):
        run_nve(atoms, Springs(atoms.positions), 0.01, stop=StopCriteria(max_forces_std=0.1))
