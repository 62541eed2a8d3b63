"""Figures of a lattice study, drawn from its results alone; ``None`` where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from mlpot.evidence.drawing import MARKERS, PALETTE, panels_of
from mlpot.lattice.outcomes import (
    QUANTITIES,
    Curve,
    Results,
    Setting,
    arms,
    curves,
    mean_score,
    scores,
    settings,
    size_name,
    sizes_extrapolated,
    sizes_scored,
    truth,
)
from mlpot.lattice.published import SAME_TEMPERATURE, aims, critical_temperature

_TRUE = "black"
_QUIET = "#777777"


def marks_of(results: Results, arm: str) -> dict[str, Any]:
    """Return colour, marker and line of an arm by its place among all; lines tell equal colours apart."""
    place = results["arms"].index(arm)
    return {
        "color": PALETTE[place % len(PALETTE)],
        "marker": MARKERS[place % len(MARKERS)],
        "ls": ("-", "--", ":")[place // len(PALETTE) % 3],
        "label": arm,
        "lw": 1.3,
        "ms": 4,
    }


def shown_settings(results: Results) -> list[Setting]:
    """Return for each arm the setting whose curves are drawn: one T0 for all, most samples."""
    there = {curve.setting for quantity in QUANTITIES for curve in curves(results, quantity)}
    if not there:
        return []
    by_temperature = {t: {arm for arm, own, _ in there if own == t} for _, t, _ in there}
    # Where most arms were extrapolated from; of several, the first of the study.
    order = [t for t in results["temperatures"] if t in by_temperature] or sorted(by_temperature)
    temperature = max(order, key=lambda t: len(by_temperature[t]))
    found = []
    for arm in results["arms"]:
        counts = [count for own, t, count in there if (own, t) == (arm, temperature)]
        if counts:
            found.append((arm, temperature, max(counts)))
    return found


def _bare(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def learning_figure(results: Results) -> Figure | None:
    """Plot the score over the number of samples, log-log, a panel for each T0 and size; bars: 95 %."""
    wanted = [
        (size, t)
        for t in sorted({t for t, _ in settings(results)})
        for size in sizes_scored(results)
        if any(scores(results, (arm, *where), size) for arm in arms(results) for where in settings(results))
    ]
    if not wanted:
        return None
    figure, panels = panels_of(len(wanted), 3.0)
    known = [aim for aim in aims(results) if aim.kind == "score"]
    counts = [count for _, count in settings(results)]
    for axes, (size, t) in zip(panels, wanted, strict=True):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(min(counts) / 1.5, max(counts) * 1.5)
        for arm in arms(results):
            points = [
                (count, mean_score(values.values()))
                for own, count in settings(results)
                if own == t and (values := scores(results, (arm, own, count), size))
            ]
            if points:
                bars = [
                    (0.0, 0.0) if p.low is None or p.high is None else (p.value - p.low, p.high - p.value)
                    for _, p in points
                ]
                x, y = [count for count, _ in points], [p.value for _, p in points]
                axes.errorbar(x, y, yerr=np.array(bars).T, capsize=2, **marks_of(results, arm))
        for aim in known:
            if aim.size == size and aim.temperature and abs(aim.temperature - t) < SAME_TEMPERATURE:
                axes.axhline(float(aim.published or "nan"), color=_QUIET, ls=":", lw=1.2)
                axes.axhline(aim.value, color=_QUIET, ls="--", lw=1.2)
        _bare(axes, f"{size}, T0 = {t:g}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_locator(NullLocator())
    _labels(figure, panels, "samples", "score: RMSE of E (J)")
    return figure


def _labels(figure: Figure, panels: list[Axes], x: str, y: str | None = None) -> None:
    """Label axes, and give all panels one legend above them."""
    for axes in panels:
        axes.tick_params(labelsize=8)
    figure.supxlabel(x, fontsize=10)
    if y is not None:
        figure.supylabel(y, fontsize=10)
    entries: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            entries.values(), entries.keys(), loc="outside upper center", ncols=3, fontsize=8, frameon=False
        )


def _over_seeds(own: Iterable[Curve], deviations: bool) -> np.ndarray:
    """Return temperatures, means over seeds, and bars: (3, T).

    Bars are the larger of the standard deviation over seeds and the mean standard error of sampling.
    """
    by_temperature: dict[float, list[tuple[float, float]]] = {}
    for curve in own:
        for t, pair in (curve.deviations if deviations else curve.values).items():
            by_temperature.setdefault(t, []).append(pair)
    rows = []
    for t, pairs in sorted(by_temperature.items()):
        values, errors = np.array(pairs).T
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        rows.append((t, float(values.mean()), max(spread, float(errors.mean()))))
    return np.array(rows).T.reshape(3, -1)


def curves_figure(results: Results, size: str, deviations: bool = False) -> Figure | None:
    """Plot the thermodynamics of a lattice over T: learned, and the truth, or learned less the truth."""
    shown = shown_settings(results)
    by_quantity = {
        quantity: [curve for curve in curves(results, quantity, size) if curve.setting in shown]
        for quantity in QUANTITIES
    }
    panels_wanted = []
    for quantity, own in by_quantity.items():
        has_truth = truth(results, size, quantity) is not None
        if any(curve.deviations for curve in own) if deviations else own or has_truth:
            panels_wanted.append(quantity)
    if not panels_wanted:
        return None
    figure, panels = panels_of(len(panels_wanted), 2.5)
    for axes, quantity in zip(panels, panels_wanted, strict=True):
        true = truth(results, size, quantity)
        if deviations:
            axes.axhline(0.0, color=_TRUE, lw=1)
        elif true is not None:
            _draw_truth(axes, true.values, true.kind)
        for setting in shown:
            own = [curve for curve in by_quantity[quantity] if curve.setting == setting]
            t, value, bar = _over_seeds(own, deviations)
            if len(t):
                axes.errorbar(
                    t, value, yerr=bar, capsize=1.5, elinewidth=0.8, **marks_of(results, setting[0])
                )
        _bare(axes, f"{QUANTITIES[quantity]}{' − truth' if deviations else ''}")
    _labels(figure, panels, "T (J/k_B)")
    return figure


def _draw_truth(axes: Axes, values: dict[float, tuple[float, float]], kind: str) -> None:
    t = sorted(values)
    value, error = np.array([values[one] for one in t]).T
    label = f"truth ({kind})"
    axes.errorbar(t, value, yerr=error if error.any() else None, color=_TRUE, lw=1.6, label=label, zorder=1)


def binder_figure(results: Results) -> Figure | None:
    """Plot Binder's cumulant over T for all sizes, a panel for the truth and for each arm."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    for size in sizes_extrapolated(results):
        true = truth(results, size, "binder")
        if true is not None:
            t = sorted(true.values)
            parts.setdefault("truth", {})[size] = np.array([(one, *true.values[one]) for one in t]).T
    for setting in shown_settings(results):
        for size in sizes_extrapolated(results):
            own = [curve for curve in curves(results, "binder", size) if curve.setting == setting]
            if own:
                parts.setdefault(setting[0], {})[size] = _over_seeds(own, deviations=False)
    parts = {name: by_size for name, by_size in parts.items() if len(by_size) >= 2}
    if not parts:
        return None
    figure, panels = panels_of(len(parts), 2.8)
    sizes = sizes_extrapolated(results)
    for axes, (name, by_size) in zip(panels, parts.items(), strict=True):
        for size, (t, value, bar) in by_size.items():
            place = sizes.index(size)
            style: dict[str, Any] = {
                "color": PALETTE[place % len(PALETTE)],
                "marker": MARKERS[place % len(MARKERS)],
            }
            axes.errorbar(t, value, yerr=bar, ms=3, lw=1.1, elinewidth=0.7, label=size, **style)
        known = critical_temperature(results)
        if known is not None:
            axes.axvline(known, color=_QUIET, ls=":", lw=1)
        _bare(axes, name)
    _labels(figure, panels, "T (J/k_B)", "Binder's cumulant U")
    return figure


def all_figures(results: Results) -> dict[str, tuple[str, Figure]]:
    """Return caption and figure by name, those for which there is something to draw."""
    shown = shown_settings(results)
    counts = dict.fromkeys(count for _, _, count in shown)
    who = "; ".join(
        f"{', '.join(arm for arm, _, own in shown if own == count)} ({count:,} samples)" for count in counts
    )
    trained = (
        f"Trained on {size_name(results['shape'])} at T0 = {shown[0][1]:g}: {who}. Means over seeds; bars: "
        "the larger of the spread over seeds and the error of sampling."
        if shown
        else "Nothing was extrapolated: the truth alone."
    )
    drawn = {
        "learning": (
            "Score over the number of samples; bars: 95 % over seeds (three or more). Dotted: the original, "
            "from 51.2 million samples, as published; dashed: the aim.",
            learning_figure(results),
        ),
        "binder": (
            "Binder's cumulants cross at the critical temperature (dotted: of the infinite lattice).",
            binder_figure(results),
        ),
    }
    for size in sizes_extrapolated(results):
        drawn[f"curves_{size}"] = (f"{size}, per site. {trained}", curves_figure(results, size))
        drawn[f"deviations_{size}"] = (
            f"{size}, learned less the truth, per site. {trained}",
            curves_figure(results, size, deviations=True),
        )
    return {name: (caption, figure) for name, (caption, figure) in drawn.items() if figure is not None}
