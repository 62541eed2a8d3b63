"""Forces of rattled silicon with mace-torch 32x0e+32x1o, two layers, l = 3, correlation 3.

On a GPU with the accelerated kernels of cuequivariance where they are installed.
"""

from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import torch

# e3nn 0.4 keeps slices in a file that recent versions of torch refuse to load unless told.
torch.serialization.add_safe_globals([slice])

from e3nn import o3  # noqa: E402
from loop import DEVICE, serve, silicon  # noqa: E402
from mace import data, modules, tools  # noqa: E402
from mace.tools import torch_geometric  # noqa: E402

torch.set_default_dtype(torch.float32)
block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
model = modules.ScaleShiftMACE(
    r_max=5.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, interaction_cls=block,
    interaction_cls_first=block, num_interactions=2, num_elements=1, hidden_irreps=o3.Irreps("32x0e+32x1o"),
    MLP_irreps=o3.Irreps("16x0e"), atomic_energies=np.zeros(1), avg_num_neighbors=28.0, atomic_numbers=[14],
    correlation=3, gate=torch.nn.functional.silu, atomic_inter_scale=1.0, atomic_inter_shift=0.0,
)  # fmt: skip
parameters = sum(p.numel() for p in model.parameters())
accelerated = DEVICE.startswith("cuda") and find_spec("cuequivariance_torch") is not None
if accelerated:
    from mace.cli.convert_e3nn_cueq import run as accelerate

    model = accelerate(model, device=DEVICE)
# As its ASE calculator does.
model = model.to(DEVICE).requires_grad_(False)
table = tools.AtomicNumberTable([14])


def prepare(cells: int, replicas: int = 1) -> Callable[[], object]:
    """Return the call."""
    graph = data.AtomicData.from_config(
        data.config_from_atoms(silicon(cells)), z_table=table, cutoff=5.0, heads=["Default"]
    )
    loader = torch_geometric.dataloader.DataLoader([graph] * replicas, batch_size=replicas)
    batch = next(iter(loader)).to(DEVICE).to_dict()
    return lambda: model(batch, compute_force=True, training=False)


def about(**what: int) -> dict:
    """Return what the contestant is."""
    return {"parameters": parameters, "version": version("mace-torch"), "accelerated": accelerated}


serve(prepare, about)
