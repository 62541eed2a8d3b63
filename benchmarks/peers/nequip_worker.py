"""Forces and stress of rattled silicon with nequip, 32 features, eager or compiled.

Compiled is what ``nequip-compile --mode aotinductor --target ase`` makes, kept in
``benchmarks/.runs`` for the next time.
"""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from loop import DEVICE, OPTIONS, serve, silicon
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper
from nequip.model import NequIPGNNModel
from nequip.nn.compile import DictInputOutputWrapper
from nequip.scripts._compile_utils import ASE_TARGET
from nequip.utils.aot import aot_export_model
from nequip.utils.global_state import set_global_state

set_global_state(allow_tf32=False)
CUTOFF = 5.0
layers, degree, compiled = OPTIONS["layers"], OPTIONS["degree"], OPTIONS["compiled"]
model = NequIPGNNModel(
    seed=0, model_dtype="float32", type_names=["Si"], r_max=CUTOFF, num_layers=layers, l_max=degree,
    num_features=32, avg_num_neighbors=28.0, per_type_energy_scales=1.0, per_type_energy_shifts=0.0,
)  # fmt: skip
parameters = sum(p.numel() for p in model.parameters())
model = model.eval().to(DEVICE).requires_grad_(False)


def data(cells: int) -> AtomicDataDict.Type:
    """Return one structure with its neighbour list."""
    frame = compute_neighborlist_(from_ase(silicon(cells)), r_max=CUTOFF)
    return ChemicalSpeciesToAtomTypeMapper(["Si"])(frame)


def compile_model() -> torch.nn.Module:
    """Return the compiled model, compiled only if no file of it is there yet."""
    name = f"nequip_{layers}_{degree}_{DEVICE}_{version('nequip')}_{torch.__version__}.nequip.pt2"
    path = Path(__file__).resolve().parents[1] / ".runs" / name
    inputs, outputs = ASE_TARGET["input"], ASE_TARGET["output"]
    if not path.exists():
        limits = {"node": "num_nodes", "edge": "num_edges"}
        sizes = {key: torch.export.Dim(label, min=2, max=2**31) for key, label in limits.items()}
        sizes["graph"] = torch.export.Dim.STATIC
        sample = AtomicDataDict.to_(data(2), DEVICE)
        aot_export_model(model, DEVICE, inputs, outputs, sample, sizes, str(path))
    return DictInputOutputWrapper(torch._inductor.aoti_load_package(str(path)), inputs, outputs)


if compiled:
    model = compile_model()


def prepare(cells: int, replicas: int = 1) -> Callable[[], object]:
    """Return the call."""
    frame = data(cells)
    if replicas > 1:
        frame = AtomicDataDict.batched_from_list([frame] * replicas)
    frame = AtomicDataDict.to_(frame, DEVICE)
    return lambda: model(frame)


def about(**what: int) -> dict:
    """Return what the contestant is."""
    return {"parameters": parameters, "version": version("nequip")}


serve(prepare, about)
