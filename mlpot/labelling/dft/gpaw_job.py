"""What runs inside GPAW's own process: ``gpaw python gpaw_job.py`` in the folder of a frame.

Needs GPAW and ASE only, so that the Python that has them need not have mlpot. Reads
``structure.json`` and ``gpaw.json``; writes ``results.json`` when all is done, or when the SCF
did not converge.
"""

import json
import os

from ase.io import read
from gpaw import GPAW, KohnShamConvergenceError
from gpaw.mpi import world

with open("gpaw.json") as file:
    job = json.load(file)
atoms = read("structure.json")
atoms.calc = GPAW(**job["gpaw"])
try:
    # The free energy, of which forces and stress are the derivatives.
    results = {
        "converged": True,
        "free_energy": float(atoms.get_potential_energy(force_consistent=True)),
        "energy_zero_width": float(atoms.get_potential_energy()),
        "forces": atoms.get_forces().tolist(),
    }
    if job["stress"]:
        results["stress"] = atoms.get_stress(voigt=False).tolist()
except KohnShamConvergenceError:
    results = {"converged": False}
if world.rank == 0:
    with open("results.json.partial", "w") as file:
        json.dump(results, file)
    os.replace("results.json.partial", "results.json")
