"""The worker's side of a benchmark: answer requests, a JSON object a line, over standard input.

Runs inside the environment of each contestant; needs torch and ASE and nothing of mlpot.
"""

import json
import resource
import sys
import time
from collections.abc import Callable

import torch
from ase import Atoms
from ase.build import bulk

#: What the benchmark told this worker: threads, device and what makes this contestant.
OPTIONS: dict = json.loads(sys.argv[1])
DEVICE: str = OPTIONS["device"]
torch.set_num_threads(OPTIONS["threads"])


def silicon(cells: int) -> Atoms:
    """Return 8 cells³ atoms of rattled silicon, the same for everyone."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(cells)
    atoms.rattle(0.1, seed=1)
    return atoms


def answer(value: dict) -> None:
    """Print an answer."""
    print(json.dumps({"answer": value}), flush=True)


def peak() -> int:
    """Return the most memory (bytes) this process, or its share of the GPU, has held so far."""
    if DEVICE.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    call()
    if DEVICE.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def serve(prepare: Callable[..., Callable[[], object]], about: Callable[..., dict]) -> None:
    """Answer requests for calls of what ``prepare`` returns.

    A request ``{"calls": k, **what}`` is answered with the seconds of k calls of
    ``prepare(**what)``, the peak of memory, and the peak when it was prepared. When ``what``
    changes, the old one is dropped and the new one is first called a few times unseen.
    ``{"about": true, **what}`` is answered with ``about(**what)``.
    """
    current, call, prepared = None, None, 0
    for line in sys.stdin:
        request = json.loads(line)
        if request.pop("about", False):
            answer(about(**request))
            continue
        calls = request.pop("calls")
        if request != current:
            call = None
            call, current = prepare(**request), request
            prepared = peak()
            first = timed(call)
            if first < 2.0 or OPTIONS.get("compiled"):
                for _ in range(3 if first > 0.2 else 10):
                    timed(call)
        answer({"seconds": [timed(call) for _ in range(calls)], "peak": peak(), "prepared": prepared})
