"""S(q): no order, crystals, a sum over pairs, and the transform of g(r)."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlpot.errors import GeometryError, RecipeError
from mlpot.observables.radial import radial_distribution
from mlpot.observables.structure_factor import structure_factor, structure_factor_of_g


def test_ideal_gas_is_one():
    rng = np.random.default_rng(0)
    frames = [Atoms("Si300", positions=rng.random((300, 3)) * 20, cell=[20] * 3, pbc=True) for _ in range(30)]
    q, s, count = structure_factor(frames, 5.0, 0.25, vectors=100)
    assert (np.abs(s - 1) < 5 / np.sqrt(count)).all()
    assert q[0] == pytest.approx(2 * np.pi / 20, rel=0.3) and (np.diff(q) > 0).all()


def test_bragg_peaks_of_diamond():
    # S is N |F|² / 64 with F the structure factor of the cubic cell: 32 for (111), 64 for (220), 0 for (200).
    atoms = bulk("Si", a=5.43, cubic=True).repeat(2)
    unit = 2 * np.pi / 5.43
    q, s, count = structure_factor([atoms], 3.4, 0.01, vectors=1000)

    def at(*indices: int) -> tuple[float, int]:
        place = int(np.argmin(abs(q - unit * np.linalg.norm(indices))))
        return float(s[place]), int(count[place])

    assert at(1, 1, 1) == (pytest.approx(len(atoms) / 2), 4)
    assert at(2, 2, 0) == (pytest.approx(len(atoms)), 6)
    # (200) is forbidden; so is everything between the reciprocal lattice vectors of the small cell.
    assert at(2, 0, 0)[0] == pytest.approx(0, abs=1e-9)
    assert s.sum() == pytest.approx(len(atoms) * 1.5 + at(3, 1, 1)[0])


def test_skewed_cell_against_sums_over_pairs():
    rng = np.random.default_rng(1)
    cell = np.array([[7.0, 0, 0], [3.1, 6.2, 0], [-2.3, 1.4, 8.5]])
    atoms = Atoms("Si9", positions=rng.random((9, 3)) @ cell, cell=cell, pbc=True)
    q, s, count = structure_factor([atoms], 2.0, 0.001, vectors=1000)
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    gaps = atoms.positions[:, None] - atoms.positions[None]
    expected = {}
    for index in np.ndindex(13, 13, 13):
        wave = (np.array(index) - 6) @ reciprocal
        if 0 < np.linalg.norm(wave) <= 2.0:
            expected[round(float(np.linalg.norm(wave)), 9)] = np.cos(gaps @ wave).sum() / 9
    assert count.sum() == len(expected)  # all lengths differ here; of q and -q one
    assert q == pytest.approx(sorted(expected))
    assert s == pytest.approx([expected[key] for key in sorted(expected)])


def liquid(seed: int, count: int = 250, size: float = 18.0) -> Atoms:
    """Atoms at random, none closer than 2.2 Å."""
    rng = np.random.default_rng(seed)
    placed = np.empty((0, 3))
    while len(placed) < count:
        place = rng.random(3) * size
        gap = placed - place
        gap -= size * np.round(gap / size)
        if not len(placed) or (gap**2).sum(axis=1).min() > 2.2**2:
            placed = np.vstack([placed, place])
    return Atoms(f"Si{count}", positions=placed, cell=[size] * 3, pbc=True)


def test_both_ways_agree():
    frames = [liquid(seed) for seed in range(12)]
    q, s, _ = structure_factor(frames, 8.0, 0.2, vectors=100)
    r, g = radial_distribution(frames, 9.0, 300)
    transformed = structure_factor_of_g(r, g, 250 / 18.0**3, q, lorch=False)
    part = q > 1.0  # below, the end of g at half the cell is felt
    assert np.abs(s - transformed)[part].mean() < 0.04
    assert np.corrcoef(s[part], transformed[part])[0, 1] > 0.97
    smooth = structure_factor_of_g(r, g, 250 / 18.0**3, q)
    assert np.abs(smooth - transformed)[part].mean() < 0.05


def test_transform_of_hard_spheres_at_low_density():
    # g is 0 within d and 1 beyond: S = 1 - rho (4 pi / q³) (sin qd - qd cos qd).
    r = (np.arange(4000) + 0.5) * 0.005
    q, d, density = np.linspace(0.3, 10, 50), 2.5, 0.01
    g = (r > d).astype(float)
    expected = 1 - density * 4 * np.pi / q**3 * (np.sin(q * d) - q * d * np.cos(q * d))
    assert structure_factor_of_g(r, g, density, q, lorch=False) == pytest.approx(expected, abs=2e-4)


def test_refused():
    atoms = bulk("Si", cubic=True)
    with pytest.raises(RecipeError, match="q_max"):
        structure_factor([atoms], -1.0)
    with pytest.raises(RecipeError, match="needs frames"):
        structure_factor([], 5.0)
    atoms.pbc = [True, True, False]
    with pytest.raises(GeometryError, match="periodic boundaries in all directions"):
        structure_factor([atoms], 5.0)
