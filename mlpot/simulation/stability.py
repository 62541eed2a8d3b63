"""Whether a potential survives molecular dynamics, and then samples the right structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlpot.errors import RecipeError
from mlpot.simulation.dynamics import Sample, Trajectory, run_langevin
from mlpot.simulation.observables import radial_distribution, radial_distribution_error
from mlpot.simulation.stopping import StopCriteria
from mlpot.simulation.survival import SurvivalCurve, kaplan_meier

#: Called with the fraction done (0 to 1) and what is running.
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Protocol:
    """What every run of a stability test has in common.

    Attributes
    ----------
    time_ps, timestep_fs, friction_per_ps
        As for :func:`~mlpot.simulation.dynamics.run_langevin`.
    equilibration_ps : float
        Time left out of the radial distribution, ps.
    log_interval : int
        Steps between sampled frames.
    r_max : float
        Reach of the radial distribution, Å.
    bins : int
        Its shells.
    stop : StopCriteria
        When a run has failed.
    """

    time_ps: float
    timestep_fs: float = 1.0
    friction_per_ps: float = 10.0
    equilibration_ps: float = 0.0
    log_interval: int = 10
    r_max: float = 8.0
    bins: int = 160
    stop: StopCriteria = field(default_factory=StopCriteria)


@dataclass(frozen=True)
class StabilityRun:
    """One run.

    Attributes
    ----------
    temperature : float
        Target, K.
    seed : int
        Its random numbers come from ``SeedSequence([seed, temperature in mK])``.
    survived_ps : float
        Time to failure, or the whole time.
    censored : bool
        Whether it was still alive at the end.
    reason : str or None
        Why it failed.
    mean_temperature : float or None
        Kinetic temperature after equilibration, K; ``None`` if it did not get there.
    frame : Atoms
        The structure at the end or at the failure.
    """

    temperature: float
    seed: int
    survived_ps: float
    censored: bool
    reason: str | None
    mean_temperature: float | None
    frame: Atoms


@dataclass(frozen=True)
class RadialComparison:
    """Radial distribution of the model's runs against the same runs with the reference.

    Attributes
    ----------
    r, model, reference : (bins,)
        Å, and g of both, averaged over frames and seeds.
    error : float
        Mean over r of the absolute difference.
    reference_failures : list of str
        Stop reasons of reference runs, which should be none.
    """

    r: np.ndarray
    model: np.ndarray
    reference: np.ndarray
    error: float
    reference_failures: list[str]


@dataclass(frozen=True)
class TemperatureResult:
    """All runs at one temperature.

    Attributes
    ----------
    temperature : float
        K.
    runs : list of StabilityRun
        One per seed.
    curve : SurvivalCurve
        Kaplan-Meier estimate over the runs, time in ps.
    survival, lower, upper : float
        Probability of surviving the whole time, and its 95 % interval (exact where all runs
        survived or all failed).
    radial : RadialComparison or None
        With a reference calculator and a periodic structure.
    radial_missing : str or None
        Why there is no comparison.
    """

    temperature: float
    runs: list[StabilityRun]
    curve: SurvivalCurve
    survival: float
    lower: float
    upper: float
    radial: RadialComparison | None
    radial_missing: str | None


@dataclass(frozen=True)
class StabilityReport:
    """The outcome of :func:`stability`.

    Attributes
    ----------
    protocol : Protocol
        How the runs were made.
    formula : str
        Of the starting structure.
    with_reference : bool
        Whether a reference calculator was given.
    temperatures : list of TemperatureResult
        In the order asked for.
    """

    protocol: Protocol
    formula: str
    with_reference: bool
    temperatures: list[TemperatureResult]

    @property
    def runs(self) -> list[StabilityRun]:
        """All runs."""
        return [run for result in self.temperatures for run in result.runs]

    @property
    def frames(self) -> list[Atoms]:
        """Final structures, labelled in ``info``, ready to be written to a file."""
        frames = []
        for run in self.runs:
            frame = run.frame.copy()
            frame.info = {
                "temperature_K": run.temperature,
                "seed": run.seed,
                "survived_ps": run.survived_ps,
                "stop_reason": run.reason or "none",
            }
            frames.append(frame)
        return frames

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without structures (see :attr:`frames`)."""
        protocol = asdict(self.protocol) | {"stop": self.protocol.stop.model_dump()}
        return {
            "formula": self.formula,
            "with_reference": self.with_reference,
            "protocol": protocol,
            "temperatures": [_plain(result) for result in self.temperatures],
        }


def stability(
    calculator: Calculator,
    atoms: Atoms,
    temperatures: Sequence[float],
    seeds: Sequence[int],
    time_ps: float,
    *,
    timestep_fs: float = 1.0,
    friction_per_ps: float = 10.0,
    equilibration_ps: float | None = None,
    log_interval: int = 10,
    r_max: float = 8.0,
    bins: int = 160,
    stop: StopCriteria | None = None,
    reference: Calculator | None = None,
    progress: Progress | None = None,
) -> StabilityReport:
    """Run Langevin dynamics at several temperatures and seeds, and report who survived.

    Parameters
    ----------
    calculator
        The potential under test.
    atoms
        Starting structure of every run.
    temperatures
        K.
    seeds
        One run per temperature and seed.
    time_ps, timestep_fs, friction_per_ps, log_interval
        As for :func:`~mlpot.simulation.dynamics.run_langevin`.
    equilibration_ps
        Left out of radial distributions and mean temperatures; a fifth of the time by default.
    r_max, bins
        Of the radial distribution; Å.
    stop
        When a run has failed.
    reference
        Calculator of the true dynamics (a classical teacher, or DFT). With it the energy along
        the model's runs is compared, and the same runs (the same random numbers) are made with
        the reference, for the radial distribution. Frames of a run that failed count up to its
        failure.
    progress
        Called as the runs advance.

    Raises
    ------
    RecipeError
        For no temperatures or seeds, repeated ones, or a protocol that makes no sense.
    GeometryError, ElementError
        For a starting structure that cannot be run.
    """
    protocol = Protocol(
        time_ps=time_ps,
        timestep_fs=timestep_fs,
        friction_per_ps=friction_per_ps,
        equilibration_ps=0.2 * time_ps if equilibration_ps is None else equilibration_ps,
        log_interval=log_interval,
        r_max=r_max,
        bins=bins,
        stop=stop or StopCriteria(),
    )
    _check_plan(temperatures, seeds, protocol)
    compare = reference is not None and bool(atoms.pbc.all())
    total = len(temperatures) * len(seeds) * (2 if compare else 1)
    done = 0

    def run(temperature: float, seed: int, teacher: bool) -> Trajectory:
        nonlocal done
        title = f"{temperature:g} K, seed {seed}{', reference' if teacher else ''}"

        def report(sample: Sample) -> None:
            if progress:
                progress((done + min(sample.time_ps / time_ps, 1.0)) / total, title)

        trajectory = run_langevin(
            atoms,
            reference if teacher and reference is not None else calculator,
            temperature,
            time_ps,
            timestep_fs=timestep_fs,
            friction_per_ps=friction_per_ps,
            seed=np.random.SeedSequence([seed, round(1000 * temperature)]),
            stop=protocol.stop,
            reference=None if teacher else reference,
            log_interval=log_interval,
            callback=report,
        )
        done += 1
        if progress:
            progress(done / total, title)
        return trajectory

    results = []
    for temperature in temperatures:
        trajectories = [run(temperature, seed, False) for seed in seeds]
        teachers = [run(temperature, seed, True) for seed in seeds] if compare else []
        results.append(_summary(temperature, seeds, trajectories, teachers, protocol, reference is not None))
    return StabilityReport(protocol, atoms.get_chemical_formula(), reference is not None, results)


def _check_plan(temperatures: Sequence[float], seeds: Sequence[int], protocol: Protocol) -> None:
    for name, values in (("temperatures", list(temperatures)), ("seeds", list(seeds))):
        if not values:
            raise RecipeError(f"a stability test needs {name}; none were given.")
        if len(set(values)) < len(values):
            raise RecipeError(f"{name} {values} repeat a value: the same run twice is no more evidence.")
    if any(not 0.0 < temperature < np.inf for temperature in temperatures):
        raise RecipeError(f"temperatures {list(temperatures)} K: each must be above zero.")
    if any(seed < 0 for seed in seeds):
        raise RecipeError(f"seeds {list(seeds)} must not be negative.")
    if not 0.0 <= protocol.equilibration_ps < protocol.time_ps:
        raise RecipeError(
            f"equilibration of {protocol.equilibration_ps:g} ps does not fit into runs of "
            f"{protocol.time_ps:g} ps."
        )
    if not 0.0 < protocol.r_max < np.inf or protocol.bins < 1:
        raise RecipeError(
            f"radial distribution to {protocol.r_max:g} Å in {protocol.bins} bins: both must be positive."
        )


def _summary(
    temperature: float,
    seeds: Sequence[int],
    trajectories: list[Trajectory],
    teachers: list[Trajectory],
    protocol: Protocol,
    with_reference: bool,
) -> TemperatureResult:
    after = protocol.equilibration_ps
    runs = []
    for seed, trajectory in zip(seeds, trajectories, strict=True):
        settled = trajectory.temperatures[trajectory.times_ps >= after] if trajectory.samples else np.zeros(0)
        runs.append(
            StabilityRun(
                temperature=float(temperature),
                seed=int(seed),
                survived_ps=trajectory.survived_ps,
                censored=trajectory.completed,
                reason=trajectory.reason,
                mean_temperature=float(settled.mean()) if len(settled) else None,
                frame=trajectory.atoms,
            )
        )
    curve = kaplan_meier([run.survived_ps for run in runs], [not run.censored for run in runs])
    survival, lower, upper = curve.at(max(run.survived_ps for run in runs))
    frames = [frame for trajectory in trajectories for frame in trajectory.frames(after)]
    truth = [frame for teacher in teachers for frame in teacher.frames(after)]
    radial, missing = None, None
    if not with_reference:
        missing = "no reference calculator"
    elif not teachers:
        missing = "the structure is not periodic in all directions"
    elif not frames or not truth:
        missing = f"no run of the {'model' if not frames else 'reference'} outlived the equilibration"
    else:
        r, model = radial_distribution(frames, protocol.r_max, protocol.bins)
        _, true = radial_distribution(truth, protocol.r_max, protocol.bins)
        failures = [teacher.reason for teacher in teachers if teacher.reason]
        radial = RadialComparison(r, model, true, radial_distribution_error(model, true), failures)
    return TemperatureResult(float(temperature), runs, curve, survival, lower, upper, radial, missing)


def _plain(result: TemperatureResult) -> dict[str, Any]:
    curve, radial = result.curve, result.radial
    bounds = [curve.at(float(time)) for time in curve.times]
    return {
        "temperature_K": result.temperature,
        "survival": result.survival,
        "survival_95": [result.lower, result.upper],
        "median_ps": curve.median,
        "curve": {
            "time_ps": curve.times.tolist(),
            "at_risk": curve.at_risk.tolist(),
            "failures": curve.events.tolist(),
            "survival": curve.survival.tolist(),
            "lower": [low for _, low, _ in bounds],
            "upper": [high for _, _, high in bounds],
        },
        "runs": [
            {name: value for name, value in vars(run).items() if name != "frame"} for run in result.runs
        ],
        "radial_missing": result.radial_missing,
        "radial": None
        if radial is None
        else {
            "r": radial.r.tolist(),
            "model": radial.model.tolist(),
            "reference": radial.reference.tolist(),
            "error": radial.error,
            "reference_failures": radial.reference_failures,
        },
    }
