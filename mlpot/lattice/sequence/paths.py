"""Orders in which a sequence model visits the sites of a lattice."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from mlpot.errors import RecipeError

PathKind = Literal["row", "snake", "spiral"]


def path(shape: tuple[int, ...], kind: PathKind) -> npt.NDArray[np.int64]:
    """Return the flat (row-major) site indices of a lattice in the order of a path, shape ``(N,)``.

    Parameters
    ----------
    shape
        Of the lattice, one to three dimensions.
    kind
        ``row``: row-major, every row from its first site. ``snake``: every other row backwards, so
        that consecutive sites are neighbours, in any dimension. ``spiral``: two dimensions only,
        from the corner (0, 0) along the edge and inwards; on a chain it is ``row``.

    Raises
    ------
    RecipeError
        For a spiral in three dimensions, or an unknown kind.
    """
    sites = np.arange(math.prod(shape)).reshape(shape)
    if kind == "row" or len(shape) == 1:
        return sites.reshape(-1)
    if kind == "snake":
        return _snake(sites)
    if kind == "spiral":
        if len(shape) != 2:
            raise RecipeError(
                f"path: a spiral needs a lattice of two dimensions, this one is {shape}; use snake."
            )
        return _spiral(sites)
    raise RecipeError(f"path: {kind!r} is not known; use row, snake or spiral.")


def _snake(sites: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if sites.ndim == 1:
        return sites
    layers = [_snake(layer) for layer in sites]
    return np.concatenate([layer if i % 2 == 0 else layer[::-1] for i, layer in enumerate(layers)])


def _spiral(sites: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    turns = []
    while sites.size:
        turns.append(sites[0])
        sites = np.rot90(sites[1:])
    return np.concatenate(turns)


def neighbour_order(shape: tuple[int, ...], reach: int) -> npt.NDArray[np.int64]:
    """Return the sites in the periodic window around every site, shape ``(N, K)``, flat indices.

    ``K = prod(min(2 reach + 1, L))``: on a side shorter than the window each site appears once. The
    centre is the first column.
    """
    offsets = [np.arange(-min(reach, (length - 1) // 2), min(reach, length // 2) + 1) for length in shape]
    grid = np.stack(np.meshgrid(*offsets, indexing="ij"), axis=-1).reshape(-1, len(shape))
    grid = grid[np.argsort(np.abs(grid).sum(1), kind="stable")]
    coordinates = np.stack(np.unravel_index(np.arange(math.prod(shape)), shape), axis=-1)
    moved = (coordinates[:, None] + grid[None]) % np.array(shape)
    return np.ravel_multi_index(tuple(np.moveaxis(moved, -1, 0)), shape)


def visited_window(
    shape: tuple[int, ...], order: npt.NDArray[np.int64], reach: int, diamond: bool = False
) -> npt.NDArray[np.int64]:
    """Return, for every step of a path, the steps at which the sites around it were visited.

    Parameters
    ----------
    shape
        Of the periodic lattice.
    order
        The path, shape ``(N,)``.
    reach
        Half width of the window.
    diamond
        Only the sites on the axes: with a reach of one, the nearest neighbours.

    Returns
    -------
    Integers of shape ``(N, K)``: earlier steps, and ``N`` for a site that comes later. The site
    itself is not among them.
    """
    window = neighbour_order(shape, reach)[order][:, 1:]
    if diamond:
        coordinates = np.stack(np.unravel_index(window, shape), axis=-1)
        centre = np.stack(np.unravel_index(order, shape), axis=-1)
        window = window[:, ((coordinates != centre[:, None]).sum(-1) == 1)[0]]
    step_of = np.empty(len(order), dtype=np.int64)
    step_of[order] = np.arange(len(order))
    steps = step_of[window]
    return np.where(steps < np.arange(len(order))[:, None], steps, len(order))
