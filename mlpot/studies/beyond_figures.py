"""Figures of what judged the potentials of a study beyond errors: dynamics and properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlpot.evidence.drawing import panels_of
from mlpot.simulation.survival import kaplan_meier
from mlpot.studies.figures import colour, marks_of
from mlpot.studies.signs import entries, temperatures, values

Results = Mapping[str, Any]

#: Deviations (%) up to here are drawn to scale, larger ones by their logarithm.
_TO_SCALE = 10.0


def survival_figure(results: Results) -> Figure | None:
    """Plot Kaplan-Meier curves over all runs of all potentials, bands: 95 % of Greenwood."""
    dynamics = results.get("dynamics") or {}
    kelvins = temperatures(dynamics)
    if not kelvins:
        return None
    figure, panels = panels_of(len(kelvins), 2.7, sharex=True, sharey=True)
    for axes, kelvin in zip(panels, kelvins, strict=True):
        for arm in dynamics:
            runs = [run for entry in entries(dynamics, arm, kelvin).values() for run in entry["runs"]]
            if not runs:
                continue
            marks = {name: marks_of(results, arm)[name] for name in ("color", "ls", "label")}
            draw_survival(axes, runs, **marks)
        axes.set_title(f"{kelvin:g} K", fontsize=10)
        axes.set_ylim(-0.03, 1.05)
    label_ends(panels, "time (ps)", "fraction alive")
    return figure


def draw_survival(axes: Axes, runs: Sequence[Mapping[str, Any]], color: str, **marks: Any) -> None:
    """Draw the Kaplan-Meier curve of runs (``survived_ps``, ``censored``), with its 95 % band."""
    curve = kaplan_meier([r["survived_ps"] for r in runs], [not r["censored"] for r in runs])
    times = [0.0, *curve.times, curve.durations.max()]
    values = np.array([curve.at(float(time)) for time in times])
    axes.step(times, values[:, 0], where="post", lw=1.8, color=color, **marks)
    axes.fill_between(times, values[:, 1], values[:, 2], step="post", color=color, alpha=0.15, lw=0)


def label_ends(panels: Sequence[Axes], x: str, y: str) -> None:
    """Label the outer axes of :func:`~mlpot.evidence.drawing.panels_of`, and what the lines are."""
    for axes in panels[-2:]:
        axes.set_xlabel(x)
        axes.xaxis.set_tick_params(labelbottom=True)
    for axes in panels[::2]:
        axes.set_ylabel(y)
    panels[0].legend(fontsize=8, frameon=False)


def radial_figure(results: Results, key: Literal["dynamics", "liquid"] = "dynamics") -> Figure | None:
    """Plot radial distributions, means over potentials, against that of the true dynamics or frames."""
    dynamics = results.get(key) or {}
    found = {
        kelvin: {
            arm: radials
            for arm in dynamics
            if (radials := [e["radial"] for e in entries(dynamics, arm, kelvin).values() if e["radial"]])
        }
        for kelvin in temperatures(dynamics)
    }
    found = {kelvin: by_arm for kelvin, by_arm in found.items() if by_arm}
    if not found:
        return None
    figure, panels = panels_of(len(found), 2.7, sharex=True, sharey=True)
    for axes, (kelvin, by_arm) in zip(panels, found.items(), strict=True):
        # The reference runs are the same for every arm: any that was compared can show them.
        first = next(iter(by_arm.values()))[0]
        axes.plot(first["r"], first["reference"], color="black", lw=2.5, alpha=0.45, label="reference")
        for arm, radials in by_arm.items():
            mean = np.mean([radial["model"] for radial in radials], axis=0)
            axes.plot(first["r"], mean, color=colour(results, arm), lw=1.1, label=arm)
        axes.set_title(f"{kelvin:g} K", fontsize=10)
    label_ends(panels, "r (Å)", "g(r)")
    return figure


def properties_figure(results: Results) -> Figure | None:
    """Plot the deviation of every property from its reference, a dot a seed, bars: means."""
    properties = results.get("properties")
    if not properties or not properties["references"]:
        return None
    names, arms = list(properties["references"]), list(properties["arms"])
    figure = Figure(figsize=(6.4, 1.0 + 0.22 * len(names) * (1 + len(arms))), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("symlog", linthresh=_TO_SCALE)
    axes.axvline(0.0, color="black", lw=1)
    lifts = np.linspace(-0.3, 0.3, len(arms)) if len(arms) > 1 else np.zeros(1)
    for arm, lift in zip(arms, lifts, strict=True):
        label: str | None = arm
        for row, name in enumerate(names):
            reference = properties["references"][name]["value"]
            found = [value for value in values(properties, arm, name).values() if value is not None]
            away = [100.0 * (value - reference) / abs(reference) for value in found]
            if away:
                own = colour(results, arm)
                axes.plot(away, [row + lift] * len(away), "o", ms=4, alpha=0.5, color=own, label=label)
                axes.plot(np.mean(away), row + lift, "|", ms=14, mew=2, color=own)
                label = None
    ticks = [-1000, -100, -10, -5, 0, 5, 10, 100, 1000]
    low, high = axes.get_xlim()
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.set_xticks([], minor=True)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("deviation from the reference (%)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    return figure
