r"""The potential of mlpot.

.. math::
    E = \sum_i \left[ E_0(z_i) + u\, e(z_i)\, \varepsilon_i(\{s_{ij} r_{ij}\}) \right]
        + E_\mathrm{ZBL}

with a network :math:`\varepsilon` in reduced units. Per element there are three scalars: the
offset :math:`E_0`, the energy scale :math:`e` and the length scale :math:`s` of corresponding
states (1 for the element the network was trained on first; a potential of silicon serves
germanium with s about 0.95). Between unlike elements lengths 1/s average:
:math:`s_{ij} = 2 / (1/s_i + 1/s_j)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from ase.data import atomic_numbers
from torch import Tensor
from torch_geometric.data import Data

from mlpot.errors import ElementError
from mlpot.model.base import Deviation, LocalEnergyModel, Output, assemble
from mlpot.model.environment import Bonds, Environments
from mlpot.model.head import head_size, split_head, with_heads
from mlpot.model.inference import PackedWeights, energies_and_slopes
from mlpot.model.native import (
    NativeWeights,
    load_library,
    native_energies_and_slopes,
    supports,
    supports_bonds,
    with_readouts,
)
from mlpot.model.native_training import TrainableWeights
from mlpot.model.network import DensityNetwork, NetworkConfig
from mlpot.model.repulsion import ZBL


class Potential(LocalEnergyModel):
    """Offsets, a network in reduced units, and nuclear repulsion.

    Parameters
    ----------
    elements
        Chemical symbols, one row of every element table each.
    config
        Shape of the network.
    repulsion
        Whether the ZBL core is part of the potential.
    seed
        Of the initial weights.
    provenance
        What is known about the making of this potential; plain data, kept in the model file.

    Attributes
    ----------
    head_deviations : (K, P) float64, optional
        Samples of how far the numbers of the head (:mod:`mlpot.model.head`) may be off, from
        which the uncertainty of predictions follows (:mod:`mlpot.model.uncertainty`). They
        belong to these weights: training further makes them void.
    """

    element_tables = ("offsets", "energy_scales", "length_scales")
    scalar_names = (*element_tables, "energy_unit")

    def __init__(
        self,
        elements: Sequence[str],
        config: NetworkConfig | None = None,
        repulsion: bool = True,
        seed: int = 0,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        super().__init__([atomic_numbers[symbol] for symbol in elements])
        if len(set(elements)) != len(elements) or not elements:
            raise ElementError(f"elements must be one or more different symbols, got {list(elements)}.")
        self.config = config or NetworkConfig()
        self.network = DensityNetwork(self.config, len(elements), torch.Generator().manual_seed(seed))
        self.repulsion = ZBL(self.elements) if repulsion else None
        self._packed = PackedWeights()
        self._native: NativeWeights | None = None
        self._trainable = TrainableWeights()
        self.provenance: dict[str, Any] = dict(provenance or {})
        self.head_deviations: Tensor | None = None
        self.offsets: Tensor
        self.energy_scales: Tensor
        self.length_scales: Tensor
        self.energy_unit: Tensor
        self.register_buffer("offsets", torch.zeros(len(elements), dtype=torch.float64))
        self.register_buffer("energy_scales", torch.ones(len(elements), dtype=torch.float64))
        self.register_buffer("length_scales", torch.ones(len(elements), dtype=torch.float64))
        self.register_buffer("energy_unit", torch.ones((), dtype=torch.float64))
        self.float()

    def _apply(self, fn: Any, recurse: bool = True) -> Potential:
        # The physical scalars stay in double precision whatever the network computes in.
        scalars = {name: self._buffers[name] for name in self.scalar_names}
        super()._apply(fn, recurse)
        for name, value in scalars.items():
            assert value is not None
            self._buffers[name] = value.to(fn(value).device)
        return self

    @property
    def cutoff(self) -> float:
        """Largest distance (Å) at which two atoms of any known elements see each other."""
        cutoff = self.config.cutoff / float(self.length_scales.min())
        return max(cutoff, self.repulsion.cutoff) if self.repulsion is not None else cutoff

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the network."""
        return self.network.radial.scale.dtype

    def element_table_names(self) -> set[str]:
        """Return the names of all tensors whose first axis runs over the elements.

        A module declares its own in ``element_tables``; adding an element means adding a row to
        each of these and touching nothing else.
        """
        return {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in self.named_modules()
            for name in getattr(module, "element_tables", ())
        }

    def reduced(self, environments: Environments) -> Environments:
        """Return the environments in the network's units of length."""
        species = environments.species
        factors = self.stretch(species[:, None], species[environments.neighbour])
        return environments.scaled(factors.to(environments.vectors.dtype))

    def stretch(self, own: Tensor, other: Tensor) -> Tensor:
        """Return the factors :math:`s_{ij}` for the species of both ends of bonds."""
        lengths = 1.0 / self.length_scales
        return 2.0 / (lengths[own] + lengths[other])

    def local_energies(self, environments: Environments) -> Tensor:
        """Return offset, network and repulsion of each atom, (N,) float64, eV."""
        species = environments.species
        scale = self.energy_unit * self.energy_scales[species]
        energies = self.offsets[species] + scale * self.network(self.reduced(environments)).double()
        if self.repulsion is not None:
            energies = energies + self.repulsion.local_energies(environments).double()
        return energies

    @property
    def is_native(self) -> bool:
        """Whether native kernels compute the network now."""
        return self._native is not None

    def use_native(self, on: bool = True) -> bool:
        """Let native kernels compute the network from now on, or not; return whether they do."""
        # A subclass with energies of its own does not come by here.
        own = type(self).local_energies_and_slopes is Potential.local_energies_and_slopes
        if not (on and own and supports(self.config)):
            self._native = None
            return False
        load_library()
        self._native = self._native or NativeWeights()
        return True

    def local_energies_and_slopes(self, bonds: Bonds) -> tuple[Tensor, Tensor]:
        """Return the same energies (N,) and the slopes by bond vectors (E, 3), without autograd."""
        energies, slopes = next(self._network_energies_and_slopes(bonds))
        energies += self.offsets[bonds.species]
        if self.repulsion is not None:
            core_energies, core_slopes = self.repulsion.local_energies_and_slopes(bonds)
            energies += core_energies
            slopes += core_slopes
        return energies, slopes

    def _network_energies_and_slopes(
        self, bonds: Bonds, heads: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the network's part of the energies and slopes: its own, or with each of some heads."""
        reduced, factors, scale = self._reduced_bonds(bonds)
        seeds = scale.to(bonds.vectors.dtype)
        own = self._packed.get(self.network)
        native = None
        if self._native is not None and supports_bonds(bonds.vectors):
            native = self._native.get(self.network, self._packed)
        for layers in [own] if heads is None else with_heads(own, heads.to(bonds.vectors)):
            if native is None:
                energies, slopes = energies_and_slopes(self.network, layers, reduced, seeds)
            else:
                chosen = native if layers is own else with_readouts(native, layers, self.config)
                energies, slopes = native_energies_and_slopes(chosen, reduced, seeds)
            yield scale * energies.double(), slopes.mul_(factors)

    def _reduced_bonds(self, bonds: Bonds) -> tuple[Bonds, Tensor, Tensor]:
        """Return bonds in the network's units, the factors on them, and the energy scale of each atom."""
        species, dtype = bonds.species, bonds.vectors.dtype
        if len(self.elements) == 1:
            factors = self.length_scales.to(dtype)
        else:
            ends = (species.index_select(0, bonds.centre), species.index_select(0, bonds.neighbour))
            factors = self.stretch(*ends).to(dtype)[:, None]
        scale = self.energy_unit * self.energy_scales[species]
        return replace(bonds, vectors=bonds.vectors * factors), factors, scale

    def trainable(self, graph: Data) -> Output:
        """Return energies, forces and stress with a graph of derivatives by the weights."""
        # A subclass with energies of its own does not get here: it has no native kernels.
        bonds = self.bonds(graph) if self._native is not None else None
        if bonds is None or not supports_bonds(bonds.vectors):
            return super().trainable(graph)
        reduced, factors, scale = self._reduced_bonds(bonds)
        seeds = scale.to(bonds.vectors.dtype)
        energies, slopes = self._trainable.energies_and_slopes(self.network, reduced, seeds)
        energies = self.offsets[bonds.species] + scale * energies.double()
        slopes = slopes.double() * factors
        if self.repulsion is not None:
            core_energies, core_slopes = self.repulsion.local_energies_and_slopes(bonds)
            energies, slopes = energies + core_energies, slopes + core_slopes
        return assemble(graph, bonds, energies, slopes)

    @torch.no_grad()
    def head_outputs(self, graph: Data, heads: Tensor) -> Iterator[Output]:
        """Yield what each of several heads makes of a graph, or a batch, with all else as it is.

        Nuclear repulsion, which no head changes, is left out, so that the outputs are linear in
        the head: that of a difference of heads is the difference of their outputs.

        Parameters
        ----------
        graph
            As for :meth:`forward`.
        heads : (K, P)
            Numbers of each; see :mod:`mlpot.model.head`.
        """
        bonds = self.bonds(graph)
        weights, offsets = split_head(heads.to(self.offsets), head_size(self.config))
        for (energies, slopes), own in zip(
            self._network_energies_and_slopes(bonds, weights), offsets, strict=True
        ):
            yield assemble(graph, bonds, energies + own[bonds.species], slopes)

    @property
    def has_deviation(self) -> bool:
        """Whether the model says how far it may be off: whether it has :attr:`head_deviations`."""
        return self.head_deviations is not None

    def forward_with_deviation(self, graph: Data) -> tuple[Output, Deviation]:
        """Return what :meth:`forward` returns, and the root mean square over the deviations of heads."""
        if self.head_deviations is None:
            return super().forward_with_deviation(graph)
        output = self(graph)
        energy, forces = torch.zeros_like(output.energy), torch.zeros_like(output.forces)
        for change in self.head_outputs(graph, self.head_deviations):
            energy += change.energy.square()
            forces += change.forces.square()
        count = len(self.head_deviations)
        return output, Deviation((energy / count).sqrt(), (forces / count).sqrt())
