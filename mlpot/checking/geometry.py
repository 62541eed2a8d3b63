"""Distances, forces that geometry forbids, cells and boundary conditions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols

from mlpot.checking.finding import Finding, Severity, brief, listed
from mlpot.checking.survey import Survey

#: Distances below this share of the sum of covalent radii are short ...
SHORT = 0.65
#: ... and push atoms apart with more than this (eV/Å).
PUSH = 2.0
#: A mean force per atom above this (eV/Å), and above 1 % of the typical force, is no rounding.
NET_FORCE = 2e-3
#: Forces below this (eV/Å) are zero to all digits.
ZERO_FORCE = 1e-9
#: An atom is on no symmetric site if the mean direction to its neighbours is longer than this.
ASYMMETRIC = 2e-3
#: A cell is skewed if its volume is below this share of the product of its lengths.
SKEWED = 0.25
#: Vacuum is a layer without atoms thicker than this (Å).
VACUUM = 5.0


def check_distances(data: Survey) -> list[Finding]:
    """Report atoms on top of each other, short distances, and atoms without neighbours."""
    findings = []
    if data.overlaps:
        first = next(iter(data.overlaps.values()))
        findings.append(
            Finding(
                "overlaps",
                "error",
                f"{len(data.overlaps)} frames have atoms on top of each other: {first}",
                "Remove the duplicate atoms, or correct cell and boundary conditions.",
                data.sources(list(data.overlaps)),
                len(data.overlaps),
                "frames",
            )
        )
    unexplained: list[int] = []
    pushed: list[int] = []
    for i in data.sound:
        geometry, frame = data.geometry[i], data.frames[i]
        assert geometry is not None
        if geometry.closest[0] < SHORT:
            atoms = list(geometry.closest[2:])
            force = None if frame.forces is None else np.linalg.norm(frame.forces[atoms], axis=1).min()
            (pushed if force is not None and force > PUSH else unexplained).append(i)
    for indices, severity, text, action in (
        (unexplained, "error", "without the forces that push them apart",
         "Look at cell, units of length (Å) and boundary conditions of these frames, or remove them."),
        (pushed, "note", "with forces that push them apart",
         "Intended where a repulsive wall is sampled; otherwise remove them."),
    ):  # fmt: skip
        if indices:
            findings.append(_short(data, indices, severity, text, action))
    lonely = {i: int(g.lonely.sum()) for i, g in enumerate(data.geometry) if g is not None and g.lonely.any()}
    single = [i for i in lonely if len(data.frames[i]) == 1]
    several = [i for i in lonely if len(data.frames[i]) > 1]
    if single:
        names = sorted({chemical_symbols[data.frames[i].numbers[0]] for i in single})
        findings.append(
            Finding(
                "isolated atoms",
                "note",
                f"{len(single)} frames are isolated atoms ({', '.join(names)})",
                "Their energies can serve as offsets (offsets: in the recipe) instead of being trained on.",
                data.sources(single),
                len(single),
                "frames",
            )
        )
    if several:
        findings.append(
            Finding(
                "lonely atoms",
                "warning",
                f"{len(several)} frames have atoms without neighbours within twice the sum of covalent radii",
                "Look whether cell and units of length (Å) are right, or atoms have flown away.",
                data.sources(several),
                max(lonely[i] for i in several),
                "atoms at most",
            )
        )
    return findings


def _short(data: Survey, indices: Sequence[int], severity: str, text: str, action: str) -> Finding:
    closest = [geometry.closest for i in indices if (geometry := data.geometry[i]) is not None]
    worst = min(range(len(closest)), key=lambda k: closest[k][0])
    ratio, distance, one, other = closest[worst]
    return Finding(
        "short distances",
        "error" if severity == "error" else "note",
        f"{len(indices)} frames have distances below {SHORT:g} of the sum of covalent radii {text}, shortest "
        f"{distance:.3f} Å (atoms {one} and {other} of {brief(data.frames[indices[worst]].source)})",
        action,
        data.sources(indices),
        ratio,
        "of the sum of covalent radii",
    )


def check_forces(data: Survey) -> list[Finding]:
    """Report net forces, and zero forces on atoms that no symmetry keeps in place."""
    net: dict[int, float] = {}
    still: dict[int, int] = {}
    labelled = [i for i, frame in enumerate(data.frames) if frame.forces is not None]
    for i in labelled:
        forces = np.asarray(data.frames[i].forces)
        mean = float(np.linalg.norm(forces.mean(axis=0)))
        if mean > max(NET_FORCE, 0.01 * float(np.sqrt((forces**2).mean()))):
            net[i] = mean
        geometry = data.geometry[i]
        if geometry is not None:
            zero = (np.abs(forces).max(axis=1) < ZERO_FORCE) & (geometry.asymmetry > ASYMMETRIC)
            if zero.any():
                still[i] = int(zero.sum())
    findings = []
    if net:
        worst = max(net, key=lambda i: net[i])
        findings.append(
            Finding(
                "net force",
                "warning",
                f"forces of {len(net)} frames do not add up to zero, worst "
                f"{brief(data.frames[worst].source)}: {1e3 * net[worst]:.3g} meV/Å per atom",
                "No potential without outer fields can give that: converge the calculation, restore labels "
                "that constraints have altered, or subtract the mean force.",
                data.sources(list(net)),
                1e3 * net[worst],
                "meV/Å per atom",
            )
        )
    if still:
        findings.append(
            Finding(
                "zero forces",
                "error",
                f"{len(still)} frames have forces of exactly zero on atoms that no symmetry keeps in place",
                "These are gaps or the work of constraints, not forces: label again without constraints, or "
                "leave the forces of these frames out.",
                data.sources(list(still)),
                max(still.values()),
                "atoms at most",
            )
        )
    return findings


def check_cells(data: Survey) -> list[Finding]:
    """Report boundary conditions that differ within a group, odd cells, vacuum, and constraints."""
    findings: list[Finding] = []

    def add(check: str, severity: Severity, indices: Sequence[int], text: str, action: str) -> None:
        if indices:
            sources = data.sources(indices)
            message = f"{len(indices)} frames {text} ({listed(sources, 2)})"
            findings.append(Finding(check, severity, message, action, sources, float(len(indices)), "frames"))

    for name, members in data.groups.items():
        kinds: dict[str, list[int]] = {}
        for i in members:
            kinds.setdefault("".join("FT"[int(p)] for p in data.frames[i].pbc), []).append(i)
        if len(kinds) > 1:
            common = max(kinds, key=lambda kind: len(kinds[kind]))
            odd = [i for kind, own in kinds.items() if kind != common for i in own]
            add(
                "boundary conditions",
                "warning",
                sorted(odd),
                f"of group {name} are not periodic like its other {len(kinds[common])} ({common}): "
                + ", ".join(f"{len(own)} {kind}" for kind, own in kinds.items() if kind != common),
                "Set pbc as the calculation had it: forces at the border depend on it.",
            )
    left, skewed, walls, narrow = [], [], [], []
    for i, frame in enumerate(data.frames):
        lengths = np.linalg.norm(frame.cell, axis=1)
        if frame.volume < 1e-6:
            continue
        if np.linalg.det(frame.cell) < 0:
            left.append(i)
        if frame.pbc.all() and frame.volume < SKEWED * lengths.prod():
            skewed.append(i)
        gaps = _gaps(frame.positions, frame.cell)
        if len(frame) > 1 and (gaps[frame.pbc] > VACUUM).any():
            walls.append(i)
            if (gaps[frame.pbc][gaps[frame.pbc] > VACUUM] < 10.0).any():
                narrow.append(i)
    add("left-handed cells", "note", left, "have left-handed cells",
        "Harmless here; some codes turn such cells and then forces belong to other axes.")  # fmt: skip
    add("skewed cells", "note", skewed, f"have cells of less than {SKEWED:g} of the product of their lengths",
        "Harmless here; programs that look at nearest images only go wrong.")  # fmt: skip
    add("vacuum", "note", walls, f"have more than {VACUUM:g} Å without atoms along a periodic direction",
        "Right for surfaces; their stress is that of a cell with vacuum.")  # fmt: skip
    add("narrow vacuum", "note", narrow, "have a layer between 5 and 10 Å without atoms",
        "Images may see each other across it: fine if the calculation had the same cell.")  # fmt: skip
    add("constraints", "warning", sorted(data.constrained), "hold atoms with constraints",
        "mlpot takes force labels as they are; make sure that they were written before constraints set "
        "them to zero (ASE: apply_constraint=False).")  # fmt: skip
    return findings


def _gaps(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return the thickest layer (Å) without atoms across each pair of faces of the cell, (3,)."""
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    along = np.sort((positions @ np.linalg.inv(cell)) % 1.0, axis=0)
    return np.diff(np.concatenate([along, along[:1] + 1]), axis=0).max(axis=0) * heights
