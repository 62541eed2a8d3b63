r"""Equivariant message passing with cheap edges: the learned local energy of mlpot.

One layer, for features :math:`h_{j,c,lm}` (channel c, degree l):

.. math::
    m_{ij,c} = \sum_{lm} Y_{lm}(\hat r_{ji})\, h_{j,c,lm} \qquad
    A_{i,c,lm} = \sum_n W_{nlc} \sum_j B_{nl}(r_{ij}) Y_{lm}(\hat r_{ij})\, m_{ij,c} \\
    x, y, z = \text{fields of } V^{x,y,z} A_i \text{ on the sphere} \qquad
    B_{i,lm} = \langle Y_{lm} \mid x,\; xy,\; xyz \rangle

In the first layer the message is the species of the neighbour. The density A is one batched
matrix product per layer over a geometry table computed once; products are taken point by
point on a Lebedev grid (the Gaunt product, exactly equivariant); features never live on edges
except as the one scalar per channel that a neighbour shows along the bond. Without neighbours
every term vanishes, so an isolated atom has the energy of its offset, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpot.model.angular import components, degrees, product_grid, spherical_harmonics
from mlpot.model.environment import Environments
from mlpot.model.radial import RadialBasis


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the network.

    Parameters
    ----------
    cutoff
        Å, in the units of the donor (reduced) where lengths are scaled.
    radial
        Radial functions per degree.
    l_max
        Degree of the densities.
    l_features
        Degree of the features carried to the next layer.
    channels
        Features per degree.
    layers
        Message-passing layers.
    hidden
        Width of the networks on scalars.
    """

    cutoff: float = 5.0
    radial: int = 8
    l_max: int = 3
    l_features: int = 2
    channels: int = 32
    layers: int = 2
    hidden: int = 32

    def asdict(self) -> dict[str, float | int]:
        """Return the fields as plain values."""
        return asdict(self)


def normal(*shape: int, scale: float, generator: torch.Generator) -> nn.Parameter:
    """Return a float64 parameter of normal numbers; the model's precision is chosen later."""
    return nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64) * scale)


class DegreeLinear(nn.Module):
    """Mix channels, one matrix per degree; (M, N, C) to (M, N, D)."""

    matrices = ("weight",)

    def __init__(self, l_max: int, channels: int, out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.l_max = l_max
        self.weight = normal(l_max + 1, channels, out, scale=channels**-0.5, generator=generator)

    def forward(self, features: Tensor) -> Tensor:
        """Return the mixed features; components beyond ``l_max`` are dropped."""
        m = components(self.l_max)
        weight = self.weight.index_select(0, degrees(self.l_max).to(self.weight.device))
        return torch.bmm(features[:m], weight)


class UnitScale(nn.Module):
    """A constant factor per (degree, block) that brings a stage to unit size on real data.

    It is 1 until :func:`calibrate` sets it (layer-sequential unit variance, Mishkin & Matas,
    ICLR 2016): products of small numbers learn slowly. An equivariant network may scale
    degrees, but never shift them.
    """

    def __init__(self, l_max: int, blocks: int = 1) -> None:
        super().__init__()
        self.l_max, self.blocks = l_max, blocks
        self.factor: Tensor
        self.register_buffer("factor", torch.ones(l_max + 1, blocks, dtype=torch.float64))
        self.calibrating = False

    def forward(self, features: Tensor) -> Tensor:
        """Scale (M, N, blocks * C)."""
        m, n, width = features.shape
        split = features.view(m, n, self.blocks, width // self.blocks)
        if self.calibrating:
            for degree in range(self.l_max + 1):
                block = split[degree**2 : (degree + 1) ** 2].detach().double()
                rms = block.square().mean(dim=(0, 1, 3)).sqrt()
                # A degree that the data do not excite (perfect crystals) keeps its factor.
                self.factor[degree] = torch.where(rms > 1e-8, 1.0 / rms, self.factor[degree].double())
        factor = self.factor.index_select(0, degrees(self.l_max).to(self.factor.device))
        return (split * factor[:, None, :, None]).view(m, n, width)


@contextmanager
def calibrate(network: nn.Module) -> Iterator[None]:
    """Within this context a forward pass sets every :class:`UnitScale` from what it sees."""
    stages = [module for module in network.modules() if isinstance(module, UnitScale)]
    for stage in stages:
        stage.calibrating = True
    try:
        yield
    finally:
        for stage in stages:
            stage.calibrating = False


class ScalarNetwork(nn.Module):
    """Two linear maps with a SiLU between them and a linear path beside; no bias, f(0) = 0."""

    matrices = ("inner", "outer", "direct")

    def __init__(self, width: int, hidden: int, out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = normal(width, hidden, scale=width**-0.5, generator=generator)
        self.outer = normal(hidden, out, scale=hidden**-0.5, generator=generator)
        self.direct = normal(width, out, scale=width**-0.5, generator=generator)

    def forward(self, scalars: Tensor) -> Tensor:
        """Map (N, width) to (N, out)."""
        return functional.silu(scalars @ self.inner) @ self.outer + scalars @ self.direct


class Layer(nn.Module):
    """Density, product, update and readout of one message-passing step."""

    element_tables = ("species_radial", "centre_table")

    def __init__(self, config: NetworkConfig, elements: int, index: int, generator: torch.Generator) -> None:
        super().__init__()
        c, l_max = config.channels, config.l_max
        self.config, self.first = config, index == 0
        self.l_out = config.l_features if index + 1 < config.layers else 0
        if self.first:
            # Neighbour species x degree x radial function -> the three factors at once.
            table = normal(1, l_max + 1, config.radial, 3 * c, scale=config.radial**-0.5, generator=generator)
            self.species_radial = nn.Parameter(table.data.repeat(elements, 1, 1, 1))
        else:
            self.emit = DegreeLinear(config.l_features, c, c, generator)
            self.message_scale = UnitScale(0)
            self.radial_table = normal(
                l_max + 1, config.radial, c, scale=config.radial**-0.5, generator=generator
            )
            self.factors = DegreeLinear(l_max, c, 3 * c, generator)
        self.factor_scale = UnitScale(l_max)
        self.centre_table = nn.Parameter(torch.ones(elements, 3 * c, dtype=torch.float64))
        self.product_scale = UnitScale(self.l_out, 3)
        self.scalars = ScalarNetwork(3 * c, config.hidden, c, generator)
        if self.l_out:
            self.update = DegreeLinear(self.l_out, 3 * c, c, generator)
        self.readout = ScalarNetwork(c, config.hidden, 1, generator)
        # A new potential starts almost at its offsets, not at the scale of the forces.
        self.readout.outer.data.mul_(0.1)
        self.readout.direct.data.mul_(0.1)
        # Float64 constants, cast where they are used: no buffers, so that a change of precision
        # never leaves them rounded.
        self.evaluate, self.project = product_grid(l_max, 3, self.l_out)

    def density(self, geometry: Tensor, environments: Environments, features: Tensor | None) -> Tensor:
        """Return the factors' coefficients, (M, N, 3C), from G (N, M * radial, K)."""
        config = self.config
        n, m, radial = len(geometry), components(config.l_max), config.radial
        by_degree = degrees(config.l_max).to(geometry.device)
        if features is None:
            table = self.species_radial
            if len(table) == 1:
                density = geometry.sum(2)
            else:
                species = environments.species[environments.neighbour]
                density = torch.bmm(geometry, functional.one_hot(species, len(table)).to(geometry.dtype))
            # (N, M, radial, elements) x (elements, degree, radial, 3C), summed over radial, element
            density = density.view(n, m, radial, -1).permute(1, 0, 3, 2).reshape(m, n, -1)
            weight = table.transpose(0, 1).flatten(1, 2).index_select(0, by_degree)
            return torch.bmm(density, weight)
        messages = environments.exchange(features)
        density = torch.bmm(geometry, messages).view(n, m, radial, -1)
        weight = self.radial_table.index_select(0, by_degree)
        # Summed over radial functions one by one: no temporary of the size of the whole product.
        terms = list(zip(density.unbind(2), weight.unbind(1), strict=True))
        mixed = terms[0][0] * terms[0][1]
        for term, row in terms[1:]:
            mixed = torch.addcmul(mixed, term, row)
        return self.factors(mixed.transpose(0, 1))

    def forward(
        self, geometry: Tensor, harmonics: Tensor, environments: Environments, features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return local energies (N,) and the features (M', N, C) of the next layer."""
        config = self.config
        messages = None
        if features is not None:
            emitted = self.emit(features).transpose(0, 1)
            messages = torch.bmm(harmonics[..., : components(config.l_features)], emitted)
            messages = self.message_scale(messages.flatten(0, 1)[None]).view(messages.shape)
        factors = self.factor_scale(self.density(geometry, environments, messages))
        factors = factors * self.centre_table[environments.species]
        n, c = factors.shape[1], config.channels
        evaluate, project = self.evaluate.to(factors), self.project.to(factors)
        # Block by block: the temporaries stay small, and page faults are a first-order cost on a CPU.
        x, y, z = (evaluate @ part.reshape(len(part), n * c) for part in factors.split(c, dim=2))
        pair = x * y
        products = torch.cat(
            [
                factors[: len(project), :, :c],
                (project @ pair).view(-1, n, c),
                (project @ (pair * z)).view(-1, n, c),
            ],
            dim=2,
        )
        products = self.product_scale(products)
        scalars = self.scalars(products[0])
        energies = self.readout(scalars)[:, 0]
        if not self.l_out:
            return energies, scalars[None]
        return energies, torch.cat([scalars[None], self.update(products)[1:]])


class DensityNetwork(nn.Module):
    """The learned part of a potential: local energies of environments, in units of one.

    Parameters
    ----------
    config
        Shape of the network.
    elements
        Rows of the element tables. All rows start equal: an element differs from another only
        by what was learned about it.
    generator
        Source of the initial weights.
    """

    def __init__(self, config: NetworkConfig, elements: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.cutoff = config.cutoff
        self.radial = RadialBasis(config.cutoff, config.radial, config.l_max)
        self.layers = nn.ModuleList(Layer(config, elements, i, generator) for i in range(config.layers))

    def geometry(self, environments: Environments) -> tuple[Tensor, Tensor]:
        """Return G_(lm,n),ij as (N, M * radial, K) and the harmonics (N, K, M)."""
        distances = environments.distances
        n, k = distances.shape
        harmonics = spherical_harmonics(environments.vectors / distances[..., None], self.config.l_max)
        radial = self.radial(distances).index_select(2, degrees(self.config.l_max).to(distances.device))
        return (radial * harmonics[..., None]).view(n, k, -1).transpose(1, 2), harmonics

    def forward(self, environments: Environments) -> Tensor:
        """Return the local energy of every atom, (N,)."""
        geometry, harmonics = self.geometry(environments)
        energies, features = self.layers[0](geometry, harmonics, environments, None)
        for layer in self.layers[1:]:
            local, features = layer(geometry, harmonics, environments, features)
            energies = energies + local
        return energies * len(self.layers) ** -0.5

    @torch.no_grad()
    def calibrate(self, environments: Environments) -> None:
        """Set the radial and every other scale from real environments, once, before training."""
        self.radial.scale.fill_(1.0)
        geometry, _ = self.geometry(environments)
        density = geometry.sum(2).view(len(geometry), -1, self.config.radial).double()
        by_degree = density.square().mean(0).split([2 * d + 1 for d in range(self.config.l_max + 1)])
        self.radial.set_scale(torch.stack([part.mean(0) for part in by_degree]))
        with calibrate(self):
            self(environments)
