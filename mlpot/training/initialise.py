"""A new potential made ready for its data: offsets, energy unit, scales of every stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.errors import DataError
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.training.offsets import given_offsets, least_squares_offsets

#: So many frames suffice to measure the size of densities and features.
CALIBRATION_FRAMES = 24


def new_potential(
    frames: Sequence[Frame],
    elements: Sequence[str],
    config: NetworkConfig,
    repulsion: bool = True,
    offsets: Mapping[str, float] | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Potential:
    """Return an untrained potential whose scales fit the training frames.

    The energy unit is the root mean square force (eV/Å) times 1 Å; offsets are ``given`` ones or
    by least squares; every stage of the network is brought to unit size on some of the frames.

    Raises
    ------
    DataError
        If no frame has forces, or an element of the frames is not among ``elements``.
    """
    strangers = sorted(set().union(*(frame.symbols for frame in frames)) - set(elements))
    if strangers:
        raise DataError(
            f"the training frames contain {', '.join(strangers)}, not among the elements {list(elements)}."
        )
    forces = [frame.forces.ravel() for frame in frames if frame.forces is not None]
    if not forces:
        raise DataError("no training frame has forces; a potential cannot learn from energies alone here.")
    potential = Potential(elements, config, repulsion, seed)
    size = float(np.sqrt(np.mean(np.concatenate(forces) ** 2)))
    potential.energy_unit.fill_(size if size > 1e-3 else 1.0)
    if offsets is not None:
        fitted = given_offsets(offsets, potential.elements)
    else:
        fitted, _ = least_squares_offsets(frames, potential.elements)
    potential.offsets.copy_(torch.as_tensor(fitted))
    chosen = np.random.default_rng(seed).permutation(len(frames))[:CALIBRATION_FRAMES]
    sample = batch_graphs([frame_graph(frames[i], potential.cutoff) for i in sorted(chosen)])
    potential.double()
    potential.network.calibrate(potential.environments(sample))
    return potential.to(dtype)
