from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc100

from mlpot.conventions import voigt_to_matrix
from mlpot.errors import ElementError, GeometryError, RecipeError
from mlpot.model.committee import Committee
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.simulation.calculator import MLPotCalculator

torch_sim = pytest.importorskip("torch_sim", reason="torch-sim is not installed: mlpot[simulation]")

from torch_sim.models.interface import validate_model_outputs  # noqa: E402

from mlpot.simulation import torchsim  # noqa: E402
from mlpot.simulation.torchsim import TorchSimModel, boundaries, langevin_step, start  # noqa: E402

CPU = torch.device("cpu")
FAST = NetworkConfig(channels=8, hidden=8)


def potential(dtype: torch.dtype = torch.float64, seed: int = 0) -> Potential:
    return Potential(["Si", "Ge", "Fe"], FAST, seed=seed).to(dtype)


def structures() -> list[Atoms]:
    rng = np.random.default_rng(0)
    made = [bulk("Si", cubic=True), bulk("Ge"), bulk("Si", cubic=True) * (2, 1, 1), bulk("Ge", cubic=True)]
    made[3].numbers[::2] = 14
    made[3].set_cell(np.add(made[3].cell.array, [[0, 0, 0], [1.0, 0, 0], [0, -0.5, 0.3]]), scale_atoms=True)
    for atoms in made:
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
    return made


def state_of(atoms: list[Atoms], dtype: torch.dtype = torch.float64) -> torch_sim.SimState:
    return torch_sim.io.atoms_to_state(atoms, CPU, dtype)


def alone(calculator: MLPotCalculator, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    atoms.calc = calculator
    return atoms.get_potential_energy(), atoms.get_forces(), voigt_to_matrix(atoms.get_stress())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_passes_the_validation_of_torch_sim(dtype: torch.dtype) -> None:
    validate_model_outputs(TorchSimModel(potential(dtype), dtype=dtype), CPU, dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("native", [False, True])
def test_a_batch_equals_its_members(
    dtype: torch.dtype, tolerance: float, native: bool, compiled: None
) -> None:
    calculator = MLPotCalculator(potential(dtype), native=native)
    assert (calculator.model._native is not None) == native
    model = TorchSimModel(calculator)
    assert (model.model._native is not None) == native
    results = model(state_of(structures()))
    start = 0
    for index, atoms in enumerate(structures()):
        energy, forces, stress = alone(calculator, atoms)
        own = slice(start, start + len(atoms))
        start += len(atoms)
        assert results["energy"][index].item() == pytest.approx(energy, abs=tolerance * len(atoms))
        np.testing.assert_allclose(results["forces"][own], forces, atol=tolerance)
        np.testing.assert_allclose(results["stress"][index], stress, atol=tolerance)
    assert all(value.dtype == torch.float64 for value in results.values())


def test_native_kernels_are_taken_where_there_are_any(compiled: None) -> None:
    assert TorchSimModel(potential()).model._native is not None


def test_input_is_left_as_it_is_and_dicts_are_taken() -> None:
    state = state_of(structures())
    kept = {name: value.clone() for name, value in vars(state).items() if isinstance(value, torch.Tensor)}
    model = TorchSimModel(potential())
    results = model(state)
    assert all(torch.equal(getattr(state, name), value) for name, value in kept.items())
    again = TorchSimModel(potential())(kept | {"pbc": True})
    assert all(torch.equal(results[name], again[name]) for name in results)


def test_states_in_single_precision() -> None:
    model = TorchSimModel(potential(), dtype=torch.float32)
    results = model(state_of(structures(), torch.float32))
    assert model.dtype == torch.float32 and all(value.dtype == torch.float32 for value in results.values())
    expected = TorchSimModel(potential())(state_of(structures()))
    for name, value in results.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5)


def test_uncertainty_of_a_committee() -> None:
    members = [potential(seed=seed) for seed in range(3)]
    calculator = MLPotCalculator(Committee(members), uncertainty=True)
    results = TorchSimModel(calculator)(state_of(structures()))
    atoms = structures()[3]
    atoms.calc = calculator
    atoms.get_forces()
    assert results["energy_std"][3].item() == pytest.approx(calculator.results["energy_std"])
    np.testing.assert_allclose(results["forces_std"][-len(atoms) :], calculator.results["forces_std"])
    with pytest.raises(RecipeError, match="has no uncertainty"):
        TorchSimModel(potential(), uncertainty=True)


def test_dynamics_of_torch_sim_itself_conserves_energy_and_reuses_lists() -> None:
    model = TorchSimModel(potential(), skin=0.5)
    init, step = torch_sim.nve(model, dt=torch.tensor(0.05), kT=torch.tensor(0.026))
    state = init(state_of(structures()), seed=1)

    def total() -> torch.Tensor:
        kinetic = torch_sim.calc_kinetic_energy(
            masses=state.masses, momenta=state.momenta, system_idx=state.system_idx
        )
        return state.energy + kinetic

    first, unwrapped = total(), state.positions
    for _ in range(200):
        state = step(state)
    assert not torch.allclose(unwrapped, state.positions, atol=1.0)  # torch-sim has wrapped some
    np.testing.assert_allclose(total(), first, atol=2e-3)
    assert model.neighbours.builds < 20


def test_boundaries_of_slabs_and_clusters() -> None:
    slab = fcc100("Al", (2, 2, 3), vacuum=8.0)
    slab.numbers[:] = 14
    slab.set_cell(slab.cell.array * 1.2, scale_atoms=True)
    calculator = MLPotCalculator(potential())
    energy, forces, _ = alone(calculator, slab)
    results = TorchSimModel(calculator, pbc=(True, True, False))(state_of([slab, slab]))
    np.testing.assert_allclose(results["energy"], [energy] * 2)
    np.testing.assert_allclose(results["forces"][12:], forces, atol=1e-10)
    cluster = Atoms("Si4", positions=slab.positions[:4], cell=np.eye(3))
    cluster.calc = calculator
    results = TorchSimModel(calculator)(state_of([cluster]))
    np.testing.assert_allclose(results["forces"], cluster.get_forces(), atol=1e-10)


@pytest.mark.parametrize(
    ("pbc", "expected"),
    [(True, (True,) * 3), (False, (False,) * 3), (torch.tensor([True, False, True]), (True, False, True))],
)
def test_flags_of_either_interface(pbc: object, expected: tuple[bool, ...]) -> None:
    assert boundaries(pbc) == expected


def test_a_system_in_trouble() -> None:
    several = structures()
    several[1].positions[1] = several[1].positions[0] + [0.0, 0.0, 0.01]
    with pytest.raises(GeometryError, match=r"system 1 of the batch: .* atoms 0 and 1 overlap"):
        TorchSimModel(potential())(state_of(several))
    model = TorchSimModel(potential(), isolate=True)
    results, expected = model(state_of(several)), TorchSimModel(potential())(state_of(structures()))
    assert set(model.failures) == {1}
    good = [0, 2, 3]
    assert results["energy"][1].isnan() and results["forces"][8:10].isnan().all()
    np.testing.assert_allclose(results["energy"][good], expected["energy"][good], atol=1e-10)
    np.testing.assert_allclose(results["stress"][good], expected["stress"][good], atol=1e-10)
    np.testing.assert_allclose(results["forces"][10:], expected["forces"][10:], atol=1e-10)
    assert model(state_of(structures()))["forces"].isfinite().all() and not model.failures


def test_unknown_element() -> None:
    with pytest.raises(ElementError, match="element C is unknown"):
        TorchSimModel(potential())(state_of([bulk("C")]))


def begun(model: TorchSimModel) -> torch_sim.integrators.MDState:
    state = state_of(structures())
    momenta = torch.randn(state.positions.shape, generator=torch.Generator().manual_seed(0)).double()
    return start(
        model,
        numbers=state.atomic_numbers,
        masses=state.masses,
        positions=state.positions,
        momenta=momenta,
        cells=state.row_vector_cell,
        owner=state.system_idx,
    )


def step_of(state: torch_sim.integrators.MDState, model: TorchSimModel, noise: torch.Tensor) -> object:
    kT = torch.tensor([0.02, 0.04, 0.08, 0.16], dtype=torch.float64)
    gamma = torch.tensor(0.3, dtype=torch.float64)
    return langevin_step(
        state, model, dt=torch.tensor(0.1, dtype=torch.float64), kT=kT, gamma=gamma, noise=noise
    )


def test_one_step_is_baoab_with_the_noise_that_was_given() -> None:
    model = TorchSimModel(potential(), pbc=(True,) * 3)
    state = begun(model)
    positions, momenta, masses = state.positions.clone(), state.momenta.clone(), state.masses[:, None]
    noise = torch.randn(positions.shape, generator=torch.Generator().manual_seed(1)).double()
    drawn = torch.get_rng_state()
    after = step_of(begun(model), model, noise)
    assert torch.equal(torch.get_rng_state(), drawn)
    kT = torch.tensor([0.02, 0.04, 0.08, 0.16], dtype=torch.float64)[state.system_idx][:, None]
    decay = np.exp(-0.3 * 0.1)
    momenta += 0.05 * state.forces
    positions += 0.05 * momenta / masses
    momenta = decay * momenta + (kT * (1 - decay**2) * masses).sqrt() * noise
    positions += 0.05 * momenta / masses
    np.testing.assert_allclose(after.positions, positions, atol=1e-12)
    momenta += 0.05 * after.forces
    np.testing.assert_allclose(after.momenta, momenta, atol=1e-12)
    state.positions = positions
    np.testing.assert_allclose(after.forces, model(state)["forces"], atol=1e-10)


def test_the_later_interface_is_called_by_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for ``nvt_langevin_step`` of versions after 0.3, which draws by ``torch.randn``."""

    def later(*, state, model, dt, kT, gamma):
        noise = torch.randn(state.momenta.shape, generator=torch.Generator(), dtype=state.dtype)
        state.momenta = noise
        return state

    monkeypatch.setattr(torchsim.integrators, "nvt_langevin_step", later, raising=False)
    model = TorchSimModel(potential(), pbc=(True,) * 3)
    state = begun(model)
    noise = torch.ones_like(state.momenta)
    assert torch.equal(step_of(state, model, noise).momenta, noise)


@pytest.mark.parametrize("draws", [0, 2])
def test_an_interface_that_is_not_known(monkeypatch: pytest.MonkeyPatch, draws: int) -> None:
    def other(*, state, **settings):
        for _ in range(draws):
            torch.randn_like(state.momenta)
        return state

    monkeypatch.setattr(torchsim.integrators, "nvt_langevin_step", other, raising=False)
    model = TorchSimModel(potential(), pbc=(True,) * 3)
    state = begun(model)
    with pytest.raises(RecipeError, match=r"another interface to Langevin dynamics .* install version 0\.3"):
        step_of(state, model, torch.ones_like(state.momenta))


def test_without_torch_sim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_sim", None)
    monkeypatch.delitem(sys.modules, "mlpot.simulation.torchsim")
    with pytest.raises(RecipeError, match=r"needs torch-sim .* pip install 'mlpot\[simulation\]'"):
        importlib.import_module("mlpot.simulation.torchsim")
