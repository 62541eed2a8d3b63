"""A small set of silicon without fault, labelled by Stillinger-Weber."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mlpot.checking import check


@pytest.fixture(scope="session")
def clean(label):
    """Return 52 frames: a strain series of perfect cells, rattled cells of 8 and 16 atoms, a hot group."""
    rng = np.random.default_rng(0)
    frames = []

    def add(atoms, group):
        atoms.info["config_type"] = group
        frames.append(label(atoms, "sw-si", f"set.xyz#{len(frames)}"))

    def crystal(repeat=1):
        return bulk("Si", "diamond", a=5.431, cubic=True).repeat((repeat, 1, 1))

    modes = [
        np.diag([1.0, 0.0, 0.0]),
        np.diag([1.0, 1.0, 0.0]),
        np.array([[0, 1, 0], [0, 0, 0.3], [0, 0, 0]]),
    ]
    for mode in modes:
        for size in (0.01, 0.02, 0.03, 0.045):
            atoms = crystal()
            atoms.set_cell(atoms.cell.array @ (np.eye(3) + size * mode), scale_atoms=True)
            add(atoms, "strain")
    for _ in range(16):
        atoms = crystal()
        atoms.positions += rng.normal(scale=0.03, size=(8, 3))
        add(atoms, "rattle")
    for _ in range(12):
        atoms = crystal(2)
        atoms.positions += rng.normal(scale=0.05, size=(16, 3))
        add(atoms, "large")
    for _ in range(12):
        atoms = crystal()
        atoms.positions += rng.normal(scale=0.15, size=(8, 3))
        add(atoms, "hot")
    return frames


@pytest.fixture(scope="session")
def found():
    """Check frames and return the findings of one kind that are no notes (or of any severity asked for)."""

    def find(frames, kind, severities=("error", "warning"), **options):
        report = check(frames, **options)
        return [one for one in report.findings if one.check == kind and one.severity in severities]

    return find
