"""Errors of the best recipes on silicon and germanium, three seeds, by group of frames.

    python benchmarks/accuracy.py [--seeds 0 1 2] [--arms joint distilled si ten_ge] [--runs runs/accuracy]

The arms are recipes of recipes/sige: ``joint`` (silicon and germanium together) and ``si``
(silicon alone), both from ``pretrain``, ``distilled`` (from ``joint`` and what the three joint
potentials know together) and ``ten_ge`` (ten frames of germanium, from ``si``);
``unpretrained`` is ``joint`` from nothing, ``wide`` is ``joint`` with 64 channels instead of 32;
the ``committee`` is the mean of the joint potentials of all seeds. Judged on
``si_test`` and on the hold-out of germanium, the energies of its surfaces on the zero of the rest
(``energy_zero.py``) and, ``ge_labels``, as they are in the file; neither chooses anything. Finished
runs are taken as they are, an interrupted one is resumed. Prints a table and writes
``benchmarks/results/accuracy.json``. Needs ``../shared``; one thread.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mlpot.data.files import write_frames
from mlpot.data.frame import Frame
from mlpot.data.section import DataSection
from mlpot.model.base import LocalEnergyModel
from mlpot.model.committee import Committee
from mlpot.model.file import load_model
from mlpot.recipe import load_recipe
from mlpot.reference.calculators import choose
from mlpot.sampling.generate import generate, provenance
from mlpot.sampling.plan import SamplingPlan
from mlpot.studies.recipe import load_study
from mlpot.training.errors import errors_by_group
from mlpot.training.fit import check_run
from mlpot.training.run import TrainRecipe, train
from mlpot.transfer.run import TransferRecipe, transfer

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parent / "recipes"
STUDY = load_study(RECIPES / "studies/mlearn_si_to_ge.yaml")
#: Each arm: from which other, and what it is judged on.
ARMS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "pretrain": (None, ()),
    "joint": ("pretrain", ("si_test", "ge_holdout", "ge_labels")),
    "distilled": ("joint", ("si_test", "ge_holdout", "ge_labels")),
    "si": ("pretrain", ("si_test",)),
    "ten_ge": ("si", ("ge_holdout", "ge_labels")),
    "unpretrained": (None, ("si_test", "ge_holdout", "ge_labels")),
    "unknown_zero": ("pretrain", ()),
    "wide_pretrain": (None, ()),
    "wide": ("wide_pretrain", ("si_test", "ge_holdout", "ge_labels")),
}
#: Arms that are another's recipe with a wider network.
WIDE = {"wide_pretrain": "pretrain", "wide": "joint"}

#: Seeds of the joint potentials whose mean teaches the distilled ones.
TEACHERS = (0, 1, 2)


def make(arm: str, seed: int, runs: Path) -> Path:
    """Train the model of an arm, unless it is there; return its path.

    The seed draws the initial weights, the order of frames and the ten frames; the hold-out stays.
    """
    run, recipe = runs / f"seed-{seed}" / arm, RECIPES / "sige" / f"{WIDE.get(arm, arm)}.yaml"
    if (run / "model.safetensors").exists():
        return run / "model.safetensors"
    resume = check_run(run, resume=True)
    parent = ARMS[arm][0]
    started = load_recipe(TransferRecipe if parent else TrainRecipe, recipe)
    changes: dict[str, Any] = {"fit": started.fit.model_copy(update={"seed": seed})}
    changes["data"] = [section.model_copy(update={"seed": seed}) for section in started.data]
    if arm == "distilled":
        changes["data"][-1] = changes["data"][-1].model_copy(update={"train": taught(runs)})
    if arm == "wide_pretrain":
        changes["model"] = started.model.model_copy(update={"channels": 64, "hidden": 64})
    if parent:
        changes["model"] = str(make(parent, seed, runs))
    (transfer if parent else train)(started.model_copy(update=changes), run, resume=resume)
    return run / "model.safetensors"


def taught(runs: Path) -> list[str]:
    """Return the files of frames that the mean of the joint potentials visits and labels."""
    files = [runs / "teacher" / f"{element}.xyz" for element in ("si", "ge")]
    for path in files:
        if not path.exists():
            members = [str(make("joint", seed, runs)) for seed in TEACHERS]
            plan = load_recipe(SamplingPlan, RECIPES / "sige" / f"teacher_{path.stem}.yaml")
            plan = plan.model_copy(update={"calculator": choose({"potential": members})})
            generated = generate(plan)
            write_frames(path, generated.frames, provenance=provenance(plan, generated))
    return [str(path) for path in files]


def judge(what: str, model: LocalEnergyModel, frames: Sequence[Frame]) -> dict[str, dict[str, float]]:
    """Print the errors of a model and return them by group of frames, of AIMD also by temperature."""
    errors = errors_by_group(model, frames, ["group"])
    thermal = [frame for frame in frames if frame.info["group"] == "AIMD-NVT"]
    by_temperature = errors_by_group(model, thermal, ["config_type"])
    del by_temperature["all"]
    found = {name: summary.asdict() for name, summary in (errors | by_temperature).items()}
    every = found["all"]
    print(
        f"{what:32} forces {every['forces_mae']:5.1f} / {every['forces_rmse']:5.1f} meV/Å  "
        f"energy {every['energy_mae']:5.2f} meV/atom",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Errors of the best recipes, by group of frames.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--arms", nargs="+", choices=list(ARMS), default=["joint", "distilled", "si", "ten_ge"]
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "accuracy.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    test = DataSection(train=[STUDY.donors["si"].test], validation=None).load().train
    germanium = load_recipe(TransferRecipe, RECIPES / "sige" / "joint.yaml").data[1]
    judges = {
        "si_test": test,
        "ge_holdout": germanium.load().validation,
        "ge_labels": germanium.model_copy(update={"energy_zeros": []}).load().validation,
    }
    result = json.loads(options.out.read_text()) if options.out.exists() else {}
    for seed in options.seeds:
        for arm in options.arms:
            model = make(arm, seed, options.runs)
            for name in ARMS[arm][1]:
                row = result.setdefault(f"{arm}, {name}", {})
                row[str(seed)] = judge(f"seed {seed}, {arm}, {name}", load_model(model), judges[name])
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    if "joint" in options.arms and len(options.seeds) > 1:
        committee = Committee([load_model(make("joint", seed, options.runs)) for seed in options.seeds])
        for name in ARMS["joint"][1]:
            found = judge(f"committee of {len(options.seeds)}, {name}", committee, judges[name])
            result[f"committee, {name}"] = {" + ".join(map(str, options.seeds)): found}
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, seeds in result.items():
        mean = {
            key: statistics.mean(entry["all"][key] for entry in seeds.values())
            for key in ("forces_mae", "forces_rmse", "energy_mae")
        }
        print(f"{name}: " + "  ".join(f"{key} {value:.2f}" for key, value in mean.items()))


if __name__ == "__main__":
    main()
