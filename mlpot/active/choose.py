r"""Which frames of the dynamics are labelled: uncertain, unlike what is known, unlike each other.

Frames are compared by the Euclidean distance of their features
(:func:`~mlpot.model.features.frame_features`) in the potential of the round, in units of the
spread of all of them, labelled frames and candidates: their root mean square distance from the
mean. The rule:

1. Candidates below the given quantile of all uncertainties, or below the threshold, are left out.
2. Of the others the one is taken whose nearest labelled or taken frame is the farthest, and again
   (farthest points; Gonzalez, Theor. Comput. Sci. 38, 293, 1985), so that neither uncertain copies
   of one situation nor what is labelled already are asked for.
3. It ends with the number asked for, or when the next would be a near-duplicate: closer than
   ``separation``.

``random`` takes candidates in random order, whatever their uncertainty, but near-duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlpot.active.recipe import Choosing


@dataclass(frozen=True)
class Choice:
    """What was chosen of the candidates.

    Attributes
    ----------
    indices : list of int
        In the order of choice.
    distances : list of float
        Of each to the nearest frame labelled or taken before it, in units of the spread.
    eligible : int
        Candidates above quantile and threshold (all, at random).
    near_duplicates : int
        Eligible candidates that are near-duplicates of what is labelled or was chosen; at
        random, those that were passed over.
    """

    indices: list[int]
    distances: list[float]
    eligible: int
    near_duplicates: int


def choose(
    section: Choosing,
    count: int,
    deviations: np.ndarray,
    features: np.ndarray,
    known: np.ndarray,
    rng: np.random.Generator,
) -> Choice:
    """Choose frames to label; the module says how.

    Parameters
    ----------
    section
        Rule and limits.
    count
        How many at most.
    deviations : (candidates,)
        Uncertainty of each, eV/Å: the largest predicted standard deviation of a force.
    features : (candidates, dimensions)
        Of the candidates.
    known : (frames, dimensions)
        Of all frames that are labelled, or could not be; at least one.
    rng
        Of the random order.
    """
    everything = np.concatenate([features, known])
    spread = float(np.sqrt(np.square(everything - everything.mean(axis=0)).sum(axis=1).mean()))
    if not len(features) or spread == 0.0:  # nothing there, or nothing but copies
        return Choice([], [], len(features), len(features))
    nearest = _nearest(features, known) / spread
    indices: list[int] = []
    distances: list[float] = []

    def take(index: int) -> None:
        nonlocal nearest
        indices.append(index)
        distances.append(float(nearest[index]))
        nearest = np.minimum(nearest, np.linalg.norm(features - features[index], axis=1) / spread)

    if section.choose == "random":
        passed = 0
        for index in rng.permutation(len(features)).tolist():
            if len(indices) == count:
                break
            if nearest[index] < section.separation:
                passed += 1
            else:
                take(index)
        return Choice(indices, distances, len(features), passed)
    least = max(section.threshold or 0.0, float(np.quantile(deviations, section.quantile)))
    eligible = np.flatnonzero(deviations >= least)
    while len(eligible) and len(indices) < count:
        index = int(eligible[np.argmax(nearest[eligible])])
        if nearest[index] < section.separation:
            break
        take(index)
    rest = np.setdiff1d(eligible, indices)
    return Choice(indices, distances, len(eligible), int((nearest[rest] < section.separation).sum()))


def _nearest(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the distance of each row to the nearest known one."""
    nearest = np.full(len(features), np.inf)
    for row in known:
        nearest = np.minimum(nearest, np.linalg.norm(features - row, axis=1))
    return nearest
