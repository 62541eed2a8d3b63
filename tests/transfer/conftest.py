"""Random donors whose every tensor differs from what a new potential would have."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mlpot.model.potential import Potential


@pytest.fixture(scope="session")
def make_donor(tiny) -> Callable[..., Potential]:
    """Return a maker of potentials with random weights, tables and scalars."""

    def make(elements=("Si",), repulsion=True, dtype=torch.float64, seed=0) -> Potential:
        potential = Potential(elements, tiny, repulsion, seed, {"kind": "test", "seed": seed}).double()
        generator = torch.Generator().manual_seed(seed + 1)
        with torch.no_grad():
            for parameter in potential.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        for name, buffer in potential.network.named_buffers():
            if name.endswith("factor"):
                buffer.mul_(1.5)
        potential.network.radial.scale.mul_(0.7)
        n = len(elements)
        potential.offsets.copy_(torch.linspace(-5.4, -4.5, n))
        potential.energy_unit.fill_(0.4)
        return potential.to(dtype)

    return make
