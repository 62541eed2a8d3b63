"""Each ensemble against statistical mechanics: means, variances, and what is conserved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from spring_network import SpringNetwork, face_centred

from mlpot.conventions import GPA, KB
from mlpot.errors import GeometryError, RecipeError
from mlpot.simulation.dynamics import run_dynamics
from mlpot.simulation.ensembles import Ensemble
from mlpot.simulation.integrators import Integrator, degrees_of_freedom, kinetic_temperature
from mlpot.simulation.single import Simulation

TEMPERATURE, TIMESTEP = 1200.0, 3.0
KT = KB * TEMPERATURE
#: Eight atoms whose centre of mass rests: one that counts 24 is 14 % too hot.
FREE = 21


def crystal() -> Atoms:
    atoms = face_centred()
    atoms.calc = SpringNetwork(atoms, stiffness=4.0)
    rng = np.random.default_rng(7)
    atoms.set_momenta(rng.standard_normal((8, 3)) * np.sqrt(atoms.get_masses()[:, None] * KT))
    return atoms


def settle(atoms: Atoms) -> None:
    """Bring positions to the temperature: a chain alone would long swing about a cold start."""
    first = Integrator(
        atoms,
        Ensemble("nvt", temperature=TEMPERATURE, friction_per_ps=30.0),
        TIMESTEP,
        np.random.default_rng(1),
    )
    for _ in range(300):
        first.step()
    atoms.set_constraint()


@dataclass
class Record:
    """Of every second step; energies in eV, volumes in Å³, pressures in GPa; ``cell``: kinetic energies."""

    kinetic: np.ndarray
    volume: np.ndarray
    pressure: np.ndarray
    conserved: np.ndarray
    cell: np.ndarray


def follow(ensemble: Ensemble, steps: int, seed: int = 0) -> Record:
    atoms = crystal()
    settle(atoms)
    integrator = Integrator(atoms, ensemble, TIMESTEP, np.random.default_rng(seed))
    rows = []
    for step in range(steps):
        integrator.step()
        if step % 2 or step < steps // 10:
            continue
        row = [atoms.get_kinetic_energy(), atoms.get_volume(), 0.0, integrator.conserved() or 0.0, 0.0]
        if ensemble.name == "npt":
            row[2] = -atoms.get_stress(include_ideal_gas=True)[:3].mean() / GPA
            dynamics = integrator.dynamics
            momenta = dynamics._p_eps if ensemble.barostat == "isotropic" else dynamics._p_g
            row[4] = np.sum(momenta**2) / (2 * dynamics._barostat.W)
        rows.append(row)
    return Record(*np.array(rows).T)


def error_of_mean(values: np.ndarray, blocks: int = 12) -> float:
    """Standard error from the scatter of block means (Flyvbjerg & Petersen, J. Chem. Phys. 91, 461, 1989)."""
    means = [block.mean() for block in np.array_split(values, blocks)]
    return float(np.std(means, ddof=1) / np.sqrt(blocks))


def assert_canonical(kinetic: np.ndarray) -> None:
    """Mean f kT / 2 and variance f (kT)² / 2."""
    expected = FREE * KT / 2
    error = error_of_mean(kinetic)
    assert error < 0.04 * expected, "too short to tell 21 degrees of freedom from 24"
    assert abs(kinetic.mean() - expected) < max(3.5 * error, 0.01 * expected)
    squares = (kinetic - expected) ** 2
    variance = FREE * KT**2 / 2
    assert abs(squares.mean() - variance) < max(3.5 * error_of_mean(squares), 0.05 * variance)
    # Told from a thermostat that merely scales (no fluctuation) and from constant energy.
    assert 0.7 * variance < squares.mean() < 1.4 * variance


CONSTANT_VOLUME = {
    "langevin": Ensemble("nvt", temperature=TEMPERATURE, friction_per_ps=20.0),
    "bussi": Ensemble("nvt", temperature=TEMPERATURE, thermostat="bussi", thermostat_fs=30.0),
    "nose-hoover": Ensemble("nvt", temperature=TEMPERATURE, thermostat="nose-hoover", thermostat_fs=40.0),
}
CONSTANT_PRESSURE = {
    barostat: Ensemble(
        "npt",
        temperature=TEMPERATURE,
        pressure=3.0,
        barostat=barostat,
        thermostat_fs=40.0,
        barostat_fs=100.0,
    )
    for barostat in ("isotropic", "full")
}


@pytest.mark.parametrize("name", CONSTANT_VOLUME)
def test_kinetic_energy_is_canonical(name: str) -> None:
    record = follow(CONSTANT_VOLUME[name], 8000)
    assert_canonical(record.kinetic)
    if name != "langevin":
        # Both conserve an energy; it neither drifts nor swings by what the atoms exchange (about 0.3 eV).
        slope = np.polyfit(np.arange(len(record.conserved)), record.conserved, 1)[0] * len(record.conserved)
        assert abs(slope) < 0.02
        assert record.conserved.std() < 0.05 * record.kinetic.std()


@pytest.mark.parametrize("barostat", CONSTANT_PRESSURE)
def test_constant_pressure(barostat: str) -> None:
    record = follow(CONSTANT_PRESSURE[barostat], 10000)
    assert_canonical(record.kinetic)
    pressure, error = record.pressure.mean(), error_of_mean(record.pressure)
    assert error < 0.3
    assert abs(pressure - 3.0) < 3.5 * error
    # One kinetic term of the cell, or six; ASE's own nine would leave the cell 1.5 times as hot.
    terms = 1 if barostat == "isotropic" else 6
    assert record.cell.mean() == pytest.approx(terms * KT / 2, rel=0.15)
    # <δV²> = kT V / B with the bulk modulus of the static crystal at the mean volume.
    expected = KT * record.volume.mean() / bulk_modulus(record.volume.mean())
    assert record.volume.var() == pytest.approx(expected, rel=0.35)
    assert record.conserved.std() < 0.2 * record.kinetic.std()


def bulk_modulus(volume: float) -> float:
    """V d²E/dV² of the crystal at rest, eV/Å³."""
    atoms = crystal()
    start = atoms.get_volume()
    energies = []
    for change in (-0.01, 0.0, 0.01):
        strained = atoms.copy()
        strained.calc = atoms.calc
        strained.set_cell(atoms.cell * (volume * (1 + change) / start) ** (1 / 3), scale_atoms=True)
        energies.append(strained.get_potential_energy())
    return (energies[0] - 2 * energies[1] + energies[2]) / (0.01**2 * volume)


def test_constant_energy() -> None:
    record = follow(Ensemble("nve"), 3000)
    # Half of the energy is kinetic in a crystal that is nearly harmonic; its sum with the other stays.
    assert record.conserved.std() < 0.02 * record.kinetic.std()
    assert record.kinetic.std() > 0.3 * np.sqrt(FREE / 2) * KT * np.sqrt(0.5)


def test_targets_move_linearly() -> None:
    """The kinetic temperature follows, and so does the pressure."""
    atoms = crystal()
    calculator = atoms.calc
    heating = Ensemble(
        "nvt", temperature=300.0, temperature_end=1500.0, thermostat="bussi", thermostat_fs=20.0
    )
    run = run_dynamics(atoms, calculator, heating, 6.0, timestep_fs=2.0, log_interval=1, stop=None, seed=4)
    slope, start = np.polyfit(run.times_ps, run.temperatures, 1)
    assert slope * 6.0 == pytest.approx(1200.0, rel=0.15)
    assert start == pytest.approx(300.0, abs=80.0)
    ensemble = Ensemble(
        "npt", temperature=300.0, temperature_end=100.0, pressure=0.0, pressure_end=10.0, barostat_fs=200.0,
        barostat="full",
    )  # fmt: skip
    squeezed = Simulation(atoms, calculator, ensemble, 1.5, timestep_fs=2.0)
    assert squeezed.begin() is None
    chain = squeezed.integrator.dynamics._thermostat._Q[0]
    while squeezed.step < squeezed.steps:
        assert squeezed.advance() is None
    pressure = -squeezed.atoms.get_stress(include_ideal_gas=True)[:3].mean() / GPA
    assert pressure == pytest.approx(10.0, abs=4.0)
    assert squeezed.atoms.get_volume() < 0.97 * atoms.get_volume()
    # Masses of the chain follow the target, so that its time constant stays.
    assert squeezed.integrator.dynamics._thermostat._Q[0] == pytest.approx(chain / 3)


@pytest.mark.parametrize("ensemble", [*CONSTANT_VOLUME.values(), *CONSTANT_PRESSURE.values()])
def test_the_centre_of_mass_rests(ensemble: Ensemble) -> None:
    atoms = crystal()
    integrator = Integrator(atoms, ensemble, TIMESTEP, np.random.default_rng(0))
    for _ in range(50):
        integrator.step()
    np.testing.assert_allclose(atoms.get_momenta().sum(0), 0.0, atol=1e-9)
    assert degrees_of_freedom(atoms) == FREE
    assert kinetic_temperature(atoms) == pytest.approx(2 * atoms.get_kinetic_energy() / (FREE * KB))


def test_a_state_is_the_whole_state() -> None:
    """Taken up by a fresh integrator on other atoms, it leads to the same positions, to the last bit."""
    for ensemble in CONSTANT_PRESSURE.values():
        first, second = (
            Integrator(crystal(), ensemble, TIMESTEP, np.random.default_rng(0)) for _ in range(2)
        )
        for _ in range(20):
            first.step()
        second.restore(first.state())
        for _ in range(20):
            first.step()
            second.step()
        assert np.array_equal(first.atoms.positions, second.atoms.positions)
        assert np.array_equal(first.atoms.cell.array, second.atoms.cell.array)
        assert first.conserved() == second.conserved()
        with pytest.raises(ValueError, match=r"_q has shape \(1, 3\)"):
            second.restore(first.state() | {"_q": np.zeros((1, 3))})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"name": "nvtt"}, "ensemble 'nvtt' is unknown; did you mean 'nvt'"),
        ({"name": "gcmc", "temperature": 300}, "ensemble 'gcmc' is unknown; choose nve, nvt, npt"),
        ({"name": "nvt"}, r"ensemble nvt needs a temperature \(K\)"),
        ({"name": "npt", "temperature": 300}, r"ensemble npt needs a pressure \(GPa\); 0 for none"),
        ({"name": "nvt", "temperature": 300, "pressure": 1}, "pressure goes with npt, not with ensemble nvt"),
        ({"name": "nve", "temperature_end": 300}, "final temperature goes with nvt and npt"),
        ({"name": "nve", "thermostat": "bussi"}, "a thermostat goes with nvt, not with ensemble nve"),
        ({"name": "nvt", "temperature": 300, "thermostat": "bussy"}, "did you mean 'bussi'"),
        ({"name": "npt", "temperature": 300, "pressure": 0, "thermostat": "bussi"}, "bussi goes with nvt"),
        ({"name": "npt", "temperature": 300, "pressure": 0, "barostat": "cubic"}, "'cubic' is unknown"),
        ({"name": "npt", "temperature": 300, "pressure": float("nan")}, "pressure is nan GPa"),
        ({"name": "nvt", "temperature": 300, "temperature_end": 0}, "final temperature is 0 K"),
        (
            {"name": "nvt", "temperature": 300, "thermostat": "bussi", "friction_per_ps": 5},
            "friction goes with the thermostat langevin, not with ensemble nvt with bussi",
        ),
        ({"name": "nvt", "temperature": 300, "thermostat_fs": 50}, "thermostat time goes with nose-hoover"),
    ],
)  # fmt: skip
def test_senseless_ensembles(options: dict[str, object], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        Ensemble(**options)


def test_ensembles_that_a_structure_does_not_allow() -> None:
    npt = Ensemble("npt", temperature=300.0, pressure=0.0)
    chain = Ensemble("nvt", temperature=300.0, thermostat="nose-hoover")
    slab, held = crystal(), crystal()
    slab.pbc = [True, True, False]
    held.set_constraint(FixAtoms([0]))
    for atoms, ensemble, match in (
        (slab, npt, r"periodic in three directions; this one has pbc \[True, True, False\]"),
        (held, npt, "remove the constraints"),
        (held, chain, "cannot keep constraints"),
        (crystal()[:1], npt, "two atoms or more"),
    ):
        with pytest.raises(GeometryError, match=match):
            Simulation(atoms, crystal().calc, ensemble, 1.0)
    without = crystal().calc
    without.implemented_properties = ["energy", "forces"]
    with pytest.raises(RecipeError, match="npt needs the stress, which this SpringNetwork does not have"):
        Simulation(crystal(), without, npt, 1.0)
    with pytest.raises(RecipeError, match="thermostat time of 5 fs is too short for a time step of 1 fs"):
        fast = Ensemble("nvt", temperature=300.0, thermostat="nose-hoover", thermostat_fs=5.0)
        Simulation(crystal(), crystal().calc, fast, 1.0)
