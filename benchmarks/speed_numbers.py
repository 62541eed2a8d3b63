"""The numbers of docs/speed.md and the sentence on speed in README.md, from committed results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
#: Not compared with themselves.
OURS = ("mlpot", "mlpot, native")
#: Runs of benchmarks/training.py by the contestants of benchmarks/force_call.py that they judge.
CURVES = {
    "mace-torch 32x0e+32x1o, l = 3, correlation 3": "mace",
    "nequip, 2 layers, l = 1": "nequip-2-1",
    "nequip, 3 layers, l = 1": "nequip-3-1",
    "nequip, 3 layers, l = 2": "nequip-3-2",
}


def results(pattern: str) -> list[dict[str, Any]]:
    """Return the results whose file is named like this, in the order of their names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob(pattern))]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Return a table as lines of Markdown."""
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def where(result: dict[str, Any]) -> str:
    """Return on what a result was measured."""
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    device = threads if result["device"] == "cpu" else f"{result['device']}, {threads}"
    busy = f", load of the machine before the run: {result['load']}"
    return f"{device}, {result['processor']}, allocator {result['allocator']}{busy}"


def ratios(row: dict[str, Any]) -> str:
    """Return how many times as long as mlpot a contestant takes and, where it was run, as mlpot, native."""
    return " / ".join(f"{row[name]['median']:.1f}" for name in ("ratio", "ratio_native") if name in row)


def against(result: dict[str, Any]) -> str:
    """Return what the ratios of a run are to."""
    native = any("ratio_native" in row for size in result["sizes"] for row in size["rows"].values())
    return "mlpot / mlpot, native" if native else "mlpot"


def times_floor(floor: dict[str, Any]) -> str:
    """Return how many times as long as the arithmetic floor mlpot takes."""
    text = f"mlpot: {floor['times_floor']:.1f} ×"
    return text + (f", native: {floor['times_floor_native']:.1f} ×" if "times_floor_native" in floor else "")


def force_calls() -> list[str]:
    """Return a section per run of force_call.py."""
    lines: list[str] = []
    for result in results("force_call_*.json"):
        sizes = result["sizes"]
        labels = list(dict.fromkeys(label for size in sizes for label in [*size["rows"], *size["left"]]))
        rows = []
        for label in labels:
            own = next(size["rows"][label] for size in sizes if label in size["rows"])
            cells = [label, f"{own['parameters']:,}" if own["parameters"] else "–"]
            for size in sizes:
                row = size["rows"].get(label)
                ratio = f" ({ratios(row)})" if row and label not in OURS else ""
                cells.append(
                    f"{row['ms']['median']:.1f} ms, {row['us_per_atom']:.0f} µs{ratio}" if row
                    else size["left"].get(label, "left out before")
                )  # fmt: skip
            rows.append(cells)
        floor = [f"{size['floor']['ms']:.1f} ms; {times_floor(size['floor'])}" for size in sizes]
        rows.append(["arithmetic floor of mlpot", "", *floor])
        lines += [
            f"### Force call, {where(result)}",
            "",
            f"`{result['command']}`: ms per call, µs per atom and step, and in "
            f"brackets how many times as long as {against(result)} (median over rounds).",
            "",
            *table(["", "parameters", *(f"{size['atoms']:,} atoms" for size in sizes)], rows),
            "",
        ]
    return lines


def growth() -> list[str]:
    """Return a section per run of scaling.py."""
    lines: list[str] = []
    for result in results("scaling_*.json"):
        rows = []
        for size in result["sizes"]:
            cells = [f"{size['atoms']:,}", f"{size['ms']['median']:.1f}", f"{size['us_per_atom']:.0f}"]
            rows.append([*cells, f"{1e-3 * size['bytes_per_atom']:.1f}"])
        step = result["dynamics"]
        lines += [
            f"### System size, {where(result)}",
            "",
            f"`{result['command']}` ({result['what']}):",
            "",
            *table(["atoms", "ms", "µs/atom", "peak kB/atom"], rows),
            "",
            f"From 512 atoms on the time grows as atoms^{result['exponent']:.2f}. An MD step of "
            f"{step['atoms']} atoms through ASE takes {1e3 * step['step']:.1f} ms, of which the model "
            f"{1e3 * step['model']:.1f} ms; the calculator adds {100 * step['overhead']:.1f} % to the model.",
            "",
        ]
    return lines


def learning() -> list[str]:
    """Return the section on training."""
    lines: list[str] = []
    for result in results("training.json"):
        rows = []
        targets = next(iter(result["curves"].values()))["reached"]
        for label, own in result["curves"].items():
            cells = [label, f"{own['done']} of {own['epochs']}", f"{own['last']['forces_mae']:.1f}"]
            cells += [f"{own['last']['forces_rmse']:.1f}", f"{own['last']['energy_mae']:.2f}"]
            for target in targets:
                epochs, minutes = own["reached"][target], own.get("minutes", {}).get(target)
                cells.append(f"{epochs}" + (f" ({minutes:.1f} min)" if minutes else "") if epochs else "–")
            rows.append(cells)
        head = ["", "epochs", "force MAE (meV/Å)", "force RMSE", "energy MAE (meV/atom)"]
        head += [f"epochs to {target} meV/Å" for target in targets]
        lines += [
            "### Training",
            "",
            "Errors on `si_test` after the last epoch so far:",
            "",
            *table(head, rows),
        ]
        if "turns" in result:
            turns = result["turns"]
            ours, theirs = turns["seconds"]["mlpot"], turns["seconds"]["mace-torch"]
            ratio = turns["ratio"]
            autograd, slower = turns["seconds"]["mlpot, autograd"], turns["ratio_autograd"]
            lines += [
                "",
                f"Seconds per epoch, in turns ({where(turns)}): mlpot {ours['median']:.1f}, mace-torch "
                f"{theirs['median']:.1f}; ratio {ratio['median']:.1f} (from {ratio['min']:.1f} to "
                f"{ratio['max']:.1f} over {turns['rounds']} rounds). "
                "mlpot with gradients by PyTorch's autograd "
                f"(`hardware: {{native: false}}`): {autograd['median']:.1f}; ratio {slower['median']:.1f} "
                f"({slower['min']:.1f} to {slower['max']:.1f}).",
            ]
        lines.append("")
    return lines


def page() -> str:
    """Return the numbers of docs/speed.md."""
    return "\n".join([*force_calls(), *growth(), *learning()]).rstrip()


def summary() -> list[str]:
    """Return the lines on speed for README.md: the first run of force_call.py in short."""
    result = results("force_call_*.json")[0]
    curves = {label: own for r in results("training.json") for label, own in r["curves"].items()}
    rows = []
    for label in result["sizes"][0]["rows"]:
        cells = [label]
        for size in result["sizes"]:
            row = size["rows"].get(label)
            cells.append(f"{row['ms']['median']:.1f} ({ratios(row)})" if row else "–")
        own = curves.get(CURVES.get(label.removesuffix(", compiled"), ""))
        # Errors of a training that is still under way say nothing of a contestant.
        ended = own and own["done"] >= own["epochs"]
        cells.append(f"{own['last']['forces_mae']:.0f}, {own['done']} epochs" if own and ended else "")
        rows.append(cells)
    head = [f"ms (times {against(result)})", *(f"{size['atoms']:,} atoms" for size in result["sizes"])]
    return [
        f"One force call on rattled silicon, float32, {where(result)};",
        f"everyone in turns, in one run of `{result['command']}`; more in [docs/speed.md](docs/speed.md):",
        "",
        *table([*head, "force MAE on `si_test` (meV/Å)"], rows),
    ]
