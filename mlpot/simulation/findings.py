"""What a stability test found: its protocol, runs, survival and radial distributions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

import numpy as np
from ase import Atoms

from mlpot.simulation.stopping import StopCriteria
from mlpot.simulation.survival import SurvivalCurve


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


class TrueRadial(TypedDict):
    """Radial distribution of the runs with the reference at one temperature, as plain values.

    ``r`` (Å) and ``g``, ``None`` if no run outlived the equilibration; ``failures``: stop reasons,
    of which there should be none.
    """

    temperature_K: float
    r: list[float] | None
    g: list[float] | None
    failures: list[str]


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
