"""From frames to batches: the order of an epoch, the share of a process, graphs made ready."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch.utils.data import Dataset, Sampler
from torch_geometric.loader import DataLoader

from mlpot.data.frame import Frame
from mlpot.data.graph import Graph, frame_graphs
from mlpot.data.store import StoredFrames


class EpochShuffle(Sampler[int]):
    """A fresh order for every epoch, a function of seed and epoch alone; so resume is exact."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (Lightning calls this)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        # Piece by piece: a list of all would take several times the memory of the tensor.
        for piece in torch.randperm(self.size, generator=generator).split(65536):
            yield from piece.tolist()


class Shares(Sampler[list[int | None]]):
    """The share of one process in every batch of a common order.

    Every process has as many shares as there are batches, because all take every step together;
    ``None`` stands for the frame it does not have where a batch, the last of an epoch, has fewer
    frames than there are processes. No frame is left out and none comes twice.

    Parameters
    ----------
    order
        Indices of frames, the same in all processes.
    batch_size
        Frames per step, of all processes together.
    rank, processes
        Which process of how many.
    """

    def __init__(
        self, order: Sampler[int] | range, batch_size: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.sampler = order  # Lightning looks here for who must know the epoch
        self.batch_size, self.rank, self.processes = batch_size, rank, processes

    def __len__(self) -> int:
        return -(-len(self.sampler) // self.batch_size)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[int | None]]:
        indices = iter(self.sampler)
        while batch := list(islice(indices, self.batch_size)):
            yield [*batch[self.rank :: self.processes]] or [None]


class Graphs(Dataset[Graph]):
    """Graphs of frames: built once and kept for frames in memory, built anew for those that stream."""

    def __init__(self, frames: Sequence[Frame], cutoff: float) -> None:
        self.frames, self.cutoff = frames, cutoff
        self.kept = [] if isinstance(frames, StoredFrames) else frame_graphs(frames, cutoff)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int | None) -> Graph:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int | None]) -> list[Graph]:
        """Return the graphs of a batch at once (the loader calls this)."""
        places = [0 if index is None else index for index in indices]
        if isinstance(self.frames, StoredFrames):
            graphs = frame_graphs(self.frames.fetch(places), self.cutoff)
        else:
            graphs = [self.kept[place] for place in places]
        return [
            stand_in(graph) if index is None else graph for index, graph in zip(indices, graphs, strict=True)
        ]


def stand_in(graph: Graph) -> Graph:
    """Return a graph without labels, which adds nothing to a loss, for a process without a frame."""
    bare = graph.clone()
    for name in ("energy", "forces", "stress"):
        bare[name] = torch.full_like(bare[name], torch.nan)
    bare.stand_in = True
    return bare


def batches(
    graphs: Graphs,
    order: Sampler[int] | range,
    batch_size: int,
    rank: int = 0,
    processes: int = 1,
    workers: int = 0,
) -> DataLoader:
    """Return the batches of one process; see :class:`Shares`.

    ``workers`` processes read streamed frames and build their graphs; frames in memory need none.
    """
    workers = workers if isinstance(graphs.frames, StoredFrames) else 0
    shares = Shares(order, batch_size, rank, processes)
    return DataLoader(graphs, batch_sampler=shares, num_workers=workers, persistent_workers=workers > 0)
