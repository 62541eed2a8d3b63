"""One run of crystal and liquid at constant enthalpy, in segments, from which it goes on when killed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator

from mlpot.atomic import replacing
from mlpot.errors import DataError
from mlpot.melting.order import Solidity
from mlpot.melting.settings import MeltingSettings
from mlpot.melting.stages import advance, along_z


@dataclass
class State:
    """Where a run is.

    Attributes
    ----------
    atoms
        With momenta, without calculator.
    start
        K, the temperature it started at.
    rate : (3, 3)
        Strain rate of the cell, in ASE's units.
    temperature, length : list
        K and Å (of the cell along z), every ``settings.stride`` steps.
    fraction
        Share of crystal, ten times per segment.
    enthalpy
        eV, at the start and at the end so far.
    """

    atoms: Atoms
    start: float
    rate: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    temperature: list[float] = field(default_factory=list)
    length: list[float] = field(default_factory=list)
    fraction: list[float] = field(default_factory=list)
    enthalpy: list[float] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        with replacing(path) as partial:
            np.savez_compressed(
                partial,
                numbers=self.atoms.numbers,
                positions=self.atoms.positions,
                momenta=self.atoms.get_momenta(),
                cell=self.atoms.cell.array,
                start=self.start,
                rate=self.rate,
                temperature=self.temperature,
                length=self.length,
                fraction=self.fraction,
                enthalpy=self.enthalpy,
            )

    @classmethod
    def read(cls, path: Path) -> State:
        """Return what :meth:`write` wrote.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {name: file[name] for name in file.files}
            atoms = Atoms(data["numbers"], data["positions"], cell=data["cell"], pbc=True)
            atoms.set_momenta(data["momenta"])
            return cls(
                atoms,
                float(data["start"]),
                data["rate"],
                *(data[name].tolist() for name in ("temperature", "length", "fraction", "enthalpy")),
            )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: is damaged ({error}); remove it, and its run begins anew.") from None


def follow(
    state: State,
    calculator: BaseCalculator,
    solidity: Solidity,
    settings: MeltingSettings,
    time_ps: float,
    kept: Callable[[State], None],
) -> State:
    """Bring a run to its end, segment after segment.

    Every segment sets the integrator up anew from positions, momenta, cell and strain rate, also in
    a run that is never interrupted: so one that is goes on as if it had not been.

    Parameters
    ----------
    state
        Where it is; it is brought forward.
    calculator
        An ASE calculator with stresses.
    solidity
        Tells the share of crystal.
    settings
        Pressure, steps and intervals.
    time_ps
        Length of the whole run.
    kept
        Called after each segment.

    Raises
    ------
    MeltingError
        If the potential does not survive.
    """
    total, segment = (settings.records(length) for length in (time_ps, settings.segment_ps))
    every = max(1, segment // 10)
    atoms = state.atoms.copy()
    atoms.calc = calculator
    while (done := len(state.temperature)) < total:
        dynamics = along_z(atoms, settings, state.start, thermostat=False)
        dynamics.eta = state.rate.copy()  # its set_strain_rate calls a method that ASE 3.29 has not
        if not state.enthalpy:
            state.enthalpy = 2 * [float(dynamics.get_gibbs_free_energy())]
        at = done * settings.stride * settings.timestep_fs / 1000.0
        for number in range(done, min(done + segment, total)):
            advance(dynamics, settings.stride, f"coexistence from {state.start:.0f} K, {at:.0f} ps")
            state.temperature.append(kinetic_temperature(atoms))
            state.length.append(float(atoms.cell.array[2, 2]))
            if number % every == every - 1:
                state.fraction.append(solidity.fraction(atoms))
        state.enthalpy[1] = float(dynamics.get_gibbs_free_energy())
        state.rate = dynamics.get_strain_rate()
        state.atoms = atoms.copy()
        kept(state)
    return state


def kinetic_temperature(atoms: Atoms) -> float:
    """Return the temperature (K) of atoms whose centre of mass rests: 3 N - 3 degrees of freedom."""
    return float(2 * atoms.get_kinetic_energy() / ((3 * len(atoms) - 3) * units.kB))
