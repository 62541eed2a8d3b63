"""Which frames are trained on and which are held out: whole groups of related frames."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from mlpot.data.frame import Frame
from mlpot.data.neighbours import find_neighbours
from mlpot.errors import DataError

#: Interatomic distances up to here (Å) tell structures apart ...
COPY_CUTOFF = 6.0
#: ... if one of them differs by more than this (Å).
COPY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Split:
    """Indices of the frames to train on and of those held out, each ascending."""

    train: np.ndarray
    holdout: np.ndarray


def _hashable(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        return tuple(value.ravel().tolist())
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, Hashable) else repr(value)


def _info_values(frames: Sequence[Frame], keys: Sequence[str]) -> np.ndarray:
    """Return a label (n,) for each frame: equal where the info values of ``keys`` are equal."""
    for key in keys:
        if not any(key in frame.info for frame in frames):
            known = sorted({name for frame in frames for name in frame.info})
            raise DataError(
                f"no frame has the info key {key!r} to group by; "
                f"keys that exist: {', '.join(known) or 'none'}."
            )
    seen: dict[Hashable, int] = {}
    values = [tuple(_hashable(frame.info.get(key)) for key in keys) for frame in frames]
    return np.array([seen.setdefault(value, len(seen)) for value in values], dtype=np.int64)


def _distance_lists(frames: Sequence[Frame]) -> np.ndarray:
    """Return sorted distances (n, K) of frames, each beyond the cutoff set to the cutoff.

    So filled up, lists of different length compare as they are, and a shell of neighbours
    right at the cutoff makes no difference.
    """
    lists = []
    for frame in frames:
        pairs = find_neighbours(
            frame.positions, frame.cell, frame.pbc, COPY_CUTOFF + COPY_TOLERANCE, frame.source
        )
        distances = np.linalg.norm(pairs.vectors(frame.positions, frame.cell), axis=1)
        once = np.arange(len(pairs)) < pairs.reverse
        lists.append(np.sort(distances[once]).astype(np.float32))
    table = np.full((len(lists), max(1, *map(len, lists))), COPY_CUTOFF, dtype=np.float32)
    for row, distances in zip(table, lists, strict=True):
        row[: len(distances)] = np.minimum(distances, COPY_CUTOFF)
    return table


def _copy_pairs(frames: Sequence[Frame]) -> np.ndarray:
    """Return the pairs (P, 2) of frames that are symmetry copies of each other."""
    compositions: dict[bytes, list[int]] = {}
    for i, frame in enumerate(frames):
        compositions.setdefault(np.sort(frame.numbers).tobytes(), []).append(i)
    found = [np.empty((0, 2), dtype=np.int64)]
    for members in compositions.values():
        if len(members) < 2:
            continue
        table = _distance_lists([frames[i] for i in members])
        # A few order statistics find the candidates, the whole lists decide.
        ranks = np.unique(np.linspace(0, table.shape[1] - 1, 16).astype(int))
        candidates = cKDTree(table[:, ranks]).query_pairs(COPY_TOLERANCE, p=np.inf, output_type="ndarray")
        for chunk in np.array_split(candidates, len(candidates) // 1000 + 1):
            largest = np.abs(table[chunk[:, 0]] - table[chunk[:, 1]]).max(axis=1, initial=0.0)
            found.append(np.asarray(members)[chunk[largest < COPY_TOLERANCE]])
    return np.concatenate(found)


def _components(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return the connected component (n,) of each node, numbered by first occurrence."""
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    labels = connected_components(links, directed=False)[1]
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def symmetry_copies(frames: Sequence[Frame]) -> list[list[int]]:
    """Find frames that are the same structure but for a symmetry operation or a translation.

    Two frames count as copies if they have the same composition and the same sorted list of
    interatomic distances below 6 Å, within 1e-3 Å. Strains of opposite sign are such copies
    where the crystal has the symmetry that turns one into the other.

    Returns
    -------
    list of list of int
        Indices of the frames of each set of copies; frames without a copy are not listed.
    """
    labels = _components(len(frames), _copy_pairs(frames))
    groups = (np.flatnonzero(labels == label).tolist() for label in np.flatnonzero(np.bincount(labels) > 1))
    return list(groups)


def group_ids(
    frames: Sequence[Frame],
    keys: Sequence[str] = (),
    block: int | None = None,
    symmetry_copies: bool = True,
) -> np.ndarray:
    """Say which frames belong together and must not be torn apart by a split.

    Parameters
    ----------
    frames
        In the order in which they were sampled.
    keys
        Frames that agree in the info values of all these keys share a group (a frame that lacks
        a key agrees with others that lack it).
    block
        Cut each such group into blocks of this many consecutive frames. ``None``: groups stay
        whole; without ``keys`` each frame is a group.
    symmetry_copies
        Merge groups that hold symmetry copies of each other's frames; see
        :func:`symmetry_copies`.

    Returns
    -------
    (n,) int64
        Group of each frame, numbered from 0 by first occurrence.

    Raises
    ------
    DataError
        If no frame has one of the keys, or ``block`` is less than 1.
    """
    if block is not None and block < 1:
        raise DataError(f"block is {block}, expected at least 1 frame per group.")
    if block is None and not keys:
        block = 1
    labels = _info_values(frames, keys)
    if block is not None:
        place = np.empty(len(frames), dtype=np.int64)
        for label in np.unique(labels):
            members = labels == label
            place[members] = np.arange(members.sum()) // block
        labels = np.unique(np.stack([labels, place]), axis=1, return_inverse=True)[1].reshape(-1)
    first = np.unique(labels, return_index=True)[1]
    pairs = np.stack([np.arange(len(frames)), first[np.unique(labels, return_inverse=True)[1]]], axis=1)
    if symmetry_copies:
        pairs = np.concatenate([pairs, _copy_pairs(frames)])
    return _components(len(frames), pairs)


def _nearest_subset(sizes: list[int], target: float) -> list[int]:
    """Return which items to take so that their sum comes nearest to the target.

    Of two equally near sums the larger wins, unless it is everything.
    """
    reachable = [1]  # bit s of entry k: the first k items can sum to s
    for size in sizes:
        reachable.append(reachable[-1] | reachable[-1] << size)
    total = sum(sizes)
    sums = [s for s in range(total + 1) if reachable[-1] >> s & 1]
    goal = min(sums, key=lambda s: (abs(s - target), s == total, -s))
    taken = []
    for k in range(len(sizes), 0, -1):
        if not reachable[k - 1] >> goal & 1:
            taken.append(k - 1)
            goal -= sizes[k - 1]
    return taken


def split_frames(
    frames: Sequence[Frame],
    holdout: float,
    seed: int,
    keys: Sequence[str] = (),
    block: int | None = None,
    stratify: Sequence[str] = (),
    symmetry_copies: bool = True,
) -> Split:
    """Hold out a fraction of the frames, in whole groups drawn by a seed.

    Parameters
    ----------
    holdout
        Fraction of the frames to hold out, between 0 and 1; met in each stratum as closely as
        whole groups allow.
    seed
        Same frames, same seed, same split.
    keys, block, symmetry_copies
        What makes a group; see :func:`group_ids`.
    stratify
        Info keys whose values make the strata; a group belongs to that of its first frame.

    Raises
    ------
    DataError
        If the fraction is not between 0 and 1, a key does not exist, or one side stays empty.
    """
    if not 0 < holdout < 1:
        raise DataError(f"holdout is {holdout}, expected a fraction between 0 and 1 (e.g. 0.1).")
    groups = group_ids(frames, keys, block, symmetry_copies)
    sizes = np.bincount(groups)
    first = np.unique(groups, return_index=True)[1]
    strata = _info_values(frames, stratify)[first]
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for stratum in np.unique(strata):
        order = rng.permutation(np.flatnonzero(strata == stratum))
        mine = [int(size) for size in sizes[order]]
        taken = _nearest_subset(mine, holdout * sum(mine))
        held.extend(int(order[k]) for k in taken)
    mask = np.isin(groups, held)
    if mask.all() or not mask.any():
        side = "train on" if mask.all() else "hold out"
        raise DataError(
            f"a holdout of {holdout} of {len(frames)} frames in {len(sizes)} groups and "
            f"{len(np.unique(strata))} strata leaves nothing to {side}; give more frames, another fraction, "
            "smaller groups (fewer keys, a smaller block) or fewer strata."
        )
    return Split(train=np.flatnonzero(~mask), holdout=np.flatnonzero(mask))


def draw_frames(
    frames: Sequence[Frame],
    n: int,
    seed: int,
    stratify: Sequence[str] = (),
    among: Sequence[int] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw ``n`` frames without replacement; what is drawn for less is part of what is drawn for more.

    The frames of each stratum are shuffled and laid out evenly, from a random start, over the
    unit interval; the drawing goes through it from left to right. So any first ``n`` hold each
    stratum in proportion, to within one frame (systematic sampling).

    Parameters
    ----------
    stratify
        Info keys whose values make the strata.
    among
        Indices to draw from (the training side of a split); by default all frames.

    Returns
    -------
    (n,) int64
        Indices into ``frames``, in the order drawn.

    Raises
    ------
    DataError
        If ``n`` is less than 1 or more than there are, or a key does not exist.
    """
    pool = np.arange(len(frames)) if among is None else np.asarray(among, dtype=np.int64)
    if not 1 <= n <= len(pool):
        raise DataError(f"cannot draw {n} frames from {len(pool)}; ask for 1 to {len(pool)}.")
    strata = _info_values([frames[i] for i in pool], stratify)
    rng = np.random.default_rng(seed)
    place = np.empty(len(pool))
    for stratum in np.unique(strata):
        members = rng.permutation(np.flatnonzero(strata == stratum))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return pool[np.argsort(place, kind="stable")[:n]]
