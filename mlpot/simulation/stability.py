"""Whether a potential survives molecular dynamics, and then samples the right structure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from mlpot.errors import RecipeError
from mlpot.observables.radial import radial_distribution, radial_distribution_error
from mlpot.simulation.calculator import MLPotCalculator
from mlpot.simulation.dynamics import Sample, Trajectory, run_langevin
from mlpot.simulation.findings import (
    Protocol,
    RadialComparison,
    StabilityReport,
    StabilityRun,
    TemperatureResult,
    TrueRadial,
)
from mlpot.simulation.stopping import StopCriteria
from mlpot.simulation.survival import kaplan_meier

#: Called with the fraction done (0 to 1) and what is running.
Progress = Callable[[float, str], None]


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
    truth: Sequence[TrueRadial] | None = None,
    batch_size: int | None = None,
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
    truth
        What :func:`true_radials` returned for the same structure, temperatures, seeds and
        protocol: the runs with the reference are then not made again. Without ``reference``: radial
        distributions from elsewhere, on the same shells.
    batch_size
        Runs of the potential side by side, through torch-sim
        (:func:`~mlpot.simulation.batched.run_langevin_batch`); None: one after the other. Runs with
        the reference are always made one after the other.
    progress
        Called as the runs advance.

    Raises
    ------
    RecipeError
        For no temperatures or seeds, repeated ones, or a protocol that makes no sense; for batches
        without torch-sim, or of a calculator that is not a potential of mlpot.
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
    with_truth = reference is not None or bool(truth)
    compare = with_truth and bool(atoms.pbc.all())
    known = {entry["temperature_K"]: entry for entry in truth or []}
    if missing := [t for t in temperatures if known and t not in known]:
        raise RecipeError(
            f"truth: nothing is known at {', '.join(f'{t:g} K' for t in missing)}; compute it there too."
        )
    series = _Series(
        atoms, protocol, len(temperatures) * len(seeds) * (2 if compare and not known else 1), progress
    )
    batched: dict[tuple[float, int], Trajectory] = {}
    if batch_size is not None:
        batched = _batches(series, calculator, temperatures, seeds, reference, batch_size)
    results = []
    for temperature in temperatures:
        trajectories = [
            batched.get((temperature, seed)) or series.run(calculator, temperature, seed, reference)
            for seed in seeds
        ]
        true = None
        if compare:
            true = known.get(temperature)
            if true is None:
                assert reference is not None
                true = _true_radial(series, reference, temperature, seeds)
        results.append(_summary(temperature, seeds, trajectories, true, protocol, with_truth))
    return StabilityReport(protocol, atoms.get_chemical_formula(), reference is not None, results)


def true_radials(
    reference: Calculator,
    atoms: Atoms,
    temperatures: Sequence[float],
    seeds: Sequence[int],
    time_ps: float,
    *,
    timestep_fs: float = 1.0,
    progress: Progress | None = None,
) -> list[TrueRadial]:
    """Return the radial distributions of the true dynamics, for several calls of :func:`stability`.

    Parameters and errors are those of :func:`stability`, whose defaults hold for the rest of the
    protocol.
    """
    protocol = Protocol(time_ps=time_ps, timestep_fs=timestep_fs, equilibration_ps=0.2 * time_ps)
    _check_plan(temperatures, seeds, protocol)
    series = _Series(atoms, protocol, len(temperatures) * len(seeds), progress)
    return [_true_radial(series, reference, temperature, seeds) for temperature in temperatures]


class _Series:
    """Runs of one structure under one protocol, counted for the progress."""

    def __init__(self, atoms: Atoms, protocol: Protocol, total: int, progress: Progress | None) -> None:
        self.atoms, self.protocol, self.total, self.progress = atoms, protocol, total, progress
        self.done = 0

    def run(
        self,
        calculator: Calculator,
        temperature: float,
        seed: int,
        reference: Calculator | None,
        note: str = "",
        stop: StopCriteria | None = None,
    ) -> Trajectory:
        """Run once; the same temperature and seed give the same random numbers to every calculator."""
        title, protocol = f"{temperature:g} K, seed {seed}{note}", self.protocol

        def report(sample: Sample) -> None:
            if self.progress:
                self.progress((self.done + min(sample.time_ps / protocol.time_ps, 1.0)) / self.total, title)

        trajectory = run_langevin(
            self.atoms,
            calculator,
            temperature,
            protocol.time_ps,
            timestep_fs=protocol.timestep_fs,
            friction_per_ps=protocol.friction_per_ps,
            seed=_seed(temperature, seed),
            stop=stop or protocol.stop,
            reference=reference,
            log_interval=protocol.log_interval,
            callback=report,
        )
        self.done += 1
        if self.progress:
            self.progress(self.done / self.total, title)
        return trajectory

    def run_batch(
        self, calculator: MLPotCalculator, runs: Sequence[tuple[float, int]], reference: Calculator | None
    ) -> list[Trajectory]:
        """Run several (temperature, seed) side by side, with the seeds they would have alone."""
        from mlpot.simulation.batched import run_langevin_batch

        title, protocol = f"{len(runs)} runs side by side", self.protocol

        def report(fraction: float, going: int) -> None:
            if self.progress:
                note = "" if going == len(runs) else f", {going} going on"
                self.progress((self.done + fraction * len(runs)) / self.total, title + note)

        trajectories = run_langevin_batch(
            calculator,
            self.atoms,
            [temperature for temperature, _ in runs],
            [_seed(*run) for run in runs],
            protocol.time_ps,
            timestep_fs=protocol.timestep_fs,
            friction_per_ps=protocol.friction_per_ps,
            stop=protocol.stop,
            reference=reference,
            log_interval=protocol.log_interval,
            callback=report,
        )
        self.done += len(runs)
        if self.progress:
            self.progress(self.done / self.total, title)
        return trajectories


def _seed(temperature: float, seed: int) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, round(1000 * temperature)])


def _batches(
    series: _Series,
    calculator: Calculator,
    temperatures: Sequence[float],
    seeds: Sequence[int],
    reference: Calculator | None,
    batch_size: int,
) -> dict[tuple[float, int], Trajectory]:
    if batch_size < 1:
        raise RecipeError(f"batch size is {batch_size}; it must be one run or more.")
    if not isinstance(calculator, MLPotCalculator):
        raise RecipeError(
            f"batches need a potential of mlpot, not {type(calculator).__name__}; leave batch_size out."
        )
    runs = [(temperature, seed) for temperature in temperatures for seed in seeds]
    found = []
    for start in range(0, len(runs), batch_size):
        found += series.run_batch(calculator, runs[start : start + batch_size], reference)
    return dict(zip(runs, found, strict=True))


def _true_radial(
    series: _Series, reference: Calculator, temperature: float, seeds: Sequence[int]
) -> TrueRadial:
    protocol = series.protocol
    # The truth has no uncertainty.
    stop = protocol.stop.model_copy(update={"max_forces_std": None})
    teachers = [series.run(reference, temperature, seed, None, ", reference", stop) for seed in seeds]
    frames = [frame for teacher in teachers for frame in teacher.frames(protocol.equilibration_ps)]
    r, g = radial_distribution(frames, protocol.r_max, protocol.bins) if frames else (None, None)
    return {
        "temperature_K": float(temperature),
        "r": r.tolist() if r is not None else None,
        "g": g.tolist() if g is not None else None,
        "failures": [teacher.reason for teacher in teachers if teacher.reason],
    }


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
    true: TrueRadial | None,
    protocol: Protocol,
    with_truth: bool,
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
    radial, missing = None, None
    if not with_truth:
        missing = "no reference calculator"
    elif true is None:
        missing = "the structure is not periodic in all directions"
    elif not frames or true["g"] is None:
        missing = f"no run of the {'model' if not frames else 'reference'} outlived the equilibration"
    else:
        r, model = radial_distribution(frames, protocol.r_max, protocol.bins)
        expected = np.array(true["g"])
        error = radial_distribution_error(model, expected)
        radial = RadialComparison(r, model, expected, error, true["failures"])
    return TemperatureResult(float(temperature), runs, curve, survival, lower, upper, radial, missing)
