"""Label frames of the public PBE sets again with our own recipe: how far two PBE codes are apart.

    python benchmarks/label_noise.py [--data ../shared/data] [--recipe FILE] [--run runs/label_noise]

Writes ``benchmarks/results/label_noise.json``. The frames were labelled with VASP: strained cells
of mlearn (64 atoms that repeat 8: only these 8 are computed, the labels are those of the whole by
symmetry), its smallest surfaces, and small random crystals of PyXtal_FF (silicon, no stress).
The thermal frames of mlearn, of 64 atoms, are not among them: at this k-spacing each takes
a quarter of an hour of one core. Energies of two codes have different zeros, so that only
differences within a set of one element are compared: the mean difference is taken out.
A killed run continues (``mlpot label`` is what runs).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.units import GPa

from mlpot.data.files import read_frames
from mlpot.data.frame import Frame, LabelKeys
from mlpot.labelling.recipe import LabelRecipe
from mlpot.labelling.run import label
from mlpot.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "label_noise.json"
#: Largest distance of two atoms that are copies, in units of the lattice vectors.
_SAME = 1e-4


def fold(frame: Frame, copies: int = 2) -> Frame | None:
    """Return the part of a frame that it repeats along each lattice vector, or ``None`` if it does not."""
    cell = frame.cell / copies
    scaled = np.linalg.solve(cell.T, frame.positions.T).T
    kept: list[int] = []
    for index, place in enumerate(scaled):
        difference = scaled[kept] - place
        if not np.any(np.abs(difference - np.round(difference)).max(axis=1, initial=0.0) < _SAME):
            kept.append(index)
    if len(kept) * copies**3 != len(scaled):
        return None
    assert frame.energy is not None and frame.forces is not None
    return replace(
        frame,
        numbers=frame.numbers[kept],
        positions=frame.positions[kept],
        cell=cell,
        energy=frame.energy / copies**3,
        forces=frame.forces[kept],
    )


def strained(frames: Sequence[Frame], number: int) -> Iterator[tuple[str, Frame]]:
    """Yield strained cells with forces, spread over the set."""
    folded = [part for frame in frames if frame.info["group"] == "Elastic" if (part := fold(frame))]
    # Many are symmetry copies of each other: of one energy.
    bent = [*{f"{part.energy:.3f}": part for part in folded if np.abs(part.forces).max() > 0.1}.values()]
    for index in np.linspace(0, len(bent) - 1, number).round().astype(int):
        yield "strained", bent[index]


def surfaces(frames: Sequence[Frame], number: int) -> Iterator[tuple[str, Frame]]:
    """Yield the smallest surfaces."""
    found = [frame for frame in frames if frame.info["group"] == "Surface"]
    for frame in sorted(found, key=lambda frame: len(frame.numbers))[:number]:
        yield "surface", frame


def crystals(frames: Sequence[Frame], number: int) -> Iterator[tuple[str, Frame]]:
    """Yield random crystals of four atoms near the ground state."""
    found = [
        f for f in frames if len(f.numbers) == 4 and f.energy < -5.0 * 4 and np.abs(f.forces).max() > 0.1
    ]
    for index in np.linspace(0, len(found) - 1, number).round().astype(int):
        yield "random crystal", found[index]


def compare(pairs: Sequence[tuple[Frame, Frame]]) -> dict[str, float | int | None]:
    """Return the differences of labels: ours minus theirs."""
    forces = 1e3 * np.concatenate([(ours.forces - theirs.forces).ravel() for theirs, ours in pairs])
    size = np.concatenate([theirs.forces.ravel() for theirs, _ in pairs])
    energies = np.array([1e3 * (ours.energy - theirs.energy) / len(ours.numbers) for theirs, ours in pairs])
    stresses = [
        (o.stress - t.stress) / GPa for t, o in pairs if t.stress is not None and o.stress is not None
    ]
    return {
        "frames": len(pairs),
        "atoms": sum(len(ours.numbers) for _, ours in pairs),
        "forces_rms_eV_per_A": float(np.sqrt(np.mean(size**2))),
        "forces_rmse_meV_per_A": float(np.sqrt(np.mean(forces**2))),
        "forces_mae_meV_per_A": float(np.mean(np.abs(forces))),
        "energy_zero_meV_per_atom": float(np.mean(energies)),
        "energy_rmse_meV_per_atom": float(np.std(energies)) if len(pairs) > 1 else None,
        "stress_rmse_GPa": float(np.sqrt(np.mean(np.square(stresses)))) if stresses else None,
        "stress_mean_GPa": float(np.mean([np.trace(s) / 3 for s in stresses])) if stresses else None,
    }


def main() -> None:
    """Label, compare, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "dft" / "gpaw_pbe.yaml")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "label_noise")
    arguments = parser.parse_args()
    chosen: list[tuple[str, str, Frame]] = []
    for element in ("si", "ge"):
        frames = read_frames(arguments.data / "mlearn" / f"{element}_train.xyz")
        picks = [*strained(frames, 3), *surfaces(frames, 1)]
        if element == "si":
            picks += crystals(read_frames(arguments.data / "si_pyxtal_pbe.xyz", LabelKeys(stress=None)), 4)
        chosen += [(element, group, frame) for group, frame in picks]
    recipe = load_recipe(LabelRecipe, arguments.recipe)
    bare = [replace(frame, energy=None, forces=None, stress=None) for _, _, frame in chosen]
    result = label(recipe, bare, arguments.run)
    if result.unlabelled:
        raise SystemExit(f"not labelled: {[(entry.index, entry.reason) for entry in result.unlabelled]}")
    entries = [(*entry, ours) for entry, ours in zip(chosen, result.frames, strict=True)]
    document: dict = {
        "recipe": arguments.recipe.name,
        "method": result.provenance["method"],
        "differences": {},
    }
    for element in ("si", "ge"):
        mine = [entry for entry in entries if entry[0] == element]
        for group in [*dict.fromkeys(entry[1] for entry in mine), "all"]:
            pairs = [(theirs, ours) for _, name, theirs, ours in mine if group in (name, "all")]
            document["differences"][f"{element} {group}"] = compare(pairs)
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document["differences"], indent=1))


if __name__ == "__main__":
    main()
