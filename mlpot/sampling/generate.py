"""Carry out a sampling plan: sample structures, select among them, label them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError

from mlpot import __version__
from mlpot.data.frame import Frame
from mlpot.errors import RecipeError
from mlpot.reference.calculators import build, describe, elements
from mlpot.sampling.base import Material
from mlpot.sampling.plan import SamplingPlan

#: Called with the name of a part of the plan, how many of its frames are done, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Generated:
    """The frames of a plan, and what became of the others.

    Attributes
    ----------
    frames
        In the order of the stages.
    sampled
        How many there were before selection, by group.
    dropped
        How many were left out because of forces above ``max_force``, by group.
    """

    frames: list[Frame]
    sampled: dict[str, int]
    dropped: dict[str, int]

    @property
    def groups(self) -> dict[str, int]:
        """How many frames there are, by group."""
        return _count(self.frames)


def generate(plan: SamplingPlan, progress: Progress | None = None) -> Generated:
    """Return the frames of a plan, labelled with energy (free atoms are zero), forces and stress.

    ``Frame.info`` holds ``group`` (``md-300K-solid``, ``strain``, ``rattle-0.05A``),
    ``config_type`` (``md-solid``, ``md-liquid``, ``strain``, ``rattle``), both followed by the
    structure's name where the recipe gives one (``md-300K-solid-vacancy``), ``temperature_K`` (0
    for static structures) and ``block``: consecutive frames of a trajectory, in time correlated,
    share it; no other frames do.

    Raises
    ------
    RecipeError
        If a solid melts, or a liquid does not melt or freezes, under the plan's conditions; if
        a structure cannot be made; if a force is above ``max_force`` and this is not allowed.
    MLPotError
        If the calculator, the model of a selection, or a file cannot be had.
    """
    calculator = None if plan.calculator is None else build(plan.calculator)
    labeller = calculator if isinstance(plan.labels, bool) else build(plan.labels)
    material = Material(_element(plan), calculator, plan.lattice_constant, plan.supercell)
    report = progress or (lambda part, done, total: None)
    frames, sampled = _sample(plan, material, report)
    if plan.select is not None:
        report("selection", 0, 1)
        frames = [frames[index] for index in plan.select.choose(frames)]
    frames = [replace(frame, source=f"frame {i}") for i, frame in enumerate(frames)]
    dropped: dict[str, int] = {}
    if plan.labels is not False:
        assert labeller is not None  # the plan was validated
        kept = []
        for done, frame in enumerate(frames):
            report("labels", done, len(frames))
            labelled = _label(frame, labeller)
            if _is_sane(plan, labelled):
                kept.append(labelled)
            else:
                group = frame.info["group"]
                dropped[group] = dropped.get(group, 0) + 1
        report("labels", len(frames), len(frames))
        frames = kept
    return Generated(frames, sampled, dropped)


def provenance(plan: SamplingPlan, generated: Generated) -> dict[str, Any]:
    """Return how a plan's frames came about: recipe, calculator with its source, counts, versions."""
    return {
        "recipe": plan.model_dump(mode="json"),
        "calculator": None if plan.calculator is None else describe(plan.calculator),
        "labels": plan.labels if isinstance(plan.labels, bool) else describe(plan.labels),
        "frames": {
            "sampled": generated.sampled,
            "dropped": generated.dropped,
            "written": generated.groups,
        },
        "versions": {"mlpot": __version__} | {name: version(name) for name in ("ase", "numpy")},
    }


def _element(plan: SamplingPlan) -> str:
    """Return the element of a plan; of one that makes no structures it does not matter."""
    if plan.calculator is None:
        return plan.element or "X"
    known = elements(plan.calculator)
    if plan.element is None:
        if known is None or len(known) != 1:
            which = "does not say which elements it knows" if known is None else f"knows {_list(known)}"
            raise RecipeError(f"calculator {plan.calculator} {which}: say with element which one to sample.")
        (element,) = known
        return element
    for choice in (plan.calculator, None if isinstance(plan.labels, bool) else plan.labels):
        known = None if choice is None else elements(choice)
        if known is not None and plan.element not in known:
            raise RecipeError(f"calculator {choice} knows {_list(known)}, but element is {plan.element}.")
    return plan.element


def _list(symbols: frozenset[str]) -> str:
    return ", ".join(sorted(symbols))


def _count(frames: list[Frame]) -> dict[str, int]:
    groups: dict[str, int] = {}
    for frame in frames:
        groups[frame.info["group"]] = groups.get(frame.info["group"], 0) + 1
    return groups


def _sample(plan: SamplingPlan, material: Material, report: Progress) -> tuple[list[Frame], dict[str, int]]:
    """Return the unlabelled frames of all stages that are kept, and how many there were by group."""
    frames: list[Frame] = []
    sampled_frames: dict[str, int] = {}
    seeds = np.random.SeedSequence(plan.seed).spawn(len(plan.stages))
    structure_seeds = np.random.SeedSequence((plan.seed, 1)).spawn(len(plan.stages))
    for number, stage in enumerate(plan.stages):
        own: list[Frame] = []
        start = stage.start(material, structure_seeds[number])
        for part, total, sampled in stage.parts(material, start, seeds[number]):
            report(part, 0, total)
            for done, frame in enumerate(sampled, start=1):
                # The stage's number keeps blocks apart where two stages share a name.
                block = f"{number}/{part}/{frame.info['block']}"
                own.append(replace(frame, info=frame.info | {"group": part, "block": block}))
                report(part, done, total)
        for group, number_of in _count(own).items():
            sampled_frames[group] = sampled_frames.get(group, 0) + number_of
        if stage.select is not None:
            own = [own[index] for index in stage.select.choose(own)]
        frames += own
    return frames, sampled_frames


def _label(frame: Frame, calculator: Calculator) -> Frame:
    atoms = frame.to_atoms()
    atoms.calc = calculator
    try:
        stress = np.array(atoms.get_stress(voigt=False))
    except PropertyNotImplementedError:  # without a cell, or of a calculator that has none
        stress = None
    return replace(
        frame,
        energy=float(atoms.get_potential_energy()),
        forces=np.array(atoms.get_forces()),
        stress=stress,
    )


def _is_sane(plan: SamplingPlan, frame: Frame) -> bool:
    """Return whether no force is too large; refuse the frame where the plan says so."""
    assert frame.forces is not None
    if plan.max_force is None:
        return True
    largest = float(np.linalg.norm(frame.forces, axis=1).max())
    if largest > plan.max_force and plan.above_max_force == "refuse":
        raise RecipeError(
            f"{frame.source} (group {frame.info['group']}): an atom feels {largest:.3g} eV/Å, more than "
            f"max_force = {plan.max_force:g}; change the stage, or leave such frames out with "
            "above_max_force: drop."
        )
    return largest <= plan.max_force
