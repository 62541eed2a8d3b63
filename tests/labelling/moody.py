"""Frames to label, and a cheap ASE calculator that computes or misbehaves as its folder says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, SCFError, all_changes

from mlpot.data.frame import Frame


class Moody(Calculator):
    """Springs to the origin; ``FOLDER/moods.json`` says what to do instead, by the first coordinate."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, folder, seconds=0.0):
        super().__init__()
        self.folder, self.seconds = Path(folder), seconds

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        name = f"{atoms.positions[0, 0]:.3f}"
        with (self.folder / "calls.txt").open("a") as calls:
            calls.write(f"{name} {os.getpid()} {os.environ['OMP_NUM_THREADS']}\n")
        mood = json.loads((self.folder / "moods.json").read_text()).get(name)
        time.sleep(self.seconds)
        if mood == "crash":
            raise ValueError("it went wrong")
        if mood == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if mood == "child":
            child = subprocess.Popen(["sleep", "1000"])
            (self.folder / "child.txt").write_text(str(child.pid))
            os.kill(os.getpid(), signal.SIGKILL)
        if mood == "exit":
            raise SystemExit(3)
        if mood == "unconverged":
            raise SCFError("60 steps were not enough")
        if mood == "hang":
            time.sleep(1000)
        if mood == "full":
            raise OSError(28, "No space left on device")
        print("a line of output")
        forces = -atoms.positions
        self.results = {"energy": 0.5 * np.sum(forces**2), "forces": forces, "stress": np.full(6, 1e-3)}
        if mood == "nan":
            self.results["forces"] = forces * np.nan
        if mood == "no forces":
            del self.results["forces"]


def make_frames(count: int, atoms: int = 2) -> list[Frame]:
    """Return frames; the first coordinate of the n-th is n/1000."""
    frames = []
    for index in range(count):
        positions = np.random.default_rng(index).uniform(1.0, 3.0, size=(atoms, 3))
        positions[0, 0] = index / 1000
        frames.append(
            Frame(
                numbers=np.full(atoms, 14),
                positions=positions,
                cell=4.0 * np.eye(3),
                pbc=np.ones(3, dtype=bool),
                info={"number": index},
                source=f"frames.xyz#{index}",
            )
        )
    return frames
