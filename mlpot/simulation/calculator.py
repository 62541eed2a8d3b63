"""Potentials of mlpot as ASE calculators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from mlpot.conventions import matrix_to_voigt
from mlpot.data.graph import structure_graph
from mlpot.errors import GeometryError, RecipeError
from mlpot.model.base import LocalEnergyModel
from mlpot.model.committee import Committee
from mlpot.model.file import load_model
from mlpot.simulation.skin import SkinnedNeighbours


class MLPotCalculator(Calculator):
    """Energy, free energy, per-atom energies, forces and stress of a potential.

    One line in any ASE script: ``atoms.calc = MLPotCalculator("model.safetensors")``.

    Parameters
    ----------
    model
        A potential, the path of a model file, or the name of a shipped model. Files are loaded
        in float32; for float64 give ``load_model(path, dtype=torch.float64)``. A potential is
        moved to ``device``; if it is changed afterwards, make a new calculator. Several of
        these are a committee, their mean.
    skin
        Å by which the neighbour list reaches beyond the cutoff, so that it serves many steps
        (see :class:`~mlpot.simulation.skin.SkinnedNeighbours`). Results do not depend on it.
    device
        Where the model runs.
    native
        Native kernels (:mod:`mlpot.model.native`), several times faster on a CPU. None takes them
        where a C++ compiler is found and PyTorch elsewhere; True insists; False does without.
    uncertainty
        Also predict standard deviations, ``results["energy_std"]`` (eV, of the whole structure)
        and ``results["forces_std"]`` (N, 3), eV/Å: of a committee at no further cost, of a
        potential with an uncertainty of its own (``mlpot calibrate``) at that of one more
        evaluation per head.

    Attributes
    ----------
    model : LocalEnergyModel
        The potential.
    neighbours : SkinnedNeighbours
        Its neighbour list; ``neighbours.builds`` counts how often it was built.

    Notes
    -----
    energy and free_energy in eV, energies (N,) in eV, forces (N, 3) in eV/Å, stress (6,) in
    eV/Å³ in ASE's Voigt order xx yy zz yz xz xy, tensile positive.

    Raises
    ------
    ModelFileError
        On construction, for a file that cannot be loaded.
    RecipeError
        On construction, if an uncertainty is asked of a potential that has none.
    NativeError
        On construction, if native kernels are insisted on and cannot be had.
    ElementError
        On evaluation, for an element that the model does not know.
    GeometryError
        On evaluation, for atoms on top of each other, positions that are not finite, or none.
    PropertyNotImplementedError
        For the stress of a structure whose cell has no volume.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]
    name = "mlpot"

    def __init__(
        self,
        model: LocalEnergyModel | str | Path | Sequence[LocalEnergyModel | str | Path],
        skin: float = 0.5,
        device: str | torch.device = "cpu",
        native: bool | None = None,
        uncertainty: bool = False,
    ) -> None:
        super().__init__()
        several = [model] if isinstance(model, LocalEnergyModel | str | Path) else list(model)
        models = [load_model(one, device=device) if isinstance(one, str | Path) else one for one in several]
        self.model: LocalEnergyModel = (models[0] if len(models) == 1 else Committee(models)).to(device)
        self.uncertainty = uncertainty
        if uncertainty:
            require_deviation(self.model, several[0])
            # Not those of the class: other calculators have no uncertainty.
            self.implemented_properties = [*self.implemented_properties, "energy_std", "forces_std"]  # type: ignore[misc]
        self.device = torch.device(device)
        self.model.prefer_native(native, self.device)
        self.neighbours = SkinnedNeighbours(self.model.cutoff, skin)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill ``results`` for a structure; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        structure: Atoms = self.atoms
        if len(structure) == 0:
            raise GeometryError("the structure has no atoms; there is nothing to calculate.")
        has_volume = structure.cell.rank == 3
        if "stress" in properties and not has_volume:
            raise PropertyNotImplementedError(
                "stress is not defined: the cell has no volume. Give the structure three "
                "independent lattice vectors, or ask for energy and forces only."
            )
        cell = structure.cell.array
        neighbours = self.neighbours.find(structure.positions, cell, structure.pbc)
        graph = structure_graph(structure.numbers, structure.positions, cell, neighbours)
        graph, deviation = graph.to(self.device), None
        if self.uncertainty:
            output, deviation = self.model.forward_with_deviation(graph)
        else:
            output = self.model(graph)
        energy = float(output.energy[0])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": output.local_energies.cpu().numpy(),
            "forces": output.forces.cpu().numpy(),
        }
        if has_volume:
            self.results["stress"] = matrix_to_voigt(output.stress[0].cpu().numpy())
        if deviation is not None:
            self.results["energy_std"] = float(deviation.energy[0])
            self.results["forces_std"] = deviation.forces.cpu().numpy()


def require_deviation(model: LocalEnergyModel, name: object) -> None:
    """Refuse a model that does not say how far it may be off.

    Raises
    ------
    RecipeError
        Saying what to do.
    """
    if not model.has_deviation:
        shown = name if isinstance(name, str | Path) else f"this {type(model).__name__}"
        raise RecipeError(
            f"{shown} has no uncertainty: make one with mlpot calibrate, or give several potentials that "
            "differ in their seeds."
        )
