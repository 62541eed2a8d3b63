"""Atoms in surroundings that a training set does not hold: outside the convex hull of its features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from mlpot.checking.finding import Finding, Severity, brief

#: Principal components in which the hull is built.
COMPONENTS = 4
#: Atoms farther outside than this, in standard deviations of the training atoms, are far.
FAR = 2.0
#: Atoms of the training set from which the hull is built at most, for each element.
_MOST_POINTS = 50_000


def outside_hull(known: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, float]:
    """Return how far points lie outside the convex hull of others.

    Both are projected on the leading principal components of ``known``, each scaled to unit
    variance. The hull of a projection is the projection of the hull: a point outside here is
    outside in all features; one inside may still be new in the components left out.

    Parameters
    ----------
    known : (n, D)
        Points that make the hull.
    new : (m, D)
        Points to judge.

    Returns
    -------
    distance : (m,)
        To the farthest-off facet, in standard deviations; 0 inside.
    explained : float
        Share of the variance of ``known`` in these components.
    """
    centre, width = known.mean(axis=0), known.std(axis=0)
    used = width > 1e-6 * max(float(np.abs(known).max()), 1e-300)
    if not used.any():  # all points are one
        return np.linalg.norm(new - centre, axis=1), 1.0
    scaled = (known - centre)[:, used] / width[used]
    covariance = scaled.T @ scaled / len(scaled)
    values, vectors = np.linalg.eigh(covariance)
    rank = int(min(COMPONENTS, (values > 1e-9 * values[-1]).sum()))
    axes = vectors[:, ::-1][:, :rank] / np.sqrt(values[::-1][:rank])
    points, others = scaled @ axes, (new - centre)[:, used] / width[used] @ axes
    explained = float(values[::-1][:rank].sum() / values.sum())
    if rank == 1:
        low, high = points.min(), points.max()
        return np.maximum(np.maximum(low - others[:, 0], others[:, 0] - high), 0.0), explained
    try:
        facets = np.unique(ConvexHull(points).equations, axis=0)
    except QhullError:  # fewer points than corners of a simplex
        return np.linalg.norm(others[:, None] - points[None], axis=2).min(axis=1), explained
    distance = np.zeros(len(others))
    for chunk in np.array_split(np.arange(len(others)), len(others) // 1000 + 1):
        distance[chunk] = (others[chunk] @ facets[:, :-1].T + facets[:, -1]).max(axis=1)
    return np.maximum(distance, 0.0), explained


def check_coverage(
    sources: Sequence[str],
    numbers: Sequence[np.ndarray],
    features: Sequence[np.ndarray | None],
    known_numbers: Sequence[np.ndarray],
    known_features: Sequence[np.ndarray | None],
    name: str,
    what: str,
) -> list[Finding]:
    """Report frames with atoms outside the convex hull of those of another set, element by element.

    Parameters
    ----------
    sources, numbers, features
        Of each frame: ``file#index``, atomic numbers (N,), and features (N, D) of its atoms
        (``None``: left out).
    known_numbers, known_features
        The same of the frames that make the hull.
    name
        Of the set that makes the hull.
    what
        What the features are, for the message.
    """
    have = [i for i, own in enumerate(features) if own is not None]
    theirs = [(n, f) for n, f in zip(known_numbers, known_features, strict=True) if f is not None]
    if not have or not theirs:
        return []
    elements = np.concatenate([numbers[i] for i in have])
    rows = np.concatenate([np.asarray(features[i]) for i in have]).astype(float)
    frame_of = np.repeat(have, [len(numbers[i]) for i in have])
    known_elements = np.concatenate([n for n, _ in theirs])
    known_rows = np.concatenate([np.asarray(f) for _, f in theirs]).astype(float)
    distance = np.full(len(rows), np.inf)
    explained: dict[int, float] = {}
    for z in np.unique(elements):
        own = known_rows[known_elements == z]
        if len(own):
            own = own[:: len(own) // _MOST_POINTS + 1]
            distance[elements == z], explained[int(z)] = outside_hull(own, rows[elements == z])
    outside = distance > 1e-6
    if not outside.any():
        return []
    frames = np.unique(frame_of[outside])
    worst = int(np.argmax(distance))
    far = np.unique(frame_of[distance > FAR])
    severity: Severity = "warning" if len(far) else "note"
    finite = np.isfinite(distance[worst])
    amount = f"{distance[worst]:.2g} standard deviations outside" if finite else "an element it does not hold"
    details: dict[str, Any] = {
        "atoms_outside": int(outside.sum()),
        "atoms": len(rows),
        "frames_far_outside": [sources[i] for i in far],
        "explained_variance": min(explained.values()) if explained else None,
    }
    return [
        Finding(
            "coverage",
            severity,
            f"{outside.sum()} of {len(rows)} atoms, in {len(frames)} of {len(have)} frames, lie outside the "
            f"convex hull of {name} in {COMPONENTS} principal components of {what}, {len(far)} frames "
            f"by more than {FAR:g} standard deviations; farthest "
            f"{brief(sources[int(frame_of[worst])])}: {amount}",
            "A potential trained there extrapolates here: expect larger errors, or add such frames to it.",
            tuple(sources[int(i)] for i in frames),
            float(distance[worst]) if finite else None,
            "standard deviations",
            details,
        )
    ]
