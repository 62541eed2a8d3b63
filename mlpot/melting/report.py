"""Files of a melting temperature: the document, the series, the figure, the final structures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from matplotlib.figure import Figure

from mlpot.atomic import replacing, write_json
from mlpot.melting.coexistence import State
from mlpot.melting.estimate import Estimate
from mlpot.melting.settings import MeltingSettings
from mlpot.page import png

_COLOURS = {"cold": "#0072B2", "hot": "#D55E00"}


def write_melting(
    found: Estimate,
    prepared: Mapping[str, Any],
    states: Sequence[State],
    settings: MeltingSettings,
    about: Mapping[str, Any],
    out: Path,
) -> dict[str, Any]:
    """Write ``melting.json``, ``melting.csv``, ``melting.png`` and ``final.xyz``; return the document."""
    names = [f"{run.side}-{number // 2}" for number, run in enumerate(found.runs)]
    records = min(len(state.temperature) for state in states)
    interval = settings.stride * settings.timestep_fs / 1000.0
    times = (np.arange(records) + 1) * interval
    with replacing(out / "melting.csv") as path, path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["time_ps", *(f"{name}_K" for name in names), *(f"{name}_length" for name in names)])
        columns = [state.temperature[:records] for state in states] + [
            state.length[:records] for state in states
        ]
        writer.writerows(zip(times.tolist(), *columns, strict=True))
    with replacing(out / "melting.png") as path:
        path.write_bytes(png(draw(found, states, interval)))
    finals = []
    for name, state in zip(names, states, strict=True):
        final = state.atoms.copy()
        final.info["run"] = name
        finals.append(final)
    with replacing(out / "final.xyz") as path:
        ase.io.write(path, finals, format="extxyz")
    files = [str(out / name) for name in ("melting.json", "melting.csv", "melting.png", "final.xyz")]
    document = {**about, "preparation": dict(prepared), "melting": found.to_dict(), "files": files}
    write_json(out / "melting.json", document, allow_nan=False)
    return document


def draw(found: Estimate, states: Sequence[State], interval: float) -> Figure:
    """Return the figure: temperature and share of crystal of every run; ``interval``: ps between records."""
    figure = Figure(figsize=(6.8, 5.4), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for run, state in zip(found.runs, states, strict=True):
        colour = _COLOURS[run.side]
        values = np.array(state.temperature)
        width = max(1, round(1.0 / interval))  # means over 1 ps
        count = len(values) // width
        smooth = values[: count * width].reshape(count, width).mean(axis=1)
        style = "-" if run.coexisted else ":"
        upper.plot((np.arange(count) + 0.5) * width * interval, smooth, style, color=colour, lw=0.9)
        shares = np.array(state.fraction)
        step = len(values) * interval / len(shares)
        lower.plot((np.arange(len(shares)) + 1) * step, shares, style, color=colour, lw=0.9)
    upper.axhspan(*found.bracket, color="#cccccc", lw=0, label="bracket")
    upper.axhline(found.temperature, color="black", lw=1, label=f"{found.temperature:.0f} K")
    upper.set(ylabel="temperature (K), means over 1 ps")
    upper.legend(frameon=False, fontsize=8)
    lower.set(xlabel="time (ps)", ylabel="share of crystal", ylim=(0, 1))
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
