"""Frames that are one structure: written twice, or related by a symmetry operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from mlpot.checking.finding import Finding, Severity, brief, listed
from mlpot.checking.isometry import Isometry, Structure, find_isometry
from mlpot.checking.survey import Survey
from mlpot.conventions import GPA
from mlpot.data.frame import Frame
from mlpot.data.split import COPY_TOLERANCE

#: Labels of copies that differ by more than this contradict each other: meV/atom, meV/Å.
SAME_ENERGY, SAME_FORCE = 2.0, 50.0


@dataclass(frozen=True)
class Copy:
    """A frame that lies on the first of its class.

    Attributes
    ----------
    original, copy : int
        Indices.
    isometry : Isometry
        How the original lies on the copy.
    """

    original: int
    copy: int
    isometry: Isometry


def find_copies(
    frames: Sequence[Frame],
    profiles: Sequence[np.ndarray | None],
    progress: Callable[[int, int], None] | None = None,
) -> list[Copy]:
    """Find the frames that are copies of an earlier one.

    Copies are equal up to rotation, reflection, translation, the order of atoms and the choice of
    cell. Frames of the same composition whose average minimum distances (mean distance to the k-th
    neighbour, k up to 40; Widdowson et al., MATCH 87, 529 (2022)) agree are candidates: atoms
    displaced by d change these by at most 2 d, so that no copy is lost. Each candidate is then laid
    on the first frame of each class, see :func:`~mlpot.checking.isometry.find_isometry`.

    Parameters
    ----------
    frames
        Any frames.
    profiles
        Distances to the neighbours of each atom, see :class:`~mlpot.checking.survey.Geometry`;
        frames with ``None`` are left out.
    progress
        Called with frames done and in all.
    """
    compositions: dict[tuple, list[int]] = {}
    for index, (frame, profile) in enumerate(zip(frames, profiles, strict=True)):
        if profile is not None:
            kinds, counts = np.unique(frame.numbers, return_counts=True)
            counts = counts // np.gcd.reduce(counts)
            own = (*kinds.tolist(), *counts.tolist(), *frame.pbc.tolist())
            compositions.setdefault(own, []).append(index)
    found: list[Copy] = []
    done = 0
    for members in compositions.values():
        means = np.array([np.asarray(profiles[i]).mean(axis=0) for i in members])
        near = cKDTree(means).query_ball_point(means, 2 * COPY_TOLERANCE, p=np.inf)
        structures: dict[int, Structure] = {}
        originals: set[int] = set()
        for place, neighbours in enumerate(near):
            done += 1
            if progress is not None and done % 50 == 0:
                progress(done, len(frames))
            if len(neighbours) == 1:
                continue
            index = members[place]
            structures[place] = Structure(frames[index], np.asarray(profiles[index]))
            for earlier in sorted(originals.intersection(neighbours)):
                isometry = find_isometry(structures[earlier], structures[place])
                if isometry is not None:
                    found.append(Copy(members[earlier], index, isometry))
                    del structures[place]
                    break
            else:
                originals.add(place)
    return found


def check_copies(
    data: Survey, against: Survey | None, progress: Callable[[int, int], None] | None = None
) -> list[Finding]:
    """Report copies within a set, those it shares with another, and labels of copies that differ.

    The first frame of a class is one of ``data`` where there is one; copies within ``against``
    alone are not reported.
    """
    frames = [*data.frames, *(against.frames if against else [])]
    geometry = [*data.geometry, *(against.geometry if against else [])]
    profiles = [None if own is None else own.profiles for own in geometry]
    copies = find_copies(frames, profiles, progress)
    classes: dict[int, list[int]] = {}
    for copy in copies:
        classes.setdefault(copy.original, [copy.original]).append(copy.copy)
    count = len(data.frames)
    findings = []
    inside = [[i for i in members if i < count] for members in classes.values()]
    inside = [members for members in inside if len(members) > 1]
    if inside:
        surplus = sum(map(len, inside)) - len(inside)
        kinds = _kinds([copy for copy in copies if copy.copy < count])
        findings.append(
            Finding(
                "copies",
                "warning",
                f"{sum(map(len, inside))} frames are {len(inside)} distinct structures ({kinds}): "
                + "; ".join(
                    " = ".join(brief(frames[i].source) for i in members[:4]) for members in inside[:3]
                )
                + (f"; and {len(inside) - 3} more" if len(inside) > 3 else ""),
                "Keep one of each, or keep them on one side of a split (mlpot train does by itself); "
                "they count as often as they occur.",
                tuple(frames[i].source for members in inside for i in members),
                surplus,
                "surplus frames",
                {"classes": [[frames[i].source for i in members] for members in inside]},
            )
        )
    if against is not None:
        findings += _leaks(frames, classes, copies, count, against.name)
    findings += _label_noise(frames, [copy for copy in copies if copy.original < count])
    return findings


def _leaks(
    frames: Sequence[Frame], classes: dict[int, list[int]], copies: list[Copy], count: int, name: str
) -> list[Finding]:
    shared = [
        ([i for i in members if i < count], [i for i in members if i >= count])
        for members in classes.values()
    ]
    shared = [(mine, theirs) for mine, theirs in shared if mine and theirs]
    if not shared:
        return []
    leaked = [i for mine, _ in shared for i in mine]
    kinds = _kinds([copy for copy in copies if copy.original < count <= copy.copy])
    pairs = [f"{brief(frames[mine[0]].source)} = {listed([brief(frames[i].source) for i in theirs], 2)}"
             for mine, theirs in shared]  # fmt: skip
    return [
        Finding(
            "leaks",
            "error",
            f"{len(leaked)} frames are also in {name} ({kinds}): {listed(pairs, 6)}",
            "Remove them from one of the sets: errors on them say nothing about new structures.",
            tuple(frames[i].source for i in leaked),
            len(leaked),
            "frames",
            {
                "pairs": [
                    {
                        "frames": [frames[i].source for i in mine],
                        "against": [frames[i].source for i in theirs],
                    }
                    for mine, theirs in shared
                ]
            },
        )
    ]


def _label_noise(frames: Sequence[Frame], copies: Sequence[Copy]) -> list[Finding]:
    """Compare the labels of copies, forces and stresses turned as the structures are."""
    energy: list[float] = []
    force: list[float] = []
    stress: list[float] = []
    bad = []
    for copy in copies:
        one, other = frames[copy.original], frames[copy.copy]
        turn = copy.isometry.rotation
        wrong = False
        if one.energy is not None and other.energy is not None:
            energy.append(1e3 * abs(one.energy / len(one) - other.energy / len(other)))
            wrong |= energy[-1] > SAME_ENERGY
        if one.forces is not None and other.forces is not None:
            force.append(1e3 * float(np.abs(one.forces @ turn - other.forces[copy.isometry.image]).max()))
            wrong |= force[-1] > SAME_FORCE
        if one.stress is not None and other.stress is not None:
            stress.append(float(np.abs(turn.T @ one.stress @ turn - other.stress).max()) / GPA)
        if wrong:
            bad.append(copy)
    severity: Severity = "warning" if bad else "note"
    concerned = bad or copies
    known = [
        f"{max(values):.2g} {unit}"
        for values, unit in ((energy, "meV/atom"), (force, "meV/Å"), (stress, "GPa"))
        if values
    ]
    if not known:
        return []
    text = "labels of copies differ by up to " + ", ".join(known)
    action = (
        f"Labels of {len(bad)} pairs are wrong on one side, or made with other settings: compute both again."
        if bad
        else "Nothing: the labels of copies agree."
    )
    sources = dict.fromkeys(frames[i].source for copy in concerned for i in (copy.original, copy.copy))
    details = {
        "meV/atom": max(energy, default=None),
        "meV/Å": max(force, default=None),
        "GPa": max(stress, default=None),
    }
    value = max(energy, default=None)
    return [Finding("labels of copies", severity, text, action, tuple(sources), value, "meV/atom", details)]


def _kinds(copies: Sequence[Copy]) -> str:
    turned = sum(copy.isometry.proper for copy in copies)
    return f"{turned} by rotation or translation, {len(copies) - turned} by reflection only"
