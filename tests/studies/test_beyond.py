"""Properties and the structure of the liquid in a study: computed, compared, and told where they fail."""

from __future__ import annotations

import copy
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.eos import EquationOfState
from ase.units import GPa
from synthetic import synthetic_results

from mlpot.data.files import read_frames
from mlpot.properties.registry import of_set
from mlpot.recipe import parse_recipe
from mlpot.reference.classical import lattice_constant
from mlpot.studies import beyond_figures
from mlpot.studies.beyond import Properties
from mlpot.studies.collect import reference_values
from mlpot.studies.plan import make_plan
from mlpot.studies.recipe import StudyRecipe, load_study
from mlpot.studies.report import dynamics_table, properties_table, signs_table, write_report
from mlpot.studies.run import run_study
from mlpot.studies.signs import signs
from mlpot.studies.verdict import verdict

ROOT = Path(__file__).resolve().parents[2]
SECTION = {
    "size": 3,
    "quantities": ["lattice_constant", "bulk_modulus"],
    "reference": "sw-ge",
}
LIQUID = {"size": 3, "where": {"group": "shaken"}, "temperature": 500, "time_ps": 0.02, "timestep_fs": 1.0}


@pytest.fixture(scope="module")
def beyond(study, raw, tmp_path_factory):
    """Return folder, results and lines of the smallest study, continued with both sections."""
    out = shutil.copytree(study[0], tmp_path_factory.mktemp("beyond") / "out")
    said: list[str] = []
    recipe = parse_recipe(StudyRecipe, copy.deepcopy(raw) | {"properties": SECTION, "liquid": LIQUID}, "plan")
    return out, run_study(recipe, out, said.append), said


def test_only_what_is_new_is_computed(beyond, study, recipe):
    _, results, said = beyond
    computed = [line.split("] ")[1].split(":")[0] for line in said if line.startswith("[")]
    kinds = [key.split("-")[0] for key in computed]
    assert (kinds.count("properties"), kinds.count("liquid"), len(kinds)) == (5, 4, 9)
    assert results["runs"] == study[1]["runs"]
    assert results["reference_size"] == 3


def test_values_and_their_reference_are_in_the_results(beyond):
    out, results, _ = beyond
    assert json.loads((out / "results.json").read_text()) == results
    properties = results["properties"]
    reference = properties["references"]["lattice_constant"]
    assert reference["value"] == pytest.approx(lattice_constant("sw-ge"), abs=1e-3)
    assert reference["kind"] == "sw-ge"
    assert set(properties["arms"]) == {"scratch", "transfer"}
    for seeds in properties["arms"].values():
        assert set(seeds) == {"0", "1"}
        for found in seeds.values():
            for one in found.values():  # four steps of training: there may be no crystal
                assert (one["value"] is None) == bool(one["reason"])


def test_structure_of_the_liquid_is_that_of_its_frames(beyond, ge_frames):
    _, results, _ = beyond
    shaken = [frame for frame in ge_frames if frame.info["group"] == "shaken"]
    assert results["structure"]["frames"] == len(shaken)
    assert results["structure"]["noise"] > 0.0
    entry = results["liquid"]["transfer"]["0"]["temperatures"][0]
    assert entry["temperature_K"] == 500
    assert len(entry["radial"]["reference"]) == 80 if entry["radial"] else entry["radial_missing"]


def test_all_is_told(beyond):
    out, results, _ = beyond
    page = (out / "report.html").read_text()
    assert "Properties of the crystal" in page
    assert "computed alike with sw-ge" in page
    assert "The liquid, against labelled frames" in page
    whats = {one.what for one in signs(results)}
    assert "survival of the liquid at 500 K" in whats
    assert any(what.startswith(("lattice_constant, deviation", "lattice_constant can")) for what in whats)
    assert dynamics_table(results, "liquid")[1]


def test_what_is_looked_at_does_not_change_the_tasks(raw):
    def keys(section):
        plan = make_plan(parse_recipe(StudyRecipe, copy.deepcopy(raw) | {"properties": section}, "plan"))
        return {key for key in plan.tasks if key.startswith("properties")}

    same = keys(SECTION)
    own = {"bulk_modulus": {"value": 75.0, "source": "me"}}
    assert keys(SECTION | {"quantities": ["lattice_constant", "bulk_modulus*"], "values": own}) == same
    assert not keys(SECTION | {"quantities": ["lattice_constant"]}) & same
    assert not keys(SECTION | {"settings": {"fmax": 1e-4}}) & same


def test_first_kind_that_has_a_quantity_serves_and_own_values_come_before():
    section = Properties(
        size=3,
        quantities=["C11", "C44", "vacancy"],
        references=["PBE", "MTP"],
        values={"vacancy": {"value": 2.0, "source": "me"}},
    )
    found = reference_values(section, "Ge", None)
    assert {name: one["kind"] for name, one in found.items()} == {
        "C11": "PBE",
        "C44": "MTP",
        "vacancy": "the recipe",
    }


def test_a_set_is_all_its_quantities():
    section = Properties(size=3, quantities="quick")
    assert [one.name for one in section.computed()] == of_set("quick")


def with_properties(ours, theirs, reference=100.0, seeds=5):
    """Return synthetic results with C11 of transfer and scratch; ``None``: could not be computed."""

    def found(own):
        return {
            str(seed): {"C11": {"value": v, "reason": None if v is not None else "it melts.", "notes": []}}
            for seed, v in enumerate(own)
        }

    results = synthetic_results(["scratch", "transfer"], [10], seeds=seeds, dynamics=False)
    beside = {"value": reference, "uncertainty": 2.0, "kind": "PBE", "source": "nowhere"}
    results["properties"] = {
        "element": "Ge",
        "quantities": [{"name": "C11", "unit": "GPa", "meaning": "elastic constant"}],
        "references": {"C11": beside},
        "arms": {"transfer": found(ours), "scratch": found(theirs)},
    }
    return results


def of(results, start):
    (one,) = (one for one in signs(results) if one.what.startswith(start))
    return one


def test_deviations_are_compared_by_their_difference_paired_by_seed():
    # Deviations of either sign count by their size; one of exactly nothing has no logarithm.
    ours, theirs = [101.0, 99.0, 100.0, 102.0, 98.0], [110.0, 92.0, 111.0, 90.0, 109.0]
    one = of(with_properties(ours, theirs), "C11, deviation from PBE")
    differences = np.array([1, 1, 0, 2, 2]) - np.array([10, 8, 11, 10, 9])
    assert one.effect.value == pytest.approx(differences.mean())
    half = 2.7764 * differences.std(ddof=1) / math.sqrt(5)
    assert one.effect.high == pytest.approx(differences.mean() + half, rel=1e-4)
    assert (one.outcome, one.better, one.n, one.unit) == ("better", 5, 5, "%")
    assert one.ours.value == pytest.approx(1.2)
    worse = of(with_properties(theirs, ours), "C11, deviation from PBE")
    assert worse.outcome == "worse"
    assert worse.harm == pytest.approx(-one.harm) == pytest.approx(0.084)


def test_equal_deviations_are_no_difference():
    one = of(with_properties([100.0] * 5, [100.0] * 5), "C11, deviation")
    assert (one.effect.value, one.p, one.outcome) == (0.0, 1.0, "no significant difference")


def test_failures_are_a_row_of_their_own_and_are_told():
    results = with_properties([101.0] * 5, [None, None, None, None, 120.0])
    computed = of(results, "C11 can be computed")
    assert (computed.kind, computed.effect.value) == ("difference", pytest.approx(0.8))
    assert of(results, "C11, deviation").n == 1
    (sentence,) = (text for text in verdict(results) if text.startswith("Properties without a value"))
    assert "C11 of scratch in 4 of 5 seeds (it melts)" in sentence
    header, rows = properties_table(results)
    assert header == ["quantity", "unit", "reference", "of", "transfer", "scratch"]
    assert rows == [["C11", "GPa", "100.0 ± 2", "PBE", "101.0 [101.0, 101.0]", "120.0 (1 of 5)"]]


def test_an_arm_without_any_value_is_worse_not_absent():
    results = with_properties([None] * 5, [101.0, 102.0, 99.0, 100.5, 98.0])
    one = of(results, "C11 can be computed")
    assert one.outcome == "worse"
    assert of(results, "C11, deviation").outcome == "cannot be compared"
    assert properties_table(results)[1][0][4] == "– (0 of 5)"


def test_page_and_figure_have_a_dot_for_every_potential(tmp_path):
    results = with_properties([101.0, 99.0, None, 102.0, 98.0], [110.0, 92.0, 111.0, 90.0, 300.0])
    (axes,) = beyond_figures.properties_figure(results).axes
    counts = [len(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    assert sorted(counts) == [4, 5]
    write_report(tmp_path, results)
    page = (tmp_path / "report.html").read_text()
    assert "transfer, seed 2, C11 has no value: it melts." in page
    assert "PBE: nowhere: C11" in page
    _, rows, classes = signs_table(results)
    row = next(row for row in rows if row[1].startswith("C11, deviation"))
    assert re.fullmatch(r"difference -[\d.]+ \[-[\d.]+, [\d.]+\] points", row[3])
    assert len(classes) == len(rows)


def test_values_of_the_pbe_study_are_those_of_its_frames():
    section = load_study(ROOT / "recipes" / "studies" / "pbe_si_to_ge.yaml").properties
    frames = [f for f in read_frames(ROOT / "data" / "pbe" / "ge.xyz") if f.info["config_type"] == "eos"]
    volumes = [abs(np.linalg.det(frame.cell)) / len(frame) for frame in frames]
    state = EquationOfState(volumes, [f.energy / len(f) for f in frames], eos="birchmurnaghan")
    volume, _, stiffness = state.fit()
    assert section.values["lattice_constant"].value == pytest.approx((8 * volume) ** (1 / 3), abs=1e-3)
    assert section.values["bulk_modulus"].value == pytest.approx(stiffness / GPa, abs=0.1)


def test_errors_dynamics_and_properties_are_families_of_their_own():
    # With five potentials each the p of a full collapse is 2/252: among dozens of errors it could not count.
    results = synthetic_results(["scratch", "transfer"], [10])
    one = of(results, "survival at 300 K")
    rows = [
        row for row in signs(results) if row.what.startswith(("survival", "radial")) and row.p is not None
    ]
    assert one.p == pytest.approx(2 / 252)
    assert one.p < one.adjusted <= one.p * len(rows)
    assert one.outcome == "better"
