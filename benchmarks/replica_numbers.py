"""The numbers of docs/batched.md, from committed results."""

from __future__ import annotations

import json

from speed_numbers import RESULTS, table, where


def page() -> str:
    """Return the section as Markdown."""
    lines = []
    for path in sorted(RESULTS.glob("replicas_*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
        head = [
            "",
            "atom steps/s",
            "ratio to the loop",
            "atom steps per processor second",
            "ratio",
            "in the model",
        ]
        rows = [
            [
                name,
                f"{row['atom_steps_per_second']['median']:,.0f}",
                f"{row['ratio_to_loop']:.2f}",
                f"{row['atom_steps_per_processor_second']['median']:,.0f}",
                f"{row['ratio_to_loop_processor']:.2f}",
                f"{100 * row['share_in_model']:.0f} %",
            ]
            for name, row in result["rows"].items()
        ]
        about = f"{result['rounds']} rounds of {result['steps']} steps, {result['temperature_K']:g} K"
        lines += [f"`{result['command']}`: {where(result)}; {about}; {versions}.", "", *table(head, rows), ""]
    return "\n".join(lines).rstrip()
