"""How many frames, atoms and labels there are in each group, and where labels are missing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from mlpot.checking.finding import Finding
from mlpot.checking.survey import Survey
from mlpot.data.files import count_labels
from mlpot.data.frame import LABELS

#: Info keys with at most this many values are counted.
_MOST_VALUES = 20


def count(data: Survey) -> dict[str, Any]:
    """Return frames, atoms, labels, elements, sizes, and frames by group and by info key, for JSON."""
    frames = data.frames
    energies = {
        name: [
            float(frames[i].energy or 0.0) / len(frames[i]) for i in members if frames[i].energy is not None
        ]
        for name, members in data.groups.items()
    }
    groups = {
        name: {
            "frames": len(members),
            "atoms": sum(len(frames[i]) for i in members),
            "labels": count_labels([frames[i] for i in members]),
            "energy_eV_per_atom": (
                [min(energies[name]), float(np.median(energies[name])), max(energies[name])]
                if energies[name]
                else None
            ),
        }
        for name, members in data.groups.items()
    }
    values: dict[str, Counter] = {}
    for frame in frames:
        for key, value in frame.info.items():
            values.setdefault(key, Counter())[str(value)] += 1
    return {
        "frames": len(frames),
        "atoms": sum(map(len, frames)),
        "labels": count_labels(frames),
        "elements": {
            chemical_symbols[z]: int(sum((frame.numbers == z).sum() for frame in frames))
            for z in np.unique(np.concatenate([frame.numbers for frame in frames]))
        },
        "sizes": dict(sorted(Counter(map(len, frames)).items())),
        "pbc": dict(Counter("".join("FT"[int(p)] for p in frame.pbc) for frame in frames)),
        "group_by": data.key,
        "groups": groups,
        "info": {
            key: {"frames": sum(counter.values()), "values": len(counter)}
            | ({"counts": dict(counter)} if len(counter) <= _MOST_VALUES else {})
            for key, counter in values.items()
        },
    }


def check_gaps(data: Survey) -> list[Finding]:
    """Report labels that are missing in some frames, or in all."""
    findings = []
    total = len(data.frames)
    for label in LABELS:
        without = [i for i, frame in enumerate(data.frames) if frame.label(label) is None]
        if not without:
            continue
        lacking = set(without)
        places = Counter(name for name, members in data.groups.items() for i in members if i in lacking)
        where = ", ".join(f"{number} in {name}" for name, number in places.items())
        if len(without) < total:
            findings.append(
                Finding(
                    "missing labels",
                    "warning",
                    f"{len(without)} of {total} frames have no {label} ({where})",
                    "Label them, or train with `labels: {missing: allow}`.",
                    data.sources(without),
                    len(without),
                    "frames",
                )
            )
        elif label == "stress":
            findings.append(
                Finding(
                    "missing labels",
                    "note",
                    "no frame has a stress",
                    "Pressure and elastic constants then rest on energies and forces alone.",
                    (),
                    total,
                    "frames",
                )
            )
        else:
            info = sorted({str(key) for frame in data.frames for key in frame.info})
            findings.append(
                Finding(
                    "missing labels",
                    "error" if label == "energy" else "warning",
                    f"no frame has {'an energy' if label == 'energy' else 'forces'} under the name asked "
                    f"for; info keys there are: {', '.join(info) or 'none'}",
                    "Give the name that the file uses (--energy-key, --forces-key).",
                    (),
                    total,
                    "frames",
                )
            )
    return findings


def check_info(data: Survey) -> list[Finding]:
    """Report info keys that only some frames of a group have."""
    findings = []
    for name, members in data.groups.items():
        keys = Counter(key for i in members for key in data.frames[i].info)
        partial = {key: number for key, number in keys.items() if number < len(members)}
        if partial:
            text = ", ".join(
                f"{key} in {number} of {len(members)}" for key, number in sorted(partial.items())
            )
            lacking = [i for i in members if any(key not in data.frames[i].info for key in partial)]
            findings.append(
                Finding(
                    "info keys",
                    "note",
                    f"frames of group {name} differ in their info keys: {text}",
                    "Splitting or grouping by these keys puts frames without them into a group of their own.",
                    data.sources(lacking),
                    len(lacking),
                    "frames",
                )
            )
    return findings
