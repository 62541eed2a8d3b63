"""Write a data set larger than one likes to load, start training on it, and watch time and memory.

    python benchmarks/streaming.py [--frames 1000000] [--steps 400] [--folder /tmp]

Prints tables and writes ``benchmarks/results/streaming.json``. The frames are synthetic: cells of
2, 4, 6 or 8 silicon atoms, rattled, with random labels; they cost what real ones of that size
cost, and nothing can be learned from them. Every training is a process of its own, with the
default network, batches of 8 and float32, from its start to ``--steps`` steps: streamed without
and with a worker, and from memory (the first 4,096 frames); and on the 64-atom frames of
``data/sw/si.xyz`` from memory, for the cost of larger frames. Steps are medians, by the clock and
in CPU time of the training process, which depends less on what else the machine does (a worker's
is its own); memory is what /proc says (Linux only): ``private`` is what the process alone holds,
``file`` are mapped pages of files, libraries included, which the system may take back.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from contestants import machine

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "streaming.json"
BATCH = 8
IN_MEMORY = 4096
#: Name, streamed or not, workers, source of the frames.
CASES = (
    ("streamed", "synthetic", True, 0),
    ("streamed, one worker", "synthetic", True, 1),
    ("from memory", "synthetic", False, 0),
    ("64 atoms, from memory", "shipped", False, 0),
)
#: What the estimate in docs/scaling.md is for.
MANY = 100_000_000


def memory(pid: int | str = "self") -> dict[str, float]:
    """Return private and file-backed resident memory of a process, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    values = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Rss")}
    return {"private": int(values["RssAnon"]) / 1e3, "file": int(values["RssFile"]) / 1e3}


def children() -> list[int]:
    """Return the processes that this one started."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def synthetic(count: int) -> Iterator[Any]:
    """Yield rattled cells of silicon with random labels, in pieces drawn at once."""
    import numpy as np
    from ase.build import bulk

    from mlpot.data.frame import Frame

    rng = np.random.default_rng(0)
    cells = [bulk("Si", a=5.43).repeat((n, 1, 1)) for n in (1, 2, 3, 4)]
    templates = [(c.numbers.astype(np.int64), c.positions, c.cell.array, np.ones(3, bool)) for c in cells]
    for first in range(0, count, 4096):
        piece = min(4096, count - first)
        kinds = rng.integers(len(templates), size=piece)
        noise = rng.normal(size=(piece, 2, 8, 3))
        stress = 0.01 * rng.normal(size=(piece, 3, 3))
        for k in range(piece):
            numbers, positions, cell, pbc = templates[kinds[k]]
            n = len(numbers)
            yield Frame(
                numbers=numbers,
                positions=positions + 0.05 * noise[k, 0, :n],
                cell=cell,
                pbc=pbc,
                energy=-4.3 * n + float(noise[k, 1, 0, 0]),
                forces=noise[k, 1, :n],
                stress=0.5 * (stress[k] + stress[k].T),
                source=f"synthetic#{first + k}",
            )


def write(path: Path, count: int) -> dict[str, Any]:
    """Write the frames; return time, size and memory."""
    from mlpot.data.store import StoredFrames, write_store

    before, start = memory()["private"], time.monotonic()
    told = write_store(path, synthetic(count), {"by": "benchmarks/streaming.py"})
    seconds, grown = time.monotonic() - start, memory()["private"] - before
    start = time.monotonic()
    table = StoredFrames(path).table
    reading = time.monotonic() - start
    index = sum(getattr(table, name).nbytes for name in ("composition", "energies", "force_squares"))
    index += table.labelled.nbytes + table.hashes.nbytes
    return {
        "frames": told["frames"],
        "atoms": told["atoms"],
        "seconds": seconds,
        "bytes_per_frame": path.stat().st_size / count,
        "memory_grown_MB": grown,
        "index_seconds": reading,
        "index_bytes_per_frame": index / count,
    }


def convert(folder: Path, path: Path, count: int) -> dict[str, Any]:
    """Write some frames as extended XYZ and convert them; return seconds per frame."""
    from mlpot.data.files import iterate_frames, write_frames
    from mlpot.data.frame import LabelKeys
    from mlpot.data.store import StoredFrames, write_store

    source = folder / "some.xyz"
    write_frames(source, list(islice(StoredFrames(path, LabelKeys()), count)))
    start = time.monotonic()
    write_store(folder / "some.lmdb", iterate_frames(source))
    return {"frames": count, "seconds_per_frame": (time.monotonic() - start) / count}


def train(case: str, path: Path, steps: int, started: float) -> dict[str, Any]:
    """Train for some steps in this process; return times and memory."""
    from lightning.pytorch.callbacks import Callback

    from mlpot.data.files import read_frames
    from mlpot.data.section import DataSection
    from mlpot.model.network import NetworkConfig
    from mlpot.training.fit import fit
    from mlpot.training.hardware import Hardware
    from mlpot.training.initialise import new_potential
    from mlpot.training.settings import FitSettings

    _, source, streamed, workers = next(entry for entry in CASES if entry[0] == case)
    imported = time.time()
    if source == "synthetic":
        frames = DataSection(train=[str(path)], validation=None).load().train
        frames = frames if streamed else list(frames[:IN_MEMORY])
    else:
        frames = read_frames(ROOT / "data" / "sw" / "si.xyz")

    class Meter(Callback):
        """Clock and memory after every step; ends the training after the last."""

        def __init__(self) -> None:
            self.times: list[float] = []
            self.cpu: list[float] = []
            self.memory: list[dict[str, float]] = []

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            self.times.append(time.time())
            self.cpu.append(time.process_time())
            if len(self.times) % 10 == 0:
                own = {"step": len(self.times), **memory()}
                workers = [memory(pid) for pid in children()]
                self.memory.append(own | {"workers": sum(w["private"] + w["file"] for w in workers)})
            if len(self.times) >= (steps if source == "synthetic" else steps // 3):
                trainer.should_stop = True

    meter = Meter()
    potential = new_potential(frames, ["Si"], NetworkConfig())
    settings = FitSettings(epochs=1 + steps * BATCH // len(frames), batch_size=BATCH)
    with tempfile.TemporaryDirectory() as run:
        hardware = Hardware(accelerator="cpu", workers=workers)
        fit(potential, frames, [], settings, run, callbacks=[meter], hardware=hardware)
    # An epoch's end writes a checkpoint, which is not part of a step: the median does not mind.
    wall, cpu = (
        statistics.median(b - a for a, b in pairwise(clock[20:])) / BATCH
        for clock in (meter.times, meter.cpu)
    )
    atoms = 64 if source == "shipped" else 5
    tenth = len(meter.memory) // 10
    return {
        "case": case,
        "frames": len(frames),
        "atoms_per_frame": atoms,
        "steps": len(meter.times),
        "import_seconds": imported - started,
        "first_step_seconds": meter.times[0] - started,
        "wall_seconds_per_frame": wall,
        "cpu_seconds_per_frame": cpu,
        "cpu_seconds_per_atom": cpu / atoms,
        "memory_early_MB": meter.memory[tenth],
        "memory_late_MB": meter.memory[-1],
    }


def estimate(result: dict[str, Any]) -> dict[str, float]:
    """Return what ``MANY`` frames would need, in proportion to what was measured."""
    written, cases = result["write"], {case["case"]: case for case in result["train"]}
    small, large = cases["streamed"], cases["64 atoms, from memory"]
    return {
        "frames": MANY,
        "disk_GB": written["bytes_per_frame"] * MANY / 1e9,
        "write_hours": written["seconds"] / written["frames"] * MANY / 3600,
        "convert_hours": result["convert"]["seconds_per_frame"] * MANY / 3600,
        "index_seconds": written["index_seconds"] / written["frames"] * MANY,
        "index_GB": written["index_bytes_per_frame"] * MANY / 1e9,
        "order_GB": 8 * MANY / 1e9,
        "epoch_core_hours_small": small["cpu_seconds_per_frame"] * MANY / 3600,
        "epoch_core_hours_64_atoms": large["cpu_seconds_per_frame"] * MANY / 3600,
    }


def section(result: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    written, grown, guess = result["write"], result["convert"], result["estimate"]
    lines = [
        f"`python benchmarks/streaming.py` ({written['frames']:,} synthetic frames of 2 to 8 atoms, "
        f"{result['machine']['processor']}, one thread, load {result['machine']['load']:.1f} on "
        f"{result['machine']['cores']} cores):",
        "",
        "| | |",
        "|---|---|",
        f"| writing the file | {written['seconds']:.0f} s: "
        f"{1e6 * written['seconds'] / written['frames']:.0f} µs and {written['bytes_per_frame']:.0f} bytes "
        f"per frame, memory grows by {written['memory_grown_MB']:.0f} MB |",
        f"| the same from extended XYZ | {1e6 * grown['seconds_per_frame']:.0f} µs per frame |",
        f"| reading the index | {written['index_seconds']:.2f} s |",
        "",
        "| training | start to first step (s) | of it imports (s) | ms per frame | its CPU time (ms) "
        "| CPU time per atom (µs) | memory of the trainer, early and late (MB) | of its workers |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in result["train"]:
        early, late = case["memory_early_MB"], case["memory_late_MB"]
        wall, cpu = 1e3 * case["wall_seconds_per_frame"], 1e3 * case["cpu_seconds_per_frame"]
        lines.append(
            f"| {case['case']}, {case['frames']:,} frames | {case['first_step_seconds']:.1f} "
            f"| {case['import_seconds']:.1f} | {wall:.2f} | {cpu:.2f} "
            f"| {1e6 * case['cpu_seconds_per_atom']:.0f} | {early['private']:.0f} + {early['file']:.0f}, "
            f"{late['private']:.0f} + {late['file']:.0f} | {early['workers']:.0f}, {late['workers']:.0f} |"
        )
    lines += [
        "",
        f"Memory is private + file-backed, after {result['train'][0]['memory_early_MB']['step']} and "
        f"{result['train'][0]['memory_late_MB']['step']} steps of {BATCH} frames.",
        "",
        f"In proportion, {guess['frames']:,} frames need:",
        "",
        "| | |",
        "|---|---|",
        f"| disk, frames of 5 atoms | {guess['disk_GB']:.0f} GB |",
        f"| writing, one core | {guess['write_hours']:.0f} h; from extended XYZ "
        f"{guess['convert_hours']:.0f} h |",
        f"| the index: time to read and memory while it is | {guess['index_seconds']:.0f} s, "
        f"{guess['index_GB']:.1f} GB |",
        f"| the order of an epoch, memory of each process | {guess['order_GB']:.1f} GB |",
        f"| an epoch, frames of 5 atoms | {guess['epoch_core_hours_small']:.0f} core-hours |",
        f"| an epoch, frames of 64 atoms | {guess['epoch_core_hours_64_atoms']:.0f} core-hours |",
    ]
    return "\n".join(lines)


def numbers() -> str:
    """Return the tables of the committed results."""
    return section(json.loads(RESULT.read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of training on streamed frames.")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--folder", default=None, help="where the file is written; deleted afterwards")
    parser.add_argument("--child", nargs=3, metavar=("CASE", "FILE", "STARTED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        case, path, started = options.child
        print(json.dumps(train(case, Path(path), options.steps, float(started))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        path = folder / "frames.lmdb"
        result: dict[str, Any] = {"batch_size": BATCH, "write": write(path, options.frames)}
        print(f"written: {result['write']}", flush=True)
        result["convert"] = convert(folder, path, min(5000, options.frames))
        result["train"] = []
        for case, *_ in CASES:
            command = [sys.executable, __file__, "--steps", str(options.steps)]
            command += ["--child", case, str(path), str(time.time())]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            result["train"].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"trained: {result['train'][-1]}", flush=True)
    result["machine"] = {**machine(1, "cpu", "system"), "load": os.getloadavg()[1]}
    result["estimate"] = estimate(result)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(section(result))


if __name__ == "__main__":
    main()
