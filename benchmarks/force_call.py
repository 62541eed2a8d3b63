"""Time one force call of mlpot beside mace-torch, in turns, in one run.

    python benchmarks/force_call.py [--cells 2] [--threads 1] [--rounds 15]

Prints a table and writes ``benchmarks/results/force_call.json``. mace-torch is installed, on the
first run, into an environment of its own (``benchmarks/.envs/mace``): it pins another e3nn. Both
sides: eager, float32, cutoff 5 Å, the same rattled silicon, the neighbour list ready, the same
allocator, GOMP_SPINCOUNT=0 (idle OpenMP threads yield). mlpot also computes the stress, mace does
not. Times are medians over all calls, the ratio is the median over rounds, in which the two take
turns, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".envs" / "mace"


def mace_python() -> Path:
    """Return the interpreter of the peer's environment, made on the first call."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / ".ready").exists():
        print("installing mace-torch into", ENVIRONMENT, file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        for packages in (["torch==2.13.0"], ["mace-torch==0.3.16"]):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (ENVIRONMENT / ".ready").touch()
    return python


class Worker:
    """A contestant in its own process."""

    def __init__(self, python: str | Path, script: str, cells: int, threads: int) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "GOMP_SPINCOUNT": "0",
        }
        self.process = subprocess.Popen(
            [str(python), "-W", "ignore", str(HERE / "peers" / script), str(cells), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.facts = self.read()

    def read(self) -> dict:
        """Return the next JSON line the worker prints."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(("{", "[")):
                return json.loads(line)
        raise SystemExit(f"{self.process.args[3]}: the worker ended without an answer")

    def time(self, calls: int) -> list[float]:
        """Return the seconds of some calls."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{calls}\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="One force call of mlpot beside mace-torch.")
    parser.add_argument(
        "--cells", type=int, default=2, help="conventional cells along each axis (2: 64 atoms)"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "force_call.json")
    options = parser.parse_args()
    workers = {
        "mlpot": Worker(sys.executable, "mlpot_worker.py", options.cells, options.threads),
        "mace-torch": Worker(mace_python(), "mace_worker.py", options.cells, options.threads),
    }
    calls = {"mlpot": 10, "mace-torch": 3}
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    ratios = []
    for _ in range(options.rounds):
        medians = {}
        for name, worker in workers.items():
            times = worker.time(calls[name])
            seconds[name] += times
            medians[name] = statistics.median(times)
        ratios.append(medians["mace-torch"] / medians["mlpot"])
    result = {
        "what": "force call, eager, float32, neighbour list ready",
        "threads": options.threads,
        "processor": platform.processor() or platform.machine(),
        "rounds": options.rounds,
        "contestants": {
            name: worker.facts
            | {"median_ms": 1e3 * statistics.median(seconds[name]), "min_ms": 1e3 * min(seconds[name])}
            for name, worker in workers.items()
        },
        "ratio": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
    }  # fmt: skip
    for worker in workers.values():
        worker.close()
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{workers['mlpot'].facts['atoms']} atoms, {options.threads} thread(s)")
    print(f"{'':12} {'parameters':>10} {'median ms':>10} {'min ms':>8}")
    for name, row in result["contestants"].items():
        print(f"{name:12} {row['parameters']:>10} {row['median_ms']:>10.2f} {row['min_ms']:>8.2f}")
    ratio = result["ratio"]
    print(f"mlpot is {ratio['median']:.1f} times faster (rounds: {ratio['min']:.1f} to {ratio['max']:.1f})")


if __name__ == "__main__":
    main()
