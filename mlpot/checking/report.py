"""What came of a check, for machines and for people."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpot.atomic import replacing
from mlpot.checking.finding import SEVERITIES, Finding, worst_first
from mlpot.checking.survey import Survey
from mlpot.page import page, picture, png, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Report:
    """Findings on a data set.

    Attributes
    ----------
    findings : list of Finding
        The worst first.
    counts : dict
        See :func:`mlpot.checking.counts.count`, by name of the set.
    data, against, model : str or None
        What was checked, with what.
    seconds : float
        How long it took.
    points : dict
        Energy (eV/atom) and largest force (eV/Å) of each frame by group, for the plots.
    """

    findings: list[Finding]
    counts: dict[str, Any]
    data: str
    against: str | None
    model: str | None
    seconds: float
    points: dict[str, dict[str, list[float]]]

    @property
    def tally(self) -> dict[str, int]:
        """Number of findings by severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    def asdict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "data": self.data,
            "against": self.against,
            "model": self.model,
            "seconds": round(self.seconds, 2),
            "tally": self.tally,
            "findings": [finding.asdict() for finding in self.findings],
            "counts": self.counts,
        }

    def write_html(self, path: str | Path) -> None:
        """Write one HTML page, plots inside, nothing loaded from elsewhere."""
        with replacing(path) as partial:
            partial.write_text(_page(self), encoding="utf-8")


def collect_points(data: Survey) -> dict[str, dict[str, list[float]]]:
    """Return energies per atom and largest forces by group; frames without a label are left out."""
    frames = data.frames
    return {
        name: {
            "energy": [float(e) / len(frames[i]) for i in own if (e := frames[i].energy) is not None],
            "force": [
                float(np.linalg.norm(f, axis=1).max()) for i in own if (f := frames[i].forces) is not None
            ],
        }
        for name, own in data.groups.items()
    }


_STYLE = """
.finding{border-left:4px solid;padding:.4rem 1rem;margin:.8rem 0}
.error{border-color:#b3261e;background:#fbeeed}
.warning{border-color:#b8860b;background:#fbf6e8}
.note{border-color:#8a8a8a;background:#f5f5f5}
.finding p{margin:.2rem 0}
.action{color:#444}
details{color:#555;font-size:.85rem}
"""


def _page(report: Report) -> str:
    escape = html.escape
    beside = [f"against {report.against}"] if report.against else []
    beside += [f"with {report.model}"] if report.model else []
    parts = [
        f"<p>{escape(', '.join(beside))}</p>" if beside else "",
        "<p>" + ", ".join(f"{number} {severity}s" for severity, number in report.tally.items()) + "</p>",
    ]
    for finding in worst_first(report.findings):
        parts.append(
            f"<div class='finding {finding.severity}'>"
            f"<p><b>{finding.severity}: {escape(finding.check)}</b></p>"
            f"<p>{escape(finding.message)}</p><p class='action'>{escape(finding.action)}</p>"
        )
        if finding.frames:
            parts.append(
                f"<details><summary>{len(finding.frames)} frames</summary>"
                f"{escape(', '.join(finding.frames))}</details>"
            )
        parts.append("</div>")
    for name, counted in report.counts.items():
        parts.append(f"<h2>{escape(name)}</h2>" + _group_table(counted))
    parts += [picture(caption, png(figure)) for caption, figure in _figures(report.points)]
    return page(f"Check of {report.data}", parts, _STYLE)


def _group_table(counted: Mapping[str, Any]) -> str:
    header = ["group", "frames", "atoms", "energy", "forces", "stress", "lowest, median, highest eV/atom"]
    rows = []
    for name, own in {"all": counted, **counted["groups"]}.items():
        energies = own.get("energy_eV_per_atom")
        span = ", ".join(f"{value:.3f}" for value in energies) if energies else "–"
        labels = [str(number) for number in own["labels"].values()]
        rows.append([name, str(own["frames"]), str(own["atoms"]), *labels, span])
    return table(header, rows)


def _figures(points: Mapping[str, Mapping[str, Sequence[float]]]) -> list[tuple[str, Figure]]:
    from matplotlib.figure import Figure  # takes its time, and only pages have plots

    figures = []
    for label, axis in (("energy", "energy (eV/atom)"), ("force", "largest force (eV/Å)")):
        if not any(own[label] for own in points.values()):
            continue
        figure = Figure(figsize=(7.0, 0.8 + 0.28 * len(points)))
        axes = figure.subplots()
        for row, own in enumerate(points.values()):
            # Spread out by the golden ratio, the same each time.
            lift = (np.arange(len(own[label])) * 0.618034 % 1.0 - 0.5) * 0.6
            axes.plot(own[label], row + lift, ".", ms=3, alpha=0.6)
        axes.set_yticks(range(len(points)), list(points))
        axes.invert_yaxis()
        axes.set_xlabel(axis)
        axes.spines[["top", "right"]].set_visible(False)
        figures.append((f"{axis} of each frame, by group", figure))
    return figures
