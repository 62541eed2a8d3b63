"""Ideal strength of diamond: the largest tensile stress of the perfect crystal."""

from __future__ import annotations

from typing import Literal

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter

from mlpot.conventions import GPA
from mlpot.properties.fault import oriented_111
from mlpot.properties.record import Found, Outcome
from mlpot.properties.subject import PropertyError, Subject

#: Strain from one step to the next, and the largest.
_STEP, _LARGEST = 0.01, 0.6
#: The pull ends where the stress has fallen to this fraction of its largest.
_FALLEN = 0.9


def strength(subject: Subject, direction: Literal["100", "110", "111"]) -> Outcome:
    """Return the ideal tensile strength (GPa, true stress) at 0 K and the strain at which it is reached.

    The crystal is pulled along a direction in steps; atoms, and the cell across the direction, relax
    at each, so that the lateral stress is zero.
    """
    atoms = subject.attach(_oriented(subject, direction), stress=True)
    length = atoms.cell[2, 2]
    strains, stresses = [0.0], [0.0]
    end = "the stress fell"
    for step in range(1, int(_LARGEST / _STEP) + 1):
        strain = _STEP * step
        cell = atoms.cell.array.copy()
        cell[2] *= (1 + strain) * length / cell[2, 2]
        atoms.set_cell(cell, scale_atoms=True)
        try:
            subject.relax(
                FrechetCellFilter(atoms, mask=[True, True, False, False, False, True]),
                f"the crystal pulled by {strain:.2f} along {direction}",
                fmax=10 * subject.settings.fmax,
            )
        except PropertyError as error:
            end = f"at a strain of {strain:.2f} it does not come to rest ({error})"
            break
        strains.append(strain)
        stresses.append(float(atoms.get_stress()[2]) / GPA)
        if stresses[-1] < _FALLEN * max(stresses):
            break
    else:
        raise PropertyError(f"pulled along {direction}, the stress still rises at a strain of {_LARGEST:g}.")
    top = int(np.argmax(stresses))
    notes = [] if end == "the stress fell" else [f"the pull ended before the stress fell: {end}"]
    settings = {
        "direction": f"[{direction}]",
        "atoms": len(atoms),
        "strain_step": _STEP,
        "lateral_stress": "relaxed",
        "stress": subject.stress_source,
    }
    data = {"strain": strains, "stress_GPa": stresses}
    return {
        f"ideal_strength_{direction}": Found(stresses[top], settings, notes, data),
        f"ideal_strain_{direction}": Found(strains[top], settings, notes),
    }


def _oriented(subject: Subject, direction: str) -> Atoms:
    """Return a small cell with the direction along z."""
    if direction == "100":
        return subject.diamond()
    if direction == "111":
        return oriented_111(subject.element, subject.a, 1)
    across = bulk(subject.element, "diamond", a=subject.a, orthorhombic=True)  # a/√2, a/√2, a: x is [110]
    lengths, scaled = across.cell.lengths(), across.get_scaled_positions()
    return Atoms(
        across.get_chemical_symbols(),
        scaled_positions=scaled[:, [1, 2, 0]],
        cell=lengths[[1, 2, 0]],
        pbc=True,
    )
