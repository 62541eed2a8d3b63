"""Generalised stacking fault energy of diamond on the glide set of {111}, along <112>.

V. Vitek, Phil. Mag. 18, 773 (1968): one half of the crystal is displaced rigidly against the other;
atoms then relax along the normal only.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.constraints import FixCartesian

from mlpot.properties.record import Found, Outcome
from mlpot.properties.subject import Subject
from mlpot.properties.surfaces import J_PER_M2
from mlpot.sampling.prototypes import diamond

#: Double layers between a fault and its image.
_DOUBLE_LAYERS = 9
#: Displacements, as multiples of the partial Burgers vector a/6 <112>.
_DISPLACEMENTS = np.linspace(0.0, 1.0, 11)


def oriented_111(element: str, a: float, periods: int) -> Atoms:
    """Return diamond with [111] along z: 6 atoms in each of so many periods of three double layers.

    The first two cell vectors are a/2 <110>, 120° apart; the boundary across z lies in the glide
    set, between the layers that are closest to each other.
    """
    cube = diamond(element, a)
    # Whole vectors of the cube along <110> and [111], then halves of the first two by symmetry.
    wide = make_supercell(cube, [[1, -1, 0], [0, 1, -1], [1, 1, 1]])
    wide.set_cell(wide.cell.standard_form()[0], scale_atoms=True)
    cell = wide.cell.array.copy()
    cell[:2] /= 2
    scaled = np.linalg.solve(cell.T, wide.positions.T).T
    scaled -= np.floor(scaled + 1e-9)
    _, first = np.unique(scaled.round(6), axis=0, return_index=True)
    atoms = Atoms([element] * len(first), scaled_positions=scaled[first], cell=cell, pbc=True)
    heights = np.sort(atoms.positions[:, 2])
    gaps = np.diff(np.append(heights, heights[0] + cell[2, 2]))
    lower = int(np.argmin(gaps))
    atoms.positions[:, 2] -= heights[lower] + gaps[lower] / 2
    atoms.wrap()
    return atoms.repeat((1, 1, periods))


def stacking_fault(subject: Subject) -> Outcome:
    """Return the intrinsic and the unstable stacking fault energy (J/m²) of the glide set.

    The crystal has no surface: the third cell vector is displaced, so that each period holds one
    fault; its length stays that of the perfect crystal.
    """
    periods = _DOUBLE_LAYERS // 3
    perfect = oriented_111(subject.element, subject.a, periods)
    area = float(np.linalg.norm(np.cross(perfect.cell[0], perfect.cell[1])))
    reference = len(perfect) * subject.energy
    # Of the two senses along <112> one leads to the intrinsic fault, the other to atoms on atoms.
    vector = (perfect.cell[0] + 2 * perfect.cell[1]) / 3
    if subject.energy_of(_shifted(perfect, -vector)) < subject.energy_of(_shifted(perfect, vector)):
        vector = -vector
    rigid, relaxed = [], []
    for fraction in _DISPLACEMENTS:
        atoms = _shifted(perfect, fraction * vector)
        rigid.append((subject.energy_of(atoms) - reference) / area)
        atoms.set_constraint(FixCartesian(range(len(atoms)), mask=(True, True, False)))
        subject.relax(subject.attach(atoms), f"stacking fault displaced by {fraction:.1f} of a partial")
        relaxed.append((float(atoms.get_potential_energy()) - reference) / area)
    settings = {
        "plane": "glide set of (111)",
        "direction": "<112>",
        "double_layers": _DOUBLE_LAYERS,
        "atoms": len(perfect),
        "relaxation": "along the normal, cell constant",
        "fmax": subject.settings.fmax,
    }
    data = {
        "displacement": _DISPLACEMENTS.tolist(),
        "partial_A": float(np.linalg.norm(vector)),
        "rigid_eV_per_A2": rigid,
        "relaxed_eV_per_A2": relaxed,
    }
    return {
        "stacking_fault_intrinsic": Found(J_PER_M2 * relaxed[-1], settings, data=data),
        "stacking_fault_unstable": Found(J_PER_M2 * max(relaxed), settings),
        "stacking_fault_unstable_rigid": Found(J_PER_M2 * max(rigid), settings | {"relaxation": "none"}),
    }


def _shifted(perfect: Atoms, displacement: np.ndarray) -> Atoms:
    """Return the crystal whose next period is displaced, Å."""
    atoms = perfect.copy()
    cell = atoms.cell.array.copy()
    cell[2] += displacement
    atoms.set_cell(cell, scale_atoms=False)
    return atoms
