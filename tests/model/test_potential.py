"""The potential: derivatives, units of elements, additivity, batches, precision, messages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.errors import ElementError, GeometryError
from mlpot.model.base import LocalEnergyModel
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.model.repulsion import ZBL

PERIODIC = ["cubic", "skewed", "primitive", "single"]


def slope(function: Callable[[float], float], h: float = 1e-3) -> float:
    """Return the derivative at 0 by central differences of fourth order."""
    return (8 * (function(h) - function(-h)) - (function(2 * h) - function(-2 * h))) / (12 * h)


def energy(model: LocalEnergyModel, atoms: Atoms) -> float:
    """Return the energy of one structure."""
    return model.predict(atoms)[0].energy


@pytest.mark.parametrize("name", ["cubic", "skewed", "primitive", "slab", "cluster"])
def test_forces_are_the_slopes_of_the_energy(
    make_potential: Callable[..., Potential], request: pytest.FixtureRequest, name: str
) -> None:
    potential, atoms = make_potential(), request.getfixturevalue(name)

    expected = np.empty((min(len(atoms), 3), 3))
    for i, axis in np.ndindex(expected.shape):

        def displaced(h: float, i: int = i, axis: int = axis) -> float:
            moved = atoms.copy()
            moved.positions[i, axis] += h
            return energy(potential, moved)

        expected[i, axis] = -slope(displaced)
    forces = potential.predict(atoms)[0].forces
    assert np.abs(forces).max() > 1e-2
    assert np.abs(forces[: len(expected)] - expected).max() <= 1e-6 * np.abs(forces).max()


def test_forces_where_the_core_repels(make_potential: Callable[..., Potential], skewed: Atoms) -> None:
    potential = make_potential()
    skewed.positions[1] = skewed.positions[0] + [0.8, 0.9, 0.3]
    zbl = energy(ZBL(potential.elements), skewed)
    assert zbl > 1.0

    def displaced(h: float) -> float:
        moved = skewed.copy()
        moved.positions[1, 0] += h
        return energy(potential, moved)

    forces = potential.predict(skewed)[0].forces
    assert forces[1, 0] == pytest.approx(-slope(displaced), rel=1e-6)


@pytest.mark.parametrize("name", PERIODIC)
def test_stress_is_the_slope_under_strain(
    make_potential: Callable[..., Potential], request: pytest.FixtureRequest, name: str
) -> None:
    potential, atoms = make_potential(), request.getfixturevalue(name)
    expected = np.empty((3, 3))
    for a in range(3):
        for b in range(3):

            def strained(h: float, a: int = a, b: int = b) -> float:
                strain = np.eye(3)
                strain[a, b] += 0.5 * h
                strain[b, a] += 0.5 * h
                moved = atoms.copy()
                moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
                return energy(potential, moved)

            expected[a, b] = slope(strained) / atoms.get_volume()
    stress = potential.predict(atoms)[0].stress
    assert np.abs(stress).max() > 1e-4
    assert np.abs(stress - expected).max() <= 1e-6 * np.abs(stress).max()


@pytest.mark.parametrize("name", ["primitive", "single"])
def test_small_cell_equals_its_supercell(
    make_potential: Callable[..., Potential], request: pytest.FixtureRequest, name: str
) -> None:
    """Cells smaller than the cutoff: an atom sees its own images as any other atoms."""
    potential, atoms = make_potential(), request.getfixturevalue(name)
    assert potential.cutoff > max(atoms.cell.lengths())
    small, large = potential.predict([atoms, atoms.repeat((2, 2, 3))])
    assert large.energy == pytest.approx(12 * small.energy, rel=1e-12)
    assert large.forces == pytest.approx(np.tile(small.forces, (12, 1)), abs=1e-10)
    assert large.stress == pytest.approx(small.stress, abs=1e-12)


def test_local_energies_add_up(make_potential: Callable[..., Potential], cubic: Atoms) -> None:
    (prediction,) = make_potential().predict(cubic)
    assert prediction.local_energies.sum() == pytest.approx(prediction.energy, rel=1e-14)
    assert np.abs(prediction.forces.sum(0)).max() < 1e-12 * np.abs(prediction.forces).max()


def test_length_and_energy_scale_are_a_change_of_units(
    make_potential: Callable[..., Potential], cubic: Atoms
) -> None:
    """E_B(r) - E0 = e (E_A(s r) - E0): lengths, energies, forces and stress of corresponding states."""
    e, s = 0.83, 0.94
    a = make_potential(("Si",), repulsion=False, scalars=False)
    b = make_potential(("Ge",), repulsion=False, scalars=False)
    b.energy_scales.fill_(e)
    b.length_scales.fill_(s)
    b.offsets.fill_(-3.0)
    assert b.cutoff == pytest.approx(a.cutoff / s)
    cubic.symbols[:] = "Ge"
    reduced = Atoms("Si8", positions=s * cubic.positions, cell=s * cubic.cell.array, pbc=True)
    (of_a,), (of_b,) = a.predict(reduced), b.predict(cubic)
    assert np.abs(of_a.forces).max() > 1e-2
    assert of_b.energy + 24.0 == pytest.approx(e * of_a.energy, rel=1e-12)
    assert of_b.forces == pytest.approx(e * s * of_a.forces, abs=1e-12 * np.abs(of_a.forces).max())
    assert of_b.stress == pytest.approx(e * s**3 * of_a.stress, abs=1e-12 * np.abs(of_a.stress).max())


def test_unlike_pairs_average_lengths() -> None:
    """A new potential does not tell elements apart: scales 1 and 1/2 act on a mixed pair as 2/3."""
    mixed, uniform = (Potential(["Si", "Ge"], NetworkConfig(channels=8, hidden=8)).double() for _ in range(2))
    mixed.length_scales.copy_(torch.tensor([1.0, 0.5]))
    uniform.length_scales.fill_(2.0 / 3.0)
    dimer = Atoms("SiGe", positions=[[0, 0, 0], [0, 0, 3.3]])
    assert energy(mixed, dimer) == pytest.approx(energy(uniform, dimer), rel=1e-12)
    assert abs(energy(mixed, dimer)) > 1e-4


def test_isolated_atom_has_exactly_its_offset(make_potential: Callable[..., Potential]) -> None:
    potential = make_potential()
    free = [
        Atoms("Si"),
        Atoms("Ge", cell=[40.0] * 3, pbc=True),
        Atoms("SiGe", positions=[[0, 0, 0], [60, 0, 0]]),
    ]
    silicon, germanium, both = potential.predict(free)
    offsets = potential.offsets.tolist()
    assert silicon.energy == offsets[0]
    assert germanium.energy == offsets[1]
    assert both.local_energies.tolist() == offsets
    for prediction in (silicon, germanium, both):
        assert (prediction.forces == 0.0).all()
    assert (germanium.stress == 0.0).all()
    assert np.isnan(silicon.stress).all()


def test_potentials_add_up(make_potential: Callable[..., Potential], skewed: Atoms) -> None:
    skewed.positions[1] = skewed.positions[0] + [0.9, 0.9, 0.3]
    bare, core = make_potential(repulsion=False), ZBL([14, 32])
    (total,), (a,), (b,) = (bare + core).predict(skewed), bare.predict(skewed), core.predict(skewed)
    assert total.energy == pytest.approx(a.energy + b.energy, rel=1e-13)
    assert total.forces == pytest.approx(a.forces + b.forces, abs=1e-11)
    assert total.stress == pytest.approx(a.stress + b.stress, abs=1e-12)
    assert total.local_energies == pytest.approx(a.local_energies + b.local_energies, rel=1e-12)
    # The same as the potential that holds the core itself.
    (whole,) = make_potential(repulsion=True).predict(skewed)
    assert whole.energy == pytest.approx(total.energy, rel=1e-7)
    assert whole.forces == pytest.approx(total.forces, rel=1e-6, abs=1e-5)


def test_terms_of_different_precision_add_up(make_potential: Callable[..., Potential], skewed: Atoms) -> None:
    bare, core = make_potential(repulsion=False, dtype=torch.float32), ZBL([14, 32])
    (total,), (a,), (b,) = (bare + core).predict(skewed), bare.predict(skewed), core.predict(skewed)
    assert (bare + core).dtype == torch.float64
    assert total.energy == pytest.approx(a.energy + b.energy, rel=1e-6)


def test_models_of_other_elements_cannot_be_added(make_potential: Callable[..., Potential]) -> None:
    with pytest.raises(ElementError, match="cannot be added: their elements or the order of them differ"):
        make_potential() + ZBL([32, 14])


def test_unknown_element(make_potential: Callable[..., Potential]) -> None:
    with pytest.raises(
        ElementError, match="element C is unknown to this model, which knows Si, Ge; give it a donor"
    ):
        make_potential().predict(Atoms("SiC", positions=[[0, 0, 0], [1.9, 0, 0]]))


@pytest.mark.parametrize("elements", [(), ("Si", "Si")])
def test_elements_must_be_different(elements: tuple[str, ...]) -> None:
    with pytest.raises(ElementError, match="one or more different symbols"):
        Potential(elements)


def test_overlapping_atoms(make_potential: Callable[..., Potential], cubic: Atoms) -> None:
    doubled = cubic + Atoms("Si", positions=cubic.positions[3:4] + cubic.cell[0] + [0.01, 0, 0])
    with pytest.raises(GeometryError, match=r"structure 1: atoms 3 and 8 overlap \(distance 0.010 Å\)"):
        make_potential().predict([cubic, doubled])


def test_positions_that_are_not_finite(make_potential: Callable[..., Potential], cubic: Atoms) -> None:
    potential = make_potential()
    graph_frame = Frame.from_atoms(cubic)
    graph_frame.positions[2, 1] = np.nan
    with pytest.raises(GeometryError, match="NaN or infinity"):
        potential.predict(graph_frame)


def test_batch_equals_singles(
    make_potential: Callable[..., Potential], cubic: Atoms, skewed: Atoms, single: Atoms, cluster: Atoms
) -> None:
    potential = make_potential()
    structures = [cubic, Atoms("Ge"), skewed, cluster, single]
    frames = [Frame.from_atoms(atoms) for atoms in structures]
    together = potential(batch_graphs([frame_graph(frame, potential.cutoff) for frame in frames]))
    start = 0
    for index, alone in enumerate(potential.predict(structures)):
        rows = slice(start, start := start + len(structures[index]))
        assert float(together.energy[index]) == pytest.approx(alone.energy, rel=1e-12)
        assert together.local_energies[rows].numpy() == pytest.approx(alone.local_energies, rel=1e-12)
        assert together.forces[rows].numpy() == pytest.approx(alone.forces, abs=1e-11)
        assert together.stress[index].numpy() == pytest.approx(alone.stress, abs=1e-12, nan_ok=True)


def test_pairs_beyond_the_cutoff_do_no_harm(make_potential: Callable[..., Potential], skewed: Atoms) -> None:
    potential, frame = make_potential(), Frame.from_atoms(skewed)
    exact, generous = (
        potential(batch_graphs([frame_graph(frame, potential.cutoff + extra)])) for extra in (0.0, 1.5)
    )
    assert generous.energy.item() == pytest.approx(exact.energy.item(), rel=1e-12)
    assert torch.allclose(generous.forces, exact.forces, rtol=0, atol=1e-11)
    assert torch.allclose(generous.stress, exact.stress, rtol=0, atol=1e-12)


def test_float32_is_close_to_float64(make_potential: Callable[..., Potential], cubic: Atoms) -> None:
    potential = make_potential(dtype=torch.float32)
    (single,) = potential.predict(cubic)
    (double,) = potential.double().predict(cubic)
    scale = np.abs(double.forces).max()
    offsets = float(potential.offsets[potential.species(torch.as_tensor(cubic.numbers))].sum())
    assert single.energy - offsets == pytest.approx(double.energy - offsets, rel=1e-5)
    assert single.forces == pytest.approx(double.forces, abs=1e-5 * scale)
    assert single.stress == pytest.approx(double.stress, abs=1e-5 * np.abs(double.stress).max())
    assert single.energy != double.energy


def test_physical_scalars_stay_in_double_precision(make_potential: Callable[..., Potential]) -> None:
    potential = make_potential(dtype=torch.float64)
    potential.offsets.copy_(torch.tensor([-5.123456789012345, 1 / 3]))
    potential.length_scales.copy_(torch.tensor([1.0, 0.9612345678901234], dtype=torch.float64))
    before = {name: getattr(potential, name).clone() for name in potential.scalar_names}
    potential.float()
    assert potential.dtype == torch.float32
    assert {p.dtype for p in potential.parameters()} == {torch.float32}
    potential.double()
    assert potential.dtype == torch.float64
    assert {p.dtype for p in potential.parameters()} == {torch.float64}
    for name, value in before.items():
        assert getattr(potential, name).dtype == torch.float64
        assert torch.equal(getattr(potential, name), value)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_double_after_float_is_exactly_equivariant(
    make_potential: Callable[..., Potential], skewed: Atoms, sign: float
) -> None:
    """No constant of the model was left rounded by its way through float32."""
    potential = make_potential().float().double()
    matrix = sign * Rotation.from_euler("xyz", [0.4, -1.1, 2.5]).as_matrix()
    turned = skewed.copy()
    turned.positions = skewed.positions @ matrix.T
    turned.cell = skewed.cell.array @ matrix.T
    (before,), (after,) = potential.predict(skewed), potential.predict(turned)
    scale = np.abs(before.forces).max()
    assert after.local_energies == pytest.approx(before.local_energies, rel=1e-12)
    assert after.forces == pytest.approx(before.forces @ matrix.T, abs=1e-12 * max(scale, 1.0))
    assert after.stress == pytest.approx(matrix @ before.stress @ matrix.T, abs=1e-12)


def test_predict_leaves_the_input_alone(make_potential: Callable[..., Potential], cubic: Atoms) -> None:
    copy = cubic.copy()
    make_potential().predict(cubic)
    assert cubic == copy
    assert cubic.calc is None


def test_forces_can_be_trained_on(make_potential: Callable[..., Potential], primitive: Atoms) -> None:
    """Derivatives of forces by parameters: autograd against a difference along a direction."""
    potential = make_potential()
    graph = batch_graphs([frame_graph(Frame.from_atoms(primitive), potential.cutoff)])
    parameters = list(potential.parameters())
    generator = torch.Generator().manual_seed(0)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    values = [p.detach().clone() for p in parameters]

    def loss(h: float) -> torch.Tensor:
        with torch.no_grad():
            for p, value, d in zip(parameters, values, direction, strict=True):
                p.copy_(value + h * d)
        output = potential(graph, create_graph=True)
        return output.forces.square().sum() + output.stress.square().sum()

    gradients = torch.autograd.grad(loss(0.0), parameters, allow_unused=True)
    along = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True) if g is not None)
    assert along == pytest.approx(slope(lambda h: loss(h).item(), h=1e-4), rel=1e-6)


def test_same_seed_same_weights() -> None:
    state = torch.random.get_rng_state()
    a, b, c = (Potential(["Si"], seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)
    assert torch.equal(torch.random.get_rng_state(), state)
