"""The barrier of a vacancy's jump to a neighbouring site, by the nudged elastic band.

Climbing image: G. Henkelman, B. P. Uberuaga and H. Jónsson, J. Chem. Phys. 113, 9901 (2000).
"""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.geometry import find_mic
from ase.mep import NEB
from ase.optimize import FIRE

from mlpot.properties.defects import hole_starts, relax_starts
from mlpot.properties.record import Found, Outcome
from mlpot.properties.subject import PropertyError, Subject
from mlpot.sampling.defects import Vacancy

#: Images between the ends.
_IMAGES = 7
#: Largest force (eV/Å) of the band, and its steps at most.
_FMAX, _STEPS = 0.02, 1000
#: Å, of a slight disturbance by which a path leaves symmetries that a force cannot break.
_SLIGHT = 0.01


def migration(subject: Subject) -> Outcome:
    """Return the barrier (eV) between the lowest vacancy and its image at a neighbouring site.

    The final state is the initial one inverted through the middle of the bond, an operation of
    diamond, so that both have the same energy. Where the vacancy is distorted, the jump may also
    turn the distortion.

    Raises
    ------
    PropertyError
        If the band does not come to rest.
    """
    repeats = subject.settings.defect_supercells[0]
    crystal = subject.material.diamond((repeats,) * 3)
    hole = Vacancy(kind="vacancy", supercell=(repeats,) * 3).build(subject.material, subject.rng())
    notes = subject.require_room(hole, "the vacancy")
    accounts, relaxed = relax_starts(subject, list(hole_starts(subject, hole, 1)), len(hole) * subject.energy)
    at_rest = [
        (a["energy_eV"], atoms) for a, atoms in zip(accounts, relaxed, strict=True) if atoms is not None
    ]
    if not at_rest:
        raise PropertyError(f"no vacancy comes to rest; the first: {accounts[0]['reason']}")
    formation, first = min(at_rest, key=lambda one: one[0])
    final = inverted(first, crystal)
    start = float(first.get_potential_energy())
    end = subject.energy_of(final)
    if abs(end - start) > 1e-3:
        raise PropertyError(
            f"the two ends of the jump differ by {end - start:.3g} eV; the potential is not even."
        )
    images = [first, *(first.copy() for _ in range(_IMAGES)), final]
    for image in images:
        subject.attach(image)
    band = NEB(images, climb=False, method="improvedtangent", allow_shared_calculator=True)
    band.interpolate(mic=True)
    rng = subject.rng()
    for image in images[1:-1]:
        image.positions += rng.normal(0.0, _SLIGHT, image.positions.shape)
    steps = _settle(band, 0.1)
    band.climb = True
    steps += _settle(band, _FMAX)
    energies = [float(image.get_potential_energy()) - start for image in images]
    distances = np.cumsum([0.0, *(_distance(a, b) for a, b in pairwise(images))])
    settings = {
        "sites": len(crystal),
        "images": _IMAGES,
        "method": "nudged elastic band, climbing image",
        "fmax": _FMAX,
        "steps": steps,
        "cell": "constant",
    }
    if max(energies) < 1e-3:
        notes.append("no barrier: the start is no minimum")
    if min(energies) < -0.01:
        notes.append(
            f"the path passes a state {-min(energies):.3f} eV lower than its ends; the barrier is counted "
            "from that state"
        )
    data = {"formation_eV": formation, "distance_A": distances.tolist(), "energy_eV": energies}
    return {"vacancy_migration": Found(max(energies) - min(energies), settings, notes, data)}


def _settle(band: NEB, fmax: float) -> int:
    optimizer = FIRE(band, logfile=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not optimizer.run(fmax=fmax, steps=_STEPS):
            raise PropertyError(
                f"the path of the jump does not settle below {fmax:g} eV/Å in {_STEPS} steps."
            )
    return int(optimizer.nsteps)


def inverted(relaxed: Atoms, crystal: Atoms) -> Atoms:
    """Return a vacancy at site 0 as one at its neighbour, site 1, with atoms in the order of the first."""
    sites = crystal.positions
    centre = (sites[0] + sites[1]) / 2
    turned = 2 * centre - relaxed.positions
    # Atom k sat at site k + 1; it turns to the site that is the inverse of that.
    inverse = 2 * centre - sites[1:]
    offsets = find_mic((inverse[:, None] - sites[None]).reshape(-1, 3), crystal.cell, True)[1]
    now_at = offsets.reshape(len(inverse), len(sites)).argmin(axis=1)
    final = relaxed.copy()
    for atom, site in enumerate(now_at):
        # Site 0 is filled by the atom that jumps, which came from site 1.
        owner = 0 if site == 0 else site - 1
        step, _ = find_mic((turned[atom] - sites[site])[None], crystal.cell, True)
        final.positions[owner] = sites[site] + step[0]
    return final


def _distance(a: Atoms, b: Atoms) -> float:
    step, _ = find_mic(b.positions - a.positions, a.cell, True)
    return float(np.linalg.norm(step))
