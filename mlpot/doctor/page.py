"""An examination as one HTML page."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np

from mlpot.atomic import replacing
from mlpot.conventions import GPA
from mlpot.doctor.examination import Examination
from mlpot.page import facts as fact_table
from mlpot.page import page, picture, png, table
from mlpot.testing.evaluation import CheckResult

STYLE = """
tr.fail td{background:#fde8e6}
tr.not td{color:#777}
td:nth-child(5){text-align:left;white-space:normal;min-width:14rem}
"""

#: Of the sum of the covalent radii: beyond this the plot shows all of a curve.
_BONDS = 0.85


def texts(result: CheckResult) -> tuple[str, str, str]:
    """Return violation, tolerance and verdict of a check for people."""
    if result.passed is None:
        return "–", "–", "not applicable"
    size = "error" if not np.isfinite(result.deviation) else f"{result.deviation:.1e}"
    return size, f"{result.tolerance:.0e}", "pass" if result.passed else "FAIL"


def facts(found: Examination) -> list[tuple[str, str]]:
    """Return what was measured beside the checks, each with its name."""
    cutoff = "none found" if found.cutoff is None else f"{found.cutoff:.3g} Å"
    energy, forces = found.noise
    lines = [
        ("elements", ", ".join(found.symbols)),
        ("seed", str(found.seed)),
        *([("skipped", ", ".join(found.skipped))] if found.skipped else []),
        ("precision", f"{found.precision}; noise {1e3 * energy:.1e} meV, {1e3 * forces:.1e} meV/Å"),
        ("cutoff", f"{cutoff}; taken as apart: {found.reach:.3g} Å"),
    ]
    for speed in found.speed:
        text = speed.reason or f"{speed.milliseconds:.3g} ms, {speed.microseconds_per_atom:.3g} µs/atom"
        lines.append((f"{speed.atoms} atoms", text))
    return lines


def write_page(path: str | Path, found: Examination, command: str = "") -> None:
    """Write one HTML page, plots inside, nothing loaded from elsewhere; ``command``: what made it."""
    with replacing(path) as partial:
        partial.write_text(page(f"Physics of {found.name}", body(found, command), STYLE), encoding="utf-8")


def body(found: Examination, command: str = "") -> list[str]:
    """Return the parts of the page: facts, checks, curves; ``command``: what made it."""
    from matplotlib.figure import Figure

    tally = ", ".join(f"{number} {verdict}" for verdict, number in found.tally.items())
    rows = [(result.name, *texts(result), result.detail) for result in found.results]
    classes = [{True: "", False: "fail", None: "not"}[result.passed] for result in found.results]
    parts = [
        f"<p>{html.escape(tally)}; {found.seconds:.0f} s.</p>",
        fact_table(facts(found)),
        "<h2>Checks</h2>",
        table(("check", "violation", "allowed", "verdict", "detail"), rows, classes),
    ]
    parts.append("<h2>Curves</h2>")
    parts += [f"<p class='remark'>Missing: {html.escape(reason)}</p>" for reason in found.missing]
    if found.diatomics:
        figure = Figure(figsize=(8.0, 4.5))
        axes = figure.subplots()
        # The wall would hide the rest.
        bonds = np.concatenate([c.energies[c.distances >= _BONDS * c.radii] for c in found.diatomics])
        low, high = float(np.nanmin(bonds)), float(np.nanmax(bonds))
        for curve in found.diatomics:
            axes.plot(curve.distances, curve.energies, label=curve.name)
        axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
        axes.set(xlabel="distance (Å)", ylabel="energy (eV)")
        axes.legend()
        parts.append(picture("Two atoms: energy by distance, from that of the largest", png(figure)))
    if found.volumes:
        figure = Figure(figsize=(8.0, 4.5))
        axes = figure.subplots()
        axes.plot(found.volumes.volumes, found.volumes.energies, color="C0")
        axes.set(xlabel="volume (Å³/atom)", ylabel="energy (eV/atom)")
        if found.volumes.pressures is not None:
            other = axes.twinx()
            other.plot(found.volumes.volumes, np.array(found.volumes.pressures) / GPA, "C1--")
            other.set_ylabel("pressure (GPa), dashed")
        parts.append(
            picture("Diamond: energy and pressure from 0.7 to 1.3 of its volume at rest", png(figure))
        )
    if command:
        parts += ["<h2>How to repeat it</h2>", f"<pre>{html.escape(command)}</pre>"]
    return parts
