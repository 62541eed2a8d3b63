"""Diamond: lattice constant, cohesion, equation of state, elastic constants."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.eos import EquationOfState
from matscipy.elasticity import (
    full_3x3x3x3_to_Voigt_6x6,
    measure_triclinic_elastic_constants,
)
from scipy.optimize import OptimizeWarning

from mlpot.conventions import GPA
from mlpot.properties.record import Found, Outcome
from mlpot.properties.subject import PropertyError, Subject

#: Volumes of the equation of state, as multiples of that at rest.
_VOLUMES = np.linspace(0.96, 1.04, 11)
#: Those of the curve that is drawn, beyond where the fit holds.
_WIDE = np.linspace(0.8, 1.15, 15)
#: Largest residual of a fit, as a fraction of the range of energies.
_MISFIT = 0.02
#: Å, the side of the empty cell in which an atom is alone.
_EMPTY = 25.0


def lattice(subject: Subject) -> Outcome:
    """Return the lattice constant (Å) and the energy per atom (eV) of diamond without pressure at 0 K."""
    zero = "the zero of energy is the calculator's own"
    return {
        "lattice_constant": Found(
            subject.a, settings={"condition": "no pressure, 0 K, no zero-point motion"}
        ),
        "energy": Found(subject.energy, notes=[zero]),
    }


def cohesion(subject: Subject) -> Outcome:
    """Return the energy (eV per atom) that it takes to part diamond into free atoms."""
    given = subject.settings.free_atom
    if given is not None:
        return {
            "cohesive_energy": Found(
                given - subject.energy, {"free_atom": "given"}, data={"free_atom_eV": given}
            )
        }
    alone = subject.energy_of(Atoms(subject.element, cell=[_EMPTY] * 3, pbc=True))
    note = (
        "a potential fitted to one element's energies alone cannot tell the free atom's: this shows how its "
        "offset was chosen; give free_atom, the free atom's energy by the method of the labels"
    )
    return {
        "cohesive_energy": Found(
            alone - subject.energy,
            settings={"free_atom": f"alone in a periodic cell of {_EMPTY:g} Å"},
            notes=[note] if abs(alone) > 1e-6 else [],
            data={"free_atom_eV": alone},
        )
    }


def equation_of_state(subject: Subject) -> Outcome:
    """Fit E(V) of diamond by Birch and Murnaghan (Phys. Rev. 71, 809 (1947)), third order."""
    base = subject.a**3 / 8
    volumes = base * _VOLUMES
    energies = np.array([subject.energy_of(subject.diamond((8 * v) ** (1 / 3))) / 8 for v in volumes])
    fit = EquationOfState(volumes, energies - energies.min(), eos="birchmurnaghan")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a minimum that is not among the volumes
        warnings.simplefilter("ignore", OptimizeWarning)  # of errors of the fit, which are not wanted
        try:
            v0, _, bulk_modulus = fit.fit()
        except (RuntimeError, UserWarning) as error:
            raise PropertyError(f"no Birch-Murnaghan equation of state fits E(V): {error}") from None
    residual = float(np.abs(energies - energies.min() - fit.func(volumes, *fit.eos_parameters)).max())
    if residual > _MISFIT * np.ptp(energies):
        raise PropertyError(
            f"no Birch-Murnaghan equation of state fits E(V): points are off by up to {1e3 * residual:.2g} "
            f"meV/atom, of a range of {1e3 * np.ptp(energies):.2g}; is the energy smooth?"
        )
    settings = {
        "form": "Birch-Murnaghan, third order",
        "volumes": [float(_VOLUMES[0]), float(_VOLUMES[-1]), len(_VOLUMES)],
    }
    wide = base * _WIDE
    data = {
        "volume_A3": volumes.tolist(),
        "energy_eV": energies.tolist(),
        "wide_volume_A3": wide.tolist(),
        "wide_energy_eV": [subject.energy_of(subject.diamond((8 * v) ** (1 / 3))) / 8 for v in wide],
        "largest_residual_eV": residual,
        "equilibrium_volume_A3": float(v0),
    }
    return {
        "bulk_modulus": Found(float(bulk_modulus) / GPA, settings, data=data),
        "bulk_modulus_derivative": Found(float(fit.eos_parameters[2]), settings),
    }


def elastic_constants(subject: Subject) -> Outcome:
    """Return C11, C12, C44 with atoms relaxed, and C44 with atoms held in place (C44_0), GPa.

    Central differences of the stress under all six strains of the cubic cell; C11, C12 and C44 are
    the means of the entries that are equal by symmetry, and how far these differ is given.
    """
    delta = subject.settings.strain
    fmax = 0.01 * delta  # a strain of 1 displaces sublattices by forces of some eV/Å
    relaxed = full_3x3x3x3_to_Voigt_6x6(
        measure_triclinic_elastic_constants(
            subject.attach(subject.diamond(), stress=True),
            delta=delta,
            optimizer=lambda atoms, logfile: _Relaxation(subject, atoms, fmax),
        ),
        check_symmetry=False,
    )
    clamped = full_3x3x3x3_to_Voigt_6x6(
        measure_triclinic_elastic_constants(subject.attach(subject.diamond(), stress=True), delta=delta),
        check_symmetry=False,
    )
    settings = {"strain": delta, "fmax": fmax, "stress": subject.stress_source, "cell": 8}
    c11, c12, c44 = (float(_equal(relaxed, place).mean()) / GPA for place in ("diagonal", "off", "shear"))
    unstable = min(c11 - c12, c44, c11 + 2 * c12) <= 0
    notes = (
        ["diamond is elastically unstable (Born: C11 > C12, C44 > 0, C11 + 2 C12 > 0)"] if unstable else []
    )
    found: Outcome = {"anisotropy": Found(2 * c44 / (c11 - c12), settings, notes)}
    for name, matrix, place in (
        ("C11", relaxed, "diagonal"),
        ("C12", relaxed, "off"),
        ("C44", relaxed, "shear"),
        ("C44_0", clamped, "shear"),
    ):
        entries = _equal(matrix, place) / GPA
        found[name] = Found(
            float(entries.mean()),
            settings | {"atoms": "held in place" if name == "C44_0" else "relaxed"},
            notes,
            data={"largest_asymmetry_GPa": float(np.ptp(entries))},
        )
    return found


@dataclass
class _Relaxation:
    """An optimiser as matscipy calls it, which does not pass over atoms that do not come to rest."""

    subject: Subject
    atoms: Atoms
    fmax: float

    def run(self) -> None:
        self.subject.relax(self.atoms, "strained diamond", self.fmax)


def _equal(matrix: np.ndarray, place: str) -> np.ndarray:
    """Return the entries of a cubic crystal's 6x6 matrix that are equal by symmetry."""
    if place == "diagonal":
        return np.diagonal(matrix)[:3]
    if place == "shear":
        return np.diagonal(matrix)[3:]
    upper = matrix[:3, :3]
    return upper[~np.eye(3, dtype=bool)]
