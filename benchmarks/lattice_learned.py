"""Turns per second of Monte Carlo with a learned energy, beside the true energy and plain numpy.

    python benchmarks/lattice_learned.py [--rounds 7] [--seconds 0.5] [--sizes 8 16 64]

Single-spin-flip Metropolis of the Ising model at T = 2.5, one thread. The learned energies are
EDNNs that are the Ising energy exactly (so that all contestants accept alike): tiles in a table,
tiles by the published perceptron 16-32-64-1 beside a quadratic form, pair couplings; ``true`` is
the compiled sampler of mlpot.lattice.kernels, ``numpy`` a plain loop in Python over numpy arrays,
and ``numpy checkerboard`` whole sublattices at once. Contestants run in turns; medians over the
rounds and ratios to ``true`` within a round. Writes ``benchmarks/results/lattice_learned.json``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mlpot.atomic import write_json
from mlpot.lattice.baselines.pair_basis import by_displacement
from mlpot.lattice.ednn import EDNN, EDNNSettings
from mlpot.lattice.hamiltonian import ising
from mlpot.lattice.learned_mc import LearnedMonteCarlo
from mlpot.lattice.sampling import Chains

RESULT = Path(__file__).resolve().parent / "results/lattice_learned.json"
TEMPERATURE = 2.5


def exact_ednn(length: int, hidden: tuple[int, ...]) -> EDNN:
    """Return the Ising energy as an EDNN (f = 2, c = 1), beside a perceptron that says nothing."""
    model = EDNN(EDNNSettings((length, length), hidden=hidden, pairs=True)).double()
    model.set_pairs(by_displacement((length, length), shells=1).energy(np.array([1.0]), temperature=1.0))
    return model


def numpy_single(length: int, seed: int) -> Callable[[], int]:
    """Return one sweep of the plain loop; it returns the turns it tried."""
    generator = np.random.default_rng(seed)
    spins = generator.choice([-1, 1], (length, length))

    def sweep() -> int:
        for _ in range(length * length):
            i, j = generator.integers(length, size=2)
            around = (
                spins[(i + 1) % length, j] + spins[i - 1, j] + spins[i, (j + 1) % length] + spins[i, j - 1]
            )
            change = 2 * spins[i, j] * around
            if change <= 0 or generator.random() < np.exp(-change / TEMPERATURE):
                spins[i, j] *= -1
        return length * length

    return sweep


def numpy_checkerboard(length: int, seed: int) -> Callable[[], int]:
    """Return one sweep of both sublattices with array operations."""
    generator = np.random.default_rng(seed)
    spins = generator.choice([-1, 1], (length, length))
    colour = np.indices((length, length)).sum(0) % 2

    def sweep() -> int:
        for part in (0, 1):
            around = sum(np.roll(spins, by, axis) for by in (1, -1) for axis in (0, 1))
            turn = generator.random((length, length)) < np.exp(-2 * spins * around / TEMPERATURE)
            spins[turn & (colour == part)] *= -1
        return length * length

    return sweep


def contestants(length: int) -> dict[str, Callable[[], int]]:
    """Return what each does per call; every call returns the turns it tried."""
    published = exact_ednn(length, (32, 64))
    energies = {
        "learned, table": exact_ednn(length, ()).frozen(),
        "learned, perceptron": published.frozen(largest_table=0),
        "learned, pairs": by_displacement((length, length), shells=1).energy(np.array([1.0]), 1.0),
    }
    calls: dict[str, Callable[[], int]] = {}
    true = Chains(ising((length, length)), TEMPERATURE, "metropolis", seed=0)

    def run_true() -> int:
        true.run(1, spacing=8)
        return 8 * length * length

    calls["true"] = run_true
    for name, energy in energies.items():
        walk = LearnedMonteCarlo(energy, 1, seed=0)

        def run(walk: LearnedMonteCarlo = walk) -> int:
            walk.run(1 / TEMPERATURE, 8)
            return 8 * length * length

        calls[name] = run
    return calls | {
        "numpy": numpy_single(length, 0),
        "numpy checkerboard": numpy_checkerboard(length, 0),
    }


def rate(call: Callable[[], int], seconds: float) -> float:
    """Return turns per second of this thread's processor time."""
    turns, start = 0, time.thread_time()
    while (spent := time.thread_time() - start) < seconds:
        turns += call()
    return turns / spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="per contestant and round")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 16, 64])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for length in arguments.sizes:
        calls = contestants(length)
        for call in calls.values():
            call()  # compiles
        rounds = [
            {name: rate(call, arguments.seconds) for name, call in calls.items()}
            for _ in range(arguments.rounds)
        ]
        for name in calls:
            row = {
                "lattice": [length, length],
                "contestant": name,
                "turns_per_second": statistics.median(each[name] for each in rounds),
                "relative_to_true": statistics.median(each[name] / each["true"] for each in rounds),
            }
            results.append(row)
            print(
                f"{length:4d} x {length:<4d} {name:22s} {row['turns_per_second']:14,.0f} /s "
                f"{row['relative_to_true']:8.3f} of true",
                flush=True,
            )
    write_json(
        RESULT,
        {
            "command": (
                f"python benchmarks/lattice_learned.py --rounds {arguments.rounds} "
                f"--seconds {arguments.seconds:g} --sizes {' '.join(map(str, arguments.sizes))}"
            ),
            "temperature": TEMPERATURE,
            "rounds": arguments.rounds,
            "seconds": arguments.seconds,
            "clock": "processor time of the thread",
            "processor": platform.processor() or platform.machine(),
            "load_average": os.getloadavg()[0],
            "results": results,
        },
    )


if __name__ == "__main__":
    main()
