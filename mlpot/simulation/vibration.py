"""The fastest vibration of a structure, which bounds the time step."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator

#: Largest displacement of an atom in the finite differences, Å.
_DISPLACEMENT = 0.01
#: Steps per period below which a vibration is poorly resolved.
_STEPS_PER_PERIOD = 10


def fastest_period(atoms: Atoms, calculator: Calculator, iterations: int = 8) -> float | None:
    """Return the period (fs) of the fastest harmonic vibration of a structure as it is.

    The largest eigenvalue of the mass-weighted Hessian of all atoms (the dynamical matrix at Γ of this
    cell) by the Lanczos method (C. Lanczos, J. Res. Natl. Bur. Stand. 45, 255, 1950) with products from
    central differences of forces: two calls of the calculator per iteration. It converges from
    below: the period is, if anything, a little too long.

    Parameters
    ----------
    atoms
        They are not changed.
    calculator
        With forces.
    iterations
        Lanczos vectors, at most.

    Returns
    -------
    float or None
        fs; ``None`` where no direction is stable, or forces are not finite.
    """
    moving = atoms.copy()
    moving.set_constraint()
    moving.calc = calculator
    roots = np.sqrt(moving.get_masses())[:, None]
    start = moving.get_positions()

    def product(vector: np.ndarray) -> np.ndarray:
        direction = vector.reshape(-1, 3) / roots
        size = _DISPLACEMENT / np.abs(direction).max()
        forces = []
        for sign in (1.0, -1.0):
            moving.set_positions(start + sign * size * direction)
            forces.append(np.asarray(moving.get_forces(), dtype=float))
        return ((forces[1] - forces[0]) / (2.0 * size) / roots).ravel()

    vector = np.random.default_rng(0).standard_normal(3 * len(atoms))
    basis: list[np.ndarray] = []
    diagonal: list[float] = []
    beside: list[float] = []
    vector /= np.linalg.norm(vector)
    for _ in range(min(iterations, 3 * len(atoms))):
        basis.append(vector)
        image = product(vector)
        if not np.isfinite(image).all():
            return None
        diagonal.append(float(image @ vector))
        for _ in range(2):  # twice is enough against rounding
            for known in basis:
                image = image - (image @ known) * known
        length = float(np.linalg.norm(image))
        if length < 1e-6 * max(abs(diagonal[0]), 1e-12):
            break
        beside.append(length)
        vector = image / length
    off = beside[: len(diagonal) - 1]
    largest = float(np.linalg.eigvalsh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))[-1])
    return float(2.0 * np.pi / np.sqrt(largest) / units.fs) if largest > 0.0 else None


def timestep_advice(period: float | None, timestep_fs: float) -> str | None:
    """Return a warning for a time step that does not resolve the fastest vibration, or ``None``."""
    if period is None or _STEPS_PER_PERIOD * timestep_fs <= period:
        return None
    bound = period / np.pi
    remedy = f"take {period / _STEPS_PER_PERIOD:.1f} fs or less"
    if timestep_fs >= bound:
        return (
            f"a time step of {timestep_fs:g} fs is unstable: the fastest vibration of this structure has a "
            f"period of {period:.0f} fs, and beyond {bound:.0f} fs velocity Verlet diverges; {remedy}."
        )
    return (
        f"a time step of {timestep_fs:g} fs is long: the fastest vibration of this structure has a period of "
        f"{period:.0f} fs; {remedy}."
    )
