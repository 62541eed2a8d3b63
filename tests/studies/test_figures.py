"""Figures show what the results hold, and nothing where there is nothing."""

from __future__ import annotations

import copy

import pytest
from matplotlib.colors import to_hex
from synthetic import GROUPS, LAWS, synthetic_results

from mlpot.evidence.drawing import OUTCOMES, PALETTE
from mlpot.studies import beyond_figures, figures


@pytest.fixture(scope="module")
def results():
    return synthetic_results()


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_learning_curves_are_logarithmic_with_bands_of_the_arms_of_two_sizes(results):
    less = results | {"runs": [r for r in results["runs"] if r["arm"] != "plain" or r["size"] == 10]}
    (axes,) = figures.learning_figure(less).axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert legend(axes) == [arm for arm in LAWS if arm != "plain"]
    assert len(axes.collections) == 6
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [
        "1",
        "2",
        "5",
        "10",
        "25",
        "50",
        "100",
        "170",
    ]


def test_an_arm_without_frames_is_a_level_line(results):
    more = copy.deepcopy(results)
    more["arms"] = [*more["arms"], "constants"]
    zero = next(run for run in more["runs"] if run["arm"] == "reduced")
    more["runs"].append(zero | {"arm": "constants", "size": 0})
    (axes,) = figures.learning_figure(more).axes
    level = zero["holdout"]["all"]["forces_mae"]
    levels = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 2]
    assert levels == [pytest.approx([level, level])]
    assert "constants, no frame" in [text.get_text() for text in axes.texts]


def test_a_training_that_came_apart_does_not_flatten_the_others(results):
    runs = copy.deepcopy(results["runs"])
    for run in runs:
        if (run["arm"], run["size"]) == ("scratch", 1):
            run["holdout"]["all"]["forces_mae"] = 1e7
    (axes,) = figures.learning_figure(results | {"runs": runs}).axes
    assert axes.get_ylim()[1] < 1e5
    assert "↑ scratch 10000000" in [text.get_text() for text in axes.texts]


def test_colours_go_by_order_and_not_by_name(results):
    renamed = {"arms": ["x", "y"]}
    assert figures.colour(renamed, "x") == figures.colour(results, "scratch") == PALETTE[0]
    assert len({figures.colour(results, arm) for arm in results["arms"]}) == 7
    many = {"arms": [str(i) for i in range(9)], "baseline": "0", "favourite": "1"}
    first, ninth = figures.marks_of(many, "0"), figures.marks_of(many, "8")
    assert first["color"] == ninth["color"]
    assert first["ls"] != ninth["ls"]


def test_every_arm_is_in_the_chart_at_the_reference_size(results):
    (axes,) = figures.arms_figure(results).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(LAWS)
    assert "10 frames" in axes.get_xlabel()


def test_forest_has_harms_right_of_the_line_and_in_their_colour(results):
    ratios, survival = figures.signs_figure(results).axes
    worst = ratios.get_yticklabels()[0]
    assert worst.get_text() == "energy of liquid  −"
    assert worst.get_color() == OUTCOMES["worse"]
    marks = [line for line in ratios.lines if len(line.get_xdata()) == 1 and line.get_marker() == "o"]
    by_side = {line.get_xdata()[0] > 1.0: to_hex(line.get_color()) for line in (marks[0], marks[4])}
    assert by_side == {True: OUTCOMES["worse"].lower(), False: OUTCOMES["better"].lower()}
    left, right = survival.get_xlim()
    assert left > right


def test_equivalence_excludes_the_baseline_and_marks_bounds(results):
    (axes,) = figures.equivalence_figure(results).axes
    assert legend(axes) == [arm for arm in LAWS if arm != "scratch"]
    assert {"o", "^", "v"} <= {line.get_marker() for line in axes.lines}


def test_domains_have_a_panel_each(results):
    panels = figures.domains_figure(results).axes
    assert [axes.get_title() for axes in panels] == [
        "trained on the whole pool, 10 frames",
        "trained on cold, 10 frames",
        "trained on hot, 10 frames",
    ]
    assert [tick.get_text() for tick in panels[0].get_xticklabels()] == list(GROUPS)


def test_survival_pools_the_runs_of_all_potentials(results):
    panels = beyond_figures.survival_figure(results).axes
    assert [axes.get_title() for axes in panels] == ["300 K", "900 K", "1200 K"]
    runs = [
        run
        for report in results["dynamics"]["transfer"].values()
        for run in report["temperatures"][2]["runs"]
    ]
    alive = sum(run["censored"] for run in runs) / len(runs)
    (line,) = (line for line in panels[2].lines if line.get_label() == "transfer")
    assert line.get_ydata()[-1] == pytest.approx(alive)
    assert len(runs) == 10


def test_reference_is_drawn_once_even_if_the_first_arm_was_not_compared(results):
    radial = {"r": [1.0, 2.0], "model": [0.0, 1.0], "reference": [0.0, 2.0], "error": 0.5}

    def report(radial):
        return {"temperatures": [{"temperature_K": 300.0, "radial": radial, "runs": []}]}

    dynamics = {"scratch": {"0": report(None)}, "transfer": {"0": report(radial), "1": report(radial)}}
    (axes,) = beyond_figures.radial_figure(results | {"dynamics": dynamics}).axes
    assert [line.get_label() for line in axes.lines] == ["reference", "transfer"]
    assert list(axes.lines[0].get_ydata()) == [0.0, 2.0]


def test_cost_says_what_was_not_measured(results):
    time, energy = figures.cost_figure(results).axes
    assert (time.get_xlabel(), energy.get_xlabel()) == ("CPU time (s)", "energy (J)")
    assert not time.texts
    assert [text.get_text() for text in energy.texts] == ["donors: not measured"] * 5


def test_nothing_to_draw_is_no_figure():
    few = synthetic_results(["scratch", "transfer"], [10], seeds=1, dynamics=False)
    few["domains"] = ["all"]
    few["runs"] = [run for run in few["runs"] if run["domain"] == "all"]
    names = ("learning", "equivalence", "domains")
    assert all(getattr(figures, f"{name}_figure")(few) is None for name in names)
    names = ("survival", "radial", "properties")
    assert all(getattr(beyond_figures, f"{name}_figure")(few) is None for name in names)
    assert figures.arms_figure(few) is not None
