"""Potentials of mlpot as models of torch-sim, and its Langevin steps, of whatever version is installed.

torch-sim runs many systems as one batch (Cohen et al., AI Sci. 1, 025003, 2025). Version 0.3, the last
for Python 3.11, makes an integrator by ``nvt_langevin(model, ...)``; later ones, for Python 3.12 and
newer, step by ``nvt_langevin_step(state, model, ...)``. What differs between them is in this file alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mlpot.errors import GeometryError, RecipeError
from mlpot.model.base import LocalEnergyModel
from mlpot.simulation.batchneighbours import BatchedNeighbours
from mlpot.simulation.calculator import MLPotCalculator

try:
    from torch_sim import integrators
    from torch_sim.integrators import MDState
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
except ImportError as error:
    raise RecipeError(
        f"dynamics in batches needs torch-sim ({error}); install it: pip install 'mlpot[simulation]'."
    ) from None

Boundaries = tuple[bool, bool, bool]


class TorchSimModel(ModelInterface):
    """A potential as a model of torch-sim: energies, forces and stress of a batch of systems.

    Parameters
    ----------
    model
        What :class:`~mlpot.simulation.calculator.MLPotCalculator` takes, or one of these, whose model,
        device, native kernels, uncertainty and skin are then used.
    device
        Where model and states live.
    dtype
        Precision of states and results; the network computes in its own.
    skin, native, uncertainty
        As for the calculator. The uncertainty adds ``energy_std`` (B,) and ``forces_std`` (N, 3).
    pbc
        Periodic directions of all systems, in place of those of the state: torch-sim 0.3 knows only
        all or none, and wraps the positions of what is periodic.
    isolate
        What to do about a system with overlapping atoms or positions that are not finite: raise, or
        return NaN for it, name it in ``failures``, and go on with the others.

    Attributes
    ----------
    model : LocalEnergyModel
        The potential.
    neighbours : BatchedNeighbours
        Neighbour lists; ``neighbours.builds`` counts how often they were built.
    graph : Graph
        Of the latest batch.
    results : dict
        What the latest call returned.
    failures : dict of int to GeometryError
        With ``isolate``: the systems of the latest batch that could not be computed.

    Raises
    ------
    RecipeError
        On import of this module, without torch-sim. On construction as the calculator.
    ModelFileError, NativeError
        On construction, as the calculator.
    ElementError, GeometryError
        On evaluation, for an unknown element, or what ``isolate`` does not tolerate.
    """

    def __init__(
        self,
        model: MLPotCalculator | LocalEnergyModel | str | Path | Sequence[LocalEnergyModel | str | Path],
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
        skin: float = 0.5,
        native: bool | None = None,
        uncertainty: bool = False,
        pbc: Boundaries | None = None,
        isolate: bool = False,
    ) -> None:
        super().__init__()
        calculator = model
        if not isinstance(calculator, MLPotCalculator):
            calculator = MLPotCalculator(calculator, skin, device, native, uncertainty)
        self.model = calculator.model
        self.uncertainty, self.pbc, self.isolate = calculator.uncertainty, pbc, isolate
        self.neighbours = BatchedNeighbours(self.model.cutoff, calculator.neighbours.skin)
        self.graph: Any = None
        self.results: dict[str, Tensor] = {}
        self.failures: dict[int, GeometryError] = {}
        self._device, self._dtype = calculator.device, dtype
        self._compute_forces = self._compute_stress = True

    def forward(self, state: SimState | dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Return energies (B,), eV; forces (N, 3), eV/Å; stress (B, 3, 3), eV/Å³, tensile positive."""
        if isinstance(state, dict):
            state = SimState(**state)
        owner = state.system_idx
        pbc = boundaries(state.pbc) if self.pbc is None else self.pbc
        cells = state.row_vector_cell.double()
        found = self.neighbours.find(state.atomic_numbers.long(), state.positions.double(), cells, pbc, owner)
        if found.failures and not self.isolate:
            index, error = next(iter(found.failures.items()))
            raise GeometryError(f"system {index} of the batch: {error}")
        self.graph, self.failures = found.graph, found.failures
        if self.uncertainty:
            output, deviation = self.model.forward_with_deviation(found.graph)
        else:
            output, deviation = self.model(found.graph), None
        results = {"energy": output.energy, "forces": output.forces, "stress": output.stress}
        if deviation is not None:
            results |= {"energy_std": deviation.energy, "forces_std": deviation.forces}
        if found.failures:
            failed = torch.zeros(len(cells), dtype=torch.bool, device=cells.device)
            failed[list(found.failures)] = True
            for value in results.values():
                value[failed if len(value) == len(cells) else failed[owner]] = torch.nan
        self.results = {name: value.to(self._dtype) for name, value in results.items()}
        return self.results


def boundaries(pbc: bool | Tensor) -> Boundaries:
    """Return torch-sim's boundary conditions, one flag or (since 0.4) one per direction, as three flags."""
    flags = torch.as_tensor(pbc, dtype=torch.bool).flatten().tolist()
    return tuple(flags * 3)[:3]  # type: ignore[return-value]


def start(
    model: TorchSimModel,
    numbers: Tensor,
    masses: Tensor,
    positions: Tensor,
    momenta: Tensor,
    cells: Tensor,
    owner: Tensor,
) -> MDState:
    """Return the state from which a batch moves, with its energies and forces.

    torch-sim takes it for not periodic, and so leaves positions unwrapped; ``model.pbc`` holds.

    Parameters
    ----------
    model
        With ``pbc`` given.
    numbers : (N,) int64
        Atomic numbers.
    masses : (N,)
        u.
    positions : (N, 3)
        Å.
    momenta : (N, 3)
        In ASE's unit, (u eV)^½.
    cells : (B, 3, 3)
        Lattice vectors in rows, Å.
    owner : (N,) int64
        System of each atom, ascending.
    """
    common = {
        "positions": positions,
        "masses": masses,
        "cell": cells.mT.contiguous(),
        "pbc": False,
        "atomic_numbers": numbers,
        "system_idx": owner,
    }
    results = model(SimState(**common))
    return MDState(**common, momenta=momenta, energy=results["energy"], forces=results["forces"])


def langevin_step(
    state: MDState, model: TorchSimModel, *, dt: Tensor, kT: Tensor, gamma: Tensor, noise: Tensor
) -> MDState:
    """Return the state after one step of torch-sim's Langevin dynamics (BAOAB) with given noise.

    Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34. torch-sim draws the noise of a whole batch
    from one generator, so that the path of a system would depend on who else is in the batch; here it is
    handed in.

    Parameters
    ----------
    state, model
        What moves, and what moves it.
    dt, gamma : scalar
        Time step and friction, in ASE's unit of time and its inverse.
    kT : (B,)
        eV.
    noise : (N, 3)
        Normal variates of variance 1.

    Raises
    ------
    RecipeError
        For a torch-sim whose interface is not known here.
    """
    settings = {"dt": dt, "kT": kT, "gamma": gamma}
    with _Given(noise) as given:
        if hasattr(integrators, "nvt_langevin_step"):
            state = integrators.nvt_langevin_step(state=state, model=model, **settings)
        elif hasattr(integrators, "nvt_langevin"):
            _, step = integrators.nvt_langevin(model, **settings)
            state = step(state)
    if given.uses != 1:
        raise RecipeError(
            f"torch-sim {version('torch-sim-atomistic')} has another interface to Langevin dynamics than "
            "mlpot knows; install version 0.3.0, or do without batches."
        )
    return state


class _Given(TorchFunctionMode):
    """Within it, torch's normal variates in the shape of some noise are that noise."""

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self.noise, self.uses = noise, 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.randn_like or function is torch.randn:
            self.uses += 1
            return self.noise
        return function(*args, **(kwargs or {}))
