"""Do energies, forces and stresses belong together? Work done between neighbouring frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.geometry import complete_cell
from scipy.spatial import cKDTree

from mlpot.data.frame import Frame

#: Two frames are neighbours if no strain between them is larger, ...
LARGEST_STRAIN = 0.1
#: ... no atom moved farther (Å), and the root mean square of the displacements is below this (Å).
LARGEST_STEP, LARGEST_RMS = 0.6, 0.25
#: Displacements below this (Å), or strains below 1e-4, are none.
STILL = 1e-3
#: Of how many frames each is compared with.
_PARTNERS = 6
#: Distance of their marks (Å), see :func:`_mark`, beyond which frames are surely no neighbours.
_FARTHEST = 8.0


@dataclass(frozen=True)
class Step:
    """Energy gained between two frames, and what their other labels say of it.

    Attributes
    ----------
    one, other : int
        Indices of the frames.
    atoms : int
        How many.
    volume : float
        Å³, of the first.
    gain : float
        E(other) - E(one), eV.
    by_stress : (6, 6) or None
        The trapezoidal rule for ∫ V σ : dε, eV: strain by row, stress by column, both in Voigt order
        (off-diagonal ones counted twice). The trace is the work; other elements are what it would
        be if the components of the label were in another order. Zeros where there is no strain,
        ``None`` where a stress is needed and missing.
    by_forces : float or None
        The same for -∫ F·dr at fixed strain, eV.
    curvature : float
        Difference of the work as either end alone predicts it, eV: twice the harmonic part. What the
        rule leaves out is of the next order.
    stress_alone, forces_alone : bool
        Whether there is strain but no displacement, or the reverse.
    """

    one: int
    other: int
    atoms: int
    volume: float
    gain: float
    by_stress: np.ndarray | None
    by_forces: float | None
    curvature: float
    stress_alone: bool
    forces_alone: bool


_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))
_TWICE = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])


def find_steps(frames: Sequence[Frame]) -> list[Step]:
    """Return the steps between frames that are neighbours, found by structure alone.

    Neighbours have the same atoms in the same order and, after their cells are brought into one
    orientation, differ by a small homogeneous strain, small displacements, or both: strain series,
    displacements for phonons, close frames of a trajectory of a solid. On the straight path
    h(t) = h₀ + t Δh, s(t) = s₀ + t Δs (cell and fractional coordinates),
    dE/dt = V σ : (h⁻¹ Δh) - Σ F·(Δs h); the trapezoidal rule over both ends is exact where the
    energy is harmonic.
    """
    classes: dict[tuple, list[int]] = {}
    for index, frame in enumerate(frames):
        if frame.energy is not None:
            classes.setdefault((frame.numbers.tobytes(), frame.pbc.tobytes()), []).append(index)
    steps = []
    for members in classes.values():
        if len(members) < 2:
            continue
        oriented = {i: _orient(frames[i]) for i in members}
        marks = np.array([_mark(oriented[i][0], oriented[i][1], frames[i].pbc) for i in members])
        tree = cKDTree(marks)
        _, near = tree.query(marks, k=min(_PARTNERS + 1, len(members)), distance_upper_bound=_FARTHEST)
        pairs = {
            (min(a, int(b)), max(a, int(b)))
            for a, row in enumerate(near)
            for b in row
            if b != a and b < len(members)  # the number of points stands for none
        }
        for a, b in sorted(pairs):
            one, other = members[a], members[b]
            step = _step(frames, one, other, oriented[one], oriented[other])
            if step is not None:
                steps.append(step)
    return steps


def _orient(frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lower triangular cell, fractional coordinates, and the rotation R: vectors v become v @ R."""
    if not frame.pbc.any():  # the cell, if there is one, means nothing
        return np.eye(3), frame.positions, np.eye(3)
    cell = complete_cell(frame.cell)
    fractional = frame.positions @ np.linalg.inv(cell)
    q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    q, r = q * signs, r * signs[:, None]
    return r.T, fractional, q


def _mark(cell: np.ndarray, fractional: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Return numbers that are close for neighbours: the cell and a few atoms relative to the first."""
    few = np.unique(np.linspace(0, len(fractional) - 1, 9).astype(int))[1:]
    relative = fractional[few] - fractional[0]
    sizes = np.linalg.norm(cell, axis=1)
    turns = 2 * np.pi * relative
    wrapped = np.where(pbc, np.sin(turns), turns), np.where(pbc, np.cos(turns), 0.0)
    scale = sizes / (2 * np.pi)  # back to Å
    return np.concatenate(
        [cell.ravel(), *(part.ravel() for part in (wrapped[0] * scale, wrapped[1] * scale))]
    )


def _step(
    frames: Sequence[Frame],
    one: int,
    other: int,
    start: tuple[np.ndarray, np.ndarray, np.ndarray],
    end: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Step | None:
    a, b = frames[one], frames[other]
    (cell, fractional, turn), (last_cell, last_fractional, last_turn) = start, end
    change = last_cell - cell
    if max(np.abs(np.linalg.solve(cell, change)).max(), np.abs(np.linalg.solve(last_cell, change)).max()) > (
        LARGEST_STRAIN
    ):
        return None
    moved = last_fractional - fractional
    moved[:, a.pbc] -= np.round((moved - moved[0])[:, a.pbc]) + moved[0, a.pbc]
    moved -= moved.mean(axis=0)
    paths = moved @ cell, moved @ last_cell
    lengths = np.linalg.norm(paths[0], axis=1)
    if lengths.max() > LARGEST_STEP or np.sqrt((lengths**2).mean()) > LARGEST_RMS:
        return None
    strained, displaced = bool(np.abs(change).max() > 1e-4 * np.abs(cell).max()), bool(lengths.max() > STILL)
    if not (strained or displaced):
        return None
    by_stress: np.ndarray | None = np.zeros((6, 6))
    ends = np.zeros(2)
    if strained and (a.stress is None or b.stress is None):
        by_stress = None
    elif strained:
        parts = []
        for frame, own, rotation in ((a, cell, turn), (b, last_cell, last_turn)):
            # Both in the orientation of the file, where the components of the label are named.
            gradient = rotation @ np.linalg.solve(own, change) @ rotation.T
            strain = 0.5 * (gradient + gradient.T)[_VOIGT] * _TWICE
            parts.append(0.5 * frame.volume * np.outer(strain, np.asarray(frame.stress)[_VOIGT]))
        by_stress = parts[0] + parts[1]
        ends += [2 * np.trace(part) for part in parts]
    by_forces: float | None = 0.0
    if displaced and (a.forces is None or b.forces is None):
        by_forces = None
    elif displaced:
        works = [
            -float(((np.asarray(frame.forces) @ rotation) * path).sum())
            for frame, rotation, path in ((a, turn, paths[0]), (b, last_turn, paths[1]))
        ]
        by_forces = 0.5 * sum(works)
        ends += works
    gain = float(b.energy or 0.0) - float(a.energy or 0.0)
    return Step(
        one,
        other,
        len(a),
        a.volume,
        gain,
        by_stress,
        by_forces,
        float(abs(ends[1] - ends[0])),
        stress_alone=strained and not displaced,
        forces_alone=displaced and not strained,
    )
