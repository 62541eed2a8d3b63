"""Running sums over a run, from which its summary is made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from mlpot.simulation.single import Sample


@dataclass
class Totals:
    """Running sums over the samples, from which the summary is made."""

    frames: int = 0
    temperature: float = 0.0
    pressure: float = 0.0
    volume: float = 0.0
    first_energy: float = 0.0
    last_energy: float = 0.0
    first_conserved: float = 0.0
    #: Of time t (ps) and change e of the conserved energy (eV): t, e, t², t e.
    t: float = 0.0
    e: float = 0.0
    tt: float = 0.0
    te: float = 0.0

    def add(self, sample: Sample, frame: Atoms, conserved: float | None) -> None:
        """Count a sample, as it was written, and the conserved energy (eV) if there is one."""
        total = sample.energy + sample.kinetic_energy
        if self.frames == 0:
            self.first_energy, self.first_conserved = total, conserved or 0.0
        self.frames += 1
        self.last_energy = total
        self.temperature += sample.temperature
        self.pressure += frame.info.get("pressure_GPa", 0.0)
        self.volume += abs(float(np.linalg.det(frame.cell.array)))
        t, e = sample.time_ps, (conserved or 0.0) - self.first_conserved
        self.t, self.e, self.tt, self.te = self.t + t, self.e + e, self.tt + t * t, self.te + t * e

    def drift(self) -> float | None:
        """Return the slope of the conserved energy, eV/ps, by least squares."""
        spread = self.frames * self.tt - self.t**2
        return (self.frames * self.te - self.t * self.e) / spread if spread > 0.0 else None
