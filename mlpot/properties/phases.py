"""Crystal structures against diamond: energy and volume of each, relaxed under its own symmetry."""

from __future__ import annotations

import warnings

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter

from mlpot.properties.record import Found, Outcome
from mlpot.properties.subject import PropertyError, Subject
from mlpot.sampling.prototypes import Phase, prototype
from mlpot.sampling.relax import relaxed_volume

#: Volumes of an energy-volume curve, as multiples of that at rest.
_VOLUMES = np.linspace(0.85, 1.15, 13)
_DIAMOND = "Fd-3m (227)"


def phase(subject: Subject, which: Phase) -> Outcome:
    """Return the energy (eV/atom) above diamond's and the volume (Å³/atom) of a phase at rest.

    Lattice vectors and sites relax within the space group.

    Raises
    ------
    PropertyError
        If the phase does not come to rest, or turns into diamond or another crystal of higher
        symmetry as it does.
    RecipeError
        If it has no volume of lowest energy.
    """
    try:
        import spglib  # noqa: F401  (what FixSymmetry is made with)
        from ase.constraints import FixSymmetry
    except ImportError:
        raise PropertyError("spglib is not installed: pip install 'mlpot[properties]'.") from None

    volume = relaxed_volume(subject.element, which, subject.calculator, subject.a)
    atoms = prototype(subject.element, which, volume)
    group = space_group(atoms)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spglib's on its own interface, ASE's on long steps
        atoms.set_constraint(FixSymmetry(atoms))
        subject.attach(atoms, stress=True)
        steps = subject.relax(FrechetCellFilter(atoms), which)
    atoms.set_constraint()
    energy = float(atoms.get_potential_energy()) / len(atoms) - subject.energy
    relaxed = float(atoms.get_volume()) / len(atoms)
    after = space_group(atoms)
    if after != group:
        turned = "turns into diamond" if after == _DIAMOND else f"turns into another crystal, {after},"
        raise PropertyError(f"{which}, {group}, {turned} as it relaxes: it is no structure of its own here.")
    settings = {
        "space_group": group,
        "atoms": len(atoms),
        "fmax": subject.settings.fmax,
        "steps": steps,
        "stress": subject.stress_source,
    }
    lengths = atoms.cell.lengths()
    volumes = _VOLUMES * relaxed
    energies = [_scaled_energy(subject, atoms, ratio) for ratio in _VOLUMES]
    data = {
        "volume_A3": volumes.tolist(),
        "energy_eV": energies,
        "a_A": float(lengths[0]),
        "c_over_a": float(lengths[2] / lengths[0]),
        "scaled_positions": atoms.get_scaled_positions().tolist(),
    }
    return {
        f"energy_{which}": Found(energy, settings, data=data),
        f"volume_{which}": Found(relaxed, settings),
    }


def _scaled_energy(subject: Subject, atoms: Atoms, ratio: float) -> float:
    """Return the energy (eV/atom) at a multiple of the volume, proportions and sites as they are."""
    copy = atoms.copy()
    copy.set_cell(copy.cell * ratio ** (1 / 3), scale_atoms=True)
    return subject.energy_of(copy) / len(copy)


def space_group(atoms: Atoms) -> str:
    """Return the space group of a crystal, as ``Fd-3m (227)``."""
    import spglib

    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(spglib.get_spacegroup(cell, symprec=5e-3))
