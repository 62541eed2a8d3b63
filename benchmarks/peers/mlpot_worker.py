"""Forces and stress of rattled silicon with mlpot."""

import sys
from collections.abc import Callable

import torch
from loop import DEVICE, OPTIONS, serve, silicon
from models import potential
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric.data import Batch

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph

model = potential(OPTIONS.get("model")).to(DEVICE)
NATIVE: bool = OPTIONS.get("native", False)
if model.use_native(NATIVE) != NATIVE or (NATIVE and DEVICE != "cpu"):
    sys.exit(f"there are no native kernels for {type(model).__name__} on {DEVICE}")


def batch(cells: int, replicas: int) -> Batch:
    """Return the graphs of ``replicas`` times 8 cells³ atoms."""
    graph = frame_graph(Frame.from_atoms(silicon(cells)), model.cutoff)
    return batch_graphs([graph] * replicas).to(DEVICE)


def prepare(cells: int, replicas: int = 1) -> Callable[[], object]:
    """Return the call."""
    graphs = batch(cells, replicas)
    return lambda: model(graphs)


def flops(cells: int, replicas: int, plain: bool) -> int:
    """Return the FLOPs of the matrix products in a call, by autograd or by hand in PyTorch."""
    model.use_native(False)
    with FlopCounterMode(display=False) as counter:
        model(batch(cells, replicas), create_graph=plain)
    model.use_native(NATIVE)
    return counter.get_total_flops()


def about(cells: int, replicas: int = 1) -> dict:
    """Return what the contestant is; FLOPs are counted on 64 atoms and scale with the atoms."""
    atoms = (cells / 2) ** 3 * replicas
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "version": torch.__version__,
        "flops": atoms * flops(2, 1, plain=True),
        "flops_timed": atoms * flops(2, 1, plain=False),
    }


serve(prepare, about)
