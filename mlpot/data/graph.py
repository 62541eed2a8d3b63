"""Graphs: what a model reads, as ``torch_geometric`` data; built once per frame and batched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Batch, Data

from mlpot.data.frame import Frame
from mlpot.data.neighbours import Neighbours, find_neighbours


class Graph(Data):
    """A structure with its neighbour list, and its labels where there are any.

    Attributes (``N`` atoms, ``E`` directed pairs sorted by centre)
    ---------------------------------------------------------------
    numbers : (N,) int64
        Atomic numbers.
    pos : (N, 3) float64
        Å.
    cell : (1, 3, 3) float64
        Lattice vectors in rows, Å.
    edge_index : (2, E) int64
        Centre and neighbour.
    shift : (E, 3) float64
        Lattice translations of the neighbour.
    reverse : (E,) int64
        Index of the opposite pair.
    energy : (1,), forces : (N, 3), stress : (1, 3, 3) float64
        Labels; NaN stands for a label that the frame does not have.
    """

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Shift pair indices by the number of pairs when graphs are joined."""
        if key == "reverse":
            return self.reverse.shape[0]
        return super().__inc__(key, value, *args, **kwargs)


def structure_graph(
    numbers: np.ndarray, positions: np.ndarray, cell: np.ndarray, neighbours: Neighbours
) -> Graph:
    """Return the unlabelled graph of a structure whose neighbour list is known."""
    return Graph(
        numbers=torch.as_tensor(numbers, dtype=torch.int64),
        pos=torch.as_tensor(positions, dtype=torch.float64),
        cell=torch.as_tensor(cell, dtype=torch.float64)[None],
        edge_index=torch.as_tensor(np.stack([neighbours.centre, neighbours.neighbour])),
        shift=torch.as_tensor(neighbours.shift, dtype=torch.float64),
        reverse=torch.as_tensor(neighbours.reverse),
        num_nodes=len(numbers),
    )


def frame_graph(frame: Frame, cutoff: float) -> Graph:
    """Return the labelled graph of a frame, with all pairs closer than ``cutoff`` (Å).

    Raises
    ------
    GeometryError
        Where two atoms overlap; the message names the frame.
    """
    neighbours = find_neighbours(frame.positions, frame.cell, frame.pbc, cutoff, frame.source)
    graph = structure_graph(frame.numbers, frame.positions, frame.cell, neighbours)
    n = len(frame)
    graph.energy = torch.tensor([np.nan if frame.energy is None else frame.energy], dtype=torch.float64)
    graph.forces = torch.as_tensor(np.full((n, 3), np.nan) if frame.forces is None else frame.forces)
    graph.stress = torch.as_tensor(np.full((3, 3), np.nan) if frame.stress is None else frame.stress)[None]
    return graph


def frame_graphs(frames: Sequence[Frame], cutoff: float) -> list[Graph]:
    """Return the graphs of frames; keep the list, it is the cache of their neighbour lists."""
    return [frame_graph(frame, cutoff) for frame in frames]


def batch_graphs(graphs: Sequence[Graph]) -> Batch:
    """Join graphs into one batch."""
    return Batch.from_data_list(list(graphs))
