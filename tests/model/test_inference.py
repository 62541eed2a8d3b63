"""The path without autograd against autograd, finite differences and the physics of potentials."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.model.angular import components, harmonic_steps, spherical_harmonics
from mlpot.model.base import LocalEnergyModel, Output
from mlpot.model.environment import gather_environments
from mlpot.model.inference import PackedWeights, energies_and_slopes, lay_out
from mlpot.model.network import Layer, NetworkConfig
from mlpot.model.potential import Potential

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}
STRUCTURES = ["cubic", "skewed", "primitive", "single", "slab", "cluster"]
SHAPES = {
    "one layer": NetworkConfig(channels=8, hidden=8, layers=1),
    "two layers": NetworkConfig(channels=8, hidden=8),
    "three layers": NetworkConfig(channels=8, hidden=6, layers=3),
    "vectors only": NetworkConfig(channels=4, hidden=8, l_max=1, l_features=1, radial=5, layers=3),
    "degree 4": NetworkConfig(channels=4, hidden=8, l_max=4, l_features=3, radial=3),
    "scalar messages": NetworkConfig(channels=6, hidden=8, l_max=2, l_features=0),
}


def roughened(
    config: NetworkConfig, dtype: torch.dtype = torch.float64, elements: str = "Si Ge"
) -> Potential:
    """Return a potential in which everything that can differ from its default does."""
    potential = Potential(elements.split(), config)
    generator = torch.Generator().manual_seed(5)

    def noise(shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    with torch.no_grad():
        potential.double()
        for parameter in potential.parameters():
            parameter.add_(0.1 * noise(parameter.shape))
        for name, buffer in potential.network.named_buffers():
            buffer.copy_(torch.exp(0.2 * noise(buffer.shape)) * (0.5 if name == "radial.scale" else 1.0))
        n = len(potential.elements)
        potential.offsets.copy_(torch.linspace(-5.4, -4.5, n))
        potential.energy_scales.copy_(torch.linspace(1.0, 0.9, n))
        potential.length_scales.copy_(torch.linspace(1.03, 0.96, n))
        potential.energy_unit.fill_(0.3)
    return potential.to(dtype)


def batch_of(potential: LocalEnergyModel, *structures: Atoms, extra: float = 0.0) -> object:
    """Return the batch of graphs of structures."""
    return batch_graphs([frame_graph(Frame.from_atoms(s), potential.cutoff + extra) for s in structures])


def assert_close(found: Tensor, expected: Tensor, tolerance: float, floor: float = 0.0) -> None:
    """Compare by the largest number of the expected ones."""
    assert found.shape == expected.shape
    scale = max(float(expected.abs().nan_to_num().max()) if expected.numel() else 0.0, floor)
    assert torch.equal(found.isnan(), expected.isnan())
    assert float((found - expected).abs().nan_to_num().max() if found.numel() else 0.0) <= tolerance * scale


def assert_same(found: Output, expected: Output, potential: Potential, graph: object) -> None:
    """Compare two outputs to the rounding of the precision."""
    tolerance = TOLERANCE[potential.dtype]
    offsets = potential.offsets[potential.species(graph.numbers)]  # type: ignore[attr-defined]
    assert_close(found.local_energies - offsets, expected.local_energies - offsets, tolerance, 1e-3)
    assert_close(found.forces, expected.forces, tolerance, 1e-3)
    assert_close(found.stress, expected.stress, tolerance, 1e-5)
    for value in (found.energy, found.local_energies, found.forces, found.stress):
        assert value.dtype == torch.float64 and not value.requires_grad


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_autograd(shape: str, dtype: torch.dtype, request: pytest.FixtureRequest) -> None:
    """Every structure alone, and all in one batch with a lone atom and a pair out of reach."""
    potential = roughened(SHAPES[shape], dtype)
    structures = [request.getfixturevalue(name) for name in STRUCTURES]
    structures += [Atoms("Ge"), Atoms("SiGe", positions=[[0, 0, 0], [60, 0, 0]])]
    for atoms in structures:
        graph = batch_of(potential, atoms)
        assert_same(potential(graph), potential.differentiate(graph), potential, graph)
    graph = batch_of(potential, *structures)
    assert_same(potential(graph), potential.differentiate(graph), potential, graph)


@pytest.mark.parametrize("elements", ["Si", "Si Ge", "Ge C Si"])
def test_one_and_several_elements(elements: str, cubic: Atoms) -> None:
    potential = roughened(NetworkConfig(channels=8, hidden=8), elements=elements)
    cubic.symbols[:] = (elements.split() * 8)[:8]
    graph = batch_of(potential, cubic, extra=0.7)
    assert_same(potential(graph), potential.differentiate(graph), potential, graph)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunks(chunk: int, layers: int, dtype: torch.dtype, cubic: Atoms, cluster: Atoms) -> None:
    """Slopes of every bond, whatever the chunks; weights of the local energies differ."""
    potential = roughened(NetworkConfig(channels=8, hidden=8, layers=layers), dtype)
    bonds = potential.bonds(batch_of(potential, cluster, cubic, Atoms("Si"), cubic))
    weights = torch.linspace(0.5, 2.0, len(bonds.species), dtype=dtype)
    energies, slopes = energies_and_slopes(
        potential.network, PackedWeights().get(potential.network), bonds, weights, chunk
    )

    environments = gather_environments(bonds)
    vectors = environments.vectors.requires_grad_()
    expected = potential.network(replace(environments, vectors=vectors))
    (table,) = torch.autograd.grad((weights * expected).sum(), vectors)
    filled = torch.arange(table.shape[1]) < bonds.counts[:, None]
    assert_close(energies, expected.detach(), TOLERANCE[dtype])
    assert_close(slopes, table[filled], TOLERANCE[dtype])


def test_layout_is_an_involution(cubic: Atoms, cluster: Atoms) -> None:
    potential = roughened(SHAPES["one layer"])
    bonds = potential.bonds(batch_of(potential, cluster, Atoms("Si"), cubic))
    for size in (1, 3, 100):
        slots = lay_out(bonds, size)
        assert torch.equal(slots.reverse[slots.reverse], torch.arange(len(slots.reverse)))
        assert torch.equal(slots.reverse[slots.bond], slots.bond[bonds.reverse])
        assert len(slots.bond.unique()) == len(bonds.vectors)
        assert [c.stop - c.start for c in slots.chunks[:-1]] == [size] * (len(slots.chunks) - 1)
        assert slots.chunks[-1].stop == len(bonds.species)


def check_slopes(potential: Potential, atoms: Atoms) -> None:
    """Independent of autograd: each bond stretched alone, in float64."""
    bonds = potential.bonds(batch_of(potential, atoms))
    _, slopes = potential.local_energies_and_slopes(bonds)

    def energy(vectors: Tensor) -> float:
        return float(potential.local_energies_and_slopes(replace(bonds, vectors=vectors))[0].sum())

    h = 1e-4
    for bond in range(0, len(bonds.vectors), 37):
        for axis in range(3):
            step = torch.zeros_like(bonds.vectors)
            step[bond, axis] = h
            values = [energy(bonds.vectors + k * step) for k in (-2, -1, 1, 2)]
            expected = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
            assert float(slopes[bond, axis]) == pytest.approx(expected, abs=1e-7 * float(slopes.abs().max()))


def test_slopes_by_finite_differences(skewed: Atoms) -> None:
    check_slopes(roughened(NetworkConfig(channels=4, hidden=8, layers=3)), skewed)


def test_core_repulsion(skewed: Atoms) -> None:
    potential = roughened(SHAPES["two layers"])
    skewed.positions[1] = skewed.positions[0] + [0.9, 0.6, 0.3]
    graph = batch_of(potential, skewed)
    bonds = potential.bonds(graph)
    core, slopes = potential.repulsion.local_energies_and_slopes(bonds)  # type: ignore[union-attr]
    assert core.max() > 1.0 and slopes.abs().max() > 1.0
    expected = LocalEnergyModel.local_energies_and_slopes(potential.repulsion, bonds)  # type: ignore[arg-type]
    assert_close(core, expected[0], 1e-12)
    assert_close(slopes, expected[1], 1e-12)
    assert_same(potential(graph), potential.differentiate(graph), potential, graph)


def test_sum_of_models(skewed: Atoms) -> None:
    total = roughened(SHAPES["two layers"]) + roughened(SHAPES["one layer"], torch.float32)
    graph = batch_of(total, skewed)
    found, expected = total(graph), total.differentiate(graph)
    assert_close(found.forces, expected.forces, 1e-5)
    assert_close(found.local_energies, expected.local_energies, 1e-6)


class Harmonic(LocalEnergyModel):
    """A model that has nothing but local energies."""

    cutoff = 4.0

    def local_energies(self, environments) -> Tensor:  # type: ignore[no-untyped-def]
        """Return the energies of springs that end smoothly at the cutoff."""
        return (1.0 - (environments.distances / self.cutoff).clamp(max=1.0)).square().sum(1)


def test_models_without_a_fast_path(cubic: Atoms, cluster: Atoms) -> None:
    model = Harmonic([14, 32])
    graph = batch_of(model, cubic, Atoms("Si"), cluster)
    found, expected = model(graph), model.differentiate(graph)
    for name in ("energy", "local_energies", "forces", "stress"):
        assert_close(getattr(found, name), getattr(expected, name), 1e-13)


class Leaning(Potential):
    """A potential whose energies are its own, and nothing else."""

    def local_energies(self, environments) -> Tensor:  # type: ignore[no-untyped-def]
        """Return more than the potential's energies."""
        return super().local_energies(environments) + (5.0 - environments.distances).clamp(min=0).sum(1)


def test_a_subclass_with_other_energies_has_their_forces(cubic: Atoms) -> None:
    model = Leaning(["Si", "Ge"], SHAPES["two layers"]).double()
    graph = batch_of(model, cubic)
    found, expected = model(graph), model.differentiate(graph)
    assert_close(found.forces, expected.forces, 1e-13)
    assert_close(found.energy, expected.energy, 1e-13)


def test_another_layer_is_refused(cubic: Atoms) -> None:
    potential = roughened(SHAPES["two layers"])
    potential.network.layers[1].__class__ = type("OtherLayer", (Layer,), {})
    with pytest.raises(TypeError, match="not OtherLayer"):
        potential.predict(cubic)


def test_every_change_of_weights_is_seen(cubic: Atoms) -> None:
    """In place, through ``.data`` (as averages of weights are swapped), by loading, by precision."""
    potential = roughened(SHAPES["two layers"])
    graph = batch_of(potential, cubic)
    other = copy.deepcopy(potential)
    weight = potential.network.layers[1].factors.weight
    last = potential(graph)

    def check(potential: Potential) -> None:
        nonlocal last
        found = potential(graph)
        assert_same(found, potential.differentiate(graph), potential, graph)
        assert not torch.equal(found.forces, last.forces)
        last = found

    with torch.no_grad():
        weight.mul_(1.1)
    check(potential)
    weight.data.mul_(1.1)
    check(potential)
    weight.data = 1.1 * weight.data
    check(potential)
    potential.network.layers[0].factor_scale.factor.mul_(1.1)
    check(potential)
    optimizer = torch.optim.SGD(potential.parameters(), lr=1e-3)
    potential(graph, create_graph=True).forces.square().sum().backward()
    optimizer.step()
    check(potential)
    potential.load_state_dict(other.state_dict())
    check(potential)
    check(potential.float())
    check(copy.deepcopy(other).float().double())


def test_threads_do_not_share_buffers(cubic: Atoms, cluster: Atoms) -> None:
    potential = roughened(SHAPES["two layers"])
    graphs = [batch_of(potential, atoms) for atoms in (cubic, cluster)] * 20
    expected = [potential(graph).forces for graph in graphs[:2]]
    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(potential, graphs))
    for index, output in enumerate(outputs):
        assert torch.equal(output.forces, expected[index % 2])


def test_training_is_untouched(cubic: Atoms) -> None:
    """A forward pass without a graph leaves no trace in parameters or gradients."""
    potential = roughened(SHAPES["two layers"])
    graph = batch_of(potential, cubic)
    before = potential(graph, create_graph=True)
    with torch.no_grad():
        potential(graph)
    after = potential(graph, create_graph=True)
    assert torch.equal(before.forces, after.forces) and after.forces.requires_grad
    assert all(p.grad is None for p in potential.parameters())


@pytest.mark.parametrize("l_max", [1, 2, 3, 5])
def test_harmonics_degree_by_degree(l_max: int) -> None:
    """Values and gradients against e3nn and autograd."""
    rng = np.random.default_rng(0)
    directions = torch.nn.functional.normalize(torch.as_tensor(rng.normal(size=(9, 3))), dim=1)
    directions.requires_grad_()
    expected = spherical_harmonics(directions, l_max)
    steps, gradient = harmonic_steps(l_max)
    blocks = [expected[:, :1].detach()]
    for step in steps:
        blocks.append((directions[:, :, None] * blocks[-1][:, None]).flatten(1) @ step)
    built = torch.cat(blocks, 1)
    assert torch.allclose(built, expected, rtol=0, atol=1e-14)
    slopes = torch.as_tensor(rng.normal(size=(9, components(l_max))))
    found = (slopes[:, 1:] @ gradient).view(9, 3, l_max**2) * expected[:, None, : l_max**2]
    (reference,) = torch.autograd.grad((built * slopes).sum(), directions)
    # Off the sphere the polynomials may differ; their gradients agree along it.
    along = [x - directions * (x * directions).sum(1, keepdim=True) for x in (found.sum(2), reference)]
    assert torch.allclose(along[0], along[1], rtol=0, atol=1e-12)
