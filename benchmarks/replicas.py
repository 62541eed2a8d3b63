"""Langevin dynamics of 1, 8 and 64 replicas of silicon as one batch, beside the loop over single ASE runs.

    python benchmarks/replicas.py [--replicas 1 8 64] [--rounds 5] [--steps 40]
    python benchmarks/replicas.py --device cuda --replicas 1 8 64 512

Diamond of silicon, 64 atoms, rattled by 0.1 Å, at 1000 K, time step 1 fs, the shipped potential ``si`` in
float32 (native kernels on a CPU), skin 0.5 Å, the default stop criteria, a sample every ten steps: what
``mlpot stability`` does, without ``--batched`` and with it. Contestants take turns in every round; a turn
is timed from its first sample to its last, so that starting costs nothing. Aggregate speed is replicas x
atoms x steps per second: medians over rounds; a ratio to the loop is the median of those of a round.
``model`` is the share of the time spent in the potential itself: the most that batching other work can win
is the rest. The loop's speed does not depend on how many replicas wait. Writes
``benchmarks/results/replicas_DEVICE_THREADS.json``; needs ``pip install 'mlpot[simulation]'``.

``--device cuda`` has never been run: no GPU was at hand. The loop then runs on the GPU, too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from ase import Atoms
from ase.build import bulk
from contestants import machine, middle, need_device

from mlpot.simulation.batched import run_langevin_batch
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.simulation.dynamics import run_langevin

RESULTS = Path(__file__).resolve().parent / "results"
TEMPERATURE, INTERVAL = 1000.0, 10
LOOP = "ASE, one by one"


class Clock:
    """Times a run from its first sample to its last, and the calls of the model within."""

    def __init__(self, calculator: MLPotCalculator) -> None:
        self.device, self.forward = calculator.device, calculator.model.forward
        self.ticks: list[tuple[float, float, float]] = []
        self.spent = 0.0
        calculator.model.forward = self.timed

    def now(self) -> float:
        """Return wall-clock time, with all that was asked of the device done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def timed(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the model."""
        began = self.now()
        output = self.forward(*arguments, **keywords)
        self.spent += self.now() - began
        return output

    def tick(self, *sample: Any) -> None:
        """Note a sample."""
        self.ticks.append((self.now(), time.process_time(), self.spent))

    def run(self, work: Callable[[Clock], None]) -> tuple[float, float, float]:
        """Return what a run took: seconds by the clock, of the processor, and by the clock in the model."""
        self.ticks, self.spent = [], 0.0
        work(self)
        wall, processor, model = (
            last - first for first, last in zip(self.ticks[0], self.ticks[-1], strict=True)
        )
        return wall, processor, model


def contestants(
    calculator: MLPotCalculator, atoms: Atoms, replicas: list[int], time_ps: float
) -> dict[str, tuple[int, Callable[[Clock], None]]]:
    """Return, by name, how many replicas run at once, and how."""

    def loop(clock: Clock) -> None:
        result = run_langevin(
            atoms, calculator, TEMPERATURE, time_ps, log_interval=INTERVAL, callback=clock.tick
        )
        assert result.completed, result.reason

    def batch(count: int) -> Callable[[Clock], None]:
        def work(clock: Clock) -> None:
            results = run_langevin_batch(
                calculator,
                atoms,
                [TEMPERATURE] * count,
                range(count),
                time_ps,
                log_interval=INTERVAL,
                callback=clock.tick,
            )
            assert all(result.completed for result in results), [result.reason for result in results]

        return work

    return {LOOP: (1, loop)} | {f"batch of {count}": (count, batch(count)) for count in replicas}


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of replicas in batches.")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    need_device(options.device)
    torch.set_num_threads(options.threads)
    where = machine(options.threads, options.device, "default")
    steps = options.steps // INTERVAL * INTERVAL
    atoms = bulk("Si", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=0)
    calculator = MLPotCalculator("si", device=options.device)
    entries = contestants(calculator, atoms, options.replicas, steps / 1000.0)
    clock = Clock(calculator)
    for name in list(entries)[:2]:
        clock.run(entries[name][1])
    speeds: dict[str, dict[str, list[float]]] = {name: {"wall": [], "processor": []} for name in entries}
    shares: dict[str, list[float]] = {name: [] for name in entries}
    for _ in range(options.rounds):
        for name, (count, work) in entries.items():
            wall, processor, inside = clock.run(work)
            speeds[name]["wall"].append(count * len(atoms) * steps / wall)
            speeds[name]["processor"].append(count * len(atoms) * steps / processor)
            shares[name].append(inside / wall)

    def ratio(name: str, kind: str) -> float:
        pairs = zip(speeds[name][kind], speeds[LOOP][kind], strict=True)
        return statistics.median(one / other for one, other in pairs)

    rows = {
        name: {
            "replicas": count,
            "atom_steps_per_second": middle(speeds[name]["wall"]),
            "ratio_to_loop": ratio(name, "wall"),
            "atom_steps_per_processor_second": middle(speeds[name]["processor"]),
            "ratio_to_loop_processor": ratio(name, "processor"),
            "share_in_model": statistics.median(shares[name]),
        }
        for name, (count, _) in entries.items()
    }
    for name, row in rows.items():
        print(
            f"{name:16s} {row['atom_steps_per_second']['median']:9.0f} atom steps/s"
            f" {row['ratio_to_loop']:5.2f} x;"
            f" {row['atom_steps_per_processor_second']['median']:9.0f} per processor second"
            f" {row['ratio_to_loop_processor']:5.2f} x; model {100 * row['share_in_model']:3.0f} %"
        )
    document = where | {
        "versions": {name: version(name) for name in ("torch", "ase", "torch-sim-atomistic")},
        "native": bool(getattr(calculator.model, "_native", None)),
        "atoms": len(atoms),
        "temperature_K": TEMPERATURE,
        "steps": steps,
        "rounds": options.rounds,
        "rows": rows,
    }
    path = RESULTS / f"replicas_{options.device.replace(':', '')}_{options.threads}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
