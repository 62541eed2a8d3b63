"""What the checks need to know of each frame, computed in one pass over its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from mlpot.checking.descriptors import REACH, atomic_descriptors
from mlpot.data.frame import Frame
from mlpot.data.neighbours import find_neighbours
from mlpot.data.split import COPY_CUTOFF
from mlpot.errors import GeometryError

#: Called with frames done and in all.
Progress = Callable[[int, int], None]
#: Of how many neighbours the distances make the profile of an atom.
PROFILE = 40
#: Info keys that name groups where none is asked for, in the order in which they are tried.
GROUP_KEYS = ("config_type", "group")


@dataclass(frozen=True)
class Geometry:
    """What is known of one frame from its neighbours.

    Attributes
    ----------
    profiles : (N, PROFILE) float32
        Distances (Å) to the nearest neighbours of each atom, ascending, each at most
        ``COPY_CUTOFF``: a row of the pointwise distance distribution (Widdowson and Kurlin,
        NeurIPS 2022). Moving every atom by at most d changes no entry by more than 2 d.
    closest : tuple of (float, float, int, int)
        Smallest distance relative to the sum of covalent radii, that distance (Å), its atoms;
        (inf, inf, -1, -1) where no atom has a neighbour.
    lonely : (N,) bool
        Atoms with no neighbour within twice the sum of covalent radii.
    asymmetry : (N,) float32
        Length of the mean direction to the neighbours, weighted towards near ones: zero on any
        site whose symmetry forbids a force, 1 where all neighbours are on one side.
    descriptors : (N, D) float32
        See :func:`~mlpot.checking.descriptors.atomic_descriptors`.
    """

    profiles: np.ndarray
    closest: tuple[float, float, int, int]
    lonely: np.ndarray
    asymmetry: np.ndarray
    descriptors: np.ndarray


@dataclass(frozen=True)
class Survey:
    """A data set as the checks see it.

    Attributes
    ----------
    name : str
        As messages call it.
    frames : sequence of Frame
        The frames that could be read.
    geometry : list of Geometry or None
        By frame; ``None`` where two atoms lie on top of each other.
    overlaps : dict
        The message of each of these, by index.
    groups : dict
        Indices of the frames of each group, by name; one group without a name where there is no key.
    key : str or None
        The info key, or keys, that make the groups.
    constrained : dict
        Number of atoms with a constraint, by index of the frame.
    """

    name: str
    frames: Sequence[Frame]
    geometry: list[Geometry | None]
    overlaps: dict[int, str]
    groups: dict[str, list[int]]
    key: str | None
    constrained: Mapping[int, int] = field(default_factory=dict)

    def sources(self, indices: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        """Return ``file#index`` of frames."""
        return tuple(self.frames[int(i)].source for i in indices)

    @property
    def sound(self) -> list[int]:
        """Indices of the frames without overlapping atoms."""
        return [i for i, geometry in enumerate(self.geometry) if geometry is not None]


def formula(frame: Frame) -> str:
    """Return the elements of a frame, ``Si`` or ``Si-Ge`` by atomic number."""
    return "-".join(chemical_symbols[z] for z in np.unique(frame.numbers))


def measure(frame: Frame, weighted: bool = False) -> Geometry:
    """Compute what the checks need to know of one frame.

    ``weighted``: descriptors tell elements apart, see
    :func:`~mlpot.checking.descriptors.atomic_descriptors`.

    Raises
    ------
    GeometryError
        If two atoms lie on top of each other.
    """
    radii = covalent_radii[frame.numbers]
    cutoff = max(COPY_CUTOFF, REACH * 2 * float(radii.max()))
    pairs = find_neighbours(frame.positions, frame.cell, frame.pbc, cutoff, frame.source)
    vectors = pairs.vectors(frame.positions, frame.cell)
    distances = np.linalg.norm(vectors, axis=1)
    reduced = distances / (radii[pairs.centre] + radii[pairs.neighbour])
    n = len(frame)
    profiles = np.full((n, PROFILE), COPY_CUTOFF, dtype=np.float32)
    order = np.lexsort((distances, pairs.centre))
    centre = pairs.centre[order]
    rank = np.arange(len(order)) - np.searchsorted(centre, np.arange(n))[centre]
    near = rank < PROFILE
    profiles[centre[near], rank[near]] = np.minimum(distances[order][near], COPY_CUTOFF)
    closest = (float("inf"), float("inf"), -1, -1)
    if len(reduced):
        worst = int(np.argmin(reduced))
        atoms = int(pairs.centre[worst]), int(pairs.neighbour[worst])
        closest = (float(reduced[worst]), float(distances[worst]), *atoms)
    lonely = np.ones(n, dtype=bool)
    lonely[pairs.centre[reduced < 2.0]] = False
    weight = np.exp(-2.0 * reduced)
    total = np.bincount(pairs.centre, weight, n)
    direction = np.stack(
        [np.bincount(pairs.centre, weight * axis, n) for axis in (vectors / distances[:, None]).T], axis=1
    )
    asymmetry = np.linalg.norm(direction, axis=1) / np.maximum(total, 1e-12)
    descriptors = atomic_descriptors(frame.numbers, pairs, vectors / distances[:, None], reduced, weighted)
    return Geometry(profiles, closest, lonely, asymmetry.astype(np.float32), descriptors.astype(np.float32))


def survey(
    frames: Sequence[Frame],
    name: str,
    group_by: Sequence[str] | None = None,
    constrained: Mapping[int, int] | None = None,
    weighted: bool = False,
    progress: Progress | None = None,
) -> Survey:
    """Look at every frame of a set once.

    Parameters
    ----------
    frames
        At least one.
    name
        As messages shall call the set.
    group_by
        Info keys that make groups; by default the first of ``config_type`` and ``group``
        that every frame has; else all frames are one group. Frames of different elements are never
        in one group.
    constrained
        Number of atoms with a constraint, by index of the frame.
    weighted
        Whether descriptors tell elements apart; the same for sets that are compared.
    progress
        Called with frames done and in all.
    """
    if group_by is None:
        group_by = [key for key in GROUP_KEYS if all(key in frame.info for frame in frames)][:1]
    groups: dict[str, list[int]] = {}
    several = len({formula(frame) for frame in frames}) > 1
    for index, frame in enumerate(frames):
        name_of = ", ".join(str(frame.info.get(key, "(none)")) for key in group_by) or "all"
        groups.setdefault(f"{formula(frame)}: {name_of}" if several else name_of, []).append(index)
    geometry: list[Geometry | None] = []
    overlaps: dict[int, str] = {}
    for index, frame in enumerate(frames):
        try:
            geometry.append(measure(frame, weighted))
        except GeometryError as error:
            geometry.append(None)
            overlaps[index] = str(error)
        if progress is not None:
            progress(index + 1, len(frames))
    key = ", ".join(group_by) if group_by else None
    return Survey(name, frames, geometry, overlaps, groups, key, constrained or {})
