"""Temperature labels that the energies contradict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlpot.checking.finding import Finding, listed
from mlpot.checking.survey import Survey
from mlpot.conventions import KB
from mlpot.data.frame import Frame

#: Potential energy above the ground state may be this many times 3/2 k_B T (a harmonic crystal has
#: one, by equipartition; anharmonic ones and defects more) ...
_HOTTEST = 2.0
#: ... plus this (eV/atom), and is no less than this share of it.
_ALLOWANCE, _COLDEST = 0.05, 0.5
#: Energy rises between temperatures by at least this share of 3/2 k_B ΔT.
_RISE = 0.15
#: Frames that a temperature takes to be compared.
_FEWEST = 3


def temperature_keys(frames: Sequence[Frame]) -> list[str]:
    """Return the info keys that hold temperatures: named so, with numbers."""
    keys = sorted({key for frame in frames for key in frame.info})
    named = [key for key in keys if key == "T" or "temp" in key.lower()]
    return [key for key in named if any(_number(frame.info.get(key)) is not None for frame in frames)]


def _number(value: object) -> float | None:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return None
    return float(value) if np.isfinite(value) else None


def check_temperatures(data: Survey) -> list[Finding]:
    """Compare temperature labels with energies among frames of one composition and size.

    Three signs, each weighed against 3/2 k_B T per atom: the median energy does not grow from one
    temperature to a higher one; a frame lies higher above the coldest of its kind than its label
    allows, and above frames labelled at twice its temperature; or it lies so close to the lowest
    energy of the set, and below frames labelled at half its temperature, that it must be colder.
    Mean square forces, which grow with temperature in a solid, are given as supporting evidence.
    """
    findings = []
    for key in temperature_keys(data.frames):
        kinds: dict[bytes, list[int]] = {}
        for i, frame in enumerate(data.frames):
            if frame.energy is not None and (_number(frame.info.get(key)) or 0.0) > 0.0:
                kinds.setdefault(np.sort(frame.numbers).tobytes(), []).append(i)
        for members in kinds.values():
            findings += _compare(data, key, members)
    return findings


def _compare(data: Survey, key: str, members: list[int]) -> list[Finding]:
    frames = [data.frames[i] for i in members]
    energy = np.array([float(frame.energy or 0.0) / len(frame) for frame in frames])
    label = np.array([_number(frame.info[key]) for frame in frames], dtype=float)
    square = np.array([np.nan if f.forces is None else float((f.forces**2).mean()) for f in frames])
    classes = {t: np.flatnonzero(label == t) for t in np.unique(label)}
    known = {t: own for t, own in classes.items() if len(own) >= _FEWEST}
    medians = {t: float(np.median(energy[own])) for t, own in known.items()}
    flat = [
        (low, high)
        for low in medians
        for high in medians
        if high >= 1.5 * low and medians[high] - medians[low] < _RISE * 1.5 * KB * (high - low)
    ]
    thermal = 1.5 * KB * label
    spread = KB * label * np.sqrt(1.5 / len(frames[0]))
    ground = _ground_state(data, frames[0], key)
    hot = energy - energy.min() > _HOTTEST * thermal + 5 * spread + _ALLOWANCE
    cold = energy - ground < _COLDEST * (thermal - 3 * spread)
    for k in range(len(frames)):
        above = [energy[own].min() for t, own in classes.items() if t >= 2 * label[k]]
        below = [medians[t] for t in medians if t <= 0.5 * label[k]]
        hot[k] &= bool(above) and energy[k] > min(above)
        cold[k] &= bool(below) and energy[k] < max(below)
    found = np.flatnonzero(hot | cold)
    if not (len(found) or flat):
        return []
    concerned = found if len(found) else np.concatenate([classes[t] for pair in flat for t in pair])
    parts = []
    for low, high in flat[:2]:
        forces = ""
        if np.isfinite(square[known[low]]).all() and np.isfinite(square[known[high]]).all():
            change = np.mean(square[known[high]]) / max(np.mean(square[known[low]]), 1e-12)
            forces = f" and mean square forces change by a factor of {change:.2g}"
        parts.append(
            f"from {low:g} to {high:g} K the median energy changes by "
            f"{1e3 * (medians[high] - medians[low]):+.0f} meV/atom{forces}, "
            f"where 3/2 k_B ΔT is {1e3 * 1.5 * KB * (high - low):+.0f}"
        )
    if len(found):
        by_label = [
            f"{int((label[chosen] == t).sum())} of {len(classes[t])} at {t:g} K too {word}"
            for chosen, word in ((np.flatnonzero(hot), "hot"), (np.flatnonzero(cold), "cold"))
            for t in np.unique(label[chosen])
        ]
        parts.append("frames with energies of another temperature: " + ", ".join(by_label))
    groups = [name for name, own in data.groups.items() if {members[int(k)] for k in concerned} & set(own)]
    return [
        Finding(
            "temperature labels",
            "warning",
            f"{key} contradicts the energies of {len(concerned)} frames of {len(frames[0])} atoms "
            f"({listed(groups)}): " + "; ".join(parts),
            f"Do not split, weigh or judge by {key} here; tell solid from liquid by the energy per atom.",
            tuple(data.frames[members[int(k)]].source for k in concerned),
            float(len(concerned)),
            "frames",
            {
                f"{t:g} K": {
                    "frames": len(own),
                    "median_eV_per_atom": float(np.median(energy[own])),
                    "too_hot": int(hot[own].sum()),
                    "too_cold": int(cold[own].sum()),
                }
                for t, own in classes.items()
            },
        )
    ]


def _ground_state(data: Survey, like: Frame, key: str) -> float:
    """Return an estimate of the lowest energy per atom that frames of this composition can have.

    That of the lowest frame of the set, less the thermal energy that its own label gives it.
    """
    shares = np.unique(like.numbers, return_counts=True)
    estimates = []
    for frame in data.frames:
        kinds, counts = np.unique(frame.numbers, return_counts=True)
        if (
            frame.energy is not None
            and np.array_equal(kinds, shares[0])
            and np.allclose(counts / len(frame), shares[1] / len(like), atol=1e-6)
        ):
            kelvin = _number(frame.info.get(key)) or 0.0
            estimates.append((float(frame.energy) / len(frame), 1.5 * KB * max(kelvin, 0.0)))
    lowest, thermal = min(estimates)
    return lowest - thermal
