"""The check-up of potentials, mlpot's and other people's: ``mlpot doctor`` from Python.

    python benchmarks/doctor.py [--subjects "mlpot si, float32" "NequIP, float32" ...]

Writes ``benchmarks/results/doctor.json``, keeping the results of subjects that are not named. Each
subject runs in a process of its own, other people's in an environment of their own with what only
mlpot needs appended to its path. MACE and NequIP are the silicon potentials that
``benchmarks/training.py`` trains with their own trainers. One thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "doctor.json"


@dataclass(frozen=True)
class Subject:
    """Who is examined: the environment, the packages behind it, a file if it needs one."""

    environment: str
    packages: tuple[str, ...] = ()
    file: Path | None = None


MACE = Subject("mace", ("mace-torch", "e3nn"), HERE / ".runs" / "mace" / "mace_stagetwo.model")
SUBJECTS = {
    "mlpot si, float32": Subject("mlpot"),
    "mlpot si, float64": Subject("mlpot"),
    "sw-si (matscipy)": Subject("mlpot", ("matscipy",)),
    "t3-si (matscipy)": Subject("mlpot", ("matscipy",)),
    "MACE, float32": MACE,
    "MACE, float64": MACE,
    "NequIP, float32": Subject("nequip", ("nequip",), HERE / ".runs" / "nequip-2-1" / "best.ckpt"),
}


def factory(name: str) -> Callable[[], Any]:
    """Return what makes the calculator of a subject."""
    import torch

    subject = SUBJECTS[name]
    if subject.environment == "mace":
        # e3nn 0.4 keeps slices in a file that recent versions of torch refuse to load unless told.
        torch.serialization.add_safe_globals([slice])
        from mace.calculators import MACECalculator

        return partial(
            MACECalculator, model_paths=str(subject.file), device="cpu", default_dtype=name.split()[-1]
        )
    if subject.environment == "nequip":
        from nequip.integrations.ase import NequIPCalculator

        return partial(NequIPCalculator._from_saved_model, str(subject.file), device="cpu")
    if name.startswith("mlpot"):
        from mlpot.model.file import load_model
        from mlpot.simulation.calculator import MLPotCalculator

        model = load_model("si", dtype=getattr(torch, name.split()[-1]))
        return partial(MLPotCalculator, model)
    from mlpot.reference.classical import classical_calculator

    return partial(classical_calculator, name.split()[0])


def examine(name: str) -> dict[str, Any]:
    """Return the examination of a subject; called in a process of its own."""
    make = factory(name)
    from mlpot.doctor import diagnose

    found = diagnose(make, ["Si"], name=name).asdict()
    found["versions"] |= {package: version(package) for package in SUBJECTS[name].packages}
    # The curves are for pages, and times are measured in turns elsewhere; here the findings count.
    for key in ("diatomics", "energy_volume", "speed", "seconds"):
        del found[key]
    return found


def run(name: str) -> dict[str, Any]:
    """Examine a subject in the environment it needs."""
    # Beside this file lies no package: the environments are made on first use.
    sys.path.insert(0, str(HERE))
    from contestants import interpreter

    python = interpreter(SUBJECTS[name].environment)
    appended = os.pathsep.join([str(HERE.parent), sysconfig.get_paths()["purelib"]])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DOCTOR_PATHS": appended}
    command = [python, "-P", __file__, "--one", name]
    answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description="The check-up of potentials.")
    parser.add_argument(
        "--subjects", nargs="+", default=list(SUBJECTS), choices=list(SUBJECTS), metavar="NAME"
    )
    parser.add_argument("--one", choices=list(SUBJECTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        sys.path += [path for path in os.environ["DOCTOR_PATHS"].split(os.pathsep) if path not in sys.path]
        print(json.dumps(examine(options.one)))
        return
    for name in options.subjects:
        file = SUBJECTS[name].file
        if file is not None and not file.exists():
            print(f"{name}: {file} is missing: run benchmarks/training.py first", file=sys.stderr)
            continue
        found = run(name)
        print(f"{name}: {found['tally']}", file=sys.stderr)
        # Read again: another call may have written meanwhile.
        results = json.loads(RESULT.read_text(encoding="utf-8"))["results"] if RESULT.exists() else {}
        results[name] = found
        results = {known: results[known] for known in SUBJECTS if known in results}
        document = {"command": "python benchmarks/doctor.py", "results": results}
        text = json.dumps(document, indent=1, ensure_ascii=False)
        RESULT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
