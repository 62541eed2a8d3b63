"""What an examination of a potential found."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from mlpot import __version__
from mlpot.doctor.speed import Speed
from mlpot.errors import DataError
from mlpot.testing.diatomics import Diatomic
from mlpot.testing.evaluation import CheckResult, Precision
from mlpot.testing.structures import default_spacing


@dataclass(frozen=True)
class VolumeCurve:
    """Energy (eV/atom) and pressure (eV/Å³; ``None`` without a stress) of diamond by volume (Å³/atom)."""

    volumes: list[float]
    energies: list[float]
    pressures: list[float] | None


@dataclass(frozen=True)
class Examination:
    """What came of an examination.

    Attributes
    ----------
    name : str
        What was examined.
    symbols, precision, spacing, cutoff, reach
        See :class:`~mlpot.testing.subject.Subject`; lengths in Å.
    noise : (float, float)
        Of energy (eV) and force components (eV/Å).
    results : list of CheckResult
        In the order of the checks.
    diatomics : list of Diatomic
        Curves of pairs.
    volumes : VolumeCurve or None
        Energy by volume.
    missing : list of str
        Curves that could not be had, and the error of the potential on them.
    speed : list of Speed
        By size.
    skipped : tuple of str
        Checks that were not carried out, as asked.
    seed : int
        Of structures and directions.
    seconds : float
        How long all took.
    """

    name: str
    symbols: tuple[str, ...]
    precision: Precision
    spacing: float
    cutoff: float | None
    reach: float
    noise: tuple[float, float]
    results: list[CheckResult]
    diatomics: list[Diatomic]
    volumes: VolumeCurve | None
    missing: list[str]
    speed: list[Speed]
    skipped: tuple[str, ...]
    seed: int
    seconds: float

    @property
    def healthy(self) -> bool:
        """Whether no check failed."""
        return not any(result.passed is False for result in self.results)

    @property
    def tally(self) -> dict[str, int]:
        """Number of checks by verdict."""
        found = Counter(result.asdict()["verdict"] for result in self.results)
        return {verdict: found[verdict] for verdict in ("pass", "fail", "not applicable")}

    def asdict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "subject": self.name,
            "elements": list(self.symbols),
            "precision": self.precision,
            "spacing_A": self.spacing,
            "cutoff_A": self.cutoff,
            "reach_A": self.reach,
            "noise": {"energy_eV": _plain(self.noise[0]), "forces_eV_per_A": _plain(self.noise[1])},
            "skipped": list(self.skipped),
            "seed": self.seed,
            "tally": self.tally,
            "checks": [result.asdict() for result in self.results],
            "speed": [asdict(speed) for speed in self.speed],
            "diatomics": [
                {
                    "pair": list(curve.pair),
                    "distances_A": curve.distances.tolist(),
                    "energies_eV": [_plain(e) for e in curve.energies],
                    "forces_eV_per_A": [_plain(f) for f in curve.forces],
                }
                for curve in self.diatomics
            ],
            "energy_volume": None if self.volumes is None else {
                "volumes_A3_per_atom": self.volumes.volumes,
                "energies_eV_per_atom": [_plain(e) for e in self.volumes.energies],
                "pressures_eV_per_A3": self.volumes.pressures
                and [_plain(p) for p in self.volumes.pressures],
            },
            "curves_missing": self.missing,
            "seconds": round(self.seconds, 2),
            "versions": {
                "mlpot": __version__,
                "python": platform.python_version(),
                **{package: version(package) for package in ("ase", "numpy", "torch")},
            },
        }  # fmt: skip


def read_examination(document: Mapping[str, Any]) -> Examination:
    """Return the examination that :meth:`Examination.asdict` wrote as JSON.

    Raises
    ------
    DataError
        If the document is no examination.
    """
    try:
        volumes = document["energy_volume"]
        return Examination(
            name=document["subject"],
            symbols=tuple(document["elements"]),
            precision=document["precision"],
            spacing=document["spacing_A"],
            cutoff=document["cutoff_A"],
            reach=document["reach_A"],
            noise=(_number(document["noise"]["energy_eV"]), _number(document["noise"]["forces_eV_per_A"])),
            results=[_result(check) for check in document["checks"]],
            diatomics=[_diatomic(curve) for curve in document["diatomics"]],
            volumes=None if volumes is None else VolumeCurve(
                volumes["volumes_A3_per_atom"],
                [_number(value) for value in volumes["energies_eV_per_atom"]],
                volumes["pressures_eV_per_A3"] and [_number(p) for p in volumes["pressures_eV_per_A3"]],
            ),
            missing=document["curves_missing"],
            speed=[Speed(**speed) for speed in document["speed"]],
            skipped=tuple(document["skipped"]),
            seed=document["seed"],
            seconds=document["seconds"],
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise DataError(f"this is no JSON of mlpot doctor: {type(error).__name__} {error}.") from None


def _result(check: Mapping[str, Any]) -> CheckResult:
    passed = {"pass": True, "fail": False, "not applicable": None}[check["verdict"]]
    if passed is None:
        return CheckResult.not_applicable(check["check"], check["detail"])
    deviation = np.inf if check["deviation"] is None else check["deviation"]
    return CheckResult(check["check"], deviation, check["tolerance"], passed, check["detail"])


def _diatomic(curve: Mapping[str, Any]) -> Diatomic:
    pair = (curve["pair"][0], curve["pair"][1])
    arrays = (np.array(curve[k], float) for k in ("distances_A", "energies_eV", "forces_eV_per_A"))
    return Diatomic(pair, default_spacing(pair), *arrays)


def _number(value: float | None) -> float:
    """Return a number that :func:`_plain` wrote: NaN for ``None``."""
    return np.nan if value is None else float(value)


def _plain(value: float) -> float | None:
    """Return a number as JSON has it: ``None`` if it is not finite."""
    return float(value) if np.isfinite(value) else None
