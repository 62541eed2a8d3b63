"""The numbers of docs/models.md, from committed results."""

from __future__ import annotations

import json
from typing import Any

from speed_numbers import RESULTS, table


def page() -> str:
    """Return the section as Markdown."""
    path = RESULTS / "shipped_models.json"
    if not path.exists():
        return "`python benchmarks/shipped_models.py` has not been run."
    results = json.loads(path.read_text(encoding="utf-8"))
    lines = ["`python benchmarks/shipped_models.py`", ""]
    for model, found in results.items():
        lines += [f"### `{model}`", "", *_properties(found), "", *_dynamics(found), ""]
    return "\n".join(lines).rstrip()


def _properties(found: dict[str, Any]) -> list[str]:
    lines = table(found["properties"]["head"], found["properties"]["rows"])
    missing = [f"- {reason}" for reason in found["without_value"]]
    return [*lines, *(["", "Without a value:", "", *missing] if missing else [])]


def _dynamics(found: dict[str, Any]) -> list[str]:
    """Return survival by temperature, the drift of the energy, and the structure of the liquid."""
    survival = [
        [
            f"{one['temperature_K']:g}",
            f"{one['survived']} of {one['runs']}",
            f"{one['survival']:.2f} [{one['survival_95'][0]:.2f}, {one['survival_95'][1]:.2f}]",
            "; ".join(one["reasons"]),
        ]
        for one in found["stability"]
    ]
    nve, liquid = found["nve"], found["liquid"]
    kelvin, drift = nve["mean_temperature_K"], nve["conserved_drift_meV_per_atom_per_ps"]
    apart, noise = liquid["wasserstein"], liquid["between_halves_of_the_frames"]
    return [
        *table(["T (K)", "survived 100 ps", "P(survival), 95 %", "failures"], survival),
        "",
        f"At constant energy (1 fs, {nve['time_ps']:g} ps, mean temperature {kelvin:.0f} K) the energy "
        f"drifts by {drift:.1e} meV/atom/ps.",
        "",
        f"Liquid at the state of the {liquid['frames']} frames {liquid['group']}: Wasserstein distance "
        f"of the radial distributions {apart:.4f} Å; between halves of these frames {noise:.4f} Å.",
    ]
