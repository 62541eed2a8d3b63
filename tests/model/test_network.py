"""Exact symmetry of every stage of the network, and its products against other quadratures."""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt, pi, sqrt

import numpy as np
import pytest
import torch
from ase import Atoms
from e3nn import o3
from sympy.physics.wigner import wigner_3j  # type: ignore[import-untyped]
from torch import Tensor

from mlpot.model.angular import components, product_grid, spherical_harmonics
from mlpot.model.environment import Environments
from mlpot.model.network import DensityNetwork, NetworkConfig

CUTOFF = 7.0


@pytest.fixture
def network() -> DensityNetwork:
    """Return a network whose cutoff reaches through the whole cluster, elements told apart."""
    config = NetworkConfig(cutoff=CUTOFF, channels=8, hidden=8)
    network = DensityNetwork(config, 2, torch.Generator().manual_seed(0)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return network


def transformation(inverted: bool) -> Tensor:
    """Return a fixed rotation, or that rotation times the inversion."""
    rotation = o3.angles_to_matrix(*torch.tensor([0.7, 1.9, -2.3], dtype=torch.float64))
    return -rotation if inverted else rotation


def wigner(matrix: Tensor, l_max: int) -> Tensor:
    """Return the representation of degrees 0 to ``l_max``, to full double precision.

    Each degree from the last by coupling with l = 1, which is the matrix itself: e3nn builds its
    own matrices from single-precision generators, good to 1e-6 only.
    """
    blocks = [torch.ones(1, 1, dtype=torch.float64)]
    for degree in range(1, l_max + 1):
        coupling = o3.wigner_3j(1, degree - 1, degree, dtype=torch.float64)
        block = torch.einsum("abm,cdn,ac,bd->mn", coupling, coupling, matrix, blocks[-1])
        blocks.append((2 * degree + 1) * block)
    return torch.block_diag(*blocks)


def moved(atoms: Atoms, matrix: Tensor) -> Atoms:
    """Return rotated atoms, cell and all."""
    turned = atoms.copy()
    turned.positions = atoms.positions @ matrix.numpy().T
    turned.cell = atoms.cell.array @ matrix.numpy().T
    return turned


def stages(network: DensityNetwork, environments: Environments) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the energies and everything of shape (M, N, C) that any part of the network puts out."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        def hook(module: torch.nn.Module, inputs: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
            for index, tensor in enumerate(output if isinstance(output, tuple) else (output,)):
                if tensor.dim() == 3:
                    seen[f"{name}[{index}]"] = tensor.detach()

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in network.named_modules() if name]
    energies = network(environments)
    for handle in handles:
        handle.remove()
    return energies.detach(), seen


@pytest.mark.parametrize("inverted", [False, True])
def test_wigner_matrices_are_those_of_e3nn(inverted: bool) -> None:
    matrix = transformation(inverted)
    expected = o3.Irreps("1x0e+1x1o+1x2e+1x3o").D_from_matrix(matrix)
    assert torch.allclose(wigner(matrix, 3), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("calibrated", [False, True])
def test_every_stage_transforms_with_the_wigner_matrices(
    network: DensityNetwork,
    make_environments: Callable[..., Environments],
    cluster: Atoms,
    inverted: bool,
    calibrated: bool,
) -> None:
    matrix = transformation(inverted)
    original = make_environments(cluster, CUTOFF)
    # Everyone sees everyone: no empty slots, whose direction would not turn.
    assert original.neighbour.shape == (7, 6)
    if calibrated:
        network.calibrate(original)
    energies, before = stages(network, original)
    turned_energies, after = stages(network, make_environments(moved(cluster, matrix), CUTOFF))
    assert energies.std() > 1e-3
    assert torch.allclose(turned_energies, energies, rtol=1e-10, atol=0)
    assert before.keys() == after.keys()
    degrees_seen = set()
    for name, features in before.items():
        l_max = isqrt(len(features)) - 1
        expected = torch.einsum("ab,bnc->anc", wigner(matrix, l_max), features)
        scale = features.abs().max()
        assert scale > 1e-4, f"{name} is empty"
        assert (after[name] - expected).abs().max() < 1e-10 * scale, name
        # Degree by degree, none of them zero.
        for degree in range(l_max + 1):
            assert features[degree**2 : (degree + 1) ** 2].abs().max() > 1e-6 * scale, (name, degree)
            degrees_seen.add(degree)
    # Densities of degree 3, and products and features of degree 2, are among them.
    assert degrees_seen == {0, 1, 2, 3}
    assert {len(features) for features in before.values()} >= {9, 16}


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("name", ["cubic", "skewed", "slab"])
def test_features_of_periodic_structures(
    network: DensityNetwork,
    make_environments: Callable[..., Environments],
    request: pytest.FixtureRequest,
    name: str,
    inverted: bool,
) -> None:
    """Layers put out equivariant features and invariant energies also with empty slots."""
    atoms = request.getfixturevalue(name)
    matrix = transformation(inverted)
    energies, before = stages(network, make_environments(atoms, CUTOFF))
    turned_energies, after = stages(network, make_environments(moved(atoms, matrix), CUTOFF))
    features, turned = before["layers.0[1]"], after["layers.0[1]"]
    expected = torch.einsum("ab,bnc->anc", wigner(matrix, 2), features)
    assert (turned - expected).abs().max() < 1e-10 * features.abs().max()
    assert torch.allclose(turned_energies, energies, rtol=0, atol=1e-10 * float(energies.abs().max()))


def test_permutation(
    network: DensityNetwork, make_environments: Callable[..., Environments], cubic: Atoms
) -> None:
    order = np.random.default_rng(0).permutation(len(cubic))
    energies = network(make_environments(cubic, CUTOFF))
    permuted = network(make_environments(cubic[order], CUTOFF))
    assert torch.allclose(permuted, energies[torch.as_tensor(order)], rtol=1e-11, atol=1e-12)


def test_translation_and_wrapping(
    network: DensityNetwork, make_environments: Callable[..., Environments], skewed: Atoms
) -> None:
    energies = network(make_environments(skewed, CUTOFF))
    skewed.positions += [11.3, -7.1, 3.9]
    assert torch.allclose(network(make_environments(skewed, CUTOFF)), energies, rtol=1e-10)
    skewed.wrap()
    assert torch.allclose(network(make_environments(skewed, CUTOFF)), energies, rtol=1e-10)


def test_elements_are_told_apart(
    network: DensityNetwork, make_environments: Callable[..., Environments], cluster: Atoms
) -> None:
    energies = network(make_environments(cluster, CUTOFF)).sum()
    cluster.symbols[[0, 1]] = ["Ge", "Si"]
    assert (network(make_environments(cluster, CUTOFF)).sum() - energies).abs() > 1e-4


def test_atoms_without_neighbours_have_no_energy(
    network: DensityNetwork, make_environments: Callable[..., Environments]
) -> None:
    atoms = Atoms("SiGe", positions=[[0, 0, 0], [100, 0, 0]])
    assert (network(make_environments(atoms, CUTOFF)) == 0.0).all()


def test_messages_reach_two_cutoffs_and_no_farther(
    network: DensityNetwork, make_environments: Callable[..., Environments], cluster: Atoms
) -> None:
    energies = network(make_environments(cluster, CUTOFF))
    cluster += Atoms("Si", positions=cluster.positions[:1] + np.array([0.0, 0.0, 8.5]))
    assert cluster.get_distance(6, 7) > CUTOFF > cluster.get_distance(3, 7)
    second_hand = network(make_environments(cluster, CUTOFF))
    assert (second_hand[6] - energies[6]).abs() > 1e-9
    cluster.positions[-1] += [0.0, 0.0, 10.0]
    apart = network(make_environments(cluster, 30.0))
    assert torch.allclose(apart[:-1], energies, rtol=1e-11, atol=1e-13)
    assert apart[-1] == 0.0


def test_calibrating_twice_is_calibrating_once(
    network: DensityNetwork, make_environments: Callable[..., Environments], cubic: Atoms
) -> None:
    environments = make_environments(cubic, CUTOFF)
    network.calibrate(environments)
    once = network(environments)
    network.calibrate(environments)
    assert once.abs().max() > 1e-6
    assert torch.allclose(network(environments), once, rtol=1e-10)


# --- products on the sphere -----------------------------------------------------------------


def gauss_grid(degree: int) -> tuple[Tensor, Tensor]:
    """Return points and weights of a Gauss-Legendre x trapezoid rule, exact to ``degree``."""
    heights, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    angles = 2 * pi * np.arange(degree + 2) / (degree + 2)
    z, phi = np.meshgrid(heights, angles, indexing="ij")
    rho = np.sqrt(1 - z**2)
    points = np.stack([rho * np.cos(phi), rho * np.sin(phi), z], axis=-1).reshape(-1, 3)
    spread = np.repeat(weights * 2 * pi / len(angles), len(angles))
    return torch.as_tensor(points), torch.as_tensor(spread)


@pytest.mark.parametrize(("order", "l_in", "l_out"), [(2, 3, 3), (3, 3, 2), (3, 3, 0), (3, 2, 1), (4, 2, 2)])
def test_product_equals_a_finer_quadrature(order: int, l_in: int, l_out: int) -> None:
    evaluate, project = product_grid(l_in, order, l_out)
    generator = torch.Generator().manual_seed(0)
    fields = torch.randn(order, components(l_in), dtype=torch.float64, generator=generator)
    product = project @ (evaluate @ fields.T).prod(dim=1)
    points, weights = gauss_grid(order * l_in + l_out + 8)
    values = (spherical_harmonics(points, l_in) @ fields.T).prod(dim=1)
    expected = (weights * values) @ spherical_harmonics(points, l_out)
    assert torch.allclose(product, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


def test_pair_product_is_the_gaunt_product() -> None:
    """The coefficients are e3nn's 3j symbols times Gaunt's factor, and zero for odd sums of degrees."""
    evaluate, project = product_grid(3, 2, 3)
    gaunt = torch.einsum("kp,pi,pj->ijk", project, evaluate, evaluate)
    for l1 in range(4):
        for l2 in range(4):
            for l3 in range(4):
                block = gaunt[l1**2 : (l1 + 1) ** 2, l2**2 : (l2 + 1) ** 2, l3**2 : (l3 + 1) ** 2]
                if not abs(l1 - l2) <= l3 <= l1 + l2 or (l1 + l2 + l3) % 2:
                    assert block.abs().max() < 1e-12
                    continue
                factor = sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1) / (4 * pi))
                factor *= abs(float(wigner_3j(l1, l2, l3, 0, 0, 0)))
                # The overall sign of a 3j symbol is e3nn's choice; that of a Gaunt number is not.
                symbol = o3.wigner_3j(l1, l2, l3, dtype=torch.float64)
                symbol = symbol * torch.sign((symbol * block).sum())
                assert torch.allclose(block, factor * symbol, rtol=0, atol=1e-10)


def test_harmonics_are_orthonormal_on_the_grid() -> None:
    evaluate, project = product_grid(3, 1, 3)
    assert torch.allclose(project @ evaluate, torch.eye(16, dtype=torch.float64), rtol=0, atol=1e-12)
