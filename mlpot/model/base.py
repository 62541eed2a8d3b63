r"""What every potential shares: forces and stress from local energies.

A model says only what the energy of each atom is, given the environments of all atoms. With
bond vectors :math:`r_{ij} = r_j - r_i` and :math:`g_{ij} = \partial E / \partial r_{ij}`,

.. math::
    F_i = \sum_j (g_{ij} - g_{ji}), \qquad
    \sigma = \frac{1}{V} \frac{\partial E}{\partial \varepsilon}
           = \frac{1}{V} \sum_{ij} \mathrm{sym}(r_{ij} \otimes g_{ij}).
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from torch import Tensor, nn
from torch_geometric.data import Data

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.errors import ElementError, NativeError, NoCompilerError, RecipeError
from mlpot.model.environment import Bonds, Environments, gather_environments

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Output:
    """What a model says about a batch of B structures with N atoms, as float64 tensors.

    Attributes
    ----------
    energy : (B,)
        eV.
    local_energies : (N,)
        eV; they add up to ``energy``.
    forces : (N, 3)
        eV/Å.
    stress : (B, 3, 3)
        eV/Å³, tensile positive; NaN for a structure without volume.
    """

    energy: Tensor
    local_energies: Tensor
    forces: Tensor
    stress: Tensor


@dataclass(frozen=True)
class Deviation:
    """Predicted standard deviations of an :class:`Output`, float64.

    Attributes
    ----------
    energy : (B,)
        eV, of whole structures.
    forces : (N, 3)
        eV/Å, of each component.
    """

    energy: Tensor
    forces: Tensor


@dataclass(frozen=True)
class Prediction:
    """The same for one structure, as numpy arrays: energy (eV), forces (N, 3), stress (3, 3).

    Where they were asked for, also the standard deviations of the energy (eV, of the whole
    structure) and of the components of the forces (N, 3), eV/Å.
    """

    energy: float
    local_energies: np.ndarray
    forces: np.ndarray
    stress: np.ndarray
    energy_std: float | None = None
    forces_std: np.ndarray | None = None


class LocalEnergyModel(nn.Module, ABC):
    """A sum of local energies; subclasses implement :meth:`local_energies`.

    They may have a faster way to energies and forces in :meth:`local_energies_and_slopes`.

    Parameters
    ----------
    elements
        Atomic numbers the model knows; their order is the order of its element tables.
    """

    elements: tuple[int, ...]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give a class that redefines the energies the slopes of these, not those of its base."""
        super().__init_subclass__(**kwargs)
        if "local_energies" in vars(cls) and "local_energies_and_slopes" not in vars(cls):
            cls.local_energies_and_slopes = LocalEnergyModel.local_energies_and_slopes  # type: ignore[method-assign]

    def __init__(self, elements: Sequence[int]) -> None:
        super().__init__()
        self.elements = tuple(elements)

    @property
    @abstractmethod
    def cutoff(self) -> float:
        """Distance (Å) beyond which atoms do not see each other."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of everything that follows the bond vectors."""
        return torch.float64

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbols of :attr:`elements`."""
        return tuple(chemical_symbols[z] for z in self.elements)

    @abstractmethod
    def local_energies(self, environments: Environments) -> Tensor:
        """Return the energy of every atom (N,), eV, from bonds in Å."""

    def __add__(self, other: LocalEnergyModel) -> SumModel:
        return SumModel([self, other])

    def species(self, numbers: Tensor) -> Tensor:
        """Return the rows of the element tables for atomic numbers.

        Raises
        ------
        ElementError
            For an element the model does not know.
        """
        rows = torch.full((len(chemical_symbols),), -1, device=numbers.device)
        rows[list(self.elements)] = torch.arange(len(self.elements), device=numbers.device)
        species = rows[numbers]
        if (species < 0).any():
            unknown = sorted({chemical_symbols[int(z)] for z in numbers[species < 0]})
            raise ElementError(
                f"element {', '.join(unknown)} is unknown to this model, which knows "
                f"{', '.join(self.symbols)}; give it a donor first: "
                f"mlpot transfer --from MODEL --to {unknown[0]} --donor {self.symbols[0]} ..."
            )
        return species

    def local_energies_and_slopes(self, bonds: Bonds) -> tuple[Tensor, Tensor]:
        """Return the energy of every atom (N,), eV, and the slopes by bond vectors (E, 3), eV/Å.

        Without a graph of derivatives. Here by autograd; a subclass with something faster must
        agree with that to rounding.
        """
        environments = gather_environments(bonds)
        with torch.enable_grad():
            vectors = environments.vectors.requires_grad_()
            local = self.local_energies(replace(environments, vectors=vectors)).double()
            (table,) = torch.autograd.grad(local.sum(), vectors, materialize_grads=True)
        filled = torch.arange(table.shape[1], device=table.device) < bonds.counts[:, None]
        return local.detach(), table[filled]

    def use_native(self, on: bool = True) -> bool:
        """Let native kernels compute energies and slopes from now on, or not (the state at first).

        They take effect on a CPU, agree with PyTorch to rounding, and are compiled on first use
        (:mod:`mlpot.model.native`).

        Returns
        -------
        bool
            Whether they are in use now; never, for a model that has none.

        Raises
        ------
        NativeError
            If they are asked for and cannot be had.
        """
        return False

    @property
    def is_native(self) -> bool:
        """Whether native kernels compute this model now; see :meth:`use_native`."""
        return False

    @contextmanager
    def natively(self, native: bool | None = None, device: torch.device = _CPU) -> Iterator[None]:
        """Within this context use native kernels, as :meth:`prefer_native` does; after it as before."""
        before = self.is_native
        self.prefer_native(native, device)
        try:
            yield
        finally:
            self.use_native(before)

    def prefer_native(self, native: bool | None, device: torch.device = _CPU) -> None:
        """Use native kernels as asked for: ``None`` takes them where they can be had.

        Without a compiler PyTorch computes, silently; where compiling fails, with a warning.

        Raises
        ------
        NativeError
            If they are insisted on (``True``) and cannot be had.
        """
        if native is None:
            try:
                self.use_native(device.type == "cpu")
            except NoCompilerError:
                pass
            except NativeError as error:
                warnings.warn(f"{error} PyTorch computes instead, several times slower.", stacklevel=3)
            return
        if native and device.type != "cpu":
            raise NativeError(f"native=True: native kernels run on a CPU, not on {device}; leave native out.")
        if self.use_native(native) != native:
            raise NativeError(
                f"native=True: this {type(self).__name__} has no native kernels; leave native out."
            )

    def bonds(self, graph: Data) -> Bonds:
        """Return the bonds of a graph; vectors in float64 first, then in :attr:`dtype`."""
        centre, neighbour = graph.edge_index
        cells = graph.cell.view(-1, 3, 3)
        if graph.batch is None or len(cells) == 1:
            vectors = graph.shift @ cells[0]
        else:
            vectors = torch.einsum("ea,eab->eb", graph.shift, cells[graph.batch[centre]])
        vectors += graph.pos.index_select(0, neighbour)
        vectors -= graph.pos.index_select(0, centre)
        species = self.species(graph.numbers)
        counts = torch.bincount(centre, minlength=len(species))
        return Bonds(vectors.to(self.dtype), centre, neighbour, graph.reverse, species, counts)

    def environments(self, graph: Data) -> Environments:
        """Return the bonds of a graph as environments."""
        return gather_environments(self.bonds(graph))

    def forward(self, graph: Data, create_graph: bool = False) -> Output:
        """Return energies, forces and stress of a graph or a batch of graphs.

        Parameters
        ----------
        graph
            :class:`~mlpot.data.graph.Graph` or batch; pairs beyond the cutoff do no harm.
        create_graph
            Keep the graph of derivatives, to train on forces.
        """
        if create_graph:
            return self.differentiate(graph, create_graph=True)
        with torch.no_grad():
            bonds = self.bonds(graph)
            return assemble(graph, bonds, *self.local_energies_and_slopes(bonds))

    def trainable(self, graph: Data) -> Output:
        """Return what :meth:`forward` returns, with a graph of derivatives by the weights.

        By the weights alone: an output here may not be differentiated by positions. A subclass
        with something faster must agree with :meth:`differentiate` to rounding.
        """
        return self.differentiate(graph, create_graph=True)

    @property
    def has_deviation(self) -> bool:
        """Whether the model says how far it may be off (:meth:`forward_with_deviation`)."""
        return False

    def forward_with_deviation(self, graph: Data) -> tuple[Output, Deviation]:
        """Return what :meth:`forward` returns, and how far it may be off.

        Raises
        ------
        RecipeError
            If the model does not know; see :attr:`has_deviation`.
        """
        raise RecipeError(
            f"this {type(self).__name__} has no uncertainty: make one with mlpot calibrate, or give several "
            "potentials that differ in their seeds (Committee)."
        )

    def differentiate(self, graph: Data, create_graph: bool = False) -> Output:
        """Return what :meth:`forward` returns, by autograd through :meth:`local_energies` alone.

        The reference for every faster path.
        """
        owner = graph.batch if graph.batch is not None else torch.zeros_like(graph.numbers)
        cells = graph.cell.view(-1, 3, 3)
        environments = self.environments(graph)
        with torch.enable_grad():
            environments = replace(environments, vectors=environments.vectors.requires_grad_())
            local = self.local_energies(environments).double()
            energy = local.new_zeros(len(cells)).index_add(0, owner, local)
            (gradient,) = torch.autograd.grad(
                energy.sum(), environments.vectors, create_graph=create_graph, materialize_grads=True
            )
        forces = (gradient - environments.exchange(gradient)).double().sum(1)
        virial = torch.einsum("nka,nkb->nab", environments.vectors.detach().double(), gradient.double())
        virial = virial.new_zeros(len(cells), 3, 3).index_add(0, owner, virial)
        if not create_graph:
            energy, local = energy.detach(), local.detach()
        return _output(energy, local, forces, virial, cells)

    def predict(
        self, structures: Atoms | Frame | Sequence[Atoms | Frame], uncertainty: bool = False
    ) -> list[Prediction]:
        """Return energies, forces and stress of structures, one at a time.

        Parameters
        ----------
        structures
            One or several.
        uncertainty
            Also how far energies and forces may be off; see :class:`Prediction`.

        Raises
        ------
        RecipeError
            Where the uncertainty is asked of a model that has none.
        ElementError, GeometryError
            For an unknown element, or for atoms on top of each other.
        """
        several = [structures] if isinstance(structures, Atoms | Frame) else list(structures)
        device = next((buffer.device for buffer in self.buffers()), torch.device("cpu"))
        predictions = []
        for index, structure in enumerate(several):
            if isinstance(structure, Atoms):
                structure = Frame.from_atoms(structure, source=f"structure {index}")
            graph = batch_graphs([frame_graph(structure, self.cutoff)]).to(device)
            output, deviation = self.forward_with_deviation(graph) if uncertainty else (self(graph), None)
            predictions.append(
                Prediction(
                    energy=float(output.energy[0]),
                    local_energies=output.local_energies.cpu().numpy(),
                    forces=output.forces.cpu().numpy(),
                    stress=output.stress[0].cpu().numpy(),
                    energy_std=float(deviation.energy[0]) if deviation else None,
                    forces_std=deviation.forces.cpu().numpy() if deviation else None,
                )
            )
        return predictions


def assemble(graph: Data, bonds: Bonds, local: Tensor, slopes: Tensor) -> Output:
    """Return the output that local energies (N,), eV, and slopes by bond vectors (E, 3), eV/Å, make."""
    local, slopes, vectors = local.double(), slopes.double(), bonds.vectors.double()
    # What bond (i, j) pulls at i, it pulls back at j.
    pulls = slopes - slopes.index_select(0, bonds.reverse)
    forces = torch.segment_reduce(pulls, "sum", lengths=bonds.counts, axis=0)
    cells = graph.cell.view(-1, 3, 3)
    if len(cells) == 1:
        return _output(local.sum()[None], local, forces, (vectors.T @ slopes)[None], cells)
    energy = local.new_zeros(len(cells)).index_add_(0, graph.batch, local)
    products = (vectors[:, :, None] * slopes[:, None]).flatten(1)
    virial = torch.zeros_like(cells.flatten(1))
    virial.index_add_(0, graph.batch.index_select(0, bonds.centre), products)
    return _output(energy, local, forces, virial.view_as(cells), cells)


def _output(energy: Tensor, local: Tensor, forces: Tensor, virial: Tensor, cells: Tensor) -> Output:
    """Return the output, with the stress from the virials (B, 3, 3)."""
    volume = torch.linalg.det(cells).abs()[:, None, None]
    stress = 0.5 * (virial + virial.transpose(1, 2)) / torch.where(volume > 0, volume, 1.0)
    # Chosen, not divided by NaN: the slopes by what is not chosen are zero.
    stress = torch.where(volume > 0, stress, torch.nan)
    return Output(energy, local, forces, stress)


class SumModel(LocalEnergyModel):
    """The sum of models that know the same elements in the same order."""

    def __init__(self, terms: Sequence[LocalEnergyModel]) -> None:
        super().__init__(terms[0].elements)
        for term in terms[1:]:
            if term.elements != self.elements:
                raise ElementError(
                    f"models for {self.symbols} and {term.symbols} cannot be added: "
                    "their elements or the order of them differ."
                )
        self.terms = nn.ModuleList(terms)

    @property
    def cutoff(self) -> float:
        """The largest cutoff of the terms."""
        return max(term.cutoff for term in self._terms())

    @property
    def dtype(self) -> torch.dtype:
        """The highest precision among the terms."""
        return torch.float64 if any(t.dtype == torch.float64 for t in self._terms()) else torch.float32

    def _terms(self) -> list[LocalEnergyModel]:
        return list(self.terms)  # type: ignore[arg-type]

    @property
    def is_native(self) -> bool:
        """Whether any term uses native kernels now."""
        return any(term.is_native for term in self._terms())

    def use_native(self, on: bool = True) -> bool:
        """Ask every term; return whether any uses them now."""
        return any([term.use_native(on) for term in self._terms()])

    def local_energies(self, environments: Environments) -> Tensor:
        """Return the summed local energies, (N,)."""
        energies = []
        for term in self._terms():
            own = replace(environments, vectors=environments.vectors.to(term.dtype))
            energies.append(term.local_energies(own).double())
        return torch.stack(energies).sum(0)

    def local_energies_and_slopes(self, bonds: Bonds) -> tuple[Tensor, Tensor]:
        """Return the sums of the local energies (N,) and of the slopes (E, 3), each term its own way."""
        energies = torch.zeros(len(bonds.species), dtype=torch.float64, device=bonds.vectors.device)
        slopes = torch.zeros_like(bonds.vectors, dtype=torch.float64)
        for term in self._terms():
            own = term.local_energies_and_slopes(replace(bonds, vectors=bonds.vectors.to(term.dtype)))
            energies += own[0]
            slopes += own[1]
        return energies, slopes
