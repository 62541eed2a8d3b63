"""Colours, marks and panels that all figures share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Told apart by the colour-blind (Okabe & Ito, 2008; without its yellow, too light for lines, and with
#: a dark red).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
#: Of the outcomes of a comparison.
OUTCOMES = {"better": "#0072B2", "worse": "#D55E00"}
UNDECIDED = "#777777"


def panels_of(count: int, height: float, **shared: Any) -> tuple[Figure, list[Axes]]:
    """Return panels, two abreast so that they can be read on a phone."""
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.6 * columns if columns > 1 else 6.4, height * rows), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns, **shared)).ravel())
    for spare in axes[count:]:
        spare.remove()
    for own in axes[:count]:
        own.spines[["top", "right"]].set_visible(False)
    return figure, axes[:count]


def plain_ticks(axis: Any, ticks: Sequence[float]) -> None:
    """Label an axis at these places alone."""
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def log_ticks(axes: Axes, axis: str = "y") -> None:
    """Label a logarithmic axis with plain numbers at 1, 2 and 5."""
    low, high = axes.get_ylim() if axis == "y" else axes.get_xlim()
    ticks = [m * 10.0**k for k in range(-6, 8) for m in (1, 2, 5) if low <= m * 10.0**k <= high]
    if len(ticks) > 7:
        ticks = [tick for tick in ticks if np.isclose(np.log10(tick) % 1.0, 0.0)]
    if len(ticks) >= 2:
        plain_ticks(axes.yaxis if axis == "y" else axes.xaxis, ticks)
        axes.set(**{f"{axis}lim": (low, high)})
