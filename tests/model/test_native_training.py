"""Gradients by the weights from the native kernels against autograd, and a fit with both."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from ase import Atoms
from test_inference import SHAPES, STRUCTURES, batch_of, roughened
from torch import Tensor

from mlpot.errors import NativeError
from mlpot.model.base import Output
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.training.fit import fit
from mlpot.training.hardware import Hardware
from mlpot.training.initialise import new_potential
from mlpot.training.settings import FitSettings
from mlpot.transfer.adapters import Adapters, adapt

SHAPES = SHAPES | {
    "default": NetworkConfig(),
    "odd widths": NetworkConfig(channels=8, radial=5, l_max=2, l_features=1, hidden=7),
}
#: Largest difference of a gradient, over its norm.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5}

pytestmark = pytest.mark.usefixtures("compiled")


def score(output: Output) -> Tensor:
    """Return a number that depends on all energies, forces and stresses, each in its own way."""
    parts = [output.local_energies.sin().sum(), output.energy.square().sum() * 1e-3]
    parts.append((output.forces * torch.linspace(-1, 2, output.forces.numel()).view_as(output.forces)).sum())
    parts.append(output.forces.square().sum())
    stress = output.stress[torch.isfinite(output.stress)]
    return torch.stack(parts).sum() + 10.0 * stress.square().sum()


def gradients(potential: Potential, graph, native: bool) -> tuple[Tensor, list[Tensor]]:
    """Return a score and its gradients by the trained weights."""
    assert potential.use_native(native) == native
    value = score(potential.trainable(graph))
    weights = [weight for weight in potential.parameters() if weight.requires_grad]
    found = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)
    return value.detach(), list(found)


def check(potential: Potential, graph, tolerance: float) -> None:
    """Compare with autograd, each tensor by its own size and by that of the whole gradient."""
    expected, found = gradients(potential, graph, False), gradients(potential, graph, True)
    torch.testing.assert_close(found[0], expected[0], rtol=tolerance, atol=tolerance)
    size = torch.stack([part.double().norm() for part in expected[1]]).norm()
    assert size > 1e-3
    for one, other in zip(found[1], expected[1], strict=True):
        assert one.dtype == other.dtype
        difference = (one.double() - other.double()).norm()
        assert difference <= tolerance * max(other.double().norm(), 1e-2 * size)


def structures(request: pytest.FixtureRequest, names: Sequence[str] = STRUCTURES) -> list[Atoms]:
    """Return small structures, a lone atom and a pair out of reach among them."""
    chosen = [request.getfixturevalue(name) for name in names]
    return [*chosen, Atoms("Ge"), Atoms("SiGe", positions=[[0, 0, 0], [60, 0, 0]])]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_autograd(shape: str, dtype: torch.dtype, request: pytest.FixtureRequest) -> None:
    potential = roughened(SHAPES[shape], dtype)
    check(potential, batch_of(potential, *structures(request)), TOLERANCE[dtype])


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("elements", ["Si", "Ge C Si"])
def test_elements_and_layers(elements: str, layers: int, cubic: Atoms, skewed: Atoms) -> None:
    """Also with bonds beyond the cutoff, and with another length and energy scale for each element."""
    config = NetworkConfig(channels=16, hidden=8, layers=layers)
    potential = roughened(config, torch.float64, elements)
    potential.length_scales.mul_(torch.linspace(1.0, 0.93, len(elements.split()), dtype=torch.float64))
    for atoms in (cubic, skewed):
        atoms.symbols[:] = (elements.split() * 8)[: len(atoms)]
    check(potential, batch_of(potential, cubic, skewed, extra=0.7), 1e-11)


def test_changed_weights_and_scales(cubic: Atoms, skewed: Atoms) -> None:
    """Nothing is left of weights, constants or a precision that were there before."""
    potential = roughened(SHAPES["two layers"], torch.float64)
    graph = batch_of(potential, cubic, skewed)
    check(potential, graph, 1e-11)
    with torch.no_grad():
        for weight in potential.parameters():
            weight.mul_(1.1)
    check(potential, graph, 1e-11)
    potential.network.calibrate(potential.environments(graph))
    check(potential, graph, 1e-11)
    check(potential.float(), graph, 1e-5)
    check(copy.deepcopy(potential).double(), graph, 1e-11)


def test_two_batches_before_their_gradients(cubic: Atoms, skewed: Atoms) -> None:
    """The gradient of a batch is taken at its own weights, whatever was computed since."""
    potential = roughened(SHAPES["two layers"], torch.float64)
    assert potential.use_native()
    weights = list(potential.parameters())
    first = score(potential.trainable(batch_of(potential, cubic)))
    second = score(potential.trainable(batch_of(potential, skewed)))
    together = torch.autograd.grad(first + second, weights)
    alone = [gradients(potential, batch_of(potential, atoms), False)[1] for atoms in (cubic, skewed)]
    for one, *others in zip(together, *alone, strict=True):
        torch.testing.assert_close(one, sum(others), rtol=1e-10, atol=1e-10)


def test_frozen_weights_and_adapters(cubic: Atoms, skewed: Atoms) -> None:
    potential = roughened(SHAPES["two layers"], torch.float64)
    graph = batch_of(potential, cubic, skewed)
    adapt(potential, Adapters(rank=2))
    with torch.no_grad():
        for index, weight in enumerate(w for w in potential.parameters() if w.requires_grad):
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(index)))
    check(potential, graph, 1e-11)


def test_several_threads(cubic: Atoms, skewed: Atoms) -> None:
    potential = roughened(SHAPES["two layers"], torch.float64)
    graph = batch_of(potential, *[cubic, skewed] * 4)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        check(potential, graph, 1e-11)
        again = [gradients(potential, graph, True)[1] for _ in range(2)]
        assert all(torch.equal(one, other) for one, other in zip(*again, strict=True))
    finally:
        torch.set_num_threads(threads)


def test_a_fit_follows_the_same_curve(sw_frames, tmp_path) -> None:
    """With native kernels and without, from the same start, in double precision: the same losses."""
    frames = sw_frames("Si", 8, seed=0)
    losses = {}
    for native in (True, False):
        potential = new_potential(frames, ["Si"], NetworkConfig(channels=8, hidden=8), seed=1)
        settings = FitSettings(epochs=4, batch_size=2, precision="float64")
        run = tmp_path / str(native)
        fit(potential, frames[:6], frames[6:], settings, run, hardware=Hardware(native=native))
        lines = (run / "metrics.csv").read_text().splitlines()
        column = lines[0].split(",").index("train_loss")
        losses[native] = [float(line.split(",")[column]) for line in lines[1:]]
        assert not potential.is_native
    assert losses[True] == pytest.approx(losses[False], rel=1e-8)
    assert losses[True] != [losses[True][0]] * len(losses[True])


def test_insisting_without_a_compiler(sw_frames, tmp_path, monkeypatch) -> None:
    def none() -> None:
        raise NativeError("no compiler")

    monkeypatch.setattr("mlpot.model.potential.load_library", none)
    frames = sw_frames("Si", 4, seed=0)
    potential = new_potential(frames, ["Si"], NetworkConfig(channels=8, hidden=8), seed=1)
    settings = FitSettings(epochs=1, batch_size=2)
    with pytest.raises(NativeError, match="no compiler"):
        fit(potential, frames, [], settings, tmp_path / "run", hardware=Hardware(native=True))
    with pytest.warns(UserWarning, match="PyTorch computes instead"):
        fit(potential, frames, [], settings, tmp_path / "other")
