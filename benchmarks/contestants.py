"""What the speed benchmarks share: the contestants, their environments, their processes.

Every contestant runs in a process of its own (``peers/``) and answers requests line by line, so
that a benchmark can let them take turns. The peers pin different versions of e3nn: each has an
environment of its own under ``benchmarks/.envs``, made on first use.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
#: What is made on the way and not committed: frames, checkpoints, compiled kernels.
RUNS = HERE / ".runs"
#: torch first and by its exact version, the one mlpot is tested with.
PACKAGES = {
    "mace": (["torch==2.13.0"], ["mace-torch==0.3.16"]),
    "nequip": (["torch==2.13.0"], ["nequip==0.19.1"]),
}
#: glibc's allocator as it is, or kept from handing memory back to the system between calls.
ALLOCATORS = {
    "glibc": {},
    "kept": {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**36),
        "MALLOC_TOP_PAD_": str(2**26),
    },
}


def interpreter(name: str) -> Path:
    """Return the interpreter that has a contestant's packages, installing them if they are not there."""
    if name == "mlpot":
        return Path(sys.executable)
    home = HERE / ".envs" / name
    python = home / "bin" / "python"
    if not (home / ".ready").exists():
        print(f"installing {name} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True, clear=True)
        for packages in PACKAGES[name]:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (home / ".ready").touch()
    return python


def environment(threads: int, allocator: str) -> dict[str, str]:
    """Return the environment variables of a process that is timed."""
    return (
        os.environ
        | ALLOCATORS[allocator]
        | {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            # Idle OpenMP threads yield: on shared cores, spinning ones cost whoever runs beside them.
            "GOMP_SPINCOUNT": "0",
            "TORCHINDUCTOR_CACHE_DIR": str(RUNS / "inductor"),
        }
    )


@dataclass(frozen=True)
class Contestant:
    """Who takes part: a label, an environment, a worker script, and what the worker is told."""

    label: str
    environment: str
    script: str
    options: dict[str, Any] = field(default_factory=dict)

    def with_model(self, model: str | None) -> Contestant:
        """Return the same with a model (file or name) instead of an untrained one, if it is mlpot."""
        if model is None or self.environment != "mlpot":
            return self
        return replace(self, options=self.options | {"model": model})


def _nequip(layers: int, degree: int, compiled: bool) -> Contestant:
    label = f"nequip, {layers} layers, l = {degree}" + (", compiled" if compiled else "")
    options = {"layers": layers, "degree": degree, "compiled": compiled}
    return Contestant(label, "nequip", "nequip_worker.py", options)


SHAPES = ((2, 1), (3, 1), (3, 2))
CONTESTANTS = (
    Contestant("mlpot", "mlpot", "mlpot_worker.py"),
    Contestant("mlpot, native", "mlpot", "mlpot_worker.py", {"native": True}),
    Contestant("mace-torch 32x0e+32x1o, l = 3, correlation 3", "mace", "mace_worker.py"),
    *(_nequip(layers, degree, False) for layers, degree in SHAPES),
    *(_nequip(layers, degree, True) for layers, degree in SHAPES),
    Contestant("Stillinger-Weber (matscipy)", "mlpot", "classical_worker.py"),
)
MLPOT, NATIVE = CONTESTANTS[:2]
MOLECULAR_DYNAMICS = Contestant("mlpot in an ASE MD step", "mlpot", "md_worker.py")
#: Not a contestant: products of two float32 matrices, for the arithmetic floor.
MATRIX_PRODUCT = Contestant("matrix product", "mlpot", "product_worker.py")


class Ended(Exception):
    """A worker's process ended without an answer; the message is the end of what it said."""


class Worker:
    """A contestant at work in its own process."""

    def __init__(
        self,
        contestant: Contestant,
        threads: int = 1,
        device: str = "cpu",
        allocator: str = "glibc",
        arguments: tuple[str, ...] = (),
    ) -> None:
        self.label = contestant.label
        options = contestant.options | {"threads": threads, "device": device}
        RUNS.mkdir(exist_ok=True)
        self.log = RUNS / f"worker-{os.getpid()}-{id(self)}.log"
        script = HERE / "peers" / contestant.script
        command = [
            interpreter(contestant.environment), "-W", "ignore", script, json.dumps(options), *arguments,
        ]  # fmt: skip
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env=environment(threads, allocator),
            )  # fmt: skip
        self.facts: dict[str, Any] = {}

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises
        ------
        Ended
            If the process ends instead.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            for line in self.process.stdout:
                # Libraries print to the standard output as they please.
                if line.startswith('{"answer"'):
                    return json.loads(line)["answer"]
        except BrokenPipeError:
            pass
        self.process.wait()
        said = self.log.read_text().strip().splitlines()
        killed = "killed, probably for want of memory" if self.process.returncode == -9 else ""
        raise Ended(killed or (said[-1] if said else f"exit status {self.process.returncode}"))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self.log.unlink(missing_ok=True)


def cells(atoms: int) -> int:
    """Return how many conventional cells along each axis make so many atoms."""
    edge = round((atoms / 8) ** (1 / 3))
    if 8 * edge**3 != atoms:
        raise SystemExit(
            f"--sizes {atoms}: sizes are 8 n³ atoms, 64, 512, 4096, 32768 or 262144 for instance."
        )
    return edge


def machine(threads: int, device: str, allocator: str) -> dict[str, Any]:
    """Return what every result says about where it comes from; call it before the work starts.

    ``load`` is the number of processes that wanted a core in the last minute: above zero by much,
    the times are not those of a quiet machine.
    """
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [s for s in information.read_text().splitlines() if s.startswith("model name")]
        name = models[0].split(":")[1].strip() if models else name
    return {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "load": round(os.getloadavg()[0], 1),
        "processor": name,
        "cores": os.cpu_count(),
        "threads": threads,
        "device": device,
        "allocator": allocator,
    }


def middle(values: list[float]) -> dict[str, float]:
    """Return median and range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def need_device(device: str) -> None:
    """End with a plain message if there is no such device."""
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit(
            f"--device {device}: torch {torch.__version__} sees no CUDA device here. Run this on a machine "
            "with a GPU and a CUDA build of torch (also in benchmarks/.envs), or leave --device out."
        )
