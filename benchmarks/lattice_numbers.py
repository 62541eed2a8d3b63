"""Tables of docs/lattice.md from committed results of lattice studies and speed measurements.

python benchmarks/lattice_numbers.py --collect   # takes runs/lattice_* into benchmarks/results
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from study_numbers import _markdown as markdown

from mlpot.lattice.report import (
    aims_table,
    cost_table,
    critical_table,
    deviation_table,
    ensemble_table,
    recovery_table,
    samples_table,
    score_table,
    sequence_table,
    total_energy_table,
)
from mlpot.lattice.verdict import verdict

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"
#: Pictures that are kept, where a study has them.
FIGURES = ("learning", "binder", "curves_16x16", "deviations_16x16")


def collect(runs: Path = ROOT / "runs", results: Path = RESULTS, images: Path = IMAGES) -> None:
    """Keep the results and pictures of the studies that were run in ``runs/lattice_NAME``."""
    for run in sorted(runs.glob("lattice_*")):
        if not (run / "results.json").exists():
            continue
        document = json.loads((run / "results.json").read_text(encoding="utf-8"))
        for curve in document["extrapolation"]:
            curve.pop("acceptance", None)  # nothing here speaks of it, and it is long
        (results / f"{run.name}.json").write_text(json.dumps(document) + "\n", encoding="utf-8")
        for figure in FIGURES:
            if (run / "figures" / f"{figure}.png").exists():
                images.mkdir(parents=True, exist_ok=True)
                shutil.copy(run / "figures" / f"{figure}.png", images / f"{run.name}_{figure}.png")


def studies(folder: Path = RESULTS) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and results of each committed study; other lattice_*.json are measurements of speed."""
    for path in sorted(folder.glob("lattice_*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if "learned" in document:
            yield path.stem.removeprefix("lattice_"), document


def study(name: str, results: dict[str, Any]) -> list[str]:
    """Return the verdict, pictures and tables of a study."""
    made = (
        results.get("made_by")
        or f"`mlpot lattice learn recipes/lattice/{name}.yaml --out runs/lattice_{name}`"
    )
    lines = [f"### {results['title']}", "", f"Made by {made}.", ""]
    lines += [f"- {sentence}" for sentence in verdict(results)]
    lines.append("")
    for figure in FIGURES:
        if (IMAGES / f"lattice_{name}_{figure}.png").exists():
            lines += [f"![{figure}: {results['title']}](images/lattice_{name}_{figure}.png)", ""]
    for title, (header, rows) in (
        ("Score, RMSE of the total energy", score_table(results)),
        ("What was to be reached", aims_table(results)),
        ("Errors of the curves over T, per site, means over seeds", deviation_table(results)),
        ("Error of the mean total energy", total_energy_table(results)),
        ("Critical temperature, by Binder crossing", critical_table(results)),
        ("Couplings recovered", recovery_table(results)),
        ("Sequence models", sequence_table(results)),
        ("Ensembles: standard deviation of the energy over members", ensemble_table(results)),
        ("Samples", samples_table(results)),
        ("Cost of learning", cost_table(results)),
    ):
        if rows:
            lines += [f"{title}:", "", *markdown(header, rows), ""]
    return lines


def speed() -> list[str]:
    """Return the tables of flips per second: samplers, and Monte Carlo with learned energies."""
    lines: list[str] = []
    path = RESULTS / "lattice_samplers.json"
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
        sizes = list(document["sizes"])
        names = dict.fromkeys(name for size in sizes for name in document["sizes"][size])
        header = ["sampler", *(f"{size}x{size}: flips/s (times NumPy)" for size in sizes)]
        rows = []
        for name in names:
            row = [document["sizes"][size].get(name) for size in sizes]
            cells = [
                "–" if one is None else f"{one['flips_per_second']:.3g} ({one['times_numpy']:.1f})"
                for one in row
            ]
            rows.append([name, *cells])
        lines += [f"`{document['command']}`, one thread:", "", *markdown(header, rows), ""]
    path = RESULTS / "lattice_learned.json"
    if path.exists():
        document = json.loads(path.read_text(encoding="utf-8"))
        found = {(tuple(one["lattice"]), one["contestant"]): one for one in document["results"]}
        lattices = list(dict.fromkeys(lattice for lattice, _ in found))
        header = ["energy", *(f"{'x'.join(map(str, one))}: turns/s (of the true one's)" for one in lattices)]
        rows = []
        for name in dict.fromkeys(name for _, name in found):
            row = [found.get((lattice, name)) for lattice in lattices]
            cells = [
                "–" if one is None else f"{one['turns_per_second']:.3g} ({one['relative_to_true']:.2g})"
                for one in row
            ]
            rows.append([name, *cells])
        lines += [f"`{document['command']}`, {document['clock']}:", "", *markdown(header, rows), ""]
    return lines


def page() -> str:
    """Return the section of docs/lattice.md."""
    lines = [line for name, results in studies() for line in study(name, results)]
    if not lines:
        lines = ["No study was run to its end yet.", ""]
    timed = speed()
    if timed:
        lines += ["### Speed", "", *timed]
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    if "--collect" in sys.argv:
        collect()
    print(page())
