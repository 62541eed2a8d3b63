"""Vibrations of diamond by phonopy: frequencies, bands, density of states, thermodynamics.

phonopy: A. Togo, L. Chaput, T. Tadano and I. Tanaka, J. Phys.: Condens. Matter 35, 353001 (2023);
force constants by finite displacements in a supercell.
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses, atomic_numbers

from mlpot.properties.record import Found, Outcome
from mlpot.properties.subject import PropertyError, Subject

if TYPE_CHECKING:
    from phonopy import Phonopy

#: Points of the zone in the reciprocal basis of the primitive cell that :func:`primitive` is.
POINTS = {
    "Γ": (0.0, 0.0, 0.0),
    "X": (0.5, 0.0, 0.5),
    "W": (0.5, 0.25, 0.75),
    "K": (0.375, 0.375, 0.75),
    "U": (0.625, 0.25, 0.625),
    "L": (0.5, 0.5, 0.5),
}
_PATH = (("Γ", "X", "U"), ("K", "Γ", "L", "W", "X"))
_PER_SEGMENT = 41
#: Frequencies below this (THz) are imaginary; above it, noise of the acoustic modes at Γ.
_IMAGINARY = -0.05
#: Primitive vectors of the face-centred lattice in those of the cube.
_PRIMITIVE = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])


def harmonic(subject: Subject, a: float | None = None) -> Phonopy:
    """Return phonopy's object of diamond with force constants; ``a`` in Å, by default that at rest.

    Raises
    ------
    PropertyError
        If phonopy is not installed, or a force is not finite.
    """
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError:
        raise PropertyError("phonopy is not installed: pip install 'mlpot[properties]'.") from None

    settings = subject.settings
    cell = subject.diamond(a)
    mass = atomic_masses[atomic_numbers[subject.element]]
    unit = PhonopyAtoms(
        symbols=cell.get_chemical_symbols(),
        cell=cell.cell.array,
        scaled_positions=cell.get_scaled_positions(),
        masses=[mass] * len(cell),
    )
    crystal = Phonopy(unit, np.diag([settings.phonon_supercell] * 3), primitive_matrix=_PRIMITIVE.T)
    crystal.generate_displacements(distance=settings.displacement, is_plusminus=True)
    crystal.forces = np.array([_forces(subject, one) for one in crystal.supercells_with_displacements or []])
    crystal.produce_force_constants()
    crystal.symmetrize_force_constants()
    return crystal


def _forces(subject: Subject, supercell: Any) -> np.ndarray:
    atoms = Atoms(
        supercell.symbols, scaled_positions=supercell.scaled_positions, cell=supercell.cell, pbc=True
    )
    forces = np.array(subject.attach(atoms).get_forces(), dtype=float)
    if not np.isfinite(forces).all():
        raise PropertyError("the forces on a displaced atom are not finite; there are no force constants.")
    return forces


def frequencies(crystal: Phonopy, point: str) -> np.ndarray:
    """Return the six frequencies (THz, ascending; negative: imaginary) at a point of :data:`POINTS`."""
    return np.sort(np.asarray(crystal.run_qpoints([POINTS[point]]).frequencies[0]))


def mesh_properties(
    subject: Subject, crystal: Phonopy, temperatures: np.ndarray
) -> dict[str, np.ndarray | np.float64]:
    """Return thermodynamics per atom at temperatures (K) and constant volume.

    ``free_energy`` eV, ``entropy`` and ``heat_capacity`` J/(mol K), each (T,); ``zero_point`` eV, a
    number; ``lowest`` THz, the lowest frequency of the mesh.
    """
    mesh = crystal.run_mesh([subject.settings.mesh] * 3)
    thermal = crystal.run_thermal_properties(temperatures=temperatures, exclude_gamma_acoustic=True)
    kj = units.mol / units.kJ  # per eV
    n = len(crystal.primitive)
    return {
        "free_energy": np.asarray(thermal.free_energy) / kj / n,
        "entropy": np.asarray(thermal.entropy) / n,
        "heat_capacity": np.asarray(thermal.heat_capacity) / n,
        "zero_point": np.float64(thermal.zero_point_energy / kj / n),
        "lowest": np.float64(np.min(mesh.frequencies)),
    }


def phonons(subject: Subject) -> Outcome:
    """Return frequencies at Γ, X and L (THz), and thermodynamics at the settings' temperature."""
    crystal = harmonic(subject)
    kelvin = subject.settings.temperature
    grid = np.unique(np.append(np.arange(0.0, 1001.0, 20.0), kelvin))
    thermal = mesh_properties(subject, crystal, grid)
    here = int(np.argmin(np.abs(grid - kelvin)))
    settings = shared_settings(subject)
    notes = reach_notes(crystal)
    lowest = float(thermal["lowest"])
    bands = _bands(crystal)
    lowest = min(lowest, min(min(row) for segment in bands["segments"] for row in segment["frequencies_THz"]))
    unstable = []
    if lowest < _IMAGINARY:
        unstable = [
            f"imaginary frequencies down to {-lowest:.2f}i THz: diamond is not stable; such modes are left "
            "out of thermodynamics"
        ]
    optical = frequencies(crystal, "Γ")
    x, l_point = frequencies(crystal, "X"), frequencies(crystal, "L")
    named = {"phonon_gamma_optical": optical[3:].mean()}
    # In ascending order: all of X in pairs; of L, the transverse ones in pairs.
    named |= {f"phonon_X_{name}": x[2 * i : 2 * i + 2].mean() for i, name in enumerate(("TA", "LA", "TO"))}
    named |= {
        "phonon_L_TA": l_point[:2].mean(),
        "phonon_L_LA": l_point[2],
        "phonon_L_LO": l_point[3],
        "phonon_L_TO": l_point[4:].mean(),
    }
    found: Outcome = {
        name: Found(float(value), settings, notes=unstable if value < _IMAGINARY else [])
        for name, value in named.items()
    }
    found["phonon_lowest"] = Found(
        lowest,
        settings,
        notes=notes + unstable,
        data={"bands": bands, "dos": _density_of_states(crystal, lowest)},
    )
    thermal_settings = settings | {"temperature_K": kelvin, "volume": "constant, that of lowest energy"}
    curve = {
        "temperature_K": grid.tolist(),
        "free_energy_eV": thermal["free_energy"].tolist(),
        "entropy_J_per_mol_K": thermal["entropy"].tolist(),
        "heat_capacity_J_per_mol_K": thermal["heat_capacity"].tolist(),
    }
    found["zero_point_energy"] = Found(1e3 * float(thermal["zero_point"]), settings, notes=unstable)
    found["vibrational_free_energy"] = Found(
        1e3 * float(np.asarray(thermal["free_energy"])[here]), thermal_settings, notes=unstable, data=curve
    )
    found["entropy"] = Found(float(np.asarray(thermal["entropy"])[here]), thermal_settings, notes=unstable)
    found["heat_capacity"] = Found(
        float(np.asarray(thermal["heat_capacity"])[here]), thermal_settings, notes=unstable
    )
    return found


def shared_settings(subject: Subject) -> dict[str, Any]:
    """Return what all vibrational quantities were computed with."""
    settings = subject.settings
    return {
        "supercell": [settings.phonon_supercell] * 3,
        "atoms": 8 * settings.phonon_supercell**3,
        "displacement": settings.displacement,
        "mesh": [settings.mesh] * 3,
    }


def reach_notes(crystal: Phonopy) -> list[str]:
    """Say so where force constants have not died away at the edge of the supercell."""
    constants = np.asarray(crystal.force_constants)
    cell = crystal.supercell
    scaled = cell.scaled_positions - cell.scaled_positions[0]
    scaled -= np.round(scaled)
    distance = np.linalg.norm(scaled @ cell.cell, axis=1)
    half = 0.5 * min(np.linalg.norm(cell.cell, axis=1))
    sizes = np.linalg.norm(constants[0], axis=(1, 2))
    at_edge = sizes[distance > 0.95 * half].max() / sizes[0]
    if at_edge < 1e-3:
        return []
    return [
        f"at the edge of the supercell force constants are still {at_edge:.1e} of the largest: Γ, X and L "
        "are exact, points in between are interpolated"
    ]


def _bands(crystal: Phonopy) -> dict[str, Any]:
    """Return frequencies along Γ-X-U|K-Γ-L-W-X; distances in 1/Å without 2π."""
    reciprocal = np.linalg.inv(crystal.primitive.cell)
    paths, names = [], []
    for line in _PATH:
        for start, end in pairwise(line):
            steps = np.linspace(0, 1, _PER_SEGMENT)[:, None]
            paths.append((1 - steps) * np.array(POINTS[start]) + steps * np.array(POINTS[end]))
            names.append((start, end))
    computed = crystal.run_band_structure(paths).frequencies
    segments, at = [], 0.0
    for path, name, values in zip(paths, names, computed, strict=True):
        length = float(np.linalg.norm((path[-1] - path[0]) @ reciprocal.T))
        segments.append(
            {
                "from": name[0],
                "to": name[1],
                "distance": (at + np.linspace(0, length, len(path))).tolist(),
                "frequencies_THz": np.asarray(values).tolist(),
            }
        )
        at += length
    return {"segments": segments}


def _density_of_states(crystal: Phonopy, lowest: float) -> dict[str, list[float]]:
    """Return the density of states per primitive cell (1/THz; its integral is 6), by tetrahedra."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        total = crystal.run_total_dos(freq_min=min(lowest, 0.0), freq_pitch=0.05)
    return {
        "frequency_THz": np.asarray(total.frequency_points).tolist(),
        "states_per_THz": np.asarray(total.dos).tolist(),
    }
