"""Crash tests: a crystal squeezed to extreme pressure, and one heated until it comes apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlpot.errors import RecipeError
from mlpot.simulation.dynamics import run_dynamics
from mlpot.simulation.ensembles import Ensemble
from mlpot.simulation.single import Sample
from mlpot.simulation.stopping import StopCriteria
from mlpot.simulation.survival import clopper_pearson

#: Called with the fraction done (0 to 1) and what is running.
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class CrashRun:
    """One run.

    Attributes
    ----------
    seed : int
        Of velocities and noise.
    survived : bool
        Whether it reached the end.
    reached : float
        Target at the end or at the failure: GPa or K.
    reason : str or None
        Why it failed.
    time_ps : float
        Until then, ps.
    volume_per_atom : float or None
        Å³, at the end; ``None`` without a cell.
    """

    seed: int
    survived: bool
    reached: float
    reason: str | None
    time_ps: float
    volume_per_atom: float | None


@dataclass(frozen=True)
class CrashTest:
    """The runs of a crash test.

    Attributes
    ----------
    name : str
        ``compress`` or ``heat``.
    unit : str
        Of ``start``, ``end`` and ``reached``: GPa or K.
    start, end : float
        Of the ramp.
    time_ps, timestep_fs : float
        Of each run.
    runs : list of CrashRun
        One per seed.
    """

    name: str
    unit: str
    start: float
    end: float
    time_ps: float
    timestep_fs: float
    runs: list[CrashRun]

    @property
    def survival(self) -> float:
        """Fraction of runs that reached the end."""
        return sum(run.survived for run in self.runs) / len(self.runs)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; ``survival_95`` is the exact interval of a proportion."""
        interval = clopper_pearson(sum(run.survived for run in self.runs), len(self.runs))
        return asdict(self) | {"survival": self.survival, "survival_95": list(interval)}


def compress(
    calculator: Calculator,
    atoms: Atoms,
    seeds: Sequence[int] = (0,),
    *,
    pressures: tuple[float, float] = (0.0, 200.0),
    temperature: float = 300.0,
    time_ps: float = 10.0,
    timestep_fs: float = 1.0,
    stop: StopCriteria | None = None,
    progress: Progress | None = None,
) -> CrashTest:
    """Squeeze a structure isotropically, the pressure rising linearly (npt, MTK), and see whether it lives.

    Parameters
    ----------
    calculator
        Any ASE calculator with a stress.
    atoms
        Periodic in three directions; not changed.
    seeds
        One run each.
    pressures
        First and last, GPa.
    temperature
        K.
    time_ps, timestep_fs
        Of each run.
    stop
        When a run has failed. By default those of :class:`StopCriteria`; a volume that changes more
        than fivefold, which no solid does below 200 GPa, is a collapse.
    progress
        Called as the runs advance.

    Raises
    ------
    RecipeError, GeometryError, ElementError
        As :func:`~mlpot.simulation.dynamics.run_dynamics`; for no seeds or repeated ones.
    """
    first, last = pressures
    ensemble = Ensemble("npt", temperature=temperature, pressure=first, pressure_end=last, barostat_fs=300.0)
    ramp = ("compress", "GPa", first, last)
    return _crash(
        calculator,
        atoms,
        seeds,
        ensemble,
        ramp,
        time_ps,
        timestep_fs,
        stop or StopCriteria(volume_factor=5.0),
        progress,
    )


def heat(
    calculator: Calculator,
    atoms: Atoms,
    seeds: Sequence[int] = (0,),
    *,
    temperatures: tuple[float, float] = (300.0, 3000.0),
    friction_per_ps: float = 10.0,
    time_ps: float = 10.0,
    timestep_fs: float = 1.0,
    stop: StopCriteria | None = None,
    progress: Progress | None = None,
) -> CrashTest:
    """Heat a structure linearly at constant volume (Langevin) through melting, and see whether it lives.

    Parameters
    ----------
    calculator
        Any ASE calculator.
    atoms, seeds, time_ps, timestep_fs, progress
        As for :func:`compress`.
    temperatures
        First and last, K.
    friction_per_ps
        Coupling to the heat bath, 1/ps.
    stop
        When a run has failed; the defaults of :class:`StopCriteria` if not given.

    Raises
    ------
    RecipeError, GeometryError, ElementError
        As :func:`~mlpot.simulation.dynamics.run_dynamics`; for no seeds or repeated ones.
    """
    first, last = temperatures
    ensemble = Ensemble("nvt", temperature=first, temperature_end=last, friction_per_ps=friction_per_ps)
    ramp = ("heat", "K", first, last)
    return _crash(
        calculator, atoms, seeds, ensemble, ramp, time_ps, timestep_fs, stop or StopCriteria(), progress
    )


def _crash(
    calculator: Calculator,
    atoms: Atoms,
    seeds: Sequence[int],
    ensemble: Ensemble,
    ramp: tuple[str, str, float, float],
    time_ps: float,
    timestep_fs: float,
    stop: StopCriteria,
    progress: Progress | None,
) -> CrashTest:
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise RecipeError(f"seeds {list(seeds)}: give one or more, none twice, none negative.")
    name, unit, first, last = ramp
    runs = []
    for index, seed in enumerate(seeds):

        def report(sample: Sample, index: int = index, seed: int = seed) -> None:
            if progress:
                progress((index + min(sample.time_ps / time_ps, 1.0)) / len(seeds), f"{name}, seed {seed}")

        trajectory = run_dynamics(
            atoms,
            calculator,
            ensemble,
            time_ps,
            timestep_fs=timestep_fs,
            seed=np.random.SeedSequence([seed, round(1000 * last)]),
            stop=stop,
            callback=report,
        )
        reached = first + (last - first) * min(trajectory.survived_ps / time_ps, 1.0)
        cell = trajectory.atoms.cell
        volume = float(cell.volume) / len(atoms) if cell.rank == 3 else None
        survived = trajectory.completed
        runs.append(CrashRun(int(seed), survived, reached, trajectory.reason, trajectory.survived_ps, volume))
    return CrashTest(name, unit, first, last, time_ps, timestep_fs, runs)
