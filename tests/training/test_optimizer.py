"""Muon for matrices, Adam for the rest, each against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlpot.model.potential import Potential
from mlpot.training.optimizer import MuonAdam, build_optimizer, orthogonalise


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (3, 6, 18), (3, 18, 6), (2, 2, 5, 12)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    matrices = random(*shape)
    result = orthogonalise(matrices)
    assert result.shape == matrices.shape
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.6
    assert values.max() < 1.3
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    core = u.mT @ result @ vh.mT
    torch.testing.assert_close(core, torch.diag_embed(core.diagonal(dim1=-2, dim2=-1)), rtol=0, atol=1e-10)


def test_stack_is_orthogonalised_matrix_by_matrix_whatever_their_sizes():
    stack = random(4, 5, 9) * torch.tensor([1e-6, 1.0, 1e3, 1.0], dtype=torch.float64)[:, None, None]
    one_by_one = torch.stack([orthogonalise(matrix) for matrix in stack])
    torch.testing.assert_close(orthogonalise(stack), one_by_one, rtol=0, atol=1e-12)


def test_zero_gradient_stays_zero():
    assert torch.equal(orthogonalise(torch.zeros(2, 4, 4)), torch.zeros(2, 4, 4))


def descend(optimizer_of, shapes, steps):
    """Return parameters after steps on a fixed quadratic with a falling rate."""
    parameters = [nn.Parameter(random(*shape, seed=i)) for i, shape in enumerate(shapes)]
    goals = [random(*shape, seed=10 + i) for i, shape in enumerate(shapes)]
    optimizer = optimizer_of(parameters)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 / (step + 1))
    for _ in range(steps):
        optimizer.zero_grad()
        sum(((p - g) ** 2).sum() for p, g in zip(parameters, goals, strict=True)).backward()
        optimizer.step()
        schedule.step()
    return [parameter.detach() for parameter in parameters]


def test_tables_follow_torch_adam():
    shapes = [(5,), (3, 4), (2, 3, 4)]
    ours = descend(lambda p: MuonAdam([{"params": p, "lr": 0.05, "matrix": False}]), shapes, 10)
    theirs = descend(lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.9, 0.99), eps=1e-8), shapes, 10)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
@pytest.mark.parametrize("shape", [(12, 5), (5, 12), (4, 10)])
def test_matrices_follow_torch_muon_within_its_bfloat16(shape):
    moved = []
    for kind in ("ours", "torch"):
        parameter = nn.Parameter(random(*shape))
        if kind == "ours":
            optimizer = MuonAdam([{"params": [parameter], "lr": 0.05, "matrix": True}])
        else:
            optimizer = torch.optim.Muon([parameter], lr=0.05, weight_decay=0.0, momentum=0.95, nesterov=True)
        for step in range(4):
            parameter.grad = random(*shape, seed=30 + step)
            optimizer.step()
        moved.append(parameter.detach() - random(*shape))
    assert (moved[0] - moved[1]).norm() < 0.02 * moved[1].norm()


def test_each_matrix_of_a_stack_moves_like_a_matrix_alone():
    stack = nn.Parameter(random(3, 4, 7))
    alone = [nn.Parameter(matrix.clone()) for matrix in stack.detach()]
    optimizer = MuonAdam([{"params": [stack, *alone], "lr": 0.1, "matrix": True}])
    for step in range(3):
        gradient = random(3, 4, 7, seed=20 + step)
        stack.grad = gradient
        for parameter, part in zip(alone, gradient, strict=True):
            parameter.grad = part
        optimizer.step()
    torch.testing.assert_close(stack.detach(), torch.stack([p.detach() for p in alone]), rtol=0, atol=1e-12)


def test_state_is_taken_up_again():
    def run(split):
        parameters = [nn.Parameter(random(4, 6)), nn.Parameter(random(5))]

        def make():
            groups = [
                {"params": parameters[:1], "lr": 0.1, "matrix": True},
                {"params": parameters[1:], "lr": 0.1, "matrix": False},
            ]
            return MuonAdam(groups)

        optimizer = make()
        for step in range(6):
            if step == split:
                state = optimizer.state_dict()
                optimizer = make()
                optimizer.load_state_dict(state)
            for parameter in parameters:
                parameter.grad = random(*parameter.shape, seed=step)
            optimizer.step()
        return parameters

    for a, b in zip(run(3), run(None), strict=True):
        assert torch.equal(a, b)


def test_every_trainable_parameter_is_in_exactly_one_group(tiny):
    potential = Potential(["Si", "Ge"], tiny)
    optimizer = build_optimizer(potential, rate=1e-3, matrix_rate=2e-2)
    grouped = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in potential.parameters())
    rates = {group["matrix"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {True: 2e-2, False: 1e-3}


def test_channel_matrices_go_to_muon_and_tables_and_vectors_to_adam(tiny):
    potential = Potential(["Si"], tiny)
    names = {id(parameter): name for name, parameter in potential.named_parameters()}
    groups = build_optimizer(potential, 1e-3, 2e-2).param_groups
    muon, adam = (
        {names[id(p)] for g in groups if g["matrix"] is kind for p in g["params"]} for kind in (True, False)
    )
    assert {"network.layers.0.update.weight", "network.layers.1.factors.weight"} <= muon
    assert "network.layers.0.readout.inner" in muon
    assert {"network.layers.0.readout.outer", "network.layers.0.readout.direct"} <= adam
    assert {"network.layers.0.species_radial", "network.layers.0.centre_table"} <= adam
    assert "network.layers.1.radial_table" in adam


def test_frozen_parameters_are_in_no_group_and_empty_groups_are_not_made(tiny):
    potential = Potential(["Si"], tiny)
    for name, parameter in potential.named_parameters():
        parameter.requires_grad_(name.endswith("centre_table"))
    (group,) = build_optimizer(potential, 1e-3, 2e-2).param_groups
    assert len(group["params"]) == 2
    assert not group["matrix"]


def test_parameter_without_gradient_stays():
    parameter = nn.Parameter(random(3, 3))
    before = parameter.detach().clone()
    MuonAdam([{"params": [parameter], "lr": 0.1, "matrix": True}]).step()
    assert torch.equal(parameter, before)
