"""One HTML page that tells the outcome of a study, plots inside, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mlpot.studies.compare import ARMS

COLOURS = {
    "scratch": "#b3552e",
    "plain": "#8a8a8a",
    "reduced": "#4c86b8",
    "transfer": "#1b6b3a",
}
NAMES = {
    "scratch": "from scratch",
    "plain": "donor as is",
    "reduced": "two scalars",
    "transfer": "transferred",
}
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}
table{border-collapse:collapse;margin:1rem 0}
th,td{padding:.25rem .8rem;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}
img{max-width:100%}
figcaption{color:#555;font-size:.9rem}
.verdict{background:#eef5ef;border-left:4px solid #1b6b3a;padding:.6rem 1rem}
"""


def _png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, bbox_inches="tight")
    return buffer.getvalue()


def force_figure(seeds: Sequence[dict[str, Any]]) -> Figure:
    """Plot the hold-out force error of every arm and seed."""
    figure = Figure(figsize=(6.4, 3.2))
    axes = figure.subplots()
    for place, arm in enumerate(ARMS):
        values = [seed["arms"][arm]["holdout"]["all"]["forces_mae"] for seed in seeds]
        axes.bar(place, np.mean(values), color=COLOURS[arm], alpha=0.35, width=0.6)
        axes.plot(place + np.linspace(-0.12, 0.12, len(values)), values, "o", color=COLOURS[arm])
        label = f"{np.mean(values):.0f}"
        axes.annotate(label, (place, max(values)), (0, 5), textcoords="offset points", ha="center")
    axes.set_xticks(range(len(ARMS)), [NAMES[arm] for arm in ARMS])
    axes.set_ylabel("force MAE on the hold-out (meV/Å)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def learning_figure(rows: Sequence[dict[str, float]], element: str) -> Figure:
    """Plot how the donor learned: validation force error over epochs."""
    figure = Figure(figsize=(6.4, 2.8))
    axes = figure.subplots()
    axes.semilogy(
        [row["epoch"] for row in rows], [row["forces_mae"] for row in rows], color=COLOURS["reduced"]
    )
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation force MAE (meV/Å)")
    axes.set_title(f"{element}: learning")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def parity_figure(pairs: dict[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Plot predicted against true force components of arms, (label, prediction) each."""
    figure = Figure(figsize=(3.3 * len(pairs), 3.3))
    panels = np.atleast_1d(figure.subplots(1, len(pairs), sharex=True, sharey=True))
    for axes, (arm, (true, predicted)) in zip(panels, pairs.items(), strict=True):
        axes.plot(true, predicted, ".", ms=1.5, color=COLOURS[arm], rasterized=True)
        low, high = float(true.min()), float(true.max())
        axes.plot([low, high], [low, high], "k-", lw=0.6)
        axes.set_title(NAMES[arm])
        axes.set_xlabel("true force (eV/Å)")
    panels[0].set_ylabel("predicted force (eV/Å)")
    return figure


def survival_figure(dynamics: dict[str, Any]) -> Figure:
    """Plot Kaplan–Meier survival curves of the arms, one panel per temperature."""
    first = next(iter(dynamics.values()))
    figure = Figure(figsize=(3.2 * len(first["temperatures"]), 2.8))
    panels = np.atleast_1d(figure.subplots(1, len(first["temperatures"]), sharey=True))
    for arm, result in dynamics.items():
        for axes, entry in zip(panels, result["temperatures"], strict=True):
            curve = entry["curve"]
            end = result["protocol"]["time_ps"]
            times = [0.0, *curve["time_ps"], end]
            values = [1.0, *curve["survival"], curve["survival"][-1] if curve["survival"] else 1.0]
            axes.step(times, values, where="post", color=COLOURS[arm], label=NAMES[arm])
            axes.set_title(f"{entry['temperature_K']:g} K")
            axes.set_xlabel("time (ps)")
            axes.set_ylim(-0.03, 1.05)
    panels[0].set_ylabel("fraction alive")
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def radial_figure(dynamics: dict[str, Any]) -> Figure:
    """Plot radial distributions of the arms against the reference dynamics."""
    first = next(iter(dynamics.values()))
    figure = Figure(figsize=(3.2 * len(first["temperatures"]), 2.8))
    panels = np.atleast_1d(figure.subplots(1, len(first["temperatures"]), sharey=True))
    for place, axes in enumerate(panels):
        radials = {arm: result["temperatures"][place]["radial"] for arm, result in dynamics.items()}
        compared = {arm: radial for arm, radial in radials.items() if radial is not None}
        # The reference runs are the same for every arm: any arm that was compared can show them.
        for radial in list(compared.values())[:1]:
            axes.plot(radial["r"], radial["reference"], color="black", lw=2, alpha=0.5, label="reference")
        for arm, radial in compared.items():
            axes.plot(radial["r"], radial["model"], color=COLOURS[arm], lw=1, label=NAMES[arm])
        axes.set_title(f"{first['temperatures'][place]['temperature_K']:g} K")
        axes.set_xlabel("r (Å)")
    panels[0].set_ylabel("g(r)")
    panels[0].legend(fontsize=8, frameon=False)
    return figure


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def error_table(seeds: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the errors per arm and seed on the hold-out."""
    header = ["arm", "seed", "F MAE meV/Å", "F RMSE", "E MAE meV/atom", "stress MAE GPa"]
    rows = []
    for arm in ARMS:
        for seed in seeds:
            errors = seed["arms"][arm]["holdout"]["all"]
            numbers = [_number(errors[k]) for k in ("forces_mae", "forces_rmse", "energy_mae")]
            rows.append([NAMES[arm], str(seed["seed"]), *numbers, _number(errors["stress_mae"], 2)])
    return header, rows


def dynamics_table(dynamics: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of survival per arm and temperature."""
    header = ["arm", "T (K)", "alive", "95 %", "min ps", "g(r) error", "stopped by"]
    rows = []
    for arm, result in dynamics.items():
        for entry in result["temperatures"]:
            runs = entry["runs"]
            reasons = sorted({run["reason"] for run in runs if run["reason"]})
            radial = entry["radial"]
            rows.append(
                [
                    NAMES[arm],
                    f"{entry['temperature_K']:g}",
                    f"{sum(run['censored'] for run in runs)}/{len(runs)}",
                    " – ".join(f"{bound:.2f}" for bound in entry["survival_95"]),
                    f"{min(run['survived_ps'] for run in runs):.2f}",
                    "–" if radial is None else f"{radial['error']:.3f}",
                    "; ".join(reasons) or "–",
                ]
            )
    return header, rows


def write_report(path: Path, results: dict[str, Any], figures: dict[str, tuple[str, Figure]]) -> None:
    """Write the page, and its figures beside it in ``figures/NAME.png``.

    Parameters
    ----------
    path
        The page.
    results
        As :func:`mlpot.studies.run.run_study` returns them.
    figures
        Caption and figure by name.
    """
    seeds = results["seeds"]
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{html.escape(results['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(results['title'])}</h1>",
        "<div class='verdict'>" + "".join(f"<p>{html.escape(v)}</p>" for v in results["verdict"]) + "</div>",
    ]
    folder = path.parent / "figures"
    folder.mkdir(exist_ok=True)
    for name, (caption, figure) in figures.items():
        image = _png(figure)
        (folder / f"{name}.png").write_bytes(image)
        parts.append(
            f"<figure><img alt='{html.escape(caption)}' "
            f"src='data:image/png;base64,{base64.b64encode(image).decode()}'>"
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )
    parts.append("<h2>Errors on the hold-out</h2>" + _table(*error_table(seeds)))
    if results.get("dynamics"):
        parts.append("<h2>Molecular dynamics</h2>" + _table(*dynamics_table(results["dynamics"])))
    parts.append(f"<h2>How this was made</h2><pre>{html.escape(results['recipe'])}</pre>")
    path.write_text("\n".join(parts), encoding="utf-8")
