"""Forces and stress of rattled silicon with mlpot: ``mlpot_worker.py CELLS THREADS``."""

import sys

import torch
from ase.build import bulk
from loop import serve

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.model.network import NetworkConfig
from mlpot.training.initialise import new_potential

cells, threads = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(cells)
atoms.rattle(0.1, seed=1)
frame = Frame.from_atoms(atoms)
# The default architecture, the one whose accuracy README reports; weights do not change the time.
labelled = Frame(frame.numbers, frame.positions, frame.cell, frame.pbc, 0.0, 0.0 * frame.positions + 0.1)
potential = new_potential([labelled], ["Si"], NetworkConfig())
graph = batch_graphs([frame_graph(frame, potential.cutoff)])
parameters = sum(p.numel() for p in potential.parameters())
serve(lambda: potential(graph), {"atoms": len(atoms), "parameters": parameters, "torch": torch.__version__})
