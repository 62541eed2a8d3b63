"""What a potential knows of each atom: the scalars from which its network reads energies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.model.network import Layer
from mlpot.model.potential import Potential


@torch.no_grad()
def atomic_features(model: Potential, frame: Frame) -> np.ndarray:
    """Return the features of the atoms of a frame, (N, layers * channels), float64.

    These are, side by side, the invariant scalars that the readout of each layer sees
    (:class:`~mlpot.model.network.Layer`): two atoms with the same features have the same local
    energy. They do not change when the frame is moved, rotated or its atoms are reordered.

    Raises
    ------
    ElementError, GeometryError
        For an element that the model does not know, or for atoms on top of each other.
    """
    device = next((buffer.device for buffer in model.buffers()), torch.device("cpu"))
    environments = model.environments(batch_graphs([frame_graph(frame, model.cutoff)]).to(device))
    seen: list[Tensor] = []

    def note(module: torch.nn.Module, inputs: Any) -> None:
        seen.append(inputs[0].detach())

    layers = [module for module in model.network.modules() if isinstance(module, Layer)]
    hooks = [layer.readout.register_forward_pre_hook(note) for layer in layers]
    try:
        model.network(model.reduced(environments))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(seen, dim=1).double().cpu().numpy()


def frame_features(model: Potential, frames: Sequence[Frame]) -> np.ndarray:
    """Return one row of features per frame, (frames, 2 * elements * layers * channels), float64.

    For each element of the model: mean and standard deviation, over the atoms of that element,
    of :func:`atomic_features`; zeros where a frame has none. The mean tells phases, volumes and
    temperatures apart, the deviation also sees single atoms that differ from the others.

    Raises
    ------
    ElementError, GeometryError
        See :func:`atomic_features`.
    """
    rows = []
    for frame in frames:
        features = atomic_features(model, frame)
        row = []
        for element in model.elements:
            own = features[frame.numbers == int(element)]
            empty = np.zeros(features.shape[1])
            row += [own.mean(axis=0), own.std(axis=0)] if len(own) else [empty, empty]
        rows.append(np.concatenate(row))
    return np.array(rows)
