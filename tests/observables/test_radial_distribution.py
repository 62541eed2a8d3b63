from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlpot.errors import DataError, GeometryError, RecipeError
from mlpot.observables.radial import (
    first_minimum,
    radial_distance,
    radial_distribution,
    radial_distribution_error,
)


def coordination(r: np.ndarray, g: np.ndarray, density: float) -> np.ndarray:
    """Integrate shells exactly: neighbours within the outer edge of each."""
    thickness = r[1] - r[0]
    edges = np.append(r - thickness / 2, r[-1] + thickness / 2)
    return density * np.cumsum(g * 4.0 / 3.0 * np.pi * np.diff(edges**3))


@pytest.mark.parametrize("cubic", [True, False])
def test_coordination_of_diamond(cubic: bool) -> None:
    # The primitive cell has one atom pair and 2.7 Å half-height: r_max is far beyond it.
    atoms = bulk("Si", a=5.43, cubic=cubic)
    r, g = radial_distribution([atoms], r_max=6.2, bins=620)
    around = coordination(r, g, len(atoms) / atoms.get_volume())
    # Shells of diamond: 4 at 2.351, 12 at 3.840, 12 at 4.502, 6 at 5.430, 12 at 5.917.
    for distance, expected in ((2.0, 0), (3.0, 4), (4.2, 16), (5.0, 28), (5.6, 34), (6.1, 46)):
        assert around[np.searchsorted(r, distance)] == pytest.approx(expected)


def test_ideal_gas_is_one() -> None:
    rng = np.random.default_rng(0)
    cell = np.array([[20.0, 0, 0], [6.0, 18.0, 0], [-3.0, 4.0, 22.0]])
    frames = [Atoms("Si500", positions=rng.random((500, 3)) @ cell, cell=cell, pbc=True) for _ in range(8)]
    # r_max beyond half of every height of the cell.
    r, g = radial_distribution(frames, r_max=14.0, bins=14)
    pairs = 8 * 500 * 500 / frames[0].get_volume() * 4 * np.pi * r**2
    # Poisson noise of directed pairs, and N - 1 instead of N.
    assert (np.abs(g - 1.0) < 5.0 * np.sqrt(2.0 / pairs) + 2.0 / 500).all()
    assert np.average(g, weights=r**2) == pytest.approx(1.0, abs=0.01)


def test_partial_distributions_of_an_alloy() -> None:
    # Zincblende: four unlike neighbours at 2.4 Å, twelve like ones at 3.8 Å.
    atoms = bulk("SiGe", "zincblende", a=5.5)
    density = 1 / atoms.get_volume()
    for pair, near, far in ((("Si", "Ge"), 4, 4), (("Si", "Si"), 0, 12), (("Ge", "Si"), 4, 4)):
        r, g = radial_distribution([atoms], r_max=4.2, bins=420, pairs=pair)
        around = coordination(r, g, density)
        assert around[np.searchsorted(r, 3.0)] == pytest.approx(near)
        assert around[-1] == pytest.approx(far)


def test_error_between_distributions() -> None:
    crystal = bulk("Si", cubic=True)
    _, one = radial_distribution([crystal], 6.0)
    _, same = radial_distribution([crystal, crystal], 6.0)
    assert radial_distribution_error(one, same) == pytest.approx(0.0, abs=1e-12)
    # 1/r_max times the integral of |g - g_ref|.
    assert radial_distribution_error(np.array([1.0, 3.0]), np.array([2.0, 1.0])) == pytest.approx(1.5)


def test_distance_of_shifted_peaks() -> None:
    r = (np.arange(100) + 0.5) * 0.1
    one, other = np.zeros(100), np.zeros(100)
    one[20], other[27] = 5.0, 5.0
    assert radial_distance(r, one, other) == pytest.approx(0.7)
    # Half of the weight moves by 0.7 Å; the scale of g is no matter.
    one[50] = other[50] = 5.0
    assert radial_distance(r, one, 3 * other) == pytest.approx(0.35)
    assert radial_distance(r, one, one) == 0.0
    with pytest.raises(DataError, match="zero everywhere"):
        radial_distance(r, one, np.zeros(100))
    with pytest.raises(DataError, match="differ in shape"):
        radial_distance(r, one, other[:50])


def test_first_minimum() -> None:
    # The gap of diamond between 2.351 and 3.840 Å.
    r, g = radial_distribution([bulk("Si", a=5.43)], 6.0, 300)
    assert first_minimum(r, g) == pytest.approx(0.5 * (2.351 + 3.840), abs=0.1)
    r = np.linspace(0.02, 8.0, 400)
    wave = np.where(r > 2.0, 1 + np.exp(-(r - 2.0) / 3) * np.sin(2 * np.pi * (r - 2.0) / 3), 0.0)
    assert first_minimum(r, wave) == pytest.approx(4.2, abs=0.1)
    with pytest.raises(DataError, match="no minimum"):
        first_minimum(r, np.ones(400))
    with pytest.raises(DataError, match="no minimum"):
        first_minimum(r[:100], wave[:100])


def test_refused() -> None:
    atoms = bulk("Si", cubic=True)
    with pytest.raises(RecipeError, match="needs frames"):
        radial_distribution([], 5.0)
    with pytest.raises(RecipeError, match="r_max"):
        radial_distribution([atoms], -1.0)
    with pytest.raises(RecipeError, match="holds no Ge, only Si"):
        radial_distribution([atoms], 5.0, pairs=("Si", "Ge"))
    atoms.pbc = [True, True, False]
    with pytest.raises(GeometryError, match=r"frame 0: .*needs a density"):
        radial_distribution([atoms], 5.0)
