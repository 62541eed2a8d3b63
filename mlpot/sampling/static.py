"""Stages without dynamics: structures as they are, rattled, strained, compressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

import numpy as np
from ase import Atoms
from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from mlpot.conventions import voigt_to_matrix
from mlpot.sampling.base import Material, Part, Sampled, Start, frame
from mlpot.sampling.stage import Stage

Mode = Literal["xx", "yy", "zz", "yz", "xz", "xy"]
#: The strain components in ASE's Voigt order.
MODES: tuple[Mode, ...] = ("xx", "yy", "zz", "yz", "xz", "xy")

Rattle = Annotated[float, Field(ge=0)]


def rattle(atoms: Atoms, deviation: float, rng: np.random.Generator) -> None:
    """Displace atoms, in place, by normal numbers of a standard deviation (Å) per coordinate."""
    atoms.positions += rng.normal(0.0, deviation, atoms.positions.shape)


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    r"""Return a copy in the cell :math:`h (1 + \varepsilon)`, atoms along with it."""
    copy = atoms.copy()
    copy.set_cell(copy.cell @ (np.eye(3) + strain), scale_atoms=True)
    return copy


class StaticStage(Stage):
    """Structures as they are.

    Attributes
    ----------
    frames
        How many; more than 1 only of random structures, of which each frame is a new one.
    """

    kind: Literal["static"]
    frames: PositiveInt = 1

    @model_validator(mode="after")
    def _different(self) -> Self:
        random = self.structure is not None and self.structure.kind == "random"
        if self.frames > 1 and not random:
            raise ValueError("frames above 1 would all be the same; only random structures differ")
        return self

    def parts(self, material: Material, start: Start, seed: np.random.SeedSequence) -> Iterator[Part]:
        """Yield one part."""
        name = self.named("static")
        yield name, self.frames, (frame(start(), name, block) for block in range(self.frames))


class RattleStage(Stage):
    """The structure with normally distributed displacements.

    Attributes
    ----------
    standard_deviations
        Å, of each Cartesian displacement.
    frames
        How many per standard deviation.
    """

    kind: Literal["rattle"]
    standard_deviations: Annotated[list[PositiveFloat], Field(min_length=1)]
    frames: PositiveInt

    def parts(self, material: Material, start: Start, seed: np.random.SeedSequence) -> Iterator[Part]:
        """Yield a part per standard deviation."""
        seeds = seed.spawn(len(self.standard_deviations))
        for deviation, own in zip(self.standard_deviations, seeds, strict=True):
            sampled = self._sampled(deviation, start, np.random.default_rng(own))
            yield self.named(f"rattle-{deviation:g}A"), self.frames, sampled

    def _sampled(self, deviation: float, start: Start, rng: np.random.Generator) -> Sampled:
        for block in range(self.frames):
            atoms = start()
            rattle(atoms, deviation, rng)
            yield frame(atoms, self.named("rattle"), block)


class StrainStage(Stage):
    """Random symmetric strains of the structure, each with rattled atoms.

    Attributes
    ----------
    frames
        How many.
    amplitude
        The six strain components are uniform in ±amplitude.
    rattle
        Standard deviation (Å) of each Cartesian displacement.
    """

    kind: Literal["strain"]
    frames: PositiveInt
    amplitude: Annotated[float, Field(gt=0, lt=0.5)]
    rattle: Rattle = 0.0

    def parts(self, material: Material, start: Start, seed: np.random.SeedSequence) -> Iterator[Part]:
        """Yield one part."""
        yield self.named("strain"), self.frames, self._sampled(start, np.random.default_rng(seed))

    def _sampled(self, start: Start, rng: np.random.Generator) -> Sampled:
        for block in range(self.frames):
            strain = voigt_to_matrix(rng.uniform(-self.amplitude, self.amplitude, 6))
            atoms = strained(start(), strain)
            rattle(atoms, self.rattle, rng)
            yield frame(atoms, self.named("strain"), block)


class StrainModesStage(Stage):
    r"""Finite strains of one component each.

    A frame's ``info`` holds ``strain_mode`` and ``strain``: that component of the symmetric
    tensor :math:`\varepsilon` (for shear half the engineering strain); all others are zero. The
    cell is :math:`h (1 + \varepsilon)`.

    Attributes
    ----------
    amplitudes
        Strains, each applied to each mode.
    modes
        Some of xx, yy, zz, yz, xz, xy.
    rattle
        Standard deviation (Å) of each Cartesian displacement.
    frames
        How many per mode and strain; more than 1 only where atoms are rattled.
    """

    kind: Literal["strain_modes"]
    amplitudes: Annotated[list[Annotated[float, Field(gt=-0.5, lt=0.5)]], Field(min_length=1)]
    modes: Annotated[tuple[Mode, ...], Field(min_length=1)] = MODES
    rattle: Rattle = 0.0
    frames: PositiveInt = 1

    @field_validator("modes", "amplitudes")
    @classmethod
    def _once(cls, values: Sequence[object]) -> Sequence[object]:
        if len(set(values)) != len(values):
            raise ValueError(f"the same value twice: {values}")
        return values

    @model_validator(mode="after")
    def _different(self) -> Self:
        _check_copies(self.frames, self.rattle)
        return self

    def parts(self, material: Material, start: Start, seed: np.random.SeedSequence) -> Iterator[Part]:
        """Yield a part per mode."""
        for mode, own in zip(self.modes, seed.spawn(len(self.modes)), strict=True):
            sampled = self._sampled(mode, start, np.random.default_rng(own))
            yield self.named(f"strain-{mode}"), len(self.amplitudes) * self.frames, sampled

    def _sampled(self, mode: Mode, start: Start, rng: np.random.Generator) -> Sampled:
        block = 0
        for amplitude in self.amplitudes:
            for _ in range(self.frames):
                component = np.zeros(6)
                component[MODES.index(mode)] = amplitude
                atoms = strained(start(), voigt_to_matrix(component))
                rattle(atoms, self.rattle, rng)
                yield frame(
                    atoms, self.named("strain_modes"), block, strain_mode=mode, strain=float(amplitude)
                )
                block += 1


class EquationOfStateStage(Stage):
    """The structure at a range of volumes, from the smallest to the largest.

    A frame's ``info`` holds ``strain_mode`` ``volume`` and ``strain``: the relative change of
    lengths.

    Attributes
    ----------
    volumes
        Smallest and largest, relative to that of the structure.
    frames
        How many volumes, equally spaced.
    rattle
        Standard deviation (Å) of each Cartesian displacement.
    """

    kind: Literal["equation_of_state"]
    volumes: tuple[PositiveFloat, PositiveFloat]
    frames: Annotated[int, Field(ge=2)]
    rattle: Rattle = 0.0

    @field_validator("volumes")
    @classmethod
    def _ordered(cls, volumes: tuple[float, float]) -> tuple[float, float]:
        if not 0.3 <= volumes[0] < volumes[1] <= 3:
            raise ValueError(
                f"expected a smaller and a larger volume between 0.3 and 3 of the structure's, got {volumes}"
            )
        return volumes

    def parts(self, material: Material, start: Start, seed: np.random.SeedSequence) -> Iterator[Part]:
        """Yield one part."""
        yield self.named("eos"), self.frames, self._sampled(start, np.random.default_rng(seed))

    def _sampled(self, start: Start, rng: np.random.Generator) -> Sampled:
        for block, volume in enumerate(np.linspace(*self.volumes, self.frames)):
            strain = float(np.cbrt(volume) - 1)
            atoms = strained(start(), strain * np.eye(3))
            rattle(atoms, self.rattle, rng)
            yield frame(atoms, self.named("eos"), block, strain_mode="volume", strain=strain)


def _check_copies(frames: int, deviation: float) -> None:
    if frames > 1 and deviation == 0:
        raise ValueError("frames above 1 would all be the same; give rattle as well")
