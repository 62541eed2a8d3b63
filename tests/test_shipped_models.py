"""Every model that ships with mlpot: small, sound, documented, and good for a crystal of its elements."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from scipy.optimize import minimize_scalar

import mlpot
from mlpot.model.card import MISSING, lineage, model_card
from mlpot.model.file import find_model, read_header, shipped_models
from mlpot.testing import derivatives, physics
from mlpot.testing.evaluation import Tolerances, evaluator
from mlpot.testing.structures import default_spacing, distorted_crystal

ROOT = Path(__file__).resolve().parents[1]

#: The models that come with mlpot.
SHIPPED = {"ge", "si", "sige"}
LARGEST = 5_000_000  # bytes
#: Of diamond in the PBE data the models learn from, Å (shared/data/README.md).
LATTICE = {"Si": 5.469, "Ge": 5.783}

ELEMENTS = [(name, symbol) for name in shipped_models() for symbol in read_header(name)["elements"]]


def test_shipped_are_the_models_that_shall_be() -> None:
    assert set(shipped_models()) == SHIPPED


def test_names_in_the_readme_are_shipped() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    used = r"""(?:(?:load|MLPotCalculator)\(["']|--from )([\w-]+)(?=["'\s])"""
    assert set(re.findall(used, text)) <= set(shipped_models())


@pytest.mark.parametrize("name", shipped_models())
def test_file_is_small_loads_and_passes_its_self_test(name: str) -> None:
    assert find_model(name).stat().st_size < LARGEST
    assert set(mlpot.load(name).symbols) <= set(LATTICE)


@pytest.mark.parametrize("name", shipped_models())
def test_card_is_complete(name: str) -> None:
    assert MISSING not in model_card(name)
    for stage in lineage(read_header(name)):
        card = stage["provenance"]["recipe"]["card"]
        assert card["licence"] and card["citations"]
    records = read_header(name)["provenance"]["errors"]
    assert any(len(record["errors"]) > 2 for record in records)  # all frames, and several groups
    assert all(record["files"] for record in records)


@pytest.mark.parametrize("name", shipped_models())
def test_physics(name: str) -> None:
    potential = mlpot.load(name)
    tolerances, rng = Tolerances.of("float32"), np.random.default_rng(0)
    evaluate, spacing = evaluator(potential), default_spacing(potential.symbols)
    cubic = distorted_crystal(potential.symbols, spacing, rng)
    small = distorted_crystal(potential.symbols, spacing, rng, primitive=True)
    results = [
        physics.check_rotation_inversion(evaluate, cubic, tolerances, rng),
        physics.check_permutation(evaluate, cubic, tolerances, rng),
        derivatives.check_forces_finite_difference(evaluate, cubic, tolerances, rng),
        derivatives.check_stress_finite_difference(evaluate, small, tolerances),
        physics.check_small_and_skewed_cells(evaluate, small, tolerances),
        physics.check_isolated_atom(evaluate, potential.symbols, tolerances, potential.cutoff + 0.5),
    ]
    assert not [result for result in results if not result.passed]


@pytest.fixture(scope="module")
def crystal():
    """Return a maker of the relaxed crystal of a model, a conventional cell."""
    made: dict[tuple[str, str], Atoms] = {}

    def make(name: str, symbol: str) -> Atoms:
        if (name, symbol) not in made:
            calculator = mlpot.MLPotCalculator(name)

            def energy(a: float) -> float:
                return calculator.get_potential_energy(bulk(symbol, "diamond", a=a))

            guess = LATTICE[symbol]
            found = minimize_scalar(energy, bounds=(0.95 * guess, 1.05 * guess), method="bounded")
            made[name, symbol] = bulk(symbol, "diamond", a=float(found.x), cubic=True)
        return made[name, symbol].copy()

    return make


@pytest.mark.parametrize(("name", "symbol"), ELEMENTS)
def test_diamond_is_bound_where_the_data_have_it(crystal, name: str, symbol: str) -> None:
    atoms = crystal(name, symbol)
    a = float(atoms.cell.array[0, 0])
    assert a == pytest.approx(LATTICE[symbol], rel=0.01)
    potential = mlpot.load(name)
    (bound,) = potential.predict(atoms)
    assert np.abs(bound.forces).max() < 1e-3
    assert np.abs(bound.stress).max() / units.GPa < 0.2
    stretched = bulk(symbol, "diamond", a=1.3 * a, cubic=True)
    assert potential.predict(stretched)[0].energy - bound.energy > 8 * 0.5


@pytest.mark.parametrize(("name", "symbol"), ELEMENTS)
def test_dynamics_at_600_kelvin_conserve_energy_and_the_crystal(crystal, name: str, symbol: str) -> None:
    atoms = crystal(name, symbol).repeat(2)
    start = atoms.positions.copy()
    atoms.calc = mlpot.MLPotCalculator(name)
    # Half of twice the temperature goes into the potential energy.
    thermalize_momenta(atoms, 1200.0, rng=np.random.default_rng(0))
    Stationary(atoms)
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, timestep=units.fs).run(150)
    assert abs(atoms.get_total_energy() - before) / len(atoms) < 5e-4  # eV
    assert 200.0 < atoms.get_temperature() < 1000.0
    assert np.linalg.norm(atoms.positions - start, axis=1).max() < 0.4 * default_spacing([symbol])
