"""Speed of the lattice samplers, beside a plain NumPy checkerboard.

    python benchmarks/lattice_samplers.py [--sizes 8 64] [--turns 7] [--flips 2000000]

Prints a table and writes ``benchmarks/results/lattice_samplers.json``. The contestants run in turns,
each about as many attempted flips a turn; the table shows medians over turns of nanoseconds of
processor time per attempted flip (everything is single-threaded, and the machine may be shared),
for Wolff per flipped site. Compilation is not counted. All run at the critical temperature of the
square Ising model, where Metropolis accepts about 1 flip of 6; q = 3 Potts at 1.0 and glasses at 1.0.

The NumPy reference updates one colour of the checkerboard of many chains at once, by slices of a
(chains, L, L) array of spins, with the exponentials looked up: what one writes without a compiler.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from mlpot.atomic import write_json
from mlpot.lattice.exact.square_ising import CRITICAL_TEMPERATURE, kaufman
from mlpot.lattice.hamiltonian import edwards_anderson, ising, potts
from mlpot.lattice.sampling import Chains
from mlpot.lattice.tempering import Tempering

RESULTS = Path(__file__).parent / "results" / "lattice_samplers.json"
CHAINS = 16


class Plain:
    """Checkerboard Metropolis for the square Ising model in NumPy alone."""

    def __init__(self, size: int, temperature: float, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.spins = self.random.choice(np.array([-1, 1], dtype=np.int8), (CHAINS, size, size))
        self.colour = np.indices((size, size)).sum(axis=0) % 2
        # Of -s h / 2 = 2 .. -2, shifted to 0 .. 4.
        self.accept = np.minimum(1, np.exp(-2 * np.arange(-4, 5) / temperature))

    def run(self, sweeps: int) -> int:
        """Sweep; return attempted flips."""
        spins = self.spins
        for _ in range(sweeps):
            for colour in (0, 1):
                around = (
                    np.roll(spins, 1, 1)
                    + np.roll(spins, -1, 1)
                    + np.roll(spins, 1, 2)
                    + np.roll(spins, -1, 2)
                )
                flip = self.random.random(spins.shape) < self.accept[spins * around + 4]
                np.negative(spins, out=spins, where=flip & (self.colour == colour))
        return sweeps * spins.size

    def energy(self) -> float:
        """Return the mean energy per site."""
        bonds = self.spins * (np.roll(self.spins, 1, 1) + np.roll(self.spins, 1, 2))
        return -float(bonds.sum(axis=(1, 2)).mean()) / self.spins[0].size


def contestants(size: int) -> dict[str, Callable[[int], int]]:
    """Return what runs some sweeps and says how many flips it tried (Wolff: made)."""
    shape, critical = (size, size), CRITICAL_TEMPERATURE
    plain = Plain(size, critical, 1)

    def local(model: Any, temperature: float, method: str, order: str = "random") -> Callable[[int], int]:
        chains = Chains(model, temperature, method, order, CHAINS, 1)

        def run(sweeps: int) -> int:
            chains.run(1, sweeps)
            return sweeps * chains.states.size

        return run

    clusters = Chains(ising(shape), critical, "wolff", "random", CHAINS, 1)

    def wolff(sweeps: int) -> int:
        before = clusters.flipped
        clusters.run(1, sweeps)
        return clusters.flipped - before

    glass = Tempering(edwards_anderson(shape, 1), [1.0], chains=2, seed=1)

    def tempering(sweeps: int) -> int:
        steps = max(1, sweeps * CHAINS // (2 * len(glass.ladder)))
        glass.run(1, steps)
        return steps * glass.states.size

    square = ising(shape)
    return {
        "NumPy checkerboard": plain.run,
        "Metropolis, checkerboard": local(square, critical, "metropolis", "checkerboard"),
        "Metropolis, random sites": local(square, critical, "metropolis"),
        "heat bath, checkerboard": local(square, critical, "heat_bath", "checkerboard"),
        "Swendsen-Wang": local(square, critical, "swendsen_wang"),
        "Wolff (per flipped site)": wolff,
        "Potts q = 3, heat bath": local(potts(shape, 3), 1.0, "heat_bath", "checkerboard"),
        "glass, Metropolis": local(edwards_anderson(shape, 1), 1.0, "metropolis"),
        "glass, tempering": tempering,
    }


def measure(size: int, turns: int, flips: int) -> dict[str, Any]:
    """Return nanoseconds per flip of all contestants on a lattice, in turns."""
    ready = contestants(size)
    sweeps = {name: max(1, flips // (CHAINS * size * size)) for name in ready}
    sweeps["NumPy checkerboard"] = max(1, sweeps["NumPy checkerboard"] // 10)
    # A cluster has about L^1.75 sites.
    sweeps["Wolff (per flipped site)"] = max(1, round(flips / (CHAINS * size**1.75)))
    for name, run in ready.items():  # compiles, and forgets the start
        run(sweeps[name])
    times: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(turns):
        for name, run in ready.items():
            start = time.process_time()
            done = run(sweeps[name])
            times[name].append(1e9 * (time.process_time() - start) / max(1, done))
    reference = statistics.median(times["NumPy checkerboard"])
    return {
        name: {
            "ns": statistics.median(values),
            "ns_lowest": min(values),
            "flips_per_second": 1e9 / statistics.median(values),
            "times_numpy": reference / statistics.median(values),
        }
        for name, values in times.items()
    }


def check() -> dict[str, float]:
    """Return the energy per site of the reference and of the exact torus: the reference must be right."""
    plain = Plain(8, 3.0, 3)
    plain.run(200)
    energies = []
    for _ in range(400):
        plain.run(5)
        energies.append(plain.energy())
    result = {"numpy": statistics.mean(energies), "exact": kaufman((8, 8), 3.0).energy}
    if abs(result["numpy"] - result["exact"]) > 0.01:
        raise SystemExit(f"the NumPy reference is wrong: {result}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--flips", type=int, default=2_000_000)
    options = parser.parse_args()
    document: dict[str, Any] = {
        "command": "python benchmarks/lattice_samplers.py "
        + f"--sizes {' '.join(map(str, options.sizes))} --turns {options.turns} --flips {options.flips}",
        "machine": {"processor": platform.processor() or platform.machine(), "numba": numba.__version__},
        "chains": CHAINS,
        "check": check(),
        "sizes": {},
    }
    for size in options.sizes:
        rows = measure(size, options.turns, options.flips)
        document["sizes"][str(size)] = rows
        print(f"\n{size} x {size}, {CHAINS} chains{'':12} ns/flip   10^6 flips/s   times NumPy")
        for name, row in rows.items():
            print(
                f"{name:32} {row['ns']:8.1f} {row['flips_per_second'] / 1e6:12.1f} {row['times_numpy']:12.1f}"
            )
    write_json(RESULTS, document)
    print(json.dumps(document["check"]), f"\nwritten: {RESULTS}")


if __name__ == "__main__":
    main()
