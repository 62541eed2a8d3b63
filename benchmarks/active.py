"""How many labels active learning saves against random frames of the same dynamics.

    python benchmarks/active.py [--seeds 0 1 2 3 4] [--run runs/active] [--quick]

The recipe is ``recipes/active/sw_ge.yaml`` with a small donor, trained here on ``data/sw/si.xyz``, for
each seed and both rules of choice; in the first round both meet the same frames. Each run gives the
force error on ``data/sw/ge.xyz`` by number of labels. The labels needed to reach an error are
interpolated between rounds, linearly in logarithms, at the first crossing; the error asked for is the
largest that any run ends with, so that all reach it. Means are geometric, the ratio (active by random)
is paired by seed, intervals are 95 %, Student's t over seeds. Writes ``benchmarks/results/active.json``;
a killed run continues. ``--quick`` shows that it works, in a folder of its own, and writes nothing there.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from mlpot.active.recipe import ActiveRecipe
from mlpot.active.run import run_active
from mlpot.evidence.estimates import Estimate, geometric
from mlpot.recipe import parse_recipe, read_yaml
from mlpot.training.run import TrainRecipe, train

HERE = Path(__file__).resolve().parent
RESULT = HERE / "results" / "active.json"
RECIPE = HERE.parent / "recipes/active/sw_ge.yaml"
RULES = ("uncertainty", "random")
#: The network of the donor: small, because trainings and dynamics are many.
MODEL = {"channels": 16, "hidden": 16}
QUICK = {
    "training": {"steps": 6},
    "uncertainty": {"members": 2},
    "dynamics": {"volumes": [1.0], "temperatures": [600], "time_ps": 0.05, "interval": 4},
    "rounds": 1,
}


def donor(run: Path, quick: bool) -> str:
    """Train the donor, unless it is there; return its file."""
    path = run / "donor" / "model.safetensors"
    if not path.exists():
        validation = {"fraction": 0.1, "keys": ["block"], "stratify": ["group"]}
        data = {"train": "data/sw/si.xyz", "validation": None if quick else validation}
        data |= {"frames": 8} if quick else {}
        fit = {"epochs": 8 if quick else 40}
        recipe = parse_recipe(TrainRecipe, {"data": data, "model": MODEL, "fit": fit}, "donor")
        train(recipe, run / "donor", resume=True)
    return str(path)


def recipe_of(rule: str, seed: int, start: str, quick: bool) -> ActiveRecipe:
    """Return the shipped recipe with another donor, rule and seed."""
    raw = read_yaml(RECIPE)
    for name, value in (QUICK if quick else {}).items():
        raw[name] = {**raw[name], **value} if isinstance(value, dict) else value
    raw["training"]["donor"] = start
    raw["selection"]["choose"] = rule
    return parse_recipe(ActiveRecipe, raw | {"seed": seed}, str(RECIPE))


def labels_needed(labels: Sequence[int], errors: Sequence[float], goal: float) -> float:
    """Return at how many labels a curve first reaches an error; it must."""
    if errors[0] <= goal:
        return float(labels[0])
    for (n, before), (m, after) in pairwise(zip(labels, errors, strict=True)):
        if after <= goal:
            part = math.log(before / goal) / math.log(before / after)
            return n * (m / n) ** part
    raise ValueError(f"the error stays above {goal}: {errors}")


def plain(estimate: Estimate) -> dict[str, float | int | None]:
    return {"mean": estimate.value, "low": estimate.low, "high": estimate.high, "seeds": estimate.n}


def summary(curves: Sequence[dict]) -> dict:
    """Return the labels needed by each rule, and their ratio."""
    goal = max(min(curve["forces_mae"]) for curve in curves)
    needed = {
        rule: {
            curve["seed"]: labels_needed(curve["labels"], curve["forces_mae"], goal)
            for curve in curves
            if curve["choose"] == rule
        }
        for rule in RULES
    }
    seeds = sorted(set(needed["uncertainty"]) & set(needed["random"]))
    ratio = geometric(needed["uncertainty"][seed] / needed["random"][seed] for seed in seeds)
    return {
        "forces_mae": goal,
        "labels": {rule: plain(geometric(values.values())) for rule, values in needed.items()},
        "ratio": plain(ratio),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--run", type=Path, default=Path("runs/active"))
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    run = options.run / "quick" if options.quick else options.run
    start = donor(run, options.quick)
    curves: list[dict] = []
    for seed in options.seeds:
        for rule in RULES:
            began = time.process_time()
            recipe = recipe_of(rule, seed, start, options.quick)
            results = run_active(recipe, run / f"{rule}-{seed}", lambda text: print(text, file=sys.stderr))
            rounds = results["rounds"]
            curves.append(
                {
                    "choose": rule,
                    "seed": seed,
                    "labels": [entry["labels"] for entry in rounds],
                    "forces_mae": [entry["test"]["forces_mae"] for entry in rounds],
                    "energy_mae": [entry["test"]["energy_mae"] for entry in rounds],
                    "median_forces_std": [entry["dynamics"]["median_forces_std"] for entry in rounds],
                    "survived": [e["dynamics"]["survived_ps"] / e["dynamics"]["time_ps"] for e in rounds],
                    "stopped": results["stopped"],
                }
            )
            print(
                f"{rule} {seed}: {time.process_time() - began:.0f} s", *curves[-1]["forces_mae"], flush=True
            )
    found = {"recipe": RECIPE.relative_to(HERE.parent).as_posix(), "model": MODEL, "seeds": options.seeds}
    found |= {"curves": curves, "reached": summary(curves)}
    if options.quick:
        print(json.dumps(found["reached"], indent=1))
    else:
        RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
