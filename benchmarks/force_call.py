"""Time one force call of mlpot beside mace-torch, nequip and a classical force field, in turns, in one run.

    python benchmarks/force_call.py [--threads 2] [--sizes 64 512 4096] [--rounds 10] [--only mlpot mace]
    python benchmarks/force_call.py --device cuda --sizes 64 512 4096 32768 262144
    python benchmarks/force_call.py --device cuda --sizes 64 --replicas 256

Prints tables and writes ``benchmarks/results/force_call_DEVICE_THREADS.json``. The peers are
installed, on the first run, into environments of their own (they pin different e3nn), and
nequip's compiled forms are compiled, once (minutes each).

Everyone: float32, cutoff 5 Å, the same rattled silicon, the neighbour list ready (the classical
yardstick makes its own), the same allocator (``--allocator``), GOMP_SPINCOUNT=0 (idle OpenMP
threads yield), one process each. mlpot, nequip and Stillinger-Weber also compute the stress,
mace-torch does not. Times are medians over all calls; a ratio is the median over rounds, in
each of which all take turns, so that a machine that slows down slows everyone. "mlpot" is computed by
PyTorch, "mlpot, native" by the kernels that the system's compiler has made (left out without one);
ratios are given to both.

The arithmetic floor is what the matrix products of mlpot's call would take at the rate this machine
multiplies two float32 matrices of 1024 rows, measured among the turns; of the plain path through
autograd and the path that is timed, the one with fewer FLOPs counts.

``--device cuda`` has never been run: no GPU was at hand. mace-torch then takes the kernels of
cuequivariance if they are installed in its environment.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from contestants import (
    ALLOCATORS,
    CONTESTANTS,
    MATRIX_PRODUCT,
    RESULTS,
    Contestant,
    Ended,
    Worker,
    cells,
    machine,
    middle,
    need_device,
)

#: Rounds by default: fewer for larger systems, so that the run ends within minutes.
ROUNDS = ((64, 10), (512, 5), (float("inf"), 3))
#: A contestant calls until a turn has lasted so long (s), at most so many times.
TURN, CALLS = 0.25, 10
#: Against whom times are compared, by the name of the ratio.
RATIOS = {"ratio": "mlpot", "ratio_native": "mlpot, native"}
OURS = tuple(RATIOS.values())


class Turns:
    """Everyone who takes part at one size: times of all calls, medians by round, and who gave up."""

    def __init__(self, workers: dict[str, Worker], what: dict[str, int], limit: float) -> None:
        self.workers, self.what, self.limit = dict(workers), what, limit
        self.facts: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, list[float]] = {}
        self.rounds: dict[str, list[float]] = {}
        self.left: dict[str, str] = {}

    def ask(self, label: str, **request: Any) -> dict[str, Any] | None:
        """Ask a worker; one that ends is out."""
        try:
            return self.workers[label].ask(**request, **({} if label == MATRIX_PRODUCT.label else self.what))
        except Ended as end:
            self.leave(label, str(end))
            return None

    def leave(self, label: str, why: str) -> None:
        """Take a contestant out."""
        self.left[label] = why
        del self.workers[label]
        print(f"{label}: {why}", file=sys.stderr)

    def prepare(self) -> None:
        """Let everyone say what it is and make the first, unseen calls; find how many make a turn."""
        self.calls: dict[str, int] = {}
        for label in list(self.workers):
            about = self.ask(label, about=True)
            first = self.ask(label, calls=1) if about else None
            if not about or not first:
                continue
            seconds = first["seconds"][0]
            if seconds > self.limit:
                self.leave(label, f"one call takes {seconds:.0f} s, longer than --limit")
                continue
            self.facts[label] = about
            self.calls[label] = max(1, min(CALLS, round(TURN / seconds)))
            self.seconds[label], self.rounds[label] = [], []

    def round(self) -> None:
        """Let everyone have a turn."""
        for label in list(self.workers):
            answer = self.ask(label, calls=self.calls[label])
            if answer:
                self.seconds[label] += answer["seconds"]
                self.rounds[label].append(statistics.median(answer["seconds"]))
                self.facts[label]["peak_bytes"] = answer["peak"]

    def result(self, atoms: int) -> dict[str, Any]:
        """Return the numbers of this size; ``ratio`` and ``ratio_native`` are times over ours, by rounds."""
        rows = {}
        for label, seconds in self.seconds.items():
            if label == MATRIX_PRODUCT.label or label in self.left:
                continue
            median = statistics.median(seconds)
            rows[label] = self.facts[label] | {
                "ms": {name: 1e3 * value for name, value in middle(seconds).items()},
                "us_per_atom": 1e6 * median / (atoms * self.what["replicas"]),
                "calls": len(seconds),
            }
            for name, reference in RATIOS.items():
                if reference in self.rounds and reference not in self.left:
                    pairs = zip(self.rounds[label], self.rounds[reference], strict=True)
                    rows[label][name] = middle([own / ours for own, ours in pairs])
        product = self.seconds[MATRIX_PRODUCT.label]
        result = {"atoms": atoms, "replicas": self.what["replicas"], "rows": rows, "left": self.left}
        rate = self.facts[MATRIX_PRODUCT.label]["flops"] / statistics.median(product)
        result["floor"] = {"flop_per_second": rate}
        if "mlpot" in rows:
            flops = min(rows["mlpot"]["flops"], rows["mlpot"]["flops_timed"])
            floor = flops / rate
            over = {label: rows[label]["ms"]["median"] / (1e3 * floor) for label in rows if label in OURS}
            result["floor"] |= {"flops": flops, "ms": 1e3 * floor, "times_floor": over["mlpot"]}
            if "mlpot, native" in over:
                result["floor"]["times_floor_native"] = over["mlpot, native"]
        return result


def show(result: dict[str, Any]) -> None:
    """Print the table of a size."""
    replicas = f" x {result['replicas']} replicas" if result["replicas"] > 1 else ""
    print(f"\n{result['atoms']} atoms{replicas}")
    print(
        f"{'':46} {'parameters':>10} {'ms':>9} {'min':>9} {'us/atom':>8}  times mlpot; mlpot, native (rounds)"
    )
    for label, row in result["rows"].items():
        ratios = [row[name] for name in RATIOS if name in row]
        text = "; ".join(f"{r['median']:7.2f} ({r['min']:.2f} to {r['max']:.2f})" for r in ratios)
        times = f"{row['ms']['median']:9.2f} {row['ms']['min']:9.2f} {row['us_per_atom']:8.1f}"
        print(f"{label:46} {row['parameters']:>10,} {times} {text}")
    for label, why in result["left"].items():
        print(f"{label:46} left out: {why}")
    floor = result["floor"]
    if "ms" in floor:
        counted = f"{1e-9 * floor['flops']:.3f} GFLOP at {1e-9 * floor['flop_per_second']:.1f} GFLOP/s"
        over = f"mlpot takes {floor['times_floor']:.1f} times as long"
        if "times_floor_native" in floor:
            over += f", native {floor['times_floor_native']:.1f} times"
        print(f"arithmetic floor {floor['ms']:.2f} ms ({counted}); {over}")


def chosen(only: list[str] | None, device: str) -> list[Contestant]:
    """Return the contestants that a word of ``only`` is part of, or all."""
    everyone = [c for c in CONTESTANTS if device == "cpu" or "matscipy" not in c.label]
    found = [c for c in everyone if not only or any(word in c.label for word in only)]
    if not found:
        raise SystemExit(f"--only {' '.join(only or [])}: no such contestant among " + "; ".join(
            c.label for c in everyone
        ))  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="One force call of mlpot beside its peers.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 512, 4096], help="atoms, 8 n³ each")
    parser.add_argument("--replicas", type=int, default=1, help="the structure so many times in a batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--allocator", choices=list(ALLOCATORS), default="glibc")
    parser.add_argument("--rounds", type=int, help="of turns, at every size (default: 10, 5 and 3)")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds a call may take to be timed")
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", help="contestants with such a word in their name"
    )
    parser.add_argument("--model", help="file or name of a model of mlpot (default: the default shape)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    need_device(options.device)
    sizes = {atoms: cells(atoms) for atoms in options.sizes}
    out = options.out or RESULTS / f"force_call_{options.device}_{options.threads}.json"
    started = time.monotonic()
    result: dict[str, Any] = {
        "what": "force call, float32, neighbour list ready",
        **machine(options.threads, options.device, options.allocator),
        "sizes": [],
    }
    workers: dict[str, Worker] = {}
    for contestant in [*chosen(options.only, options.device), MATRIX_PRODUCT]:
        workers[contestant.label] = Worker(
            contestant.with_model(options.model), options.threads, options.device, options.allocator
        )
    for atoms, edge in sizes.items():
        turns = Turns(workers, {"cells": edge, "replicas": options.replicas}, options.limit)
        turns.prepare()
        rounds = options.rounds or next(count for limit, count in ROUNDS if atoms <= limit)
        for _ in range(rounds):
            turns.round()
        result["sizes"].append({"rounds": rounds, **turns.result(atoms)})
        show(result["sizes"][-1])
        # Who gave up at this size is not asked for a larger one.
        workers = turns.workers
        result["seconds"] = time.monotonic() - started
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for worker in workers.values():
        worker.close()
    print(f"\n{out}; {time.monotonic() - started:.0f} s in all")


if __name__ == "__main__":
    main()
