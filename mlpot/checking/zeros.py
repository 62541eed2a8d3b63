"""Groups whose energies count from another zero: another code, pseudopotential or reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlpot.checking.finding import Finding
from mlpot.data.frame import Frame

#: A shift is reported if it is larger than this (eV/atom) ...
SMALLEST = 0.05
#: ... and than this many of its standard errors.
SIGNIFICANCE = 6.0
#: A standard error above this (eV/atom) means that the other groups know little of such frames.
LARGEST_ERROR = 0.025
#: Frames that a group, and all others together, take to be judged.
FEWEST, FEWEST_OTHERS = 4, 20
#: Prior variances tried for the coefficients of the descriptors, in units of the noise.
_RIDGES = 10.0 ** np.arange(-6, 2)


@dataclass(frozen=True)
class Shift:
    """By how much the energies of a group lie above those of the rest, eV/atom."""

    group: str
    value: float
    error: float


def fit_shifts(
    descriptors: np.ndarray, counts: np.ndarray, energies: np.ndarray, groups: Mapping[str, Sequence[int]]
) -> tuple[list[Shift], float]:
    """Find groups with a constant of their own by linear regression of energies per atom.

    E/N = mean descriptors · w + element shares · e₀ + shift of the group, with w from a normal prior
    whose width, with the noise, minimises the generalised cross-validation error (Golub, Heath and
    Wahba, Technometrics 21, 215 (1979)); element energies and shifts are free. The group whose shift
    is largest in units of its standard error enters first; the others are then judged with it in the
    model, until none passes. Where descriptors tell the group from all others by themselves, the
    standard error is large and nothing is claimed.

    Parameters
    ----------
    descriptors : (n, D)
        Sums over the atoms of each element, side by side, over the number of all atoms.
    counts : (n, elements)
        Share of each element.
    energies : (n,)
        eV/atom.
    groups
        Rows of each group.

    Returns
    -------
    shifts : list of Shift
        In the order of entry.
    scatter : float
        Root mean square of what remains, eV/atom.
    """
    spread = descriptors.std(axis=0)
    used = spread > 1e-8 * max(float(np.abs(descriptors).max()), 1e-300)
    scaled = (descriptors[:, used] - descriptors[:, used].mean(axis=0)) / spread[used]
    chosen: list[str] = []
    while True:
        best: tuple[float, str] | None = None
        for name, rows in groups.items():
            if name in chosen or len(rows) < FEWEST or len(energies) - len(rows) < FEWEST_OTHERS:
                continue
            values, errors, _ = _fit(scaled, counts, energies, [groups[g] for g in [*chosen, name]])
            if errors[-1] < LARGEST_ERROR and abs(values[-1]) > max(SMALLEST, SIGNIFICANCE * errors[-1]):
                strength = abs(values[-1]) / errors[-1]
                if best is None or strength > best[0]:
                    best = strength, name
        if best is None:
            break
        chosen.append(best[1])
    values, errors, scatter = _fit(scaled, counts, energies, [groups[g] for g in chosen])
    return [
        Shift(name, float(v), float(e)) for name, v, e in zip(chosen, values, errors, strict=True)
    ], scatter


def _fit(
    scaled: np.ndarray, counts: np.ndarray, energies: np.ndarray, marked: Sequence[Sequence[int]]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return constants of the marked groups, their standard errors, and the scatter that remains."""
    n, d = scaled.shape
    indicators = np.zeros((n, len(marked)))
    for column, rows in enumerate(marked):
        indicators[list(rows), column] = 1.0
    design = np.concatenate([scaled, counts, indicators], axis=1)
    gram, moment = design.T @ design, design.T @ energies
    best: tuple[float, np.ndarray, np.ndarray, float] | None = None
    for ridge in _RIDGES:
        penalty = np.full(design.shape[1], 1e-10)
        penalty[:d] = ridge
        inverse = np.linalg.inv(gram + np.diag(penalty))
        weights = inverse @ moment
        left = energies - design @ weights
        free = n - float(np.trace(inverse @ gram))
        if free < 0.2 * n:
            continue  # so many descriptors for so few frames say nothing
        variance = float(left @ left) / free
        score = float(left @ left) / free**2
        if best is None or score < best[0]:
            errors = np.sqrt(variance * np.diag(inverse)[d + counts.shape[1] :])
            best = score, weights[d + counts.shape[1] :], errors, float(np.sqrt(variance))
    if best is None:
        return np.zeros(len(marked)), np.full(len(marked), np.inf), np.inf
    return best[1:]


def check_zeros(
    frames: Sequence[Frame],
    descriptors: Sequence[np.ndarray | None],
    groups: Mapping[str, Sequence[int]],
    key: str | None = None,
) -> list[Finding]:
    """Report groups whose energies do not fit those of the others, by structure alone.

    Parameters
    ----------
    frames
        Any; those without energy are left out, elements are judged apart.
    descriptors
        Of the atoms (N, D) of each frame; ``None``: left out.
    groups
        Indices of the frames of each group.
    key
        The info key that makes the groups, for the remedy.
    """
    kinds: dict[tuple[int, ...], list[int]] = {}
    for i, frame in enumerate(frames):
        if frame.energy is not None and descriptors[i] is not None and len(frame) > 1:
            kinds.setdefault(tuple(np.unique(frame.numbers).tolist()), []).append(i)
    findings = []
    for elements, members in kinds.items():
        place = {i: row for row, i in enumerate(members)}
        own = {name: [place[i] for i in rows if i in place] for name, rows in groups.items()}
        own = {name: rows for name, rows in own.items() if rows}
        shares = np.array([[(frames[i].numbers == z).mean() for z in elements] for i in members])
        energies = np.array([float(frames[i].energy or 0.0) / len(frames[i]) for i in members])
        rows = np.array([_means(frames[i].numbers, descriptors[i], elements) for i in members])
        shifts, scatter = fit_shifts(rows, shares, energies, own)
        for shift in shifts:
            text = (
                f"energies of group {shift.group} lie {1e3 * shift.value:+.0f} ± {1e3 * shift.error:.0f} "
                f"meV/atom from where those of the other groups put them (regression on descriptors, which "
                f"leaves {1e3 * scatter:.0f} meV/atom)"
            )
            concerned = tuple(frames[members[row]].source for row in own[shift.group])
            symbols = frames[members[0]].symbols
            findings.append(_finding(text, shift, concerned, symbols, key))
    return findings


def _means(numbers: np.ndarray, descriptors: np.ndarray | None, elements: Sequence[int]) -> np.ndarray:
    """Return, for each element, the sum over its atoms divided by the number of all atoms."""
    assert descriptors is not None
    return np.concatenate([descriptors[numbers == z].sum(axis=0) for z in elements]).astype(float) / len(
        numbers
    )


def check_zeros_by_model(
    frames: Sequence[Frame],
    predictions: Mapping[int, float],
    groups: Mapping[str, Sequence[int]],
    key: str | None = None,
) -> list[Finding]:
    """Report groups whose energies a model misses by a common amount that it does not miss others by.

    Label less prediction per atom, by group, less the median of the other groups' means of the same
    elements, because the model's zero may be another. A group is reported if this is larger than
    :data:`SMALLEST`, than :data:`SIGNIFICANCE` of its standard errors, and than five times the robust
    spread of the other groups' means.

    Parameters
    ----------
    frames
        All frames.
    predictions
        Energies, eV, by index of the frame.
    groups
        Indices of the frames of each group.
    key
        The info key that makes the groups, for the remedy.
    """
    differences = {
        i: (float(frames[i].energy or 0.0) - value) / len(frames[i])
        for i, value in predictions.items()
        if frames[i].energy is not None
    }
    means, scatter, sizes, elements = {}, {}, {}, {}
    for name, rows in groups.items():
        values = np.array([differences[i] for i in rows if i in differences])
        if len(values) >= FEWEST:
            means[name], scatter[name], sizes[name] = values.mean(), values.std(ddof=1), len(values)
            elements[name] = frames[rows[0]].symbols
    findings = []
    for name, mean in means.items():
        others = np.array(
            [value for other, value in means.items() if other != name and elements[other] == elements[name]]
        )
        if not len(others):
            continue
        centre = float(np.median(others))
        width = 1.4826 * float(np.median(np.abs(others - centre)))
        shift = Shift(
            name, float(mean - centre), float(np.hypot(scatter[name] / np.sqrt(sizes[name]), width))
        )
        if abs(shift.value) > max(SMALLEST, 5 * width, SIGNIFICANCE * scatter[name] / np.sqrt(sizes[name])):
            text = (
                f"energies of group {name} lie {1e3 * shift.value:+.0f} ± {1e3 * shift.error:.0f} meV/atom "
                f"from the model's, relative to the other groups (scatter within it "
                f"{1e3 * scatter[name]:.0f} meV/atom)"
            )
            concerned = tuple(frames[i].source for i in groups[name] if i in differences)
            findings.append(_finding(text, shift, concerned, elements[name], key))
    return findings


def _finding(
    text: str, shift: Shift, sources: tuple[str, ...], symbols: set[str], key: str | None
) -> Finding:
    where = f"{key}: {shift.group}" if key and ":" not in shift.group and "," not in shift.group else "..."
    moved = f"{next(iter(symbols))}: {-shift.value:.3f}" if len(symbols) == 1 else "..."
    entry = f"{{where: {{{where}}}, shift: {{{moved}}}}}"
    return Finding(
        "energy zeros",
        "warning",
        text,
        "Another code, pseudopotential or reference? No sum of local energies fits both: compute the "
        f"group again, or, in the recipe, move it (`energy_zeros: [{entry}]`) "
        "or leave its energies out (`shift: unknown`).",
        sources,
        1e3 * shift.value,
        "meV/atom",
        {"group": shift.group, "shift_eV_per_atom": shift.value, "standard_error_eV_per_atom": shift.error},
    )
