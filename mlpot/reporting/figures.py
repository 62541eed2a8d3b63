"""Figures that only the report has: parity, distributions of errors, learning curves, one potential's MD."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlpot.errors import DataError
from mlpot.evidence.drawing import PALETTE, UNDECIDED, log_ticks, panels_of
from mlpot.reporting.judged import Compared
from mlpot.studies.beyond_figures import draw_survival

#: More groups than colours are drawn as one.
_MOST_GROUPS = len(PALETTE)
#: Errors beyond this percentile are outside the histograms.
_SHOWN = 99.5
#: Columns of metrics.csv that are drawn together: label, and those of training and validation.
_METRICS = (
    ("loss", (("train_loss", "trained on"), ("loss", "validation"))),
    ("energy error (meV/atom)", (("energy_mae", "MAE"), ("energy_rmse", "RMSE"))),
    ("force error (meV/Å)", (("forces_mae", "MAE"), ("forces_rmse", "RMSE"))),
    ("stress error (GPa)", (("stress_mae", "MAE"), ("stress_rmse", "RMSE"))),
)


def _coloured(groups: Sequence[str]) -> dict[str, str]:
    if len(groups) > _MOST_GROUPS or len(groups) < 2:
        return dict.fromkeys(groups, PALETTE[0])
    return dict(zip(groups, PALETTE, strict=False))


def parity_figure(one: Compared) -> Figure:
    """Plot predictions over labels, a colour for each group."""
    figure, axes = _panel(height=3.6)
    low, high = float(one.label.min()), float(one.label.max())
    margin = 0.03 * (high - low) or 1.0
    axes.axline((low, low), slope=1.0, color="black", lw=0.8, zorder=0)
    colours, size = _coloured(list(one.groups)), 4.0 if len(one.label) < 1000 else 1.5
    for group, members in one.groups.items():
        style: dict[str, Any] = {"color": colours[group], "ms": size, "alpha": 0.6, "label": group}
        axes.plot(one.label[members], one.predicted[members], ".", **style)
    axes.set_xlim(low - margin, high + margin)
    axes.set(xlabel=f"{one.name}, label ({one.unit})", ylabel=f"{one.name}, predicted ({one.unit})")
    _legend(axes, one.groups)
    return figure


def distribution_figure(one: Compared) -> Figure:
    """Plot the histogram of errors, predicted less label, a line for each group."""
    figure, axes = _panel()
    errors = one.scale * (one.predicted - one.label)
    reach = float(np.percentile(np.abs(errors), _SHOWN)) or 1.0
    bins = np.linspace(-reach, reach, 41).tolist()
    axes.hist(errors, bins, weights=np.full(len(errors), 1 / len(errors)), color="#cccccc")
    if 1 < len(one.groups) <= _MOST_GROUPS:
        colours = _coloured(list(one.groups))
        for group, members in one.groups.items():
            weights = np.full(len(members), 1 / len(members))
            style: dict[str, Any] = {"histtype": "step", "color": colours[group], "label": group}
            axes.hist(errors[members], bins, weights=weights, **style)
    axes.axvline(0.0, color="black", lw=0.8)
    axes.set(xlabel=f"{one.name}, error ({one.error_unit})", ylabel="share")
    _legend(axes, one.groups)
    return figure


def _legend(axes: Axes, groups: Mapping[str, Any]) -> None:
    if 1 < len(groups) <= _MOST_GROUPS:
        axes.legend(frameon=False, fontsize=7, markerscale=3)


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of ``metrics.csv``; gaps are NaN.

    Raises
    ------
    DataError
        If it has no rows, or a value is no number.
    """
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows or "epoch" not in rows[0]:
        raise DataError(f"{path}: no epoch is written down yet.")
    try:
        return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}
    except (TypeError, ValueError):
        raise DataError(f"{path}: a row is cut off or holds what is no number.") from None


def training_figures(metrics: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """Plot loss and validation errors over epochs; by name."""
    figures = {}
    for label, columns in _METRICS:
        curves = [(metrics[name], text) for name, text in columns if name in metrics]
        if not curves:
            continue
        figure, axes = _panel()
        for number, (values, text) in enumerate(curves):
            style = "o-" if len(values) < 2 else "-"
            axes.plot(metrics["epoch"], values, style, color=PALETTE[number], lw=1.3, label=text)
        known = np.concatenate([values[np.isfinite(values)] for values, _ in curves])
        if len(known) and 0 < 4 * known.min() < known.max():
            axes.set_yscale("log")
            log_ticks(axes)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=8)
        figures[f"learning curve, {label.partition(' (')[0]}"] = figure
    return figures


def survival_figures(document: Mapping[str, Any]) -> dict[str, Figure]:
    """Plot the Kaplan-Meier curve at each temperature of a stability test; by name."""
    figures = {}
    for result in document["temperatures"]:
        figure, axes = _panel(f"{result['temperature_K']:g} K")
        draw_survival(axes, result["runs"], color=PALETTE[0])
        axes.set(xlabel="time (ps)", ylabel="fraction alive", ylim=(-0.03, 1.05))
        figures[f"survival at {result['temperature_K']:g} K"] = figure
    return figures


def radial_figures(document: Mapping[str, Any]) -> dict[str, Figure]:
    """Plot radial distributions of a stability test against the reference, where there is one; by name."""
    figures = {}
    for result in document["temperatures"]:
        radial = result["radial"]
        if radial is None:
            continue
        figure, axes = _panel(f"{result['temperature_K']:g} K")
        axes.plot(radial["r"], radial["reference"], color=UNDECIDED, lw=2.5, label="reference")
        axes.plot(radial["r"], radial["model"], color=PALETTE[0], lw=1.1, label="potential")
        axes.set(xlabel="r (Å)", ylabel="g(r)")
        axes.legend(frameon=False, fontsize=8)
        figures[f"radial distribution at {result['temperature_K']:g} K"] = figure
    return figures


def _panel(title: str = "", height: float = 3.0) -> tuple[Figure, Axes]:
    """Return a figure that stands beside others."""
    figure, (axes,) = panels_of(1, height)
    figure.set_figwidth(4.2)
    axes.set_title(title, fontsize=10)
    return figure, axes
