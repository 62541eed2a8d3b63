"""The numbers of docs/calculators.md, from committed results."""

from __future__ import annotations

import json

from speed_numbers import RESULTS, table, where


def page() -> str:
    """Return the section as Markdown."""
    result = json.loads((RESULTS / "calculators.json").read_text(encoding="utf-8"))
    rows = []
    for measured in result["results"]:
        for name, row in measured["rows"].items():
            times = [f"{row['median_ms']:.1f}", f"{row['minimum_ms']:.1f}", f"{row['ratio']:.1f}"]
            rows.append([measured["force_field"], str(measured["atoms"]), name, *times])
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    head = ["force field", "atoms", "evaluated by", "median (ms)", "minimum (ms)", "ratio to LAMMPS"]
    return "\n".join([f"`{result['command']}`: {where(result)}; {versions}.", "", *table(head, rows)])
