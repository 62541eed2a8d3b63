"""Neighbour lists of many structures at once, with one skin, on the device where they are used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase.geometry import complete_cell
from torch import Tensor

from mlpot.data.graph import Graph
from mlpot.data.neighbours import OVERLAP, Neighbours, find_neighbours
from mlpot.errors import GeometryError
from mlpot.simulation.skin import require_skin

_NONE = Neighbours(*(np.zeros(shape, dtype=np.int64) for shape in (0, 0, (0, 3), 0)))


@dataclass(frozen=True)
class _Build:
    """What lists were built for, and the pairs of all structures, in one table sorted by centre.

    ``inverse`` are those of the cells, missing vectors completed; ``whole`` says where none was missing.
    ``translations`` are the shifts in Å.
    """

    positions: Tensor
    cells: Tensor
    pbc: tuple[bool, bool, bool]
    counts: Tensor
    inverse: Tensor
    whole: Tensor
    centre: Tensor
    neighbour: Tensor
    shift: Tensor
    reverse: Tensor
    translations: Tensor


@dataclass(frozen=True)
class Found:
    """A batch of graphs, and the structures that have none.

    Attributes
    ----------
    graph : Graph
        Of all structures together, with ``batch`` (N,); positions may differ from those asked for by
        lattice vectors. No pair of a failed structure is in it.
    failures : dict of int to GeometryError
        By structure: why it has no neighbour list.
    """

    graph: Graph
    failures: dict[int, GeometryError]


class BatchedNeighbours:
    r"""Neighbour lists of a batch, reused while no pair of any structure can have come in unseen.

    The rule is that of :class:`~mlpot.simulation.skin.SkinnedNeighbours`, for each structure its own.
    In addition, lattice vectors by which an atom was moved (wrapped) since the build are taken back,
    so that programs which wrap at every step do not force a build at every step. When the list of one
    structure is used up, all are built anew: at one temperature they are used up at about the same time,
    and joining tables costs as much as a build.

    Parameters
    ----------
    cutoff
        Å.
    skin
        Å; 0 builds whenever anything moved.

    Attributes
    ----------
    builds : int
        How often lists have been built so far.

    Raises
    ------
    RecipeError
        For a cutoff or skin that is negative or not finite.
    """

    def __init__(self, cutoff: float, skin: float = 0.5) -> None:
        require_skin(cutoff, skin)
        self.cutoff, self.skin, self.builds = cutoff, skin, 0
        self._build: _Build | None = None

    def find(
        self, numbers: Tensor, positions: Tensor, cells: Tensor, pbc: tuple[bool, bool, bool], owner: Tensor
    ) -> Found:
        """Return the graphs of a batch, with all pairs closer than the cutoff.

        Parameters
        ----------
        numbers : (N,) int64
            Atomic numbers.
        positions : (N, 3) float64
            Å.
        cells : (B, 3, 3) float64
            Lattice vectors in rows, Å.
        pbc
            Periodic directions, of all structures.
        owner : (N,) int64
            Structure of each atom, ascending.
        """
        failures: dict[int, GeometryError] = {}
        build = self._build
        present = None if build is None else self._present(build, positions, cells, pbc, owner)
        if build is None or present is None:
            build = self._build = self._built(positions, cells, pbc, owner, failures)
            present = positions
        translations = build.translations
        if not torch.equal(cells, build.cells):
            translations = _translations(build.shift, cells, owner[build.centre])
        vectors = present[build.neighbour] - present[build.centre] + translations
        squares = vectors.square().sum(1)
        keep = squares < self.cutoff**2
        if len(squares) and bool(squares.min() < OVERLAP**2):
            failures |= self._overlaps(squares, build, present, cells, pbc, owner)
        if failures:
            failed = torch.zeros(len(cells), dtype=torch.bool, device=cells.device)
            failed[list(failures)] = True
            keep &= ~failed[owner[build.centre]]
            # A list with failures serves once: the next batch must say them again, or be another.
            self._build = None
        renumbered = torch.cumsum(keep, 0) - 1
        graph = Graph(
            numbers=numbers,
            pos=present,
            cell=cells,
            edge_index=torch.stack([build.centre[keep], build.neighbour[keep]]),
            shift=build.shift[keep],
            reverse=renumbered[build.reverse[keep]],
            batch=owner,
            num_nodes=len(numbers),
        )
        return Found(graph, failures)

    def _present(
        self, build: _Build, positions: Tensor, cells: Tensor, pbc: tuple[bool, bool, bool], owner: Tensor
    ) -> Tensor | None:
        """Return the positions, less lattice vectors, for which the lists hold; None if they do not."""
        if (
            pbc != build.pbc
            or positions.shape != build.positions.shape
            or cells.shape != build.cells.shape
            or not torch.equal(torch.bincount(owner, minlength=len(cells)), build.counts)
        ):
            return None
        origin, inverse, stretch = build.positions, build.inverse, torch.ones_like(cells[:, 0, 0])
        if any(pbc) and not torch.equal(cells, build.cells):
            # Without a third lattice vector no deformation is known.
            changed = (cells != build.cells).flatten(1).any(1)
            inverse, failed = torch.linalg.inv_ex(cells)
            usable = build.whole & (failed == 0) & cells.isfinite().flatten(1).all(1)
            if bool((changed & ~usable).any()):
                return None
            deformation = build.inverse @ cells
            inverse = torch.where(changed[:, None, None], inverse, build.inverse)
            identity = torch.eye(3, dtype=cells.dtype, device=cells.device)
            deformation = torch.where(changed[:, None, None], deformation, identity)
            origin = torch.bmm(origin[:, None], deformation[owner])[:, 0]
            stretch = torch.linalg.svdvals(deformation)[:, -1]
        allowed = 0.5 * (stretch * (self.cutoff + self.skin) - self.cutoff)
        if bool((allowed < 0.0).any()):
            return None
        limit = allowed.square()[owner]
        moved = positions - origin
        if bool((moved.square().sum(1) <= limit).all()):
            return positions
        if not any(pbc):
            return None
        turns = torch.bmm(moved[:, None], inverse[owner])[:, 0].round()
        turns *= torch.tensor(pbc, dtype=turns.dtype, device=turns.device)
        back = torch.bmm(turns[:, None], cells[owner])[:, 0]
        # NaN compares false: positions that are not finite lead to a build, which refuses them.
        if bool(((moved - back).square().sum(1) <= limit).all()):
            return positions - back
        return None

    def _built(
        self,
        positions: Tensor,
        cells: Tensor,
        pbc: tuple[bool, bool, bool],
        owner: Tensor,
        failures: dict[int, GeometryError],
    ) -> _Build:
        self.builds += 1
        counts = torch.bincount(owner, minlength=len(cells))
        boxes, tables, pairs = cells.cpu().numpy(), [], 0
        starts = (torch.cumsum(counts, 0) - counts).tolist()
        for index, own in enumerate(np.split(positions.cpu().numpy(), starts[1:])):
            try:
                found = find_neighbours(own, boxes[index], np.array(pbc), self.cutoff + self.skin)
            except GeometryError as error:
                failures[index] = error
                found = _NONE
            start = starts[index]
            tables.append((found.centre + start, found.neighbour + start, found.shift, found.reverse + pairs))
            pairs += len(found)
        centre, neighbour, shift, reverse = (np.concatenate(column) for column in zip(*tables, strict=True))
        completed = np.array([_completed(box) for box in boxes])
        device = positions.device
        shifts = torch.as_tensor(shift, dtype=torch.float64, device=device)
        centres = torch.as_tensor(centre, device=device)
        return _Build(
            positions=positions.clone(),
            cells=cells.clone(),
            pbc=pbc,
            counts=counts,
            inverse=torch.as_tensor(np.linalg.inv(completed), device=device),
            whole=torch.as_tensor(np.abs(np.linalg.det(boxes)) > 1e-6, device=device),
            centre=centres,
            neighbour=torch.as_tensor(neighbour, device=device),
            shift=shifts,
            reverse=torch.as_tensor(reverse, device=device),
            translations=_translations(shifts, cells, owner[centres]),
        )

    def _overlaps(
        self,
        squares: Tensor,
        build: _Build,
        positions: Tensor,
        cells: Tensor,
        pbc: tuple[bool, bool, bool],
        owner: Tensor,
    ) -> dict[int, GeometryError]:
        """Return what :func:`find_neighbours` says of the structures in which atoms overlap."""
        failures = {}
        for index in torch.unique(owner[build.centre[squares < OVERLAP**2]]).tolist():
            own = positions[owner == index].cpu().numpy()
            try:
                find_neighbours(own, cells[index].cpu().numpy(), np.array(pbc), self.cutoff)
            except GeometryError as error:
                failures[index] = error
        return failures


def _translations(shift: Tensor, cells: Tensor, owner: Tensor) -> Tensor:
    """Return the shifts (E, 3) of pairs of these structures (E,) in Å."""
    return torch.bmm(shift[:, None], cells[owner])[:, 0]


def _completed(cell: np.ndarray) -> np.ndarray:
    """Return a cell of full rank and finite numbers; refusing others is the neighbour search's."""
    if not np.isfinite(cell).all():
        return np.eye(3)
    full = complete_cell(cell)
    return full if abs(np.linalg.det(full)) > 1e-12 else np.eye(3)
