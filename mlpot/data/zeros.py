"""Energies of one set that count from different zeros: another code, pseudopotential or reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ase.data import chemical_symbols
from pydantic import Field

from mlpot.data.frame import Frame
from mlpot.errors import DataError
from mlpot.recipe import Recipe


class EnergyZero(Recipe):
    """Frames whose energies count from another zero than those of the rest.

    ``where``: the info values that tell these frames, all of them. ``shift``: what is added to
    their energies for each atom of each element (eV), or ``unknown``: their energies are not used,
    forces and stresses are. A potential that sums local energies cannot learn both zeros: it
    would bend what it knows of surfaces, say, until their bulk atoms cost less.
    """

    where: dict[str, str | int | float | bool] = Field(min_length=1)
    shift: dict[str, float] | Literal["unknown"]

    def concerns(self, frame: Frame) -> bool:
        """Say whether a frame has all the info values."""
        return all(key in frame.info and frame.info[key] == value for key, value in self.where.items())

    def corrected(self, frame: Frame) -> Frame:
        """Return a frame with its energy moved to the zero of the rest, or without one."""
        if frame.energy is None or self.shift == "unknown":
            return replace(frame, energy=None)
        absent = sorted(frame.symbols - set(self.shift))
        if absent:
            raise DataError(
                f"{frame.source}: energy_zeros ({self.described()}) gives no shift for {', '.join(absent)}; "
                "give the eV per atom for every element of these frames."
            )
        return replace(
            frame, energy=frame.energy + sum(self.shift[chemical_symbols[z]] for z in frame.numbers)
        )

    def described(self) -> str:
        """Return the condition as a person reads it."""
        return ", ".join(f"{key} {value}" for key, value in self.where.items())


def apply_zeros(frames: Sequence[Frame], zeros: Sequence[EnergyZero]) -> tuple[list[Frame], list[str]]:
    """Bring the energies of all frames to one zero.

    Returns
    -------
    frames : list of Frame
        In the same order; untouched where no condition holds.
    notes : list of str
        What was done to how many frames.

    Raises
    ------
    DataError
        If a condition holds for no frame, two hold for one, or a shift lacks an element.
    """
    owner: dict[int, EnergyZero] = {}
    notes = []
    for zero in zeros:
        found = [index for index, frame in enumerate(frames) if zero.concerns(frame)]
        if not found:
            key = next(iter(zero.where))
            values = sorted({str(frame.info[key]) for frame in frames if key in frame.info})
            known = f"{key} has the values {', '.join(values[:8])}" if values else f"no frame has {key}"
            raise DataError(f"energy_zeros: no frame has {zero.described()}; {known}.")
        twice = [index for index in found if index in owner]
        if twice:
            raise DataError(
                f"{frames[twice[0]].source}: two entries of energy_zeros hold "
                f"({owner[twice[0]].described()}; {zero.described()}); make them exclude each other."
            )
        owner |= dict.fromkeys(found, zero)
        done = (
            "energies are not used, their zero is unknown"
            if zero.shift == "unknown"
            else "energies moved by "
            + ", ".join(f"{value:+g} eV per {symbol}" for symbol, value in zero.shift.items())
        )
        notes.append(f"{len(found)} frames with {zero.described()}: {done}.")
    corrected = [
        owner[index].corrected(frame) if index in owner else frame for index, frame in enumerate(frames)
    ]
    return corrected, notes
