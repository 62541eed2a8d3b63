"""Forces of rattled silicon with mace-torch 32x0e+32x1o: ``mace_worker.py CELLS THREADS``."""

import sys
from importlib.metadata import version

import numpy as np
import torch

# e3nn 0.4 keeps slices in a file that recent versions of torch refuse to load unless told.
torch.serialization.add_safe_globals([slice])

from ase.build import bulk  # noqa: E402
from e3nn import o3  # noqa: E402
from loop import serve  # noqa: E402
from mace import data, modules, tools  # noqa: E402
from mace.tools import torch_geometric  # noqa: E402

cells, threads = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
torch.set_default_dtype(torch.float32)
atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(cells)
atoms.rattle(0.1, seed=1)
block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
model = modules.ScaleShiftMACE(
    r_max=5.0, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, interaction_cls=block,
    interaction_cls_first=block, num_interactions=2, num_elements=1, hidden_irreps=o3.Irreps("32x0e+32x1o"),
    MLP_irreps=o3.Irreps("16x0e"), atomic_energies=np.zeros(1), avg_num_neighbors=28.0, atomic_numbers=[14],
    correlation=3, gate=torch.nn.functional.silu, atomic_inter_scale=1.0, atomic_inter_shift=0.0,
)  # fmt: skip
table = tools.AtomicNumberTable([14])
graph = data.AtomicData.from_config(data.config_from_atoms(atoms), z_table=table, cutoff=5.0)
batch = next(iter(torch_geometric.dataloader.DataLoader([graph], batch_size=1))).to_dict()
facts = {
    "atoms": len(atoms),
    "parameters": sum(p.numel() for p in model.parameters()),
    "torch": torch.__version__,
    "mace-torch": version("mace-torch"),
}
serve(lambda: model(batch, compute_force=True, training=False), facts)
