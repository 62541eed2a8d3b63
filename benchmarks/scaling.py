"""How mlpot's cost grows with the system, its memory, and what the ASE calculator adds to a step.

    python benchmarks/scaling.py [--sizes 64 512 4096 13824 32768] [--threads 1] [--model FILE]
    python benchmarks/scaling.py --device cuda --sizes 64 4096 32768 262144 [--replicas 64]

Prints a table and writes ``benchmarks/results/scaling_DEVICE_THREADS.json``. Each size runs in a
fresh process. Memory is the peak of the resident set (``ru_maxrss``) beyond its peak after a call
for 8 atoms, which has loaded every library, divided by the atoms; the graph and the making of its
neighbour list are part of it, and shown alone as well. For the smallest sizes it is mostly what does
not grow with the system. On a GPU it is the peak that torch
allocated. The exponent is the slope of log time against log atoms from 512 atoms on: below that the
fixed cost of a call shows.

The call is that of the native kernels, on a GPU or with ``--torch`` that of PyTorch; the calculator
takes native kernels by itself. Its overhead is timed inside ASE's VelocityVerlet, at 512 atoms from
300 K: the time of ``calculate`` beyond the call of the model, over the latter.

``--device cuda`` has never been run: no GPU was at hand.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from contestants import (
    ALLOCATORS,
    MLPOT,
    MOLECULAR_DYNAMICS,
    NATIVE,
    RESULTS,
    Ended,
    Worker,
    cells,
    machine,
    middle,
    need_device,
)  # fmt: skip

#: What is taken apart in an MD step; the rest of a run's facts are the same in all.
PARTS = ("step", "calculate", "model", "overhead", "builds")


def measure(atoms: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return time and memory for a size, from a process of its own."""
    contestant = (MLPOT if options.torch else NATIVE).with_model(options.model)
    worker = Worker(contestant, options.threads, options.device, options.allocator)
    baseline = worker.ask(calls=1, cells=1)["peak"]
    answer = worker.ask(calls=options.calls, cells=cells(atoms), replicas=options.replicas)
    worker.close()
    total = atoms * options.replicas
    return {
        "atoms": atoms,
        "replicas": options.replicas,
        "ms": {name: 1e3 * value for name, value in middle(answer["seconds"]).items()},
        "us_per_atom": 1e6 * statistics.median(answer["seconds"]) / total,
        "bytes_per_atom": (answer["peak"] - baseline) / total,
        "graph_bytes_per_atom": (answer["prepared"] - baseline) / total,
    }


def exponent(rows: list[dict[str, Any]]) -> float | None:
    """Return the slope of log time against log atoms from 512 atoms on."""
    large = [row for row in rows if row["atoms"] * row["replicas"] >= 512]
    if len(large) < 2:
        return None
    atoms = np.log([row["atoms"] * row["replicas"] for row in large])
    times = np.log([row["ms"]["median"] for row in large])
    return float(np.polyfit(atoms, times, 1)[0])


def dynamics(options: argparse.Namespace) -> dict[str, Any]:
    """Return where the time of an MD step goes, the median of some runs."""
    worker = Worker(
        MOLECULAR_DYNAMICS.with_model(options.model), options.threads, options.device, options.allocator
    )
    runs = [worker.ask(about=True, cells=4, steps=options.steps) for _ in range(options.runs)]
    worker.close()
    medians = {name: statistics.median(run[name] for run in runs) for name in PARTS}
    return runs[0] | medians | {"runs": len(runs)}


def main() -> None:
    parser = argparse.ArgumentParser(description="How mlpot's cost grows with the system.")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[64, 512, 1728, 4096, 13824, 32768], help="atoms, 8 n³ each"
    )
    parser.add_argument("--replicas", type=int, default=1, help="the structure so many times in a batch")
    parser.add_argument("--calls", type=int, default=5, help="timed at every size")
    parser.add_argument("--steps", type=int, default=50, help="of each MD run")
    parser.add_argument("--runs", type=int, default=3, help="MD runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--allocator", choices=list(ALLOCATORS), default="glibc")
    parser.add_argument("--model", help="file or name of a model (default: the default shape)")
    parser.add_argument("--torch", action="store_true", help="the call without native kernels")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    need_device(options.device)
    options.torch |= options.device != "cpu"
    out = options.out or RESULTS / f"scaling_{options.device}_{options.threads}.json"
    origin = machine(options.threads, options.device, options.allocator)
    rows: list[dict[str, Any]] = []
    left: dict[str, str] = {}
    print(f"{'atoms':>8} {'ms':>10} {'us/atom':>8} {'kB/atom':>8} {'graph':>6}")
    for atoms in options.sizes:
        try:
            row = measure(atoms, options)
        except Ended as end:
            left[str(atoms)] = str(end)
            print(f"{atoms:>8} left out: {end}")
            continue
        rows.append(row)
        memory = f"{1e-3 * row['bytes_per_atom']:>8.1f} {1e-3 * row['graph_bytes_per_atom']:>6.1f}"
        print(f"{atoms:>8} {row['ms']['median']:>10.1f} {row['us_per_atom']:>8.1f} {memory}", flush=True)
    step = dynamics(options)
    label = (MLPOT if options.torch else NATIVE).label
    result = {
        "what": f"{label}, forces and stress, float32, neighbour list ready",
        **origin,
        "sizes": rows,
        "left": left,
        "exponent": exponent(rows),
        "dynamics": step,
    }
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if result["exponent"] is not None:
        print(f"time ~ atoms^{result['exponent']:.2f} from 512 atoms on")
    parts = ", ".join(f"{name} {1e3 * step[name]:.1f} ms" for name in ("step", "calculate", "model"))
    print(f"MD step, {step['atoms']} atoms: {parts}; the calculator adds {100 * step['overhead']:.1f} %")
    print(out)


if __name__ == "__main__":
    main()
