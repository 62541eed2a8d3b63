"""Figures of properties, drawn from the document alone; ``None`` where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlpot.evidence.drawing import PALETTE
from mlpot.properties.surfaces import J_PER_M2

#: Kinds of references in the bar chart, and their colours; classical ones are for checks.
_KINDS = {"experiment": PALETTE[6], "PBE": PALETTE[0], "PW91": PALETTE[2]}
#: Percent beyond which a bar is cut, with its number beside it.
_LARGEST = 60.0

Document = Mapping[str, Any]


def _data(document: Document, name: str) -> dict[str, Any]:
    for record in document["records"]:
        if record["name"] == name and record["value"] is not None:
            return dict(record["data"])
    return {}


def _axes(width: float = 6.4, height: float = 4.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def energy_volume(document: Document) -> Figure | None:
    """Draw E(V) of diamond and of the other phases."""
    diamond = _data(document, "bulk_modulus")
    if not diamond:
        return None
    lowest = min(diamond["energy_eV"])
    figure, axes = _axes()
    axes.plot(
        diamond["wide_volume_A3"],
        np.subtract(diamond["wide_energy_eV"], lowest),
        color="black",
        lw=2.4,
        label="diamond",
    )
    names = [r["name"] for r in document["records"] if r["property"].startswith("phase_") and r["data"]]
    for number, name in enumerate(names):
        data = _data(document, name)
        label = name.removeprefix("energy_").replace("_", " ")
        style = ("-", "--")[number % 2]  # some lie on each other
        axes.plot(
            data["volume_A3"],
            np.subtract(data["energy_eV"], lowest),
            style,
            color=PALETTE[number % len(PALETTE)],
            lw=1.4,
            label=label,
        )
    axes.set(xlabel="volume (Å³/atom)", ylabel="energy above diamond (eV/atom)")
    axes.legend(frameon=False, fontsize=8)
    return figure


def phonon_bands(document: Document) -> Figure | None:
    """Draw bands along the zone's lines and the density of states, with the references' frequencies."""
    data = _data(document, "phonon_lowest")
    if not data:
        return None
    figure = Figure(figsize=(6.8, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(4, 1), sharey=True)
    ticks: list[float] = []
    labels: list[str] = []
    segments = data["bands"]["segments"]
    for segment in segments:
        left.plot(segment["distance"], segment["frequencies_THz"], color=PALETTE[0], lw=1.1)
        start, end = segment["distance"][0], segment["distance"][-1]
        if ticks and labels[-1] != segment["from"]:
            labels[-1] = f"{labels[-1]}|{segment['from']}"
        elif not ticks:
            ticks.append(start)
            labels.append(segment["from"])
        ticks.append(end)
        labels.append(segment["to"])
    for tick in ticks:
        left.axvline(tick, color="#cccccc", lw=0.6, zorder=0)
    left.set_xticks(ticks, labels)
    left.axhline(0, color="#888888", lw=0.6)
    left.set(ylabel="frequency (THz); below 0: imaginary", xlim=(ticks[0], ticks[-1]))
    _mark_references(left, document, segments)
    right.plot(data["dos"]["states_per_THz"], data["dos"]["frequency_THz"], color=PALETTE[0], lw=1.1)
    right.set(xlabel="states per THz")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _mark_references(axes: Axes, document: Document, segments: list[dict[str, Any]]) -> None:
    """Mark the frequencies at Γ, X and L of experiment and PBE."""
    places: dict[str, list[float]] = {}
    for segment in segments:
        places.setdefault(segment["from"], []).append(segment["distance"][0])
        places.setdefault(segment["to"], []).append(segment["distance"][-1])
    points = {"phonon_gamma": "Γ", "phonon_X": "X", "phonon_L_": "L"}
    for kind, marker, colour in (("experiment", "o", "#555555"), ("PBE", "D", PALETTE[1])):
        at = [
            (place, row["reference"])
            for row in document["comparison"]
            if row["kind"] == kind
            for prefix, point in points.items()
            if row["name"].startswith(prefix)
            for place in places[point]
        ]
        if at:
            x, y = zip(*at, strict=True)
            axes.plot(x, y, marker, color=colour, mfc="none", ms=5, label=kind, clip_on=False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=8, loc="lower right")


def deviations(document: Document) -> Figure | None:
    """Draw deviations from experiment and DFT in percent as bars, cut at ±60 % with the number beside."""
    rows = [r for r in document["comparison"] if r["kind"] in _KINDS and r["deviation"] is not None]
    if not rows:
        return None
    names = list(dict.fromkeys(row["name"] for row in rows))
    figure, axes = _axes(6.8, 0.9 + 0.3 * len(names))
    for row in rows:
        kinds = [r["kind"] for r in rows if r["name"] == row["name"]]
        thick = 0.8 / len(kinds)
        y = names.index(row["name"]) - 0.4 + thick * (kinds.index(row["kind"]) + 0.5)
        shown = float(np.clip(row["deviation"], -_LARGEST, _LARGEST))
        axes.barh(y, shown, thick * 0.9, color=_KINDS[row["kind"]])
        if shown != row["deviation"]:
            side = "left" if shown > 0 else "right"
            axes.text(shown, y, f" {row['deviation']:+.0f} % ", ha=side, va="center", fontsize=7)
    for kind, colour in _KINDS.items():
        if any(row["kind"] == kind for row in rows):
            axes.barh([0], [0], color=colour, label=f"from {kind}")
    axes.axvline(0, color="black", lw=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="deviation (%)", xlim=(-1.2 * _LARGEST, 1.2 * _LARGEST))
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=8)
    return figure


def fault_energy(document: Document) -> Figure | None:
    """Draw the generalised stacking fault energy along the way to the intrinsic fault."""
    data = _data(document, "stacking_fault_intrinsic")
    if not data:
        return None
    figure, axes = _axes(height=3.4)
    for key, label, colour in (("rigid", "rigid", PALETTE[6]), ("relaxed", "relaxed", PALETTE[0])):
        values = J_PER_M2 * np.array(data[f"{key}_eV_per_A2"])
        axes.plot(data["displacement"], values, "o-", color=colour, ms=3, label=label)
    axes.set(xlabel="displacement (partial Burgers vectors)", ylabel="energy (J/m²)")
    axes.legend(frameon=False, fontsize=8)
    return figure


#: Of the page, by file name: what draws it, and its caption.
FIGURES = {
    "deviations": (deviations, "Deviations from experiment and density functional theory."),
    "energy_volume": (energy_volume, "Energy against volume of diamond and other phases."),
    "phonons": (phonon_bands, "Phonons of diamond: bands and density of states; marks: references."),
    "stacking_fault": (fault_energy, "Generalised stacking fault energy, glide set of {111} along <112>."),
}
