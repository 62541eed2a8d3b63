"""The numbers of docs/doctor.md, from committed results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from speed_numbers import RESULTS, table


def _size(check: dict[str, Any] | None) -> str:
    """Return the violation a check found, bold if it failed."""
    if check is None or check["verdict"] == "not applicable":
        return "–"
    size = "error" if check["deviation"] is None else f"{check['deviation']:.0e}"
    return size if check["verdict"] == "pass" else f"**{size}**"


def _facts(results: dict[str, Any]) -> Iterator[list[str]]:
    """Yield what was measured beside the checks, by subject."""
    yield ["precision", *(found["precision"] for found in results.values())]
    cutoffs = (found["cutoff_A"] for found in results.values())
    yield ["cutoff (Å)", *("none found" if length is None else f"{length:.2f}" for length in cutoffs)]
    yield ["passed / failed", *(f"{f['tally']['pass']} / {f['tally']['fail']}" for f in results.values())]


def page() -> str:
    """Return the section as Markdown."""
    result = json.loads((RESULTS / "doctor.json").read_text(encoding="utf-8"))
    results = result["results"]
    by_name = {name: {check["check"]: check for check in f["checks"]} for name, f in results.items()}
    checks = dict.fromkeys(name for found in by_name.values() for name in found)
    rows = [[name, *(_size(found.get(name)) for found in by_name.values())] for name in checks]
    failures = [
        f"- {subject}, *{name}*: {check['detail'].splitlines()[0]}"
        for subject, found in by_name.items()
        for name, check in found.items()
        if check["verdict"] == "fail"
    ]
    versions: dict[str, str] = {}
    for found in results.values():
        versions |= found["versions"]
    packages = ", ".join(f"{package} {version}" for package, version in versions.items())
    return "\n".join(
        [
            f"`{result['command']}`: one thread; {packages}.",
            "",
            *table(["", *results], [*_facts(results), *rows]),
            "",
            "What failed, and where:",
            "",
            *failures,
        ]
    )
