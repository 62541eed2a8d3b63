"""Errors against predicted deviations: the last-layer posterior of one potential, and a committee.

    python benchmarks/calibration.py [--runs runs/accuracy] [--seeds 0 1 2] [--frames N] [--heads 16]

The potentials are the ``joint`` ones of ``benchmarks/accuracy.py``, the posterior is of the first
seed. The hold-out of germanium (recipes/sige/joint.yaml), which trained nothing, is drawn in two
halves within each kind of frame: one scales the deviations of both by one factor each, the
other is judged, by kind of frame and for liquids (``state``) apart. The committee is also judged
as it is, unscaled. Prints a table and writes ``benchmarks/results/calibration.json``. Needs
``../shared`` and the finished runs; one thread. Takes about 130 evaluations per training and
scaling frame.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlpot.data.frame import Frame
from mlpot.model.base import Prediction
from mlpot.model.committee import Committee
from mlpot.model.file import load_model
from mlpot.model.uncertainty import add_uncertainty, likelihood
from mlpot.recipe import load_recipe
from mlpot.testing.calibration import calibrate_labels
from mlpot.training.errors import group_frames
from mlpot.transfer.ridge import SquaredLoss, label_scales
from mlpot.transfer.run import TransferRecipe

HERE = Path(__file__).resolve().parent


def halves(frames: Sequence[Frame], seed: int = 0) -> tuple[list[Frame], list[Frame]]:
    """Return two halves, drawn within each ``config_type``."""
    rng = np.random.default_rng(seed)
    sides: tuple[list[Frame], list[Frame]] = [], []
    kinds = [str(frame.info["config_type"]) for frame in frames]
    for kind in sorted(set(kinds)):
        own = [frame for frame, name in zip(frames, kinds, strict=True) if name == kind]
        for index in rng.permutation(len(own)):
            # In turn, so that neither half has all the frames too many.
            sides[(len(sides[0]) + len(sides[1])) % 2].append(own[index])
    return sides


def scale(frames: Sequence[Frame], predictions: Sequence[Prediction]) -> float:
    """Return the factor of deviations that fits energies per atom and forces best, as for the posterior."""
    errors, deviations = [], []
    for frame, p in zip(frames, predictions, strict=True):
        if frame.energy is not None and p.energy_std is not None:
            errors.append(np.atleast_1d((p.energy - frame.energy) / len(frame)))
            deviations.append(np.atleast_1d(p.energy_std / len(frame)))
        if frame.forces is not None and p.forces_std is not None:
            errors.append((p.forces - frame.forces).ravel())
            deviations.append(p.forces_std.ravel())
    return likelihood(np.concatenate(errors), np.square(np.concatenate(deviations)))[0]


def judge(frames: Sequence[Frame], predictions: Sequence[Prediction], factor: float) -> dict[str, Any]:
    """Return the calibration of scaled deviations by group of frames."""
    scaled = [
        replace(p, energy_std=factor * p.energy_std, forces_std=factor * p.forces_std)
        for p in predictions
        if p.energy_std is not None and p.forces_std is not None
    ]
    groups = group_frames(frames, ["group"])
    groups["liquid"] = [i for i, frame in enumerate(frames) if frame.info["state"] == "liquid"]
    found: dict[str, Any] = {}
    for name, members in groups.items():
        own = calibrate_labels([frames[i] for i in members], [scaled[i] for i in members])
        found[name] = {label: one.asdict() if one is not None else None for label, one in own.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Errors against predicted deviations.")
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--frames", type=int, help="at most so many on each side (to try it out)")
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "calibration.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    section = load_recipe(TransferRecipe, HERE.parent / "recipes/sige/joint.yaml").data[1]
    loaded = section.load()
    scaling, judged = halves(loaded.validation)
    training = list(loaded.train)
    if options.frames is not None:
        rng = np.random.default_rng(0)
        sides = [
            [side[i] for i in rng.permutation(len(side))[: options.frames]]
            for side in (training, scaling, judged)
        ]
        training, scaling, judged = sides
    models = [load_model(options.runs / f"seed-{seed}/joint/model.safetensors") for seed in options.seeds]
    fit = add_uncertainty(
        models[0],
        training,
        scaling,
        label_scales(SquaredLoss()),
        options.heads,
        progress=lambda done, total: print(f"frame {done} of {total}", flush=True),
    )
    committee = Committee(models)
    result: dict[str, Any] = {
        "frames": {"training": len(training), "scaling": len(scaling), "judged": len(judged)},
        "posterior": fit.asdict(),
    }
    spread = committee.predict(scaling, uncertainty=True)
    factor = scale(scaling, spread)
    result["committee"] = {"members": len(models), "scale": factor}
    posterior, together = (model.predict(judged, uncertainty=True) for model in (models[0], committee))
    result["calibration"] = {
        "posterior": judge(judged, posterior, 1.0),
        "committee": judge(judged, together, factor),
        "committee, unscaled": judge(judged, together, 1.0),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for method, groups in result["calibration"].items():
        for group, labels in groups.items():
            for label, found in labels.items():
                if found is not None:
                    print(
                        f"{method:20} {group:12} {label:7} predicted {found['predicted']:6.2f} "
                        f"error {found['observed']:6.2f}  z2 {found['mean_z2']:6.2f} "
                        f"rank {found['correlation'] or float('nan'):5.2f}  NLL {found['nll']:6.3f}"
                    )


if __name__ == "__main__":
    main()
