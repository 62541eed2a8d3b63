r"""The head of a potential: the last linear maps, in which energies and forces are linear.

The readout of each layer, :math:`\varepsilon = \mathrm{silu}(s W) \cdot o + s \cdot d`, is linear in
:math:`o` (hidden) and :math:`d` (channels). With everything else frozen the energy of a structure,

.. math::
    E = \Phi(\{r\}) \cdot w + \sum_i E_0(z_i) + E_\mathrm{ZBL},

is linear in these numbers of all layers and in the offsets, and so are forces and stress. A head
is one vector of P numbers: per layer :math:`o` and :math:`d` (in the network's units), then the
offsets of the elements (eV).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mlpot.model.kernels import LayerWeights
from mlpot.model.network import DensityNetwork, NetworkConfig


def head_size(config: NetworkConfig) -> int:
    """Return how many numbers a head has without the offsets."""
    return config.layers * (config.hidden + config.channels)


def split_head(heads: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the weights (..., size) and the offsets (..., elements) of heads (..., P)."""
    return heads[..., :size], heads[..., size:]


def head_names(network: DensityNetwork) -> list[str]:
    """Return the names of the weights of the head within the network, in the order of its numbers."""
    parts = ("outer", "direct")
    return [f"layers.{index}.readout.{part}" for index in range(len(network.layers)) for part in parts]


def read_head(network: DensityNetwork) -> Tensor:
    """Return a copy of the weights of the head, without offsets."""
    return torch.cat([network.get_parameter(name).detach()[:, 0] for name in head_names(network)])


@torch.no_grad()
def write_head(network: DensityNetwork, weights: Tensor) -> None:
    """Set the weights of the head, as :func:`read_head` returns them, in place."""
    parameters = [network.get_parameter(name) for name in head_names(network)]
    for parameter, part in zip(parameters, weights.split([len(p) for p in parameters]), strict=True):
        parameter.copy_(part[:, None])


def with_heads(layers: Sequence[LayerWeights], heads: Tensor) -> Iterator[list[LayerWeights]]:
    """Yield the packed weights of a network with each of the heads (K, P without offsets) in turn."""
    hidden, channels = len(layers[0].readout) - 1, layers[0].readout.shape[1]
    for head in heads:
        parts = head.view(len(layers), hidden + channels).split([hidden, channels], dim=1)
        yield [
            replace(layer, readout=torch.cat([layer.readout[:-1], direct[None]]), readout_outer=outer)
            for layer, outer, direct in zip(layers, *parts, strict=True)
        ]
