r"""One layer of the network forward and backward by hand, without autograd.

The same mathematics as :mod:`mlpot.model.network`, arranged for speed on the atoms of one chunk:

- Scales, species tables of a single element and normalisations are folded into the weights.
- Atoms run last, (components, channels, n): every stage on the sphere is one matrix product
  over all channels and atoms, and every product of fields runs along memory.
- Later layers form :math:`P_{ij,lc} = \sum_n B_n(r_{ij}) W_{nlc}` on the bonds, multiply by the
  message and sum over neighbours with the harmonics: a third of the arithmetic of a table of
  all :math:`B_n Y_{lm}` against the messages. The sum is taken for all pairs of degrees at once
  and its diagonal kept, which is faster than one small product per degree.

Slopes are derivatives of the energy: ``slope_x`` is :math:`\partial E / \partial x`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from mlpot.model.angular import components, degrees, harmonic_steps
from mlpot.model.network import Layer
from mlpot.model.radial import RadialBasis


class Scratch:
    """Buffers that outlive a call, by name: fresh memory costs page faults, a large part of a small call.

    Results of the kernels may live in them; the caller sees to it that a name is not taken again
    while its last contents are needed.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Return an uninitialised tensor with the type and device of ``like``."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or len(buffer) < size or buffer.dtype != like.dtype or buffer.device != like.device:
            buffer = self._buffers[name] = like.new_empty(size)
        return buffer[:size].view(shape)


#: From the slopes by SiLU(x), and x, to those by x.
silu_backward = torch.ops.aten.silu_backward


@dataclass(frozen=True)
class Basis:
    """Radial functions and harmonics of the bonds of n atoms with K slots each.

    Attributes
    ----------
    directions : (3, n * K)
        Unit vectors.
    distances : (n * K,)
        Reduced Å.
    radial : (n, K, R), radial_slope : (R, n * K)
        Unscaled radial functions and their derivatives by distance.
    harmonics : (n, K, M)
        Real spherical harmonics.
    lower : (M', n * K)
        Those below the largest degree once more, bonds last.
    """

    directions: Tensor
    distances: Tensor
    radial: Tensor
    radial_slope: Tensor
    harmonics: Tensor
    lower: Tensor


def evaluate_basis(vectors: Tensor, radial: RadialBasis) -> Basis:
    """Return the basis functions of bonds (n, K, 3)."""
    n, k, _ = vectors.shape
    columns = vectors.view(-1, 3).t().contiguous()
    distances = columns.square().sum(0).sqrt_()
    directions = columns / distances
    x = distances / radial.cutoff
    orders = math.pi * torch.arange(1, radial.size + 1, dtype=x.dtype, device=x.device)[:, None]
    phases = orders * x
    inside = (1.0 - x.square()).clamp_(min=0.0)
    square = inside.square()
    envelope = square * inside / x
    slope = (square * -6.0 - envelope / x) / radial.cutoff
    sine, cosine = torch.sin(phases), torch.cos(phases)
    radial_slope = (cosine * (orders / radial.cutoff)).mul_(envelope).addcmul_(sine, slope)

    harmonics = columns.new_empty(components(radial.l_max), n * k)
    harmonics[0] = 0.5 / math.sqrt(math.pi)
    for degree, table in enumerate(_tables(radial.l_max, x.dtype, x.device)[0], start=1):
        lower = harmonics[(degree - 1) ** 2 : degree**2]
        outer = (directions[:, None] * lower).flatten(0, 1)
        torch.mm(table.t(), outer, out=harmonics[degree**2 : components(degree)])
    return Basis(
        directions,
        distances,
        sine.mul_(envelope).t().contiguous().view(n, k, -1),
        radial_slope,
        harmonics.t().contiguous().view(n, k, -1),
        harmonics[: radial.l_max**2],
    )


@cache
def _tables(l_max: int, dtype: torch.dtype, device: torch.device) -> tuple[tuple[Tensor, ...], Tensor]:
    up, gradient = harmonic_steps(l_max)
    return tuple(table.to(device, dtype) for table in up), gradient.to(device, dtype)


def bond_slopes(basis: Basis, slope_radial: Tensor, slope_harmonics: Tensor) -> Tensor:
    """Return the slopes by bond vectors (n, K, 3) from those by radial (n, K, R) and harmonics (n, K, M)."""
    n, k, m = slope_harmonics.shape
    along = (slope_radial.view(n * k, -1).t() * basis.radial_slope).sum(0)
    table = _tables(math.isqrt(m) - 1, along.dtype, along.device)[1]
    coefficients = table.t() @ slope_harmonics.view(n * k, m)[:, 1:].t()
    across = (coefficients.view(3, -1, n * k) * basis.lower).sum(1).div_(basis.distances)
    along -= (across * basis.directions).sum(0)
    return across.addcmul_(along, basis.directions).t().view(n, k, 3)


@dataclass(frozen=True)
class LayerWeights:
    """Weights of a layer, packed for the kernels; C channels, M components, P grid points.

    Attributes
    ----------
    index : int
        Number of the layer.
    density : (M, 3C, elements * R) or None
        First layer: from radial densities to the factors of the product.
    radial : (R, (l_max + 1) * C), factors : (M, 3C, C), emit : (M', C, C), or None
        Later layers: radial table, density to factors, features to messages.
    centre : (elements, 3C) or None
        Factor by species of the centre (folded into the others for a single element).
    evaluate : (P, M), project : (M_out, P)
        Fields on the grid and back.
    scalars : (H + C, 3C), scalars_outer : (C, H)
        Products to hidden scalars and straight to scalars; hidden scalars to scalars.
    readout : (H + 1, C), readout_outer : (H,)
        The same for the energy.
    update : (M_out - 1, C, 3C)
        Products to features of degree 1 and up.
    """

    index: int
    density: Tensor | None
    radial: Tensor | None
    factors: Tensor | None
    emit: Tensor | None
    centre: Tensor | None
    evaluate: Tensor
    project: Tensor
    scalars: Tensor
    scalars_outer: Tensor
    readout: Tensor
    readout_outer: Tensor
    update: Tensor | None


def pack_layer(layer: nn.Module, index: int, radial_scale: Tensor, fold_centre: bool = True) -> LayerWeights:
    """Return the weights of a layer; a copy, so that it must be taken again when they change.

    Without ``fold_centre`` the factor by the centre stays apart for a single element too, and
    every number is one weight of the layer times a constant.
    """
    if type(layer) is not Layer:
        raise TypeError(f"the kernels compute what Layer computes, not {type(layer).__name__}")
    c, l_max, l_out = layer.config.channels, layer.config.l_max, layer.l_out
    by_degree = degrees(l_max).to(radial_scale.device)
    fold = len(layer.centre_table) == 1 and fold_centre
    # What multiplies a row of factors of one degree: (l_max + 1, 3C).
    rows = layer.factor_scale.factor * (layer.centre_table[0] if fold else 1.0)
    rows = rows.expand(-1, 3 * c)[:, :, None]
    density = radial = factors = emit = update = None
    if layer.first:
        table = layer.species_radial.permute(1, 3, 0, 2) * radial_scale[:, None, None]
        density = (table.flatten(2) * rows).index_select(0, by_degree)
    else:
        radial = (layer.radial_table * radial_scale[..., None]).transpose(0, 1).flatten(1)
        factors = (layer.factors.weight.transpose(1, 2) * rows).index_select(0, by_degree)
        emit = layer.emit.weight * layer.message_scale.factor[0, 0]
        emit = emit.index_select(0, degrees(layer.config.l_features).to(emit.device))
    blocks = layer.product_scale.factor.repeat_interleave(c, dim=1)
    if l_out:
        update = (layer.update.weight.transpose(1, 2) * blocks[:, None]).index_select(
            0, by_degree[1 : components(l_out)]
        )
    scalars = torch.cat([layer.scalars.inner, layer.scalars.direct], dim=1).t() * blocks[0]
    return LayerWeights(
        index=index,
        density=density,
        radial=radial,
        factors=factors,
        emit=emit,
        centre=None if fold else layer.centre_table,
        evaluate=layer.evaluate.to(radial_scale),
        project=layer.project.to(radial_scale),
        scalars=scalars,
        scalars_outer=layer.scalars.outer.t(),
        readout=torch.cat([layer.readout.inner, layer.readout.direct], dim=1).t(),
        readout_outer=layer.readout.outer[:, 0],
        update=update,
    )


# -- first layer: species of the neighbours ------------------------------------------------------


def by_species(radial: Tensor, onehot: Tensor | None) -> Tensor:
    """Return the radial functions (n, K, R) told apart by the neighbour's species, (n, K, elements * R)."""
    return radial if onehot is None else (onehot[..., None] * radial[:, :, None]).flatten(2)


def first_factors(weights: LayerWeights, basis: Basis, onehot: Tensor | None) -> Tensor:
    """Return the factors (M, 3C, n) of the first layer; ``onehot`` (n, K, elements)."""
    assert weights.density is not None
    density = torch.bmm(basis.harmonics.transpose(1, 2), by_species(basis.radial, onehot))
    return torch.bmm(weights.density, density.permute(1, 2, 0))


def first_slopes(
    weights: LayerWeights, basis: Basis, onehot: Tensor | None, slope_factors: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the slopes by radial functions (n, K, R) and harmonics (n, K, M)."""
    assert weights.density is not None
    slope = torch.bmm(weights.density.transpose(1, 2), slope_factors).permute(2, 0, 1).contiguous()
    slope_radial = torch.bmm(basis.harmonics, slope)
    if onehot is not None:
        slope_radial = (slope_radial.unflatten(2, (onehot.shape[2], -1)) * onehot[..., None]).sum(2)
    return slope_radial, torch.bmm(by_species(basis.radial, onehot), slope.transpose(1, 2))


# -- later layers: messages of the neighbours ----------------------------------------------------


def emit(weights: LayerWeights, features: Tensor) -> Tensor:
    """Return what atoms emit, (n, M', C), from their features (M', C, n)."""
    assert weights.emit is not None
    return torch.bmm(features.transpose(1, 2), weights.emit).transpose(0, 1)


def send(basis: Basis, emitted: Tensor) -> Tensor:
    """Return what atoms send along their bonds, (n, K, C)."""
    return torch.bmm(basis.harmonics[..., : emitted.shape[1]], emitted)


def emit_slopes(
    weights: LayerWeights, basis: Basis, emitted: Tensor, slope_sent: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the slopes by features (M', C, n) and by their harmonics (n, K, M')."""
    assert weights.emit is not None
    harmonics = basis.harmonics[..., : emitted.shape[1]]
    slope_emitted = torch.bmm(harmonics.transpose(1, 2), slope_sent)
    slope_features = torch.bmm(weights.emit, slope_emitted.permute(1, 2, 0))
    return slope_features, torch.bmm(slope_sent, emitted.transpose(1, 2))


@dataclass(frozen=True)
class MessageTape:
    """Messages (n, K, C), the radial table (n, K, degrees, C), and their product."""

    messages: Tensor
    table: Tensor
    shown: Tensor


def message_factors(
    weights: LayerWeights, basis: Basis, messages: Tensor, scratch: Scratch
) -> tuple[Tensor, MessageTape]:
    """Return the factors (M, 3C, n) of a later layer from the messages (n, K, C), and the tape."""
    assert weights.radial is not None and weights.factors is not None
    n, k, c = messages.shape
    width, m = weights.radial.shape[1], basis.harmonics.shape[2]
    table = scratch.take(f"table {weights.index}", messages, n * k, width)
    torch.mm(basis.radial.view(n * k, -1), weights.radial, out=table)
    table = table.view(n, k, -1, c)
    shown = scratch.take(f"shown {weights.index}", messages, n, k, width // c, c)
    torch.mul(table, messages[:, :, None], out=shown)
    every = scratch.take("every", messages, n, m, width)
    torch.bmm(basis.harmonics.transpose(1, 2), shown.flatten(2), out=every)
    # Of all pairs of a radial table and a component, those of the same degree.
    split = every.view(n, m, -1, c)
    density = torch.cat([split[:, d**2 : components(d), d] for d in range(width // c)], dim=1)
    return torch.bmm(weights.factors, density.permute(1, 2, 0)), MessageTape(messages, table, shown)


def message_slopes(
    weights: LayerWeights, basis: Basis, tape: MessageTape, slope_factors: Tensor, scratch: Scratch
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the slopes by radial functions (n, K, R), harmonics (n, K, M), messages (n, K, C)."""
    assert weights.radial is not None and weights.factors is not None
    n, k, count, c = tape.shown.shape
    m = basis.harmonics.shape[2]
    slope_density = torch.bmm(slope_factors.transpose(1, 2), weights.factors).transpose(0, 1)
    every = scratch.take("every", slope_factors, n, m, count, c).zero_()
    for d in range(count):
        every[:, d**2 : components(d), d] = slope_density[:, d**2 : components(d)]
    every = every.flatten(2)
    slope_harmonics = torch.bmm(tape.shown.flatten(2), every.transpose(1, 2))
    slope_shown = scratch.take("slope_shown", slope_factors, n, k, count * c)
    torch.bmm(basis.harmonics, every, out=slope_shown)
    slope_shown = slope_shown.view(n, k, count, c)
    slope_messages = tape.table.mul_(slope_shown).sum(2)
    slope_shown *= tape.messages[:, :, None]
    # This way round: a product with few columns is slow, one with few rows is not.
    slope_radial = (weights.radial @ slope_shown.view(n * k, -1).t()).t().contiguous()
    return slope_radial.view(n, k, -1), slope_harmonics, slope_messages


# -- all layers: products on the sphere, update, readout -----------------------------------------


@dataclass(frozen=True)
class ProductTape:
    """What the backward pass of the products needs of the forward pass."""

    fields: Tensor
    products: Tensor
    hidden: Tensor
    readout_hidden: Tensor


def evaluate_products(
    weights: LayerWeights, factors: Tensor, scratch: Scratch
) -> tuple[Tensor, Tensor, ProductTape]:
    """Return local energies (n,), features (M_out, C, n) and the tape, from factors (M, 3C, n)."""
    _, width, n = factors.shape
    c = width // 3
    m, p = weights.project.shape
    fields = scratch.take(f"fields {weights.index}", factors, p, 3 * c * n)
    torch.mm(weights.evaluate, factors.view(len(factors), -1), out=fields)
    fields = fields.view(p, 3, c * n)
    products = scratch.take(f"products {weights.index}", factors, p, 2, c * n)
    torch.mul(fields[:, 0], fields[:, 1], out=products[:, 0])
    torch.mul(products[:, 0], fields[:, 2], out=products[:, 1])
    coefficients = (weights.project @ products.view(p, -1)).view(m, 2 * c, n)
    first = weights.scalars[:, :c] @ factors[0, :c]
    first.addmm_(weights.scalars[:, c:], coefficients[0])
    hidden = first[:-c]
    scalars = torch.addmm(first[-c:], weights.scalars_outer, torch.nn.functional.silu(hidden))
    last = weights.readout @ scalars
    readout_hidden = last[:-1]
    energies = torch.addmv(last[-1], torch.nn.functional.silu(readout_hidden).t(), weights.readout_outer)
    features = scalars[None]
    if weights.update is not None:
        update = torch.bmm(weights.update[..., :c], factors[1:m, :c])
        update.baddbmm_(weights.update[..., c:], coefficients[1:])
        features = torch.cat([features, update])
    return energies, features, ProductTape(fields, products, hidden, readout_hidden)


def product_slopes(
    weights: LayerWeights,
    tape: ProductTape,
    slope_energies: Tensor,
    slope_features: Tensor | None,
    scratch: Scratch,
) -> Tensor:
    """Return the slopes by the factors (M, 3C, n), given those by energies and features."""
    m, (p, _, size) = len(weights.project), tape.fields.shape
    n = len(slope_energies)
    c = size // n
    outer = silu_backward(weights.readout_outer[:, None] * slope_energies, tape.readout_hidden)
    slope_last = torch.cat([outer, slope_energies[None]])
    slope_scalars = weights.readout.t() @ slope_last
    if slope_features is not None:
        slope_scalars += slope_features[0]
    slope_hidden = silu_backward(weights.scalars_outer.t() @ slope_scalars, tape.hidden)
    slope_first = weights.scalars.t() @ torch.cat([slope_hidden, slope_scalars])
    slope_coefficients = slope_first[None, c:]
    if m > 1:
        if slope_features is None or weights.update is None:
            raise AssertionError("features of degree 1 and up have no slope")
        by_update = torch.bmm(weights.update.transpose(1, 2), slope_features[1:])
        slope_coefficients = torch.cat([slope_coefficients, by_update[:, c:]])
    slope_products = scratch.take("slope_products", slope_coefficients, p, 2 * size)
    torch.mm(weights.project.t(), slope_coefficients.view(m, -1), out=slope_products)
    slope_products = slope_products.view(p, 2, size)
    x, y, z = tape.fields.unbind(1)
    slope_pair, slope_triple = slope_products.unbind(1)
    slope_fields = scratch.take("slope_fields", slope_coefficients, p, 3, size)
    torch.mul(slope_triple, tape.products[:, 0], out=slope_fields[:, 2])
    slope_pair.addcmul_(slope_triple, z)
    torch.mul(slope_pair, y, out=slope_fields[:, 0])
    torch.mul(slope_pair, x, out=slope_fields[:, 1])
    slope_factors = (weights.evaluate.t() @ slope_fields.view(p, -1)).view(-1, 3 * c, n)
    slope_factors[0, :c] += slope_first[:c]
    if m > 1:
        slope_factors[1:m, :c] += by_update[:, :c]
    return slope_factors
