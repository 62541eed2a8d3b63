"""Products of two float32 matrices of 1024 rows: the rate that the arithmetic floor is counted with."""

from collections.abc import Callable

import torch
from loop import DEVICE, serve

SIZE = 1024
matrix = torch.rand(SIZE, SIZE, device=DEVICE)


def prepare() -> Callable[[], object]:
    """Return the call."""
    return lambda: matrix @ matrix


def about() -> dict:
    """Return what a call costs."""
    return {"flops": 2 * SIZE**3}


serve(prepare, about)
