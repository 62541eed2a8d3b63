"""What a run of molecular dynamics holds constant, at which values, and by what."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from ase import Atoms

from mlpot.errors import GeometryError, RecipeError

ENSEMBLES = ("nve", "nvt", "npt")
THERMOSTATS = ("langevin", "nose-hoover", "bussi")
BAROSTATS = ("isotropic", "full")

_FRICTION, _THERMOSTAT_FS, _BAROSTAT_FS = 10.0, 100.0, 1000.0


@dataclass(frozen=True)
class Ensemble:
    """What is held constant, at which values, and by what.

    Values that are ``None`` and have a default are set to it on construction.

    Attributes
    ----------
    name : str
        ``nve``, ``nvt`` or ``npt``.
    temperature, temperature_end : float or None
        K; with an end the target moves there linearly over the run. For ``nve`` the temperature
        is that of the initial velocities, or ``None`` to keep those of the structure.
    pressure, pressure_end : float or None
        GPa, compressive positive; ``npt`` only.
    thermostat : str or None
        ``langevin`` (default of ``nvt``), ``nose-hoover`` (a chain of three; that of ``npt``) or
        ``bussi``.
    barostat : str or None
        Of ``npt`` (MTK): ``isotropic`` (default), where the cell keeps its shape, or ``full``, where
        all six components of its strain move.
    friction_per_ps : float or None
        Langevin's coupling to the heat bath, 1/ps; 10.
    thermostat_fs : float or None
        Time constant of the other thermostats, fs; 100.
    barostat_fs : float or None
        Time constant of the barostat, fs; 1,000.

    Raises
    ------
    RecipeError
        For an unknown name, a value that is missing, makes no sense, or does not belong to the ensemble.
    """

    name: str
    temperature: float | None = None
    temperature_end: float | None = None
    pressure: float | None = None
    pressure_end: float | None = None
    thermostat: str | None = None
    barostat: str | None = None
    friction_per_ps: float | None = None
    thermostat_fs: float | None = None
    barostat_fs: float | None = None

    def __post_init__(self) -> None:
        _require_known("ensemble", self.name, ENSEMBLES)
        name = self.name
        if name != "nve":
            self._default("thermostat", "langevin" if name == "nvt" else "nose-hoover")
            _require_known("thermostat", str(self.thermostat), THERMOSTATS)
        if name == "npt":
            self._default("barostat", "isotropic")
            _require_known("barostat", str(self.barostat), BAROSTATS)
            if self.thermostat != "nose-hoover":
                raise RecipeError(
                    f"ensemble npt (MTK) has thermostats of its own, Nosé-Hoover chains; {self.thermostat} "
                    "goes with nvt: leave --thermostat out, or choose --ensemble nvt."
                )
            self._default("barostat_fs", _BAROSTAT_FS)
        if self.thermostat == "langevin":
            self._default("friction_per_ps", _FRICTION)
        elif self.thermostat is not None:
            self._default("thermostat_fs", _THERMOSTAT_FS)
        self._refuse_what_does_not_belong()
        if name != "nve" and self.temperature is None:
            raise RecipeError(f"ensemble {name} needs a temperature (K).")
        if name == "npt" and self.pressure is None:
            raise RecipeError("ensemble npt needs a pressure (GPa); 0 for none.")
        for key, unit in (
            ("temperature", "K"),
            ("temperature_end", "K"),
            ("friction_per_ps", "1/ps"),
            ("thermostat_fs", "fs"),
            ("barostat_fs", "fs"),
        ):
            if (value := getattr(self, key)) is not None:
                require_positive(_WORDS[key], value, unit)
        for key in ("pressure", "pressure_end"):
            if (value := getattr(self, key)) is not None and not np.isfinite(value):
                raise RecipeError(f"{_WORDS[key]} is {value:g} GPa; it must be a finite number.")

    def _default(self, key: str, value: object) -> None:
        if getattr(self, key) is None:
            object.__setattr__(self, key, value)

    def _refuse_what_does_not_belong(self) -> None:
        owners = {
            "temperature_end": (self.name != "nve", "nvt and npt"),
            "pressure": (self.name == "npt", "npt"),
            "pressure_end": (self.name == "npt", "npt"),
            "thermostat": (self.name != "nve", "nvt"),
            "barostat": (self.name == "npt", "npt"),
            "friction_per_ps": (self.thermostat == "langevin", "the thermostat langevin"),
            "thermostat_fs": (self.thermostat in ("nose-hoover", "bussi"), "nose-hoover, bussi and npt"),
            "barostat_fs": (self.name == "npt", "npt"),
        }
        for key, (fits, owner) in owners.items():
            if not fits and getattr(self, key) is not None:
                with_what = f" with {self.thermostat}" if self.thermostat else ""
                raise RecipeError(
                    f"{_WORDS[key]} goes with {owner}, not with ensemble {self.name}{with_what}; leave it "
                    "out or change the ensemble."
                )

    @property
    def ramps(self) -> bool:
        """Whether a target moves."""
        return self.temperature_end is not None or self.pressure_end is not None

    def targets(self, fraction: float) -> tuple[float | None, float | None]:
        """Return temperature (K) and pressure (GPa) after this fraction of the run."""
        return (
            _between(self.temperature, self.temperature_end, fraction),
            _between(self.pressure, self.pressure_end, fraction),
        )

    def check_step(self, timestep_fs: float) -> None:
        """Refuse couplings that are too fast for the time step.

        Raises
        ------
        RecipeError
            Saying which, and the limit.
        """
        if self.friction_per_ps is not None and self.friction_per_ps * timestep_fs / 1000.0 > 0.5:
            raise RecipeError(
                f"friction {self.friction_per_ps:g} 1/ps is too strong for a time step of {timestep_fs:g} "
                "fs: their product must stay below 0.5; choose a smaller friction or time step."
            )
        for key in ("thermostat_fs", "barostat_fs"):
            value = getattr(self, key)
            if value is not None and value < 10.0 * timestep_fs:
                raise RecipeError(
                    f"{_WORDS[key]} of {value:g} fs is too short for a time step of {timestep_fs:g} fs; it "
                    "must be ten steps or more (100 steps are usual for a thermostat, 1,000 for a barostat)."
                )

    def check_structure(self, atoms: Atoms) -> None:
        """Refuse a structure that the ensemble cannot be had for.

        Raises
        ------
        GeometryError
            For ``npt``: a structure that is not periodic in three directions, has one atom, or is
            constrained; for ``nose-hoover``: a constrained one.
        """
        if self.name == "npt":
            if atoms.cell.rank < 3 or not atoms.pbc.all():
                raise GeometryError(
                    "ensemble npt needs a structure that is periodic in three directions; this one has pbc "
                    f"{atoms.pbc.tolist()} and {atoms.cell.rank} lattice vectors; choose nvt."
                )
            if len(atoms) < 2:
                raise GeometryError("ensemble npt needs two atoms or more; repeat the cell.")
            if atoms.constraints:
                raise GeometryError("ensemble npt moves all atoms with the cell; remove the constraints.")
        elif self.thermostat == "nose-hoover" and atoms.constraints:
            raise GeometryError(
                "the thermostat nose-hoover cannot keep constraints; remove them, or choose langevin or "
                "bussi."
            )


_WORDS = {
    "temperature": "temperature",
    "temperature_end": "final temperature",
    "pressure": "pressure",
    "pressure_end": "final pressure",
    "thermostat": "a thermostat",
    "barostat": "a barostat",
    "friction_per_ps": "friction",
    "thermostat_fs": "thermostat time",
    "barostat_fs": "barostat time",
}


def require_positive(name: str, value: float, unit: str) -> None:
    """Raise a :class:`RecipeError` unless a value is above zero and finite."""
    if not 0.0 < value < np.inf:
        raise RecipeError(f"{name} is {value:g} {unit}; it must be above zero.")


def _require_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose {', '.join(known)}."
        raise RecipeError(f"{what} '{name}' is unknown; {hint}")


def _between(start: float | None, end: float | None, fraction: float) -> float | None:
    return start if start is None or end is None else start + (end - start) * fraction
