r"""The gradient of a loss on energies and forces by the weights, in C++: a faster twin of autograd.

A loss knows the derivatives :math:`a_i` by the local energies and :math:`w_{ij}` by the slopes
:math:`s_{ij} = \partial \sum_i c_i \varepsilon_i / \partial r_{ij}`. Its gradient by the weights
is that of :math:`\sum_i a_i \varepsilon_i + c_i \dot\varepsilon_i`, with the change
:math:`\dot\varepsilon` when every bond changes by :math:`w_{ij}`; ``native_training.cpp`` computes
it in one pass forward and one back, in dual numbers (Pearlmutter, Neural Comput. 6, 147, 1994).
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from mlpot.model.environment import Bonds
from mlpot.model.kernels import pack_layer
from mlpot.model.native import (
    Input,
    Packed,
    call,
    input_of,
    native_energies_and_slopes,
    pack_network,
    point_to,
)
from mlpot.model.network import DensityNetwork, UnitScale

#: Members of ``Gradients`` in native_training.cpp, in order.
MEMBERS = (
    "density", "radial", "factors", "emit", "centre", "scalars", "outer", "readout", "readout_outer",
    "update",
)  # fmt: skip
#: Members of packed weights that hold no weight.
GRIDS = ("even", "odd", "project_even", "project_odd", "points")
#: Packed tensors begin at multiples of so many values: of a cache line.
_LINE = 16


class _Arguments(ctypes.Structure):
    pointers = ("seeds", "by_energies", "by_slopes")
    _fields_ = [
        ("input", Input),
        *((name, ctypes.c_void_p) for name in pointers),
        ("gradients", ctypes.c_void_p),
        ("stride", ctypes.c_int64),
    ]


class TrainableWeights:
    """The weights of a network as the kernels read them, differentiable.

    Every packed number is one weight times a constant: packing is a gather, and the way of the
    gradients back its transpose. Which weight goes where is found once, by packing a network
    whose weights are their own numbers.
    """

    def __init__(self) -> None:
        self._plan: _Plan | None = None

    def __reduce__(self) -> tuple[type[TrainableWeights], tuple[()]]:
        # A copy makes its own plan: addresses do not survive copying.
        return TrainableWeights, ()

    def energies_and_slopes(
        self, network: DensityNetwork, bonds: Bonds, seeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what ``native_energies_and_slopes`` returns, with a graph of derivatives by the weights.

        By the weights alone: nothing is known of derivatives by bonds or seeds.

        Raises
        ------
        NativeError
            If the kernels cannot be had.
        """
        if self._plan is None or not self._plan.fits(network):
            self._plan = _Plan(network)
        flat = torch.cat([weight.flatten() for weight in _weights(network)])
        return _Network.apply(self._plan, bonds, seeds, flat)


def _weights(network: DensityNetwork) -> list[Tensor]:
    """Return the weights in a fixed order, adapters applied."""
    found: list[Any] = []
    layers: Any = network.layers
    for layer in layers:
        if layer.first:
            found.append(layer.species_radial)
        else:
            found += [layer.emit.weight, layer.radial_table, layer.factors.weight]
        found.append(layer.centre_table)
        if layer.l_out:
            found.append(layer.update.weight)
        for part in (layer.scalars, layer.readout):
            found += [part.inner, part.outer, part.direct]
    return found


def _constants(network: DensityNetwork) -> list[Tensor]:
    """Return the factors that belong to a network, and are not trained."""
    stages = [module.factor for module in network.modules() if isinstance(module, UnitScale)]
    return [network.radial.scale, *stages]


class _Plan:
    """Where each weight of a network goes, by which factor, and the memory it goes to."""

    def __init__(self, network: DensityNetwork) -> None:
        self.constants = [constant.clone() for constant in _constants(network)]
        dtype = network.radial.scale.dtype
        layers: Any = network.layers
        twin = DensityNetwork(network.config, len(layers[0].centre_table), torch.Generator())
        twin.requires_grad_(False)
        for own, constant in zip(_constants(twin), self.constants, strict=True):
            own.copy_(constant)
        weights = _weights(twin)

        def packed() -> Packed:
            scale = twin.radial.scale
            layers = [pack_layer(layer, index, scale, False) for index, layer in enumerate(twin.layers)]
            return pack_network(twin, layers, dtype)

        for weight in weights:
            weight.fill_(1.0)
        factors = packed().tensors
        for constant in _constants(twin):
            constant.fill_(1.0)
        self.size = 0
        for weight in weights:
            numbers = torch.arange(1, weight.numel() + 1, dtype=weight.dtype) + self.size
            weight.copy_(numbers.view_as(weight))
            self.size += weight.numel()
        numbered = packed()

        index: list[Tensor] = []
        scale: list[Tensor] = []
        tensors: list[dict[str, Tensor]] = []
        places: list[tuple[int, str, int, torch.Size]] = []
        start = 0
        for table, factor in zip(numbered.tensors, factors, strict=True):
            for name in table.keys() - set(GRIDS):
                count = -(-table[name].numel() // _LINE) * _LINE
                for kept, values in ((index, table[name]), (scale, factor[name])):
                    kept.append(torch.nn.functional.pad(values.flatten(), (0, count - values.numel())))
                places.append((len(tensors), name, start, table[name].shape))
                start += count
            tensors.append({name: table[name].to(dtype) for name in GRIDS} | {"points": table["points"]})
        # Weights count from 1; what is no weight is 0.
        self.index = torch.cat(index).round().long()
        self.scale = torch.cat(scale).to(dtype)
        self.values = torch.zeros(start, dtype=dtype)
        self.trained = torch.zeros(start, dtype=torch.bool)
        self.begins: dict[tuple[int, str], int] = {}
        for layer, name, begin, shape in places:
            tensors[layer][name] = self.values[begin : begin + shape.numel()].view(shape)
            if name in MEMBERS:
                self.begins[layer, name] = begin
                self.trained[begin : begin + shape.numel()] = True
        self.scale_back = self.scale * self.trained
        self.packed = Packed([], numbered.shape, point_to(tensors), tensors)

    def fits(self, network: DensityNetwork) -> bool:
        """Say whether the constants are still the same."""
        return all(
            new.dtype == old.dtype and torch.equal(new, old)
            for new, old in zip(_constants(network), self.constants, strict=True)
        )

    def fill(self, flat: Tensor) -> None:
        """Pack the weights."""
        torch.index_select(torch.cat([flat.new_zeros(1), flat]), 0, self.index, out=self.values)
        self.values.mul_(self.scale)


class _Network(torch.autograd.Function):
    """Energies and slopes from all weights in a row."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, bonds: Bonds, seeds: Tensor, flat: Tensor) -> Any:
        plan.fill(flat)
        ctx.plan, ctx.bonds, ctx.seeds = plan, bonds, seeds
        ctx.save_for_backward(flat)
        return native_energies_and_slopes(plan.packed, bonds, seeds)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        # The memory of the plan may have seen other weights since.
        ctx.plan.fill(*ctx.saved_tensors)
        return None, None, None, _gradient(ctx.plan, ctx.bonds, ctx.seeds, *slopes)


def _gradient(plan: _Plan, bonds: Bonds, seeds: Tensor, by_energies: Tensor, by_slopes: Tensor) -> Tensor:
    """Return the gradient by all weights in a row, from those by energies (N,) and slopes (E, 3)."""
    inputs, _kept = input_of(plan.packed, bonds)
    given = {"seeds": seeds, "by_energies": by_energies, "by_slopes": by_slopes}
    tensors = {name: tensor.to(bonds.vectors.dtype).contiguous() for name, tensor in given.items()}
    # Each thread adds up its own.
    found = plan.values.new_zeros(max(inputs.threads, 1), len(plan.values))
    pointers = (ctypes.c_void_p * (len(MEMBERS) * len(plan.packed.tensors)))()
    for (layer, name), begin in plan.begins.items():
        pointers[layer * len(MEMBERS) + MEMBERS.index(name)] = found[0, begin:].data_ptr()
    arguments = _Arguments(
        inputs,
        gradients=ctypes.cast(pointers, ctypes.c_void_p),
        stride=found.shape[1],
        **{name: tensor.data_ptr() for name, tensor in tensors.items()},
    )
    call("train", bonds.vectors.dtype, arguments)
    gradient = found.new_zeros(plan.size + 1)
    return gradient.index_add_(0, plan.index, found.sum(0).mul_(plan.scale_back))[1:]
