"""ZBL repulsion against the scalar formula, written out by hand."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
from ase import Atoms

from mlpot.data.frame import Frame
from mlpot.data.graph import batch_graphs, frame_graph
from mlpot.model.repulsion import ZBL

#: Covalent radii of Cordero et al., Dalton Trans. 2832 (2008), Å.
RADII = {14: 1.11, 32: 1.20}


def switched_zbl(za: int, zb: int, r: float) -> float:
    """Return the switched ZBL energy of two atoms, eV; e²/(4 pi eps0) = 14.3996448 eV Å."""
    a = 0.46850 / (za**0.23 + zb**0.23)
    x = r / a
    phi = (
        0.18175 * exp(-3.19980 * x)
        + 0.50986 * exp(-0.94229 * x)
        + 0.28022 * exp(-0.40290 * x)
        + 0.02817 * exp(-0.20162 * x)
    )
    y = min(r / (0.8 * (RADII[za] + RADII[zb])), 1.0)
    return 14.3996448 * za * zb / r * phi * (1.0 - 10.0 * y**3 + 15.0 * y**4 - 6.0 * y**5)


def dimer(symbols: str, r: float) -> Atoms:
    """Return two atoms at distance r along an oblique direction."""
    direction = np.array([1.0, 2.0, -2.0]) / 3.0
    return Atoms(symbols, positions=[[0.1, 0.2, 0.3], np.array([0.1, 0.2, 0.3]) + r * direction])


@pytest.mark.parametrize("r", [0.5, 1.0, 1.7])
def test_silicon_dimer(r: float) -> None:
    (prediction,) = ZBL([14]).predict(dimer("Si2", r))
    assert prediction.energy == pytest.approx(switched_zbl(14, 14, r), rel=1e-7)
    assert prediction.local_energies == pytest.approx([prediction.energy / 2] * 2, rel=1e-12)


@pytest.mark.parametrize("symbols", ["SiGe", "GeSi"])
def test_unlike_dimer(symbols: str) -> None:
    (prediction,) = ZBL([14, 32]).predict(dimer(symbols, 0.8))
    assert prediction.energy == pytest.approx(switched_zbl(14, 32, 0.8), rel=1e-7)


@pytest.mark.parametrize("r", [0.5, 1.0, 1.5, 1.77])
def test_force_is_the_slope_and_pushes_apart(r: float) -> None:
    (prediction,) = ZBL([14]).predict(dimer("Si2", r))
    h = 1e-4
    slope = (switched_zbl(14, 14, r + h) - switched_zbl(14, 14, r - h)) / (2 * h)
    force = -slope * np.array([1.0, 2.0, -2.0]) / 3.0
    assert prediction.forces == pytest.approx(np.array([-force, force]), rel=1e-5, abs=1e-6)
    assert prediction.forces[1] @ [1.0, 2.0, -2.0] > 0


@pytest.mark.parametrize(("symbols", "end"), [("Si2", 1.776), ("SiGe", 1.848), ("Ge2", 1.92)])
def test_exactly_zero_beyond_its_range_and_continuous_there(symbols: str, end: float) -> None:
    model = ZBL([14, 32])
    assert model.cutoff == pytest.approx(1.92)
    (beyond,) = model.predict(dimer(symbols, end + 1e-9))
    assert beyond.energy == 0.0
    assert (beyond.forces == 0.0).all()
    for step in (1e-2, 1e-3):
        (before,) = model.predict(dimer(symbols, end - step))
        # Third and second order in the distance from the end of the switch.
        assert 0.0 < before.energy < 200 * step**3
        assert np.abs(before.forces).max() < 600 * step**2


def test_energy_and_force_have_no_jumps() -> None:
    model, distances = ZBL([14]), np.linspace(0.6, 2.0, 1401)
    frames = [Frame.from_atoms(dimer("Si2", r)) for r in distances]
    output = model(batch_graphs([frame_graph(frame, 2.5) for frame in frames]))
    energies = output.energy.numpy()
    forces = np.linalg.norm(output.forces.numpy()[1::2], axis=1)
    assert np.diff(energies).max() < 1e-10
    assert np.diff(forces).max() < 1e-10
    # Trapezoid rule: forces integrate to energies.
    work = np.cumsum(0.5 * (forces[1:] + forces[:-1]) * np.diff(distances))
    assert energies[0] - energies[1:] == pytest.approx(work, abs=2e-3)
