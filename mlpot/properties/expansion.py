"""Thermal expansion of diamond in the quasi-harmonic approximation, by phonopy."""

from __future__ import annotations

import warnings

import numpy as np

from mlpot.conventions import GPA
from mlpot.properties.phonons import harmonic, mesh_properties, shared_settings
from mlpot.properties.record import Found, Outcome
from mlpot.properties.subject import PropertyError, Subject

#: Lattice constants, as multiples of that at rest.
_STRETCHES = np.linspace(0.985, 1.025, 9)
#: K, between temperatures of the curve.
_STEP = 10.0


def expansion(subject: Subject) -> Outcome:
    """Return the linear expansion coefficient (1e-6/K) and the lattice constant (Å) at a temperature.

    Free energies F(V, T) = E(V) + F_vib(V, T) are fitted by Vinet's equation of state at each
    temperature (phonopy's ``run_qha``).

    Raises
    ------
    PropertyError
        If a volume has imaginary frequencies: its free energy is not defined.
    """
    crystals, energies = [], []
    for stretch in _STRETCHES:
        a = float(stretch * subject.a)
        crystal = harmonic(subject, a)
        lowest = float(mesh_properties(subject, crystal, np.array([300.0]))["lowest"])
        if lowest < -0.05:
            raise PropertyError(
                f"at a lattice constant of {a:.4g} Å there are imaginary frequencies ({-lowest:.2f}i THz); "
                "the quasi-harmonic free energy is not defined."
            )
        crystals.append(crystal)
        energies.append(subject.energy_of(subject.diamond(a)) / 4)  # per primitive cell of 2 atoms
    from phonopy.qha.qha import run_qha

    kelvin = subject.settings.temperature
    grid = np.arange(0.0, max(1000.0, kelvin) + 2.5 * _STEP, _STEP)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run_qha(
            crystals, grid, energies, mesh=[subject.settings.mesh] * 3, exclude_gamma_acoustic=True
        )
    temperatures = np.asarray(result.temperatures)
    coefficient = np.asarray(result.thermal_expansion) / 3
    lattice = (4 * np.asarray(result.equilibrium_volumes)) ** (1 / 3)
    settings = shared_settings(subject) | {
        "temperature_K": kelvin,
        "lattice_constants": [float(_STRETCHES[0]), float(_STRETCHES[-1]), len(_STRETCHES)],
        "form": "Vinet",
    }
    data = {
        "temperature_K": temperatures.tolist(),
        "linear_expansion_per_K": coefficient.tolist(),
        "lattice_constant_A": lattice.tolist(),
        "bulk_modulus_GPa": (np.asarray(result.bulk_moduli) / GPA).tolist(),
    }
    at = float(np.interp(kelvin, temperatures, coefficient))
    return {
        "thermal_expansion": Found(1e6 * at, settings, data=data),
        "lattice_constant_T": Found(float(np.interp(kelvin, temperatures, lattice)), settings),
        "lattice_constant_zero_point": Found(float(lattice[0]), settings | {"temperature_K": 0.0}),
    }
