"""Figures of a study, drawn from its results alone; each is ``None`` where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlpot.evidence.comparisons import Comparison
from mlpot.evidence.drawing import MARKERS, OUTCOMES, PALETTE, UNDECIDED, log_ticks, panels_of, plain_ticks
from mlpot.evidence.estimates import Estimate, geometric, number
from mlpot.studies.cost import Spent, cost
from mlpot.studies.curves import UNITS, errors_by_seed, learning_curve, main_domain, reference_size, sizes_of
from mlpot.studies.equivalence import equivalence
from mlpot.studies.signs import hold_out_groups, signs

Results = Mapping[str, Any]

#: A gain and a harm weigh the same; ``?`` where nothing can be said.
SIGN = {
    "better": "+",
    "worse": "−",
    "no significant difference": "0",
    "one seed": "?",
    "cannot be compared": "?",
}


def colour(results: Results, arm: str) -> str:
    """Return the colour of an arm, by its place in the order of the arms."""
    return PALETTE[results["arms"].index(arm) % len(PALETTE)]


def marks_of(results: Results, arm: str) -> dict[str, Any]:
    """Return colour, marker and line of an arm; the lines tell arms apart that share a colour."""
    place = results["arms"].index(arm)
    style = ("-", "--", ":")[place // len(PALETTE) % 3]
    main = arm in (results["favourite"], results["baseline"])
    return {
        "color": colour(results, arm),
        "marker": MARKERS[place % len(MARKERS)],
        "ls": style,
        "lw": 2.2 if main else 1.1,
        "ms": 6 if main else 4,
        "label": arm,
    }


def _one(width: float = 6.4, height: float = 4.0) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _whiskers(estimate: Estimate) -> list[list[float]] | None:
    """Return an interval as matplotlib's distances from the value."""
    if estimate.low is None or estimate.high is None:
        return None
    return [[estimate.value - estimate.low], [estimate.high - estimate.value]]


def learning_figure(results: Results, metric: str = "forces_mae") -> Figure | None:
    """Plot the error over the number of frames, bands: 95 % intervals; arms of two sizes or more.

    An arm that needs no frame at all is a level line. Errors of more than ten times the median are
    off the figure and told at its edge, so that one training that came apart does not flatten the rest.
    """
    domain = main_domain(results)
    curves = {arm: learning_curve(results["runs"], arm, metric, domain) for arm in results["arms"]}
    drawn = {arm: curve for arm, curve in curves.items() if sum(point.size > 0 for point in curve) >= 2}
    if not drawn:
        return None
    figure, axes = _one()
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = sorted({point.size for curve in drawn.values() for point in curve if point.size})
    for arm, curve in drawn.items():
        points = [point for point in curve if point.size > 0]
        marks, x = marks_of(results, arm), [point.size for point in points]
        axes.plot(x, [point.error.value for point in points], **marks)
        bands = np.array([(p.size, p.error.low, p.error.high) for p in points if p.error.low is not None])
        if len(bands):
            axes.fill_between(bands[:, 0], bands[:, 1], bands[:, 2], color=marks["color"], alpha=0.15, lw=0)
    for arm, curve in curves.items():
        for point in curve:
            if point.size == 0:
                axes.axhline(point.error.value, color=colour(results, arm), ls=":", lw=1.2)
                place = (sizes[0], point.error.value)
                axes.annotate(f"{arm}, no frame", place, (0, 3), textcoords="offset points", fontsize=8)
    values = [point.error.value for curve in curves.values() for point in curve]
    top = 10.0 * float(np.median(values))
    if max(values) > top:
        axes.set_ylim(0.8 * min(values), top)
        for arm, curve in drawn.items():
            off = [point for point in curve if point.error.value > top and point.size]
            for point in off:
                text = f"↑ {arm} {number(point.error.value)}"
                axes.annotate(text, (point.size, top), (4, -12), textcoords="offset points", fontsize=8)
    plain_ticks(axes.xaxis, sizes)
    log_ticks(axes)
    quantity = metric.split("_")[0]
    axes.set_xlabel("frames trained on")
    axes.set_ylabel(f"{quantity} MAE on the hold-out ({UNITS[quantity]})")
    axes.legend(fontsize=8, frameon=False)
    return figure


def arms_figure(results: Results) -> Figure | None:
    """Plot the force error of all arms at the reference size, a dot a seed, bars: 95 % intervals."""
    size, domain = reference_size(results), main_domain(results)
    found = {arm: errors_by_seed(results["runs"], arm, "forces_mae", size, domain) for arm in results["arms"]}
    found = {arm: values for arm, values in found.items() if values}
    if not found:
        return None
    figure, axes = _one(height=0.9 + 0.42 * len(found))
    axes.set_xscale("log")
    for row, (arm, values) in enumerate(found.items()):
        mean, own = geometric(values.values()), colour(results, arm)
        lift = np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else np.zeros(1)
        axes.plot(list(values.values()), row + lift, ".", color=own, alpha=0.6)
        axes.errorbar(mean.value, row, xerr=_whiskers(mean), fmt="D", color=own, capsize=3, ms=6)
        place = (mean.high or mean.value, row)
        axes.annotate(number(mean.value), place, (8, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    log_ticks(axes, "x")
    axes.set_xlabel(f"force MAE on the hold-out with {size} frames (meV/Å)")
    return figure


def equivalence_figure(results: Results) -> Figure | None:
    """Plot how many frames the baseline needs for the force error of the arms, log-log.

    Lines: means over seeds; small marks: seeds of the favourite; triangles: bounds.
    """
    runs, baseline, domain = results["runs"], results["baseline"], main_domain(results)
    tried = [size for size in sizes_of(runs, baseline, domain) if size > 0]
    found = {
        arm: [one for one in equivalence(runs, arm, baseline, domain=domain) if one.size > 0]
        for arm in results["arms"]
        if arm != baseline
    }
    found = {arm: own for arm, own in found.items() if len(own) >= 2}
    if len(tried) < 2 or not found:
        return None
    figure, axes = _one()
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot([tried[0], tried[-1]], [tried[0], tried[-1]], color=UNDECIDED, lw=1, ls="--")
    place = (tried[0], tried[0])
    axes.annotate(f"as {baseline}", place, (12, 0), textcoords="offset points", fontsize=8, color=UNDECIDED)
    shapes = {"": "o", ">=": "^", "<=": "v"}
    for arm, own in found.items():
        marks = marks_of(results, arm)
        pooled = [(one.size, one.frames.value, one.bound) for one in own if one.frames is not None]
        if not pooled:
            continue
        line = {name: marks[name] for name in ("color", "ls", "lw", "label")}
        axes.plot([x for x, _, _ in pooled], [y for _, y, _ in pooled], **line)
        for x, y, bound in pooled:
            axes.plot(x, y, shapes[bound], color=marks["color"], ms=marks["ms"] + (2 if bound else 0))
        if arm == results["favourite"]:
            for one in own:
                for each in one.by_seed.values():
                    shape = shapes[each.bound]
                    axes.plot(one.size, each.frames, shape, color=marks["color"], ms=3, mfc="white")
    sizes = sorted({one.size for own in found.values() for one in own})
    plain_ticks(axes.xaxis, sizes)
    plain_ticks(axes.yaxis, tried)
    axes.set_xlabel("frames the arm was trained on")
    axes.set_ylabel(f"frames {baseline} needs for the same error")
    axes.legend(fontsize=8, frameon=False)
    return figure


def domains_figure(results: Results) -> Figure | None:
    """Plot force errors by group of the hold-out, a panel for what was trained on."""
    arms = [results["baseline"], results["favourite"]]
    groups = hold_out_groups(results)
    found: dict[tuple[str, int], dict[str, list[tuple[int, Estimate]]]] = {}
    for domain in results["domains"]:
        common = [set(sizes_of(results["runs"], arm, domain)) for arm in arms]
        shared = sorted(set.intersection(*common))
        if not shared:
            continue
        size = reference_size(results) if reference_size(results) in shared else shared[-1]
        found[(domain, size)] = {
            arm: [
                (place, geometric(values.values()))
                for place, group in enumerate(groups)
                if (values := errors_by_seed(results["runs"], arm, "forces_mae", size, domain, group))
            ]
            for arm in arms
        }
    if len(found) < 2 or len(groups) < 2:
        return None
    figure, panels = panels_of(len(found), 2.9, sharey=True)
    for axes, ((domain, size), by_arm) in zip(panels, found.items(), strict=True):
        axes.set_yscale("log")
        for shift, (arm, points) in zip((-0.08, 0.08), by_arm.items(), strict=False):
            marks = {name: marks_of(results, arm)[name] for name in ("color", "marker", "label")}
            for place, mean in points:
                axes.errorbar(place + shift, mean.value, yerr=_whiskers(mean), capsize=3, **marks)
                marks.pop("label", None)
            x, y = [place + shift for place, _ in points], [mean.value for _, mean in points]
            axes.plot(x, y, color=marks["color"], lw=1)
        axes.set_xticks(range(len(groups)), groups, rotation=20 if len(groups) < 5 else 45, ha="right")
        whole = "the whole pool" if domain == "all" else domain
        axes.set_title(f"trained on {whole}, {size} frames", fontsize=10)
    log_ticks(panels[0])
    panels[0].set_ylabel("force MAE (meV/Å)")
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def signs_figure(results: Results) -> Figure | None:
    """Plot the signs as a forest: ratios, differences of survival, and of deviations, worst on top.

    Worse is to the right of the line in all.
    """
    if results["favourite"] == results["baseline"]:
        return None
    found = [one for one in signs(results) if one.effect is not None]
    parts = [[one for one in found if one.kind == kind] for kind in ("ratio", "difference", "points")]
    parts = [part for part in parts if part]
    if not parts:
        return None
    heights = [len(part) + 1.6 for part in parts]
    figure = Figure(figsize=(6.4, 0.34 * sum(heights) + 0.8), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(parts), 1, height_ratios=heights))
    for axes, part in zip(panels, parts, strict=True):
        _forest(axes, part)
    return figure


def _forest(axes: Axes, part: Sequence[Comparison]) -> None:
    kind, baseline = part[0].kind, part[0].baseline
    none = 1.0 if kind == "ratio" else 0.0
    if kind == "ratio":
        axes.set_xscale("log")
        axes.set_xlabel(f"error as a ratio to {baseline}: worse to the right", loc="right")
    elif kind == "difference":
        axes.invert_xaxis()
        axes.set_xlabel(f"fraction of potentials, less that of {baseline}: worse to the right", loc="right")
    else:
        axes.set_xlabel(f"deviation (%), less that of {baseline}: worse to the right", loc="right")
    axes.axvline(none, color="black", lw=1)
    for row, one in enumerate(part):
        if one.effect is not None:
            own = OUTCOMES.get(one.outcome, UNDECIDED)
            whiskers = _whiskers(one.effect)
            axes.errorbar(one.effect.value, row, xerr=whiskers, fmt="o", color=own, capsize=3, lw=2)
    axes.set_yticks(range(len(part)), [f"{one.what}  {SIGN[one.outcome]}" for one in part])
    for label, one in zip(axes.get_yticklabels(), part, strict=True):
        label.set_color(OUTCOMES.get(one.outcome, "black"))
    axes.tick_params(axis="y", length=0)  # beside a sign, a tick looks like a minus
    axes.set_ylim(len(part) - 0.4, -0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if kind == "ratio":
        log_ticks(axes, "x")


def cost_figure(results: Results) -> Figure | None:
    """Plot the time of a run at the reference size and of its donors, and energy where measured."""
    found = [one for one in cost(results) if one.run is not None]
    quantities = [
        (name, label)
        for name, label in (
            ("cpu_seconds", "CPU time (s)"),
            ("seconds", "time (s)"),
            ("joules", "energy (J)"),
        )
        if any(_of(one.run, name) is not None for one in found)
    ]
    if any(name == "cpu_seconds" for name, _ in quantities):
        quantities = [entry for entry in quantities if entry[0] != "seconds"]
    if not quantities:
        return None
    height = (0.9 + 0.32 * len(found)) * len(quantities)
    figure = Figure(figsize=(6.4, height), layout="constrained")
    panels = np.atleast_1d(figure.subplots(len(quantities), 1))
    for axes, (name, label) in zip(panels, quantities, strict=True):
        for row, one in enumerate(found):
            own, donors = _of(one.run, name), _of(one.donors, name)
            axes.barh(row, own or 0.0, color=colour(results, one.arm), height=0.65)
            if donors:
                style = {"color": "white", "edgecolor": UNDECIDED, "hatch": "////", "height": 0.65}
                axes.barh(row, donors, left=own or 0.0, **style)
            unknown = " and ".join(
                what for what, value in (("run", own), ("donors", donors)) if value is None
            )
            if unknown:
                place = ((own or 0.0) + (donors or 0.0), row)
                text = f"{unknown}: not measured"
                axes.annotate(text, place, (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(range(len(found)), [one.arm for one in found])
        axes.invert_yaxis()
        axes.set_xlabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _of(spent: Spent | None, name: str) -> float | None:
    return None if spent is None else getattr(spent, name)
