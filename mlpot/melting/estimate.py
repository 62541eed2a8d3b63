"""From runs of coexistence to a melting temperature with its error and bracket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from mlpot.melting.settings import MeltingError
from mlpot.observables.blocks import block_average, equilibrated

#: Both phases are there while the share of crystal is between these.
LEAST, MOST = 0.1, 0.9
#: Change of the share of crystal above which crystal is said to have grown or melted.
_CHANGE = 0.03

Side = Literal["cold", "hot"]


@dataclass(frozen=True)
class Series:
    """What was recorded of one run at constant enthalpy.

    Attributes
    ----------
    side
        From which side of the guess it started.
    start
        K, the temperature it started at.
    temperature : (F,)
        K, at equal intervals.
    fraction : (G,)
        Share of crystal, at equal intervals.
    enthalpy_drift
        Change of the enthalpy from start to end, meV/atom.
    """

    side: Side
    start: float
    temperature: np.ndarray
    fraction: np.ndarray
    enthalpy_drift: float


@dataclass(frozen=True)
class RunEstimate:
    """What one run says.

    Attributes
    ----------
    side, start
        As in :class:`Series`.
    coexisted
        Whether crystal and liquid were both there to the end. If not, it says nothing more.
    mean, error
        K, of the temperature after ``left_out``; the error by blocks.
    left_out
        Share of the run that was left out as relaxation.
    independent
        Independent samples of the rest.
    converged
        Whether the run was long enough for its error.
    fraction_start, fraction_end
        Share of crystal, means over the first and last tenth of the run.
    enthalpy_drift
        meV/atom.
    """

    side: Side
    start: float
    coexisted: bool
    mean: float
    error: float
    left_out: float
    independent: float
    converged: bool
    fraction_start: float
    fraction_end: float
    enthalpy_drift: float


@dataclass(frozen=True)
class Estimate:
    """A melting temperature.

    Attributes
    ----------
    temperature
        K, mean over the runs.
    error
        K, its standard error: from the scatter among runs, or from their blocks if that is larger.
    interval
        K, 95 %, by Student's t with as many degrees of freedom as runs less one.
    cold, hot
        K, means and standard errors of the runs from either side: before relaxation, cold ones are
        too cold and hot ones too hot.
    bracket
        K, from the lower mean less two errors of its side to the upper one plus two errors.
    grew_at, melted_at
        K, the highest start from which crystal grew and the lowest from which it melted; ``None``
        where none did. A bracket without statistics.
    runs
        What the runs say.
    notes
        What a reader must know.
    """

    temperature: float
    error: float
    interval: tuple[float, float]
    cold: tuple[float, float]
    hot: tuple[float, float]
    bracket: tuple[float, float]
    grew_at: float | None
    melted_at: float | None
    runs: list[RunEstimate]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def coexisted(fraction: np.ndarray) -> bool:
    """Return whether both phases were there, by means over tenths of a run."""
    means = [part.mean() for part in np.array_split(fraction, min(10, len(fraction)))]
    return bool(min(means) > LEAST and max(means) < MOST)


def estimate_run(series: Series, settle: float) -> RunEstimate:
    """Return what one run says; ``settle``: share that is left out at least."""
    start = equilibrated(series.temperature, settle)
    block = block_average(series.temperature[start:])
    tenth = max(1, len(series.fraction) // 10)
    return RunEstimate(
        side=series.side,
        start=series.start,
        coexisted=coexisted(series.fraction),
        mean=block.mean,
        error=block.error,
        left_out=start / len(series.temperature),
        independent=(len(series.temperature) - start) / block.inefficiency,
        converged=block.converged,
        fraction_start=float(series.fraction[:tenth].mean()),
        fraction_end=float(series.fraction[-tenth:].mean()),
        enthalpy_drift=series.enthalpy_drift,
    )


def estimate(runs: Sequence[Series], settle: float = 0.2) -> Estimate:
    """Return the melting temperature that runs from both sides agree on.

    Parameters
    ----------
    runs
        At least one of either side must have kept both phases.
    settle
        Share of each run that is left out at least.

    Raises
    ------
    MeltingError
        If no run of a side kept both phases: there is no bracket then.
    """
    found = [estimate_run(series, settle) for series in runs]
    notes = []
    for number, run in enumerate(found):
        name = f"run {number + 1} ({run.side}, from {run.start:.0f} K)"
        if not run.coexisted:
            end = "froze" if run.fraction_end > 0.5 else "melted"
            notes.append(f"{name} {end} altogether and is left out")
        elif not run.converged:
            notes.append(f"{name} is too short for its error; raise time_ps")
    kept = [run for run in found if run.coexisted]
    sides = {side: [run for run in kept if run.side == side] for side in ("cold", "hot")}
    for side, members in sides.items():
        if not members:
            raise MeltingError(
                f"no run from the {side} side kept crystal and liquid together to the end: "
                f"{'; '.join(notes)}. Give a better guess, a smaller offset, or a longer cell (supercell)."
            )
    means = np.array([run.mean for run in kept])
    temperature, error = float(means.mean()), _error(kept)
    width = float(stats.t.ppf(0.975, len(kept) - 1)) * error
    cold, hot = ((float(np.mean([r.mean for r in sides[s]])), _error(sides[s])) for s in ("cold", "hot"))
    apart, of_both = hot[0] - cold[0], float(np.hypot(cold[1], hot[1]))
    if abs(apart) > 3 * of_both:
        notes.append(
            f"the sides are {abs(apart):.0f} K apart, more than three errors ({of_both:.0f} K): runs have "
            "not relaxed; raise time_ps"
        )
    low, high = sorted((cold, hot))
    grew = [run.start for run in found if run.fraction_end > run.fraction_start + _CHANGE]
    melted = [run.start for run in found if run.fraction_end < run.fraction_start - _CHANGE]
    return Estimate(
        temperature=temperature,
        error=error,
        interval=(temperature - width, temperature + width),
        cold=cold,
        hot=hot,
        bracket=(low[0] - 2 * low[1], high[0] + 2 * high[1]),
        grew_at=max(grew, default=None),
        melted_at=min(melted, default=None),
        runs=found,
        notes=notes,
    )


def _error(runs: Sequence[RunEstimate]) -> float:
    """Return the standard error of a mean over runs: by their scatter or their blocks, the larger."""
    blocks = np.sqrt(np.sum([run.error**2 for run in runs])) / len(runs)
    scatter = np.std([run.mean for run in runs], ddof=1) / np.sqrt(len(runs)) if len(runs) > 1 else 0.0
    return float(max(blocks, scatter))
