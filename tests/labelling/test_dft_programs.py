"""The real programs, on two atoms: labels are derivatives of the energy that is labelled.

Each test skips where its program or pseudopotential is not installed.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from mlpot.labelling.dft.base import DFTMethod
from mlpot.labelling.method import NotConverged
from mlpot.labelling.recipe import LabelRecipe
from mlpot.recipe import load_recipe

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "dft"
pytestmark = pytest.mark.slow


def method(code: str) -> DFTMethod:
    """Return a shipped method with few k-points; skip if it cannot run here."""
    missing = {
        "gpaw": importlib.util.find_spec("gpaw") is None,
        "espresso": shutil.which("pw.x") is None or not Path("/usr/share/espresso/pseudo").is_dir(),
        "cp2k": shutil.which("cp2k.psmp") is None or not Path("/usr/share/cp2k").is_dir(),
    }
    if missing[code]:
        pytest.skip(f"{code} is not installed; docs/dft.md says how")
    found = load_recipe(LabelRecipe, RECIPES / f"{code}_pbe.yaml").method
    assert isinstance(found, DFTMethod)
    # A wide smearing makes the entropy, and so a wrong energy, show.
    wide = found.smearing.model_copy(update={"width": 0.5})
    coarse = {"k_spacing": 1.1, "smearing": wide, "cutoff": 340}
    if code == "espresso":
        coarse["density_cutoff"] = 2720
    if code == "cp2k":
        coarse["cutoff"] = 3000
    return found.model_copy(update=coarse)


@pytest.fixture
def silicon():
    """Two atoms, displaced."""
    atoms = bulk("Si", "diamond", a=5.47)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.mark.parametrize("code", ["gpaw", "espresso"])
def test_forces_and_stress_are_derivatives_of_the_labelled_energy(code, silicon, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    dft = method(code)
    dft.check({"Si"})

    def labels(atoms, name):
        (tmp_path / name).mkdir()
        return dft.compute(atoms.copy(), tmp_path / name)

    here = labels(silicon, "here")
    step = 0.01
    energies = []
    for sign in (-1, 1):
        moved = silicon.copy()
        moved.positions[0, 0] += sign * step
        energies.append(labels(moved, f"moved{sign}").energy)
    assert -(energies[1] - energies[0]) / (2 * step) == pytest.approx(here.forces[0, 0], abs=5e-3)
    energies = []
    for sign in (-1, 1):
        strained = silicon.copy()
        strained.set_cell(silicon.cell * (1 + sign * step), scale_atoms=True)
        energies.append(labels(strained, f"strained{sign}").energy)
    slope = (energies[1] - energies[0]) / (2 * step) / silicon.get_volume()
    # Energies at a fixed cutoff jump with the number of plane waves; stress does not.
    assert slope == pytest.approx(np.trace(here.stress), abs=0.02)


@pytest.mark.parametrize("code", ["gpaw", "espresso", "cp2k"])
def test_too_few_steps_are_no_label(code, silicon, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(NotConverged, match="did not converge"):
        method(code).model_copy(update={"max_steps": 2}).compute(silicon, tmp_path)
