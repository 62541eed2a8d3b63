"""The tables of docs/accuracy.md, from ``benchmarks/results/accuracy.json`` and ``training.json``."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
COLUMNS = (("forces_mae", 1), ("forces_rmse", 1), ("energy_mae", 2))
HEAD = "force MAE (meV/Å) | force RMSE | energy MAE (meV/atom)"
ARMS = {
    "joint": "silicon and germanium together, pretrained (`joint.yaml`)",
    "wide": "the same with 64 channels (`joint.yaml`, wide)",
    "committee": "the mean of these three potentials (`joint.yaml`, committee)",
    "distilled": "one potential taught by these three (`distilled.yaml`)",
    "si": "silicon alone, pretrained (`si.yaml`)",
    "unpretrained": "together, from nothing (`unpretrained.yaml`)",
    "ten_ge": "ten frames of germanium, from silicon (`ten_ge.yaml`)",
}
#: The authors' potentials, evaluated on the same files (shared/data/README.md, after Zuo et al. 2020).
PUBLISHED = {"si_test": {"MTP (Zuo et al. 2020), silicon alone": (56.0, 88.0, 2.31)}, "ge_holdout": {}}
#: What was aimed at.
REACH = {
    "si_test": {"aim": ("42", "70", "1.5")},
    "ge_holdout": {"aim with all frames": ("32", "48", "1.2"), "aim with ten frames": ("42", "–", "3.0")},
}
JUDGES = {"si_test": "Silicon, `si_test`", "ge_holdout": "Germanium, the hold-out of `ge_train`"}
#: The hold-out with the energies of its surfaces as they are in the file.
RAW = "ge_labels"


def load() -> dict[str, dict[str, dict]]:
    """Return errors by arm and judge, seed and group."""
    return json.loads((RESULTS / "accuracy.json").read_text(encoding="utf-8"))


def cell(values: list[float], digits: int) -> str:
    """Return the mean, and the range over several seeds."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def row(name: str, seeds: dict[str, dict], group: str = "all") -> str:
    """Return the row of an arm: the mean over its seeds."""
    entries = [entry[group] for entry in seeds.values()]
    cells = (cell([entry[key] for entry in entries], digits) for key, digits in COLUMNS)
    return f"| {name} | {', '.join(seeds)} | " + " | ".join(cells) + " |"


def bulk_energy(groups: dict[str, dict]) -> float:
    """Return the mean absolute error of the energies (meV/atom) over all frames but surfaces."""
    bulk = [errors for name, errors in groups.items() if name in ("AIMD-NVT", "Elastic", "Vacancy")]
    return sum(one["frames"] * one["energy_mae"] for one in bulk) / sum(one["frames"] for one in bulk)


def arms(results: dict[str, dict], judge: str) -> dict[str, str]:
    """Return keys and names of the arms that a judge has seen."""
    return {f"{arm}, {judge}": name for arm, name in ARMS.items() if f"{arm}, {judge}" in results}


def peers() -> list[str]:
    """Return the rows of the peers that were trained by ``training.py`` on silicon."""
    path = RESULTS / "training.json"
    curves = json.loads(path.read_text(encoding="utf-8"))["curves"] if path.exists() else {}
    ended = {name: run for name, run in sorted(curves.items()) if run["done"] == run["epochs"]}
    return [
        row(f"{name} by its own trainer, silicon alone, {run['epochs']} epochs", {"0": {"all": run["last"]}})
        for name, run in ended.items()
        if not name.startswith("mlpot")
    ]


def page() -> str:
    """Return the section of docs/accuracy.md."""
    results = load()
    lines = ["`python benchmarks/accuracy.py`; mean over seeds, range in brackets.", ""]
    for judge, title in JUDGES.items():
        lines += [f"### {title}", "", f"| | seeds | {HEAD} |", "|---|---|---|---|---|"]
        judged = arms(results, judge)
        lines += [row(name, results[arm]) for arm, name in judged.items()]
        if judge == "ge_holdout":
            raw = arms(results, RAW)
            lines += [
                row(f"{name}, energies of surfaces as labelled", results[arm]) for arm, name in raw.items()
            ]
            lines += [
                f"| {name}, without its three slabs | {', '.join(results[arm])} | | | "
                f"{cell([bulk_energy(groups) for groups in results[arm].values()], 2)} |"
                for arm, name in judged.items()
            ]
        for name, values in PUBLISHED[judge].items():
            lines.append(f"| {name} | – | " + " | ".join(str(value) for value in values) + " |")
        if judge == "si_test":
            lines += peers()
        for name, values in REACH[judge].items():
            lines.append(f"| *{name}* | | " + " | ".join(values) + " |")
        lines += ["", f"| by group | frames | {HEAD} |", "|---|---|---|---|---|"]
        for arm, name in judged.items():
            recipe = name.split("(`")[-1].replace("`", "").rstrip(")")
            seeds = list(results[arm].values())
            for group in sorted(set(seeds[0]) - {"all"}, key=by_temperature):
                cells = [cell([seed[group][key] for seed in seeds], digits) for key, digits in COLUMNS]
                head = f"| {recipe}: {group} | {seeds[0][group]['frames']} | "
                lines.append(head + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join([*lines, *zero()]).rstrip()


def zero() -> list[str]:
    """Return the subsection on the energies of germanium's surfaces."""
    path = RESULTS / "energy_zero.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    seeds = found["seeds"]
    lines = [
        "### The zero of germanium's surfaces",
        "",
        "`python benchmarks/energy_zero.py`: prediction less label (meV/atom) of potentials that learned all",
        f"but the energies of these slabs, seeds {', '.join(seeds)}. Mean over the slabs trained on: "
        f"{found['mean']:.0f}, standard deviation over them {found['scatter_over_slabs']:.0f}.",
        "",
        f"| slab | |{' |' * len(seeds)}",
        f"|---|---|{'---|' * len(seeds)}",
    ]
    for side, name in (("train", "forces trained on"), ("holdout", "held out")):
        for slab in next(iter(seeds.values()))[side]:
            cells = " | ".join(f"{seed[side][slab]:.0f}" for seed in seeds.values())
            lines.append(f"| {slab.split('/')[-1]} | {name} | {cells} |")
    return lines


def by_temperature(group: str) -> tuple[str, int]:
    """Return what groups are sorted by: AIMD-NVT_605K comes before AIMD-NVT_1089K."""
    name, _, kelvin = group.partition("_")
    return name, int(kelvin.removesuffix("K") or 0)


def summary() -> list[str]:
    """Return the lines of README.md."""
    results = load()
    lines = [
        "The best recipes (`python benchmarks/accuracy.py`; by group: [docs/accuracy.md](docs/accuracy.md)):",
        "",
    ]
    lines += [f"| | seeds | {HEAD} |", "|---|---|---|---|---|"]
    for judge, element in (("si_test", "silicon"), ("ge_holdout", "germanium")):
        for arm, name in arms(results, judge).items():
            if not arm.startswith(("unpretrained", "wide")):
                lines.append(row(f"**{element}**: {name}", results[arm]))
    return lines
