"""Surfaces of diamond: energies as cut and relaxed."""

from __future__ import annotations

from typing import Literal

import numpy as np
from ase import Atoms
from ase.geometry import get_distances

from mlpot.properties.defects import relax_starts
from mlpot.properties.record import Found, Outcome
from mlpot.properties.subject import PropertyError, Subject
from mlpot.sampling.surfaces import Surface as Slab

#: J/m² per eV/Å².
J_PER_M2 = 16.02176634
#: Atomic layers of the slabs (of thickness 15 to 19 Å in silicon).
_LAYERS: dict[str, int] = {"100": 12, "110": 10, "111": 12}
#: Å between a slab and its image.
_VACUUM = 15.0
#: Å, of the random displacements of starts that may reconstruct, and of slight ones.
_RATTLE, _SLIGHT = 0.15, 0.03
#: In lattice constants of the surface: how far an atom of a dimer is drawn to the other.
_DRAWN = 0.15
#: eV/Å² (1.6 mJ/m²) within which two surfaces are the same.
_SAME = 1e-4


def surface(subject: Subject, orientation: Literal["100", "110", "111"]) -> Outcome:
    """Return the energy (J/m²) of a surface: as cut, relaxed as cut, and the lowest found in a 2x2 cell.

    γ = (E_slab - N E_bulk) / 2A, both sides of the slab being alike as cut; relaxed from random
    displacements they may differ, and γ is their mean.
    """
    slab = Slab(
        kind="surface", orientation=orientation, layers=_LAYERS[orientation], repeat=(2, 2), vacuum=_VACUUM
    ).build(subject.material, subject.rng())
    if subject.cutoff is not None and subject.cutoff >= _VACUUM:
        raise PropertyError(
            f"the cutoff of {subject.cutoff:g} Å spans the vacuum of {_VACUUM:g} Å between slabs: they see "
            "each other."
        )
    rng = subject.rng()
    starts = [("as cut", slab)]
    if orientation == "100":
        starts.append(("in pairs", _dimerised(subject, slab, rng)))
    for number in range(subject.settings.starts):
        rattled = slab.copy()
        rattled.positions += rng.normal(0.0, _RATTLE, slab.positions.shape)
        starts.append((f"random {number + 1}", rattled))
    reference = len(slab) * subject.energy
    area = 2 * float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))
    accounts, _ = relax_starts(subject, starts, reference)
    for account in accounts:
        energy = account.pop("energy_eV")
        if energy is not None:
            account["eV_per_A2"] = energy / area
    at_rest = [account for account in accounts if "eV_per_A2" in account]
    settings = {
        "layers": _LAYERS[orientation],
        "cell": "2x2",
        "atoms": len(slab),
        "vacuum": _VACUUM,
        "fmax": subject.settings.fmax,
        "seed": subject.settings.seed,
    }
    unrelaxed = (subject.energy_of(slab) - reference) / area
    name = f"surface_{orientation}"
    found: Outcome = {
        f"{name}_unrelaxed": Found(J_PER_M2 * unrelaxed, settings, data={"eV_per_A2": unrelaxed})
    }
    kept = accounts[0].get("eV_per_A2")
    if kept is None:
        found[f"{name}_1x1"] = accounts[0]["reason"]
    else:
        found[f"{name}_1x1"] = Found(J_PER_M2 * kept, settings, data={"eV_per_A2": kept})
    if not at_rest:
        return found | {name: f"no start comes to rest; the first: {accounts[0]['reason']}"}
    best = min(at_rest, key=lambda account: account["eV_per_A2"])
    notes = [
        f"start {account['start']} was left out: {account['reason']}"
        for account in accounts
        if "reason" in account
    ]
    if kept is not None and best["eV_per_A2"] < kept - _SAME:
        notes.append(f"it reconstructs: start {best['start']!r} leads lower than the start as cut")
    data = {"eV_per_A2": best["eV_per_A2"], "starts": accounts}
    return found | {name: Found(J_PER_M2 * best["eV_per_A2"], settings, notes, data)}


def _dimerised(subject: Subject, slab: Atoms, rng: np.random.Generator) -> Atoms:
    """Return a (100) slab whose outermost atoms are drawn together in pairs, in rows, on both sides.

    The two bonds that an outermost atom keeps lie in one plane; pairs form across it.
    """
    atoms = slab.copy()
    spacing = subject.a / np.sqrt(2)
    heights = atoms.positions[:, 2]
    for edge in (heights.min(), heights.max()):
        outer = np.flatnonzero(np.abs(heights - edge) < 0.1)
        vectors, distances = get_distances(
            atoms.positions[outer[0]], atoms.positions, cell=atoms.cell, pbc=atoms.pbc
        )
        bonded = np.argsort(distances[0])[1]
        along = vectors[0][bonded] * [1, 1, 0]
        across = np.array([-along[1], along[0], 0.0]) / np.linalg.norm(along)
        rows = np.round((slab.positions[outer] - slab.positions[outer[0]]) @ across / spacing).astype(int)
        signs = np.where(rows % 2 == 0, 1.0, -1.0)
        atoms.positions[outer] += _DRAWN * spacing * signs[:, None] * across
    atoms.positions += rng.normal(0.0, _SLIGHT, atoms.positions.shape)
    return atoms
