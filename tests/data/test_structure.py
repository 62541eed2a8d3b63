"""Reading structures to compute on."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from mlpot.data.structure import read_structure
from mlpot.errors import DataError


@pytest.fixture
def file(tmp_path):
    several = [bulk("Si", "diamond", a=a, cubic=True) for a in (5.3, 5.4, 5.5)]
    several[0].calc = SinglePointCalculator(several[0], energy=-1.0)
    ase.io.write(tmp_path / "several.xyz", several)
    return tmp_path / "several.xyz"


def test_first_or_named_structure(file):
    assert read_structure(file).cell.lengths() == pytest.approx(5.3)
    assert read_structure(f"{file}@1").cell.lengths() == pytest.approx(5.4)
    assert read_structure(f"{file}@-1").cell.lengths() == pytest.approx(5.5)
    assert read_structure(file).calc is None


def test_other_formats_and_supercells(tmp_path):
    for name in ("POSCAR", "si.cif"):
        ase.io.write(tmp_path / name, bulk("Si", "diamond", a=5.43, cubic=True))
        atoms = read_structure(tmp_path / name, (1, 2, 3))
        assert len(atoms) == 48 and atoms.cell.lengths() == pytest.approx([5.43, 10.86, 16.29])


def test_velocities_are_kept(tmp_path):
    atoms = bulk("Si")
    atoms.set_momenta(np.ones((2, 3)))
    ase.io.write(tmp_path / "moving.xyz", atoms)
    assert np.allclose(read_structure(tmp_path / "moving.xyz").get_momenta(), 1.0)


def test_mistakes(file, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_structure(tmp_path / "nowhere.xyz")
    with pytest.raises(DataError, match="ASE cannot read a structure"):
        read_structure(f"{file}@7")
    with pytest.raises(DataError, match="selects 2; give one number"):
        read_structure(f"{file}@:2")
    with pytest.raises(DataError, match="each repeat must be 1 or more"):
        read_structure(file, (1, 0, 1))
    ase.io.write(tmp_path / "molecule.xyz", Atoms("Si2", [[0, 0, 0], [0, 0, 2.2]]))
    with pytest.raises(DataError, match="along lattice vector 3, it has none"):
        read_structure(tmp_path / "molecule.xyz", (1, 1, 2))
