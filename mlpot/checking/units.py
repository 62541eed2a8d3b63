"""Units and signs: what labels would have to be multiplied by to belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
from ase import units
from ase.data import chemical_symbols

from mlpot.checking.finding import Finding, brief
from mlpot.checking.survey import Survey
from mlpot.checking.work import Step, find_steps
from mlpot.conventions import GPA, KBAR
from mlpot.data.frame import Frame

if TYPE_CHECKING:
    from mlpot.model.base import Prediction

#: A ratio is told apart from another, and labels agree, within this factor.
_AGREE = 1.25
#: Steps that agree with the common ratio must do this share of the work to say anything.
_SHARE = 0.7
#: Steps that a verdict on a group takes at least.
_FEWEST = 3
#: Ends a verdict that explains nothing.
_UNKNOWN = "which is no known unit"
#: Components (eV/Å³) above this, in most frames, are no stress of condensed matter (80 GPa).
_LARGEST_STRESS = 0.5


@dataclass(frozen=True)
class Ratio:
    """By what the work of a label must be multiplied to give the energies.

    ``value``: weighted median over steps; ``share``: of the work done by steps that agree with it;
    ``steps``: how many there are.
    """

    value: float
    share: float
    steps: int


def fit_ratio(gain: np.ndarray, work: np.ndarray) -> Ratio:
    """Return the ratio of energy gained to work, robust against a minority of bad steps."""
    weight = np.abs(work)
    if weight.sum() == 0.0:
        return Ratio(0.0, 0.0, len(work))
    ratios = gain[weight > 0] / work[weight > 0]
    order = np.argsort(ratios)
    cumulative = np.cumsum(weight[weight > 0][order])
    value = float(ratios[order][np.searchsorted(cumulative, 0.5 * cumulative[-1])])
    agree = np.abs(gain - value * work) <= (_AGREE - 1) * abs(value) * weight
    return Ratio(value, float(weight[agree].sum() / weight.sum()), len(work))


def _meanings(label: str, volume: float, atoms: float | None) -> dict[str, float]:
    """Return what else a label can be, by the ratio that gives it away."""
    common = {"energies are per atom, not of the whole frame": 1 / atoms} if atoms else {}
    if label == "forces":
        common |= {
            "forces are in Hartree/Bohr": units.Hartree / units.Bohr,
            "forces are in Rydberg/Bohr": units.Rydberg / units.Bohr,
            "forces are in eV/Bohr": 1 / units.Bohr,
            "forces are in kcal/mol/Å": units.kcal / units.mol,
            "forces are in meV/Å": 1e-3,
        }
    else:
        common |= {
            "stresses are in GPa": GPA,
            "stresses are in kBar": KBAR,
            "stresses are in bar": 1e-3 * KBAR,
            "stresses are virials (stress times volume, eV)": 1 / volume,
        }
    signed = {f"{text} and of the wrong sign": -ratio for text, ratio in common.items()}
    wrong = {f"{label if label == 'forces' else 'stresses'} are of the wrong sign": -1.0}
    return {**wrong, **common, **signed}


def identify(label: str, ratio: float, volume: float, atoms: float | None = None) -> str | None:
    """Return what a label is, in words, from the factor that it takes; ``None``: as it should be.

    Parameters
    ----------
    label
        ``forces`` or ``stress``.
    ratio
        What the label must be multiplied by: to give changes of energies, or to be what a model says.
    volume
        Å³, of a typical frame.
    atoms
        Of a typical frame, where the ratio is to energies, which can be per atom.
    """
    if 1 / _AGREE < ratio < _AGREE:
        return None
    for text, meaning in _meanings(label, volume, atoms).items():
        if 1 / _AGREE < ratio / meaning < _AGREE:
            return text
    return f"{label} and energies disagree by a factor of {ratio:.3g}, {_UNKNOWN}"


def check_work(data: Survey) -> list[Finding]:
    """Compare energies with the work of forces and stresses between neighbouring frames.

    Within each group that has three such steps; across groups only where no group has. Forces are
    judged by steps without strain and stresses by steps without displacements. Where there are none
    of these, steps with both serve, less the work of the other label.
    """
    steps = find_steps(data.frames)
    names = np.empty(len(data.frames), dtype=object)
    for group, members in data.groups.items():
        names[members] = group
    within: list[tuple[str, list[Step]]] = [
        (group, [step for step in steps if names[step.one] == names[step.other] == group])
        for group in data.groups
    ]
    verdicts: dict[tuple[str, str], list[tuple[str, Ratio, list[Step]]]] = {}
    findings: list[Finding] = []
    for label in ("forces", "stress"):
        sound: list[Ratio] = []
        seen = False
        for where, candidates in [*within, ("steps between groups", steps)]:
            own, alone = _telling(candidates, label)
            if len(own) < _FEWEST or (candidates is steps and seen):
                continue
            seen = True
            other = "stress" if label == "forces" else "forces"
            gain = np.array([step.gain for step in own]) - (0.0 if alone else _work(own, other))
            ratio = fit_ratio(gain, _work(own, label))
            verdict = _judge(label, ratio, own, gain, alone)
            if verdict:
                verdicts.setdefault((label, verdict), []).append((where, ratio, own))
            elif ratio.share >= _SHARE:
                sound.append(ratio)
        if any(getattr(frame, label) is not None for frame in data.frames):
            findings += _evidence(label, sound, not any(key[0] == label for key in verdicts))
    findings += [
        _finding(data, label, verdict, found)
        for (label, verdict), found in verdicts.items()
        # Energies per atom contradict both; said once, by the forces.
        if not (label == "stress" and verdict.startswith("energies") and ("forces", verdict) in verdicts)
    ]
    return findings + _misfits(data, steps)


def _evidence(label: str, sound: Sequence[Ratio], blameless: bool) -> list[Finding]:
    """Say on what the units of a label were verified, or that they could not be."""
    kind = "displacements" if label == "forces" else "strains"
    if sound:
        ratios = [ratio.value for ratio in sound]
        count = sum(ratio.steps for ratio in sound)
        span = f"{min(ratios):.2f}" + (f" to {max(ratios):.2f}" if len(ratios) > 1 else "")
        text = f"energies change by {span} times the work of the {label} over {count} small {kind}"
        return [Finding(f"{label} units", "note", text, "Nothing: they fit.", (), ratios[0], "ratio")]
    if blameless:
        text = f"no frames related by small {kind} tell whether {label} and energies belong together"
        action = "Give --model, if there is one for these elements, to compare units and signs with it."
        return [Finding(f"{label} units", "note", text, action)]
    return []


def _telling(steps: Sequence[Step], label: str) -> tuple[list[Step], bool]:
    """Return the steps that tell about a label, and whether these do without the other one."""
    clear = [step for step in steps if abs(step.gain) > 1e-5 * step.atoms]
    if label == "forces":
        alone = [step for step in clear if step.forces_alone and step.by_forces is not None]
    else:
        alone = [step for step in clear if step.stress_alone and step.by_stress is not None]
    if len(alone) >= _FEWEST:
        return alone, True
    return [
        step
        for step in clear
        if not (step.forces_alone or step.stress_alone)
        and step.by_forces is not None
        and step.by_stress is not None
    ], False


def _work(steps: Sequence[Step], label: str, order: Sequence[int] = range(6)) -> np.ndarray:
    """Return the work of a label over steps; of a stress with its components in another order."""
    if label == "forces":
        return np.array([step.by_forces for step in steps], dtype=float)
    return np.array(
        [0.0 if step.by_stress is None else step.by_stress[range(6), order].sum() for step in steps]
    )


def _judge(label: str, ratio: Ratio, steps: Sequence[Step], gain: np.ndarray, alone: bool) -> str | None:
    atoms = float(np.median([step.atoms for step in steps]))
    volume = float(np.median([step.volume for step in steps]))
    verdict = identify(label, ratio.value, volume, atoms) if ratio.share >= _SHARE else None
    if ratio.share >= _SHARE and (verdict is None or not verdict.endswith(_UNKNOWN)):
        return verdict
    if not alone:
        return None
    if label == "stress":
        for last in list(permutations((3, 4, 5)))[1:]:
            other = fit_ratio(gain, _work(steps, label, (0, 1, 2, *last)))
            also = identify(label, other.value, volume, atoms)
            if other.share > 0.9 and (also is None or not also.endswith(_UNKNOWN)):
                names = ("yz", "xz", "xy")
                was = ", ".join(names[last.index(component)] for component in (3, 4, 5))
                return f"stress components are in the order xx, yy, zz, {was}" + (f"; {also}" if also else "")
    if verdict:
        return verdict
    work = _work(steps, label)
    if len(steps) >= 10 and np.abs(work).sum() > 0 and ratio.share < 0.3:
        return f"{label} do not explain the energies of close frames"
    return None


def _finding(
    data: Survey, label: str, verdict: str, places: Sequence[tuple[str, Ratio, list[Step]]]
) -> Finding:
    concerned = sorted({i for _, _, steps in places for step in steps for i in (step.one, step.other)})
    count = sum(ratio.steps for _, ratio, _ in places)
    value = places[0][1].value
    kind = "displacements" if label == "forces" else "strains"
    return Finding(
        f"{label} units" if not verdict.startswith("energies") else "energy units",
        "error",
        f"{verdict}: over {count} small {kind} ({', '.join(place for place, _, _ in places[:4])}) energies "
        f"change by {value:.3g} times the work of the {label}",
        "Convert the labels (energy eV of the whole frame, forces eV/Å = -dE/dr, stress eV/Å³, tensile "
        "positive, order xx yy zz yz xz xy), or read other names (--energy-key, --forces-key, --stress-key).",
        data.sources(concerned),
        value,
        "energy change / work",
        {place: {"ratio": ratio.value, "share": ratio.share, "steps": ratio.steps}
         for place, ratio, _ in places},
    )  # fmt: skip


def _misfits(data: Survey, steps: Sequence[Step]) -> list[Finding]:
    """Find single frames whose energy does not fit that of several neighbours."""
    near: dict[int, list[tuple[float, float]]] = {}
    for step in steps:
        if step.by_forces is not None and step.by_stress is not None:
            gap = (step.gain - step.by_forces - float(np.trace(step.by_stress))) / step.atoms
            near.setdefault(step.other, []).append((step.curvature / step.atoms, gap))
            near.setdefault(step.one, []).append((step.curvature / step.atoms, -gap))
    # Of the three smallest steps of each frame; a neighbour of a bad frame has one bad gap among them.
    closest = {i: sorted(own)[:_FEWEST] for i, own in near.items() if len(own) >= _FEWEST}
    if not closest:
        return []
    limit = max(0.01, 10 * float(np.median([abs(gap) for own in closest.values() for _, gap in own])))
    bad = {
        i: float(np.median([gap for _, gap in own]))
        for i, own in closest.items()
        if all(abs(gap) > max(limit, 0.5 * curvature) for curvature, gap in own)
    }
    if not bad or len(bad) > max(3, 0.2 * len(closest)):  # many bad frames are no single ones
        return []
    worst = max(bad, key=lambda i: abs(bad[i]))
    return [
        Finding(
            "energy of single frames",
            "warning",
            f"{len(bad)} frames have energies that forces and stresses of their neighbours contradict, worst "
            f"{brief(data.frames[worst].source)} by {1e3 * bad[worst]:+.0f} meV/atom",
            "Look at the calculation: not converged, other settings, or labels of another frame.",
            data.sources(sorted(bad)),
            1e3 * bad[worst],
            "meV/atom",
        )
    ]


def check_scales(data: Survey) -> list[Finding]:
    """Judge energies and stresses by their size alone."""
    findings = []
    labelled = [i for i, frame in enumerate(data.frames) if frame.energy is not None]
    if labelled:
        findings += _per_atom(data, labelled)
    stressed = [i for i, frame in enumerate(data.frames) if frame.stress is not None]
    if stressed:
        largest = np.array([np.abs(np.asarray(data.frames[i].stress)).max() for i in stressed])
        typical = float(np.median(largest[largest > 0])) if (largest > 0).any() else 0.0
        if typical > _LARGEST_STRESS:
            findings.append(
                Finding(
                    "stress units",
                    "error",
                    f"the largest stress component is {typical:.3g} in the median frame; as eV/Å³ that is "
                    f"{typical / GPA:.0f} GPa, so it is probably in kBar or GPa",
                    f"Convert to eV/Å³, tensile positive (1 GPa = {GPA:.6f}, 1 kBar = {KBAR:.7f}).",
                    data.sources(stressed),
                    typical,
                    "eV/Å³",
                )
            )
    return findings


def _per_atom(data: Survey, labelled: Sequence[int]) -> list[Finding]:
    """Tell energies per atom by frames of several sizes: they do not grow with the frame."""
    frames = [data.frames[i] for i in labelled]
    sizes = np.array([len(frame) for frame in frames], dtype=float)
    energies = np.array([frame.energy for frame in frames], dtype=float)
    kinds = np.unique(np.concatenate([np.unique(frame.numbers) for frame in frames]))
    if len(np.unique(sizes)) < 2 or sizes.max() < 1.3 * sizes.min() or len(frames) < 2 * len(kinds) + 2:
        return []
    shares = np.array([[(frame.numbers == z).mean() for z in kinds] for frame in frames])
    whole = _scatter(shares, energies / sizes, sizes)
    single = _scatter(shares, energies, sizes)
    if single < 0.3 * whole:
        elements = ", ".join(chemical_symbols[z] for z in kinds)
        return [
            Finding(
                "energy units",
                "error",
                f"energies do not grow with the number of atoms ({sizes.min():.0f} to {sizes.max():.0f}, "
                f"{elements}): their scatter is {single:.3g} eV as they are and {whole:.3g} eV once "
                "divided by it; they are probably per atom",
                "Multiply them by the number of atoms: an energy label is that of the whole frame.",
                data.sources(labelled),
                single / whole if whole else None,
                "ratio of scatters",
            )
        ]
    return []


def _scatter(shares: np.ndarray, values: np.ndarray, sizes: np.ndarray) -> float:
    """Return how much the medians of frames of each size differ, beyond what elements explain."""
    left = values - shares @ np.linalg.lstsq(shares, values, rcond=None)[0]
    medians = np.empty(len(left))
    for size in np.unique(sizes):
        medians[sizes == size] = np.median(left[sizes == size])
    return float(medians.std())


def check_units_by_model(frames: Sequence[Frame], predictions: Mapping[int, Prediction]) -> list[Finding]:
    """Compare units and signs of forces and stresses with the predictions of a model.

    Only where most of the labels agree with one multiple of the prediction.
    """
    findings = []
    for label in ("forces", "stress"):
        pairs = [
            (np.ravel(getattr(prediction, label)), np.ravel(known), i)
            for i, prediction in predictions.items()
            if (known := getattr(frames[i], label)) is not None
        ]
        if not pairs:
            continue
        ratio = fit_ratio(np.concatenate([p for p, _, _ in pairs]), np.concatenate([w for _, w, _ in pairs]))
        volume = float(np.median([frames[i].volume for *_, i in pairs]))
        verdict = identify(label, ratio.value, volume) if ratio.share > 0.5 else None
        if verdict and not verdict.endswith(_UNKNOWN):  # another theory is no other unit
            findings.append(
                Finding(
                    f"{label} units",
                    "error",
                    f"{verdict}: the model predicts {ratio.value:.3g} times the labels",
                    "Convert the labels (forces eV/Å = -dE/dr, stress eV/Å³, tensile positive).",
                    tuple(frames[i].source for *_, i in pairs),
                    ratio.value,
                    "prediction / label",
                )
            )
    return findings
