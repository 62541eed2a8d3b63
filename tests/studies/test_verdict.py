"""The verdict says what the numbers say, harms included."""

from __future__ import annotations

import pytest

from mlpot.studies.run import verdict

#: meV/Å of the arms where transfer is what it should be.
GOOD = {"scratch": 100.0, "plain": 300.0, "reduced": 90.0, "transfer": 50.0}


def errors(forces, energy=2.0, stress=0.1):
    return {"forces_mae": forces, "energy_mae": energy, "stress_mae": stress}


def seed(number=0, forces=GOOD, **groups):
    """Return the results of a seed; ``groups`` hold (scratch, transfer) errors by group."""
    arms = {arm: {"holdout": {"all": errors(value)}} for arm, value in forces.items()}
    for name, (scratch, transfer) in groups.items():
        arms["scratch"]["holdout"][name] = errors(scratch)
        arms["transfer"]["holdout"][name] = errors(transfer)
    return {"seed": number, "arms": arms}


def test_numbers_are_told(recipe):
    sentences = verdict(recipe, {"seeds": [seed(0), seed(1, {**GOOD, "scratch": 120.0, "transfer": 130.0})]})
    assert sentences[0] == (
        "With 3 frames of Ge, transfer from Si leaves a force error of 90 meV/Å on the hold-out, training "
        "from scratch 110 meV/Å (mean absolute, 2 seeds); transfer is better in 1 of 2."
    )
    assert "bring the Si potential from 300 to 90 meV/Å" in sentences[1]


def test_nothing_worse_is_said_to_be_so(recipe):
    sentences = verdict(recipe, {"seeds": [seed(liquid=(100.0, 50.0))]})
    assert sentences[-1] == "Nothing measured here is worse with transfer."


def test_group_that_suffers_is_named(recipe):
    results = {"seeds": [seed(liquid=(100.0, 120.0), solid=(90.0, 30.0))]}
    (worse,) = [s for s in verdict(recipe, results) if s.startswith("Worse with transfer")]
    assert worse == "Worse with transfer: forces of liquid (120.0 against 100.0 meV/Å)."


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("energy_mae", "energy (9.00 against 2.00 meV/atom)"),
        ("stress_mae", "stress (9.00 against 0.10 GPa)"),
    ],
)
def test_energy_or_stress_that_suffers_is_named(recipe, key, words):
    one = seed()
    one["arms"]["transfer"]["holdout"]["all"][key] = 9.0
    (worse,) = [s for s in verdict(recipe, {"seeds": [one]}) if s.startswith("Worse with transfer")]
    assert worse == f"Worse with transfer: {words}."


def test_forces_that_suffer_are_named(recipe):
    results = {"seeds": [seed(forces={**GOOD, "transfer": 150.0})]}
    sentences = verdict(recipe, results)
    assert "transfer is better in 0 of 1" in sentences[0]
    (worse,) = [s for s in sentences if s.startswith("Worse with transfer")]
    assert "forces (150.0 against 100.0 meV/Å)" in worse
    assert not any("Nothing measured" in s for s in sentences)


def test_missing_energies_are_no_harm(recipe):
    one = seed()
    for arm in one["arms"].values():
        arm["holdout"]["all"] |= {"energy_mae": None, "stress_mae": None}
    assert verdict(recipe, {"seeds": [one]})[-1] == "Nothing measured here is worse with transfer."


def test_dynamics_that_fails_is_told(recipe):
    def record(*survived):
        runs = [{"censored": alive} for alive in survived]
        return {
            "temperatures": [{"temperature_K": 300.0, "runs": runs}, {"temperature_K": 1200.0, "runs": runs}],
            "protocol": {"time_ps": 5.0},
        }

    results = {
        "seeds": [seed()],
        "dynamics": {"scratch": record(True, True), "transfer": record(True, False)},
    }
    sentences = verdict(recipe, results)
    assert "from scratch: 4 of 4 runs of 5 ps survive, up to 1200 K" in sentences[-2]
    assert "transferred: 2 of 4 runs of 5 ps survive" in sentences[-1]


def test_dynamics_in_which_transfer_dies_sooner_is_worse(recipe):
    def record(*survived):
        runs = [{"censored": alive} for alive in survived]
        return {"temperatures": [{"temperature_K": 300.0, "runs": runs}], "protocol": {"time_ps": 5.0}}

    results = {"seeds": [seed()], "dynamics": {"scratch": record(True), "transfer": record(False)}}
    (worse,) = [s for s in verdict(recipe, results) if s.startswith("Worse with transfer")]
    assert worse == "Worse with transfer: survival in molecular dynamics (0 against 1 of 1 runs)."
