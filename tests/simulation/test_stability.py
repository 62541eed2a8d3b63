from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlpot.errors import RecipeError
from mlpot.model.potential import Potential
from mlpot.observables.radial import radial_distribution
from mlpot.reference.classical import classical_calculator
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.simulation.dynamics import run_langevin
from mlpot.simulation.findings import StabilityReport
from mlpot.simulation.stability import stability, true_radials
from mlpot.simulation.stopping import StopCriteria


@pytest.fixture
def crystal() -> Atoms:
    return bulk("Si", a=5.431, cubic=True)


def test_the_teacher_survives_and_equals_itself(crystal: Atoms) -> None:
    seen: list[tuple[float, str]] = []
    report = stability(
        classical_calculator("sw-si"),
        crystal,
        temperatures=[300, 600],
        seeds=[0, 1],
        time_ps=0.1,
        reference=classical_calculator("sw-si"),
        progress=lambda fraction, title: seen.append((fraction, title)),
    )
    assert [run.reason for run in report.runs] == [None] * 4
    assert all(run.censored and run.survived_ps == pytest.approx(0.1) for run in report.runs)
    for result in report.temperatures:
        # Two survivors of two: p^2 = 0.025.
        assert (result.survival, result.lower, result.upper) == pytest.approx((1.0, 0.025**0.5, 1.0))
        assert result.radial is not None
        assert result.radial.error == pytest.approx(0.0, abs=1e-12)
        assert result.radial.reference_failures == []
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {title for _, title in seen} >= {"300 K, seed 0", "600 K, seed 1, reference"}


def test_another_force_field_has_another_structure(crystal: Atoms) -> None:
    # Tersoff's silicon, judged by that of Stillinger and Weber.
    report = stability(
        classical_calculator("t3-si"), crystal, [900], [0], 0.3, reference=classical_calculator("sw-si")
    )
    radial = report.temperatures[0].radial
    assert radial is not None
    assert 0.005 < radial.error < 0.5
    # The reference curve is that of the same protocol with the reference calculator.
    run = run_langevin(
        crystal, classical_calculator("sw-si"), 900, 0.3, seed=np.random.SeedSequence([0, 900_000])
    )
    r, g = radial_distribution(run.frames(0.2 * 0.3), 8.0, 160)
    np.testing.assert_array_equal(radial.r, r)
    np.testing.assert_allclose(radial.reference, g)


def test_true_dynamics_once_for_several_potentials(crystal: Atoms) -> None:
    reference = classical_calculator("sw-si")
    truth = true_radials(reference, crystal, [300, 600], [0, 1], 0.04)
    plan = (crystal, [300, 600], [0, 1], 0.04)
    alone = stability(classical_calculator("t3-si"), *plan, reference=reference)
    titles: list[str] = []
    helped = stability(
        classical_calculator("t3-si"),
        *plan,
        reference=reference,
        truth=truth,
        progress=lambda fraction, title: titles.append(title),
    )
    assert helped.to_dict() == alone.to_dict()
    assert not any("reference" in title for title in titles)
    with pytest.raises(RecipeError, match="truth: nothing is known at 900 K"):
        stability(reference, crystal, [900], [0], 0.04, reference=reference, truth=truth)


def test_an_untrained_potential_fails(potential: Potential, crystal: Atoms) -> None:
    stop = StopCriteria(energy_deviation=0.02, reference_interval=5)
    report = stability(
        MLPotCalculator(potential),
        crystal,
        [1500],
        [0, 1, 2],
        0.3,
        stop=stop,
        reference=classical_calculator("sw-si"),
    )
    result = report.temperatures[0]
    assert all(not run.censored for run in result.runs)
    assert all("from the reference" in str(run.reason) for run in result.runs)
    assert all(0.0 < run.survived_ps < 0.3 for run in result.runs)
    assert (result.survival, result.lower) == (0.0, 0.0)
    assert result.upper == pytest.approx(1.0 - 0.025 ** (1 / 3))
    assert result.curve.durations.tolist() == [run.survived_ps for run in result.runs]
    assert report.frames[1].info["stop_reason"] == result.runs[1].reason
    assert report.frames[1].info["seed"] == 1


def test_report_is_plain_json(potential: Potential, crystal: Atoms) -> None:
    report = stability(
        MLPotCalculator(potential), crystal, [300.5], [4], 0.02, stop=StopCriteria(max_force=50.0)
    )
    read = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert read["formula"] == "Si8"
    assert read["protocol"]["stop"]["max_force"] == 50.0
    assert read["protocol"]["equilibration_ps"] == pytest.approx(0.004)
    (result,) = read["temperatures"]
    assert result["temperature_K"] == 300.5
    assert result["radial"] is None
    assert result["radial_missing"] == "no reference calculator"
    assert result["runs"][0]["seed"] == 4
    assert result["runs"][0]["censored"] is True


def test_same_seeds_same_report(crystal: Atoms) -> None:
    def run() -> StabilityReport:
        return stability(classical_calculator("sw-si"), crystal, [500], [7], 0.05)

    one, two = run(), run()
    assert one.to_dict() == two.to_dict()
    assert np.array_equal(one.runs[0].frame.positions, two.runs[0].frame.positions)
    other = stability(classical_calculator("sw-si"), crystal, [500], [8], 0.05)
    assert not np.array_equal(one.runs[0].frame.positions, other.runs[0].frame.positions)


def test_cluster_has_no_radial_comparison() -> None:
    teacher = classical_calculator("sw-si")
    cluster = Atoms("Si4", positions=[[0, 0, 0], [2.4, 0, 0], [0, 2.4, 0], [0, 0, 2.4]])
    result = stability(teacher, cluster, [100], [0], 0.02, reference=teacher).temperatures[0]
    assert result.radial is None
    assert result.radial_missing == "the structure is not periodic in all directions"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"temperatures": []}, "needs temperatures"),
        ({"seeds": []}, "needs seeds"),
        ({"seeds": [1, 1]}, "no more evidence"),
        ({"seeds": [-1]}, "must not be negative"),
        ({"temperatures": [300, -5]}, "above zero"),
        ({"equilibration_ps": 2.0}, "does not fit"),
        ({"time_ps": -1.0, "equilibration_ps": None}, "does not fit|above zero"),
        ({"r_max": 0.0}, "must be positive"),
    ],
)
def test_senseless_plans(crystal: Atoms, options: dict[str, object], match: str) -> None:
    plan = {"temperatures": [300], "seeds": [0], "time_ps": 1.0} | options
    with pytest.raises(RecipeError, match=match):
        stability(classical_calculator("sw-si"), crystal, **plan)


def test_a_radial_distribution_from_elsewhere_needs_no_reference(crystal: Atoms) -> None:
    other = bulk("Si", a=5.6, cubic=True)
    other.rattle(0.05, seed=1)
    r, g = radial_distribution([other], 6.0, 60)
    truth = [{"temperature_K": 300.0, "r": r.tolist(), "g": g.tolist(), "failures": []}]
    report = stability(
        classical_calculator("sw-si"), crystal, [300.0], [0], 0.05, r_max=6.0, bins=60, truth=truth
    )
    (result,) = report.temperatures
    assert result.radial is not None
    assert result.radial.reference.tolist() == g.tolist()
    assert result.radial.error > 0.1
    with pytest.raises(RecipeError, match="nothing is known at 600 K"):
        stability(classical_calculator("sw-si"), crystal, [600.0], [0], 0.05, truth=truth)
