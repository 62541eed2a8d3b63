"""Figures of a report from records alone."""

from __future__ import annotations

from mlpot.studies.report import radial_figure


def test_reference_is_drawn_once_even_if_the_first_arm_was_not_compared():
    radial = {"r": [1.0, 2.0], "model": [0.0, 1.0], "reference": [0.0, 2.0]}
    dynamics = {
        "scratch": {"temperatures": [{"temperature_K": 300.0, "radial": None}]},
        "reduced": {"temperatures": [{"temperature_K": 300.0, "radial": radial}]},
        "transfer": {"temperatures": [{"temperature_K": 300.0, "radial": radial}]},
    }
    (axes,) = radial_figure(dynamics).axes
    assert [line.get_label() for line in axes.lines] == ["reference", "two scalars", "transferred"]
    assert list(axes.lines[0].get_ydata()) == [0.0, 2.0]
