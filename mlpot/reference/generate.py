"""Carry out a sampling plan: structures from dynamics, strain and rattling, with their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.langevin import Langevin

from mlpot import __version__
from mlpot.conventions import voigt_to_matrix
from mlpot.data.frame import Frame
from mlpot.errors import RecipeError
from mlpot.reference.classical import ClassicalCalculator, classical_calculator, force_field, lattice_constant
from mlpot.reference.sampling import MDStage, RattleStage, SamplingPlan, StrainStage

#: Called with the name of a part of the plan, how many of its frames are done, and how many there are.
Progress = Callable[[str, int, int], None]

#: Root mean square displacement, in bond lengths, that no crystal survives and any liquid reaches.
MOBILE = 0.5


def generate(plan: SamplingPlan, progress: Progress | None = None) -> list[Frame]:
    """Return the frames of a plan, labelled with energy (free atoms are zero), forces and stress.

    ``Frame.info`` holds ``group`` (``md-300K-solid``, ``strain``, ``rattle-0.05A``),
    ``config_type`` (``md-solid``, ``md-liquid``, ``strain``, ``rattle``), ``temperature_K`` (0
    for static structures) and ``block``: consecutive frames of a trajectory, in time correlated,
    share it; no other frames do.

    Raises
    ------
    RecipeError
        If a solid melts, or a liquid does not melt or freezes, under the plan's conditions.
    """
    calculator = classical_calculator(plan.calculator)
    a = plan.lattice_constant if plan.lattice_constant is not None else lattice_constant(plan.calculator)
    crystal = bulk(calculator.force_field.element, "diamond", a=a, cubic=True).repeat(plan.supercell)
    frames: list[Frame] = []
    seeds = np.random.SeedSequence(plan.seed).spawn(len(plan.stages))
    for number, (stage, seed) in enumerate(zip(plan.stages, seeds, strict=True)):
        for part, total, sampled in _parts(stage, crystal, calculator, seed):
            for done, (atoms, info) in enumerate(sampled):
                if progress is not None:
                    progress(part, done, total)
                # The stage's number keeps blocks apart where two stages share a name.
                info = info | {"group": part, "block": f"{number}/{part}/{info['block']}"}
                frames.append(_label(atoms, calculator, info, f"{plan.calculator}#{len(frames)}"))
            if progress is not None:
                progress(part, total, total)
    return frames


def provenance(plan: SamplingPlan) -> dict[str, Any]:
    """Return how a plan's frames come about: recipe, force field with its source, versions."""
    return {
        "recipe": plan.model_dump(mode="json"),
        "force_field": dataclasses.asdict(force_field(plan.calculator)),
        "versions": {"mlpot": __version__} | {name: version(name) for name in ("ase", "matscipy", "numpy")},
    }


Sampled = Iterator[tuple[Atoms, dict[str, Any]]]
Part = tuple[str, int, Sampled]


def _parts(
    stage: MDStage | StrainStage | RattleStage,
    crystal: Atoms,
    calculator: ClassicalCalculator,
    seed: np.random.SeedSequence,
) -> Iterator[Part]:
    """Yield name, number of frames, and the frames of each part of a stage."""
    if isinstance(stage, StrainStage):
        yield "strain", stage.frames, _strained(stage, crystal, np.random.default_rng(seed))
    elif isinstance(stage, RattleStage):
        seeds = seed.spawn(len(stage.standard_deviations))
        for deviation, own in zip(stage.standard_deviations, seeds, strict=True):
            sampled = _rattled(stage.frames, deviation, crystal, np.random.default_rng(own))
            yield f"rattle-{deviation:g}A", stage.frames, sampled
    else:
        seeds = seed.spawn(len(stage.temperatures) + 1)
        start = crystal
        if stage.phase == "liquid":
            start = _melt(stage, crystal, calculator, np.random.default_rng(seeds[-1]))
        for temperature, own in zip(stage.temperatures, seeds, strict=False):
            sampled = _trajectory(stage, temperature, start, calculator, np.random.default_rng(own))
            yield f"md-{temperature:g}K-{stage.phase}", stage.frames, sampled


def _rattle(atoms: Atoms, deviation: float, rng: np.random.Generator) -> None:
    atoms.positions += rng.normal(0.0, deviation, atoms.positions.shape)


def _strained(stage: StrainStage, crystal: Atoms, rng: np.random.Generator) -> Sampled:
    for block in range(stage.frames):
        atoms = crystal.copy()
        strain = voigt_to_matrix(rng.uniform(-stage.amplitude, stage.amplitude, 6))
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
        _rattle(atoms, stage.rattle, rng)
        yield atoms, {"config_type": "strain", "temperature_K": 0.0, "block": block}


def _rattled(frames: int, deviation: float, crystal: Atoms, rng: np.random.Generator) -> Sampled:
    for block in range(frames):
        atoms = crystal.copy()
        _rattle(atoms, deviation, rng)
        yield atoms, {"config_type": "rattle", "temperature_K": 0.0, "block": block}


def _thermalise(atoms: Atoms, temperature: float, rng: np.random.Generator) -> None:
    """Draw the momenta of Maxwell and Boltzmann's distribution."""
    deviation = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(deviation[:, None] * rng.standard_normal((len(atoms), 3)))


def _dynamics(stage: MDStage, atoms: Atoms, temperature: float, rng: np.random.Generator) -> Langevin:
    return Langevin(
        atoms,
        timestep=stage.timestep_fs * units.fs,
        temperature_K=temperature,
        friction=stage.friction_per_fs / units.fs,
        fixcm=False,
        rng=rng,
    )


def _steps(time_fs: float, stage: MDStage) -> int:
    return max(1, round(time_fs / stage.timestep_fs))


def _is_mobile(atoms: Atoms, start: np.ndarray, bond: float) -> bool:
    """Say whether atoms have left their places, apart from a drift of the whole."""
    moved = atoms.positions - start
    moved -= moved.mean(axis=0)
    return bool(np.sqrt((moved**2).sum(axis=1).mean()) > MOBILE * bond)


def _bond(crystal: Atoms) -> float:
    """Return the bond length (Å) of diamond at the density of the atoms."""
    return float(np.sqrt(3) / 4 * (8 * crystal.get_volume() / len(crystal)) ** (1 / 3))


def _melt(stage: MDStage, crystal: Atoms, calculator: ClassicalCalculator, rng: np.random.Generator) -> Atoms:
    """Return the crystal brought to the stage's density and melted."""
    assert stage.melt_temperature is not None  # the plan was validated
    atoms = crystal.copy()
    if stage.density is not None:
        grams_per_cm3 = atoms.get_masses().sum() / atoms.get_volume() * units._amu * 1e27
        scale = (grams_per_cm3 / stage.density) ** (1 / 3)
        atoms.set_cell(atoms.cell * scale, scale_atoms=True)
    start = atoms.get_positions()
    atoms.calc = calculator
    _thermalise(atoms, stage.melt_temperature, rng)
    _dynamics(stage, atoms, stage.melt_temperature, rng).run(_steps(1000 * stage.melt_ps, stage))
    if not _is_mobile(atoms, start, _bond(atoms)):
        raise RecipeError(
            f"the crystal did not melt within melt_ps = {stage.melt_ps:g} ps at melt_temperature = "
            f"{stage.melt_temperature:g} K; raise one of them."
        )
    return atoms


def _trajectory(
    stage: MDStage,
    temperature: float,
    start: Atoms,
    calculator: ClassicalCalculator,
    rng: np.random.Generator,
) -> Sampled:
    """Yield the structure along a trajectory (one object, moving on); then check its phase."""
    atoms = start.copy()
    atoms.calc = calculator
    origin = atoms.get_positions()
    _thermalise(atoms, temperature, rng)
    dynamics = _dynamics(stage, atoms, temperature, rng)
    dynamics.run(_steps(1000 * stage.equilibration_ps, stage))
    for number in range(stage.frames):
        if number:
            dynamics.run(_steps(stage.interval_fs, stage))
        info = {"config_type": f"md-{stage.phase}", "temperature_K": temperature}
        yield atoms, info | {"block": number // stage.block}
    if stage.phase == "solid" and _is_mobile(atoms, origin, _bond(start)):
        raise RecipeError(
            f"the solid melted at {temperature:g} K, so its frames are not those of a solid; "
            "lower the temperature, or ask for phase: liquid."
        )
    if stage.phase == "liquid" and not _is_mobile(atoms, origin, _bond(start)):
        raise RecipeError(
            f"the liquid hardly moved at {temperature:g} K: frozen, or too short a run to tell; "
            "raise the temperature or equilibration_ps."
        )


def _label(atoms: Atoms, calculator: ClassicalCalculator, info: dict[str, Any], source: str) -> Frame:
    """Return a copy of the structure as it is now, labelled."""
    atoms.calc = calculator
    return Frame(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.get_positions(),
        cell=np.array(atoms.cell.array),
        pbc=np.array(atoms.pbc),
        energy=float(atoms.get_potential_energy()),
        forces=np.array(atoms.get_forces()),
        stress=np.array(atoms.get_stress(voigt=False)),
        info=info,
        source=source,
    )
