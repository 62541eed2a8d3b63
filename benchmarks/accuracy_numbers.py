"""The tables of docs/accuracy.md, from ``benchmarks/results/accuracy.json`` and ``training.json``."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
COLUMNS = (("forces_mae", 1), ("forces_rmse", 1), ("energy_mae", 2))
HEAD = "force MAE (meV/Å) | force RMSE | energy MAE (meV/atom)"
ARMS = {
    "joint, si_test": "silicon and germanium together, pretrained (`joint.yaml`)",
    "committee, si_test": "the mean of these three potentials (`joint.yaml`, committee)",
    "si, si_test": "silicon alone, pretrained (`si.yaml`)",
    "unpretrained, si_test": "together, from nothing (`unpretrained.yaml`)",
    "joint, ge_holdout": "silicon and germanium together, pretrained (`joint.yaml`)",
    "committee, ge_holdout": "the mean of these three potentials (`joint.yaml`, committee)",
    "unpretrained, ge_holdout": "together, from nothing (`unpretrained.yaml`)",
    "ten_ge, ge_holdout": "ten frames of germanium, from silicon (`ten_ge.yaml`)",
}
#: The authors' potentials, evaluated on the same files (shared/data/README.md, after Zuo et al. 2020).
PUBLISHED = {"si_test": {"MTP (Zuo et al. 2020), silicon alone": (56.0, 88.0, 2.31)}, "ge_holdout": {}}
#: What was aimed at.
REACH = {
    "si_test": {"aim": ("42", "70", "1.5")},
    "ge_holdout": {"aim with all frames": ("32", "48", "1.2"), "aim with ten frames": ("42", "–", "3.0")},
}
JUDGES = {"si_test": "Silicon, `si_test`", "ge_holdout": "Germanium, the hold-out of `ge_train`"}


def load() -> dict[str, dict[str, dict]]:
    """Return errors by arm and judge, seed and group."""
    return json.loads((RESULTS / "accuracy.json").read_text(encoding="utf-8"))


def cell(values: list[float], digits: int) -> str:
    """Return the mean, and the range over several seeds."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def row(name: str, entries: list[dict]) -> str:
    """Return the row of an arm: the mean over its seeds."""
    cells = (cell([entry[key] for entry in entries], digits) for key, digits in COLUMNS)
    return f"| {name} | {len(entries)} | " + " | ".join(cells) + " |"


def peers() -> list[str]:
    """Return the rows of the peers that were trained by ``training.py`` on silicon."""
    path = RESULTS / "training.json"
    curves = json.loads(path.read_text(encoding="utf-8"))["curves"] if path.exists() else {}
    ended = {name: run for name, run in sorted(curves.items()) if run["done"] == run["epochs"]}
    return [
        row(f"{name} by its own trainer, silicon alone, {run['epochs']} epochs", [run["last"]])
        for name, run in ended.items()
        if not name.startswith("mlpot")
    ]


def page() -> str:
    """Return the section of docs/accuracy.md."""
    results = load()
    lines = ["`python benchmarks/accuracy.py`; mean over seeds, range in brackets.", ""]
    for judge, title in JUDGES.items():
        lines += [f"### {title}", "", f"| | seeds | {HEAD} |", "|---|---|---|---|---|"]
        arms = {arm: name for arm, name in ARMS.items() if arm.endswith(judge) and arm in results}
        lines += [row(name, [seed["all"] for seed in results[arm].values()]) for arm, name in arms.items()]
        for name, values in PUBLISHED[judge].items():
            lines.append(f"| {name} | – | " + " | ".join(str(value) for value in values) + " |")
        if judge == "si_test":
            lines += peers()
        for name, values in REACH[judge].items():
            lines.append(f"| *{name}* | | " + " | ".join(values) + " |")
        lines += ["", f"| by group | frames | {HEAD} |", "|---|---|---|---|---|"]
        for arm, name in arms.items():
            seeds = list(results[arm].values())
            for group in sorted(set(seeds[0]) - {"all"}):
                cells = [cell([seed[group][key] for seed in seeds], digits) for key, digits in COLUMNS]
                recipe = name.split("(`")[-1].replace("`", "").rstrip(")")
                head = f"| {recipe}: {group} | {seeds[0][group]['frames']} | "
                lines.append(head + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip()


def summary() -> list[str]:
    """Return the lines of README.md."""
    results = load()
    lines = [
        "The best recipes (`python benchmarks/accuracy.py`; by group: [docs/accuracy.md](docs/accuracy.md)):",
        "",
    ]
    lines += [f"| | seeds | {HEAD} |", "|---|---|---|---|---|"]
    for arm, name in ARMS.items():
        if arm in results and not arm.startswith("unpretrained"):
            element = "**silicon**" if arm.endswith("si_test") else "**germanium**"
            lines.append(row(f"{element}: {name}", [seed["all"] for seed in results[arm].values()]))
    return lines
