"""Frames whose energy or forces are far from those of their group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlpot.checking.finding import Finding, brief
from mlpot.checking.survey import Survey

#: Robust standard deviations (1.4826 times the median absolute deviation) beyond which ...
DEVIATIONS = 10.0
#: ... and eV/atom beyond which an energy is an outlier.
ENERGY = 0.1
#: Forces are outliers if this many times the median of the group's largest forces, ...
TIMES = 5.0
#: ... and above this (eV/Å).
FORCE = 5.0
#: Groups of fewer frames are judged together with all others.
FEWEST = 10


def check_outliers(data: Survey) -> list[Finding]:
    """Report outliers in energy per atom, and in the largest force, within each group."""
    findings = []
    pools = _pools(data)
    energies = _energies(data)
    for label, values, log, absolute, unit in (
        ("energy", energies, False, ENERGY, "eV/atom"),
        ("force", _largest_forces(data), True, FORCE, "eV/Å"),
    ):
        deviations: dict[int, float] = {}
        for judged, pool in pools:
            known = np.array([values[i] for i in pool if i in values])
            if len(known) < FEWEST:
                continue
            centre = float(np.median(known))
            width = 1.4826 * float(np.median(np.abs(known - centre)))
            for i in judged:
                if i not in values:
                    continue
                away = values[i] - centre
                if log:
                    far = values[i] > max(absolute, TIMES * centre) and away > DEVIATIONS * width
                else:
                    far = abs(away) > max(absolute, DEVIATIONS * width)
                if far:
                    deviations[i] = away / max(width, 1e-12)
        if deviations:
            worst = max(deviations, key=lambda i: abs(deviations[i]))
            findings.append(
                Finding(
                    f"{label} outliers",
                    "warning",
                    f"{len(deviations)} frames have {'energies' if label == 'energy' else 'forces'} far from "
                    f"those of their group, worst {brief(data.frames[worst].source)}: "
                    f"{values[worst]:.3f} {unit}",
                    "Look whether the calculation converged and the units are the same; remove them if they "
                    "are no part of what the potential is for.",
                    data.sources(sorted(deviations)),
                    min(abs(deviations[worst]), 1e6),
                    "robust standard deviations",
                    {data.frames[i].source: values[i] for i in sorted(deviations)},
                )
            )
    return findings


def _pools(data: Survey) -> list[tuple[Sequence[int], Sequence[int]]]:
    """Return which frames are judged by which: a group by itself, if it is large enough."""
    everything = range(len(data.frames))
    return [(own, own if len(own) >= FEWEST else everything) for own in data.groups.values()]


def _energies(data: Survey) -> dict[int, float]:
    """Return energies per atom, of mixed compositions less a least-squares energy of the elements."""
    labelled = [i for i, frame in enumerate(data.frames) if frame.energy is not None]
    if not labelled:
        return {}
    frames = [data.frames[i] for i in labelled]
    kinds = np.unique(np.concatenate([np.unique(frame.numbers) for frame in frames]))
    shares = np.array([[(frame.numbers == z).mean() for z in kinds] for frame in frames])
    values = np.array([float(frame.energy or 0.0) / len(frame) for frame in frames])
    if len(kinds) > 1:
        values = values - shares @ np.linalg.lstsq(shares, values, rcond=None)[0]
    return dict(zip(labelled, values.tolist(), strict=True))


def _largest_forces(data: Survey) -> dict[int, float]:
    return {
        i: float(np.linalg.norm(frame.forces, axis=1).max())
        for i, frame in enumerate(data.frames)
        if frame.forces is not None
    }
