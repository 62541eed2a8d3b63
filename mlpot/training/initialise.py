"""A new potential made ready for its data: offsets, energy unit, scales of every stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mlpot.data.files import count_labels
from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.data.section import known_symbols
from mlpot.data.store import StoredFrames
from mlpot.errors import DataError
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.training.offsets import given_offsets, least_squares_offsets
from mlpot.training.scales import Scales

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
    scales: Mapping[str, Scales] | None = None,
    force_size: float | None = None,
) -> Potential:
    """Return an untrained potential whose stages fit the training frames.

    The energy unit is the root mean square of the forces in reduced units, :math:`F / (e s)`
    (eV/Å), times 1 Å; offsets are ``given`` ones or by least squares; every stage of the network
    is brought to unit size on some of the frames.

    Parameters
    ----------
    frames
        To train on.
    elements
        Chemical symbols.
    config, repulsion, seed
        See :class:`~mlpot.model.potential.Potential`.
    offsets
        Energies of isolated atoms (eV) by symbol; fitted if not given.
    dtype
        Precision of the network.
    scales
        Length and energy scale of elements by symbol, 1 and 1 where nothing is said: elements
        that correspond share the network in reduced units.
    force_size
        Size of the forces (eV/Å), for frames without labels; measured if not given.

    Raises
    ------
    DataError
        If no frame has forces and their size is not given, or an element of the frames is not
        among ``elements``.
    """
    strangers = sorted(known_symbols(frames) - set(elements))
    if strangers:
        raise DataError(
            f"the training frames contain {', '.join(strangers)}, not among the elements {list(elements)}."
        )
    if force_size is None and not count_labels(frames)["forces"]:
        raise DataError("no training frame has forces; a potential cannot learn from energies alone here.")
    potential = Potential(elements, config, repulsion, seed)
    for symbol, own in (scales or {}).items():
        row = potential.symbols.index(symbol)
        potential.length_scales[row], potential.energy_scales[row] = own.length, own.energy
    size = _force_size(frames, potential) if force_size is None else force_size
    potential.energy_unit.fill_(size if size > 1e-3 else 1.0)
    if offsets is not None:
        fitted = given_offsets(offsets, potential.elements)
    else:
        fitted, _ = least_squares_offsets(frames, potential.elements)
    potential.offsets.copy_(torch.as_tensor(fitted))
    chosen = np.random.default_rng(seed).permutation(len(frames))[:CALIBRATION_FRAMES]
    sample = batch_graphs([frame_graph(frames[i], potential.cutoff) for i in sorted(chosen)])
    potential.double()
    potential.network.calibrate(potential.reduced(potential.environments(sample)))
    return potential.to(dtype)


def _force_size(frames: Sequence[Frame], potential: Potential) -> float:
    """Return the root mean square of the components of all forces in reduced units, eV/Å."""
    scales = (potential.energy_scales * potential.length_scales).numpy()
    if isinstance(frames, StoredFrames):
        table = frames.table
        squares = table.total_force_squares(potential.elements) / scales**2
        return float(np.sqrt(squares.sum() / (3 * table.composition[table.labelled[:, 1]].sum())))
    units = np.ones(max(potential.elements) + 1)
    units[list(potential.elements)] = scales
    forces = [
        (frame.forces / units[frame.numbers, None]).ravel() for frame in frames if frame.forces is not None
    ]
    return float(np.sqrt(np.mean(np.concatenate(forces) ** 2)))
