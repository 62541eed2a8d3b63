"""Diverse frames of many: farthest points in the features of a potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import PositiveInt

from mlpot.data.frame import Frame
from mlpot.errors import RecipeError
from mlpot.recipe import Recipe


class Selection(Recipe):
    """Keep the most diverse frames.

    Attributes
    ----------
    frames
        How many; all, if there are no more.
    method
        ``farthest_point``: the first frame, then always the one that is farthest from all
        chosen ones (Gonzalez, Theor. Comput. Sci. 38, 293 (1985)).
    model
        Model file or name of a shipped model, in whose features distances are measured; see
        :func:`mlpot.model.features.frame_features`.
    """

    frames: PositiveInt
    method: Literal["farthest_point"] = "farthest_point"
    model: str

    def choose(self, frames: Sequence[Frame]) -> list[int]:
        """Return the indices of the frames to keep, in the order of the frames.

        Raises
        ------
        ModelFileError, ElementError, GeometryError
            If the model cannot be loaded, or does not know the frames' elements or geometry.
        """
        if len(frames) <= self.frames:
            return list(range(len(frames)))
        # Imported here: most plans select nothing, and torch takes its time.
        from mlpot.model.features import frame_features
        from mlpot.model.file import load_model

        return sorted(farthest_points(frame_features(load_model(self.model), frames), self.frames))


def farthest_points(features: np.ndarray, n: int, start: int = 0) -> list[int]:
    """Return the indices of ``n`` points, each the farthest from all before it.

    Parameters
    ----------
    features : (points, dimensions)
        Distances between rows are Euclidean.
    n
        How many points; at most as many as there are.
    start
        The first of them. Of points equally far the one with the lowest index is taken, so the
        result is the same each time.

    Returns
    -------
    list of int
        In the order of choice: every beginning of it is the selection of fewer points.

    Raises
    ------
    RecipeError
        If ``n`` or ``start`` do not fit the points, or features are not finite.
    """
    features = np.asarray(features, dtype=float)
    if features.ndim != 2:
        raise RecipeError(f"features have shape {features.shape}, expected (points, dimensions).")
    if not 1 <= n <= len(features):
        raise RecipeError(f"cannot select {n} of {len(features)} points.")
    if not 0 <= start < len(features):
        raise RecipeError(f"start is {start}, but there are points 0 to {len(features) - 1}.")
    if not np.isfinite(features).all():
        bad = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise RecipeError(f"features of point {bad} are not finite.")
    chosen = [start]
    distances = np.linalg.norm(features - features[start], axis=1)
    while len(chosen) < n:
        distances[chosen] = -1.0  # never again, not even among equal points
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.linalg.norm(features - features[chosen[-1]], axis=1))
    return chosen
