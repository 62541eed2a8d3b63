"""How far the energies of germanium's surfaces in mlearn count from another zero than the rest.

    python benchmarks/energy_zero.py [--seeds 0 1 2] [--runs runs/accuracy]

Trains the joint potential of recipes/sige without these energies (``unknown_zero.yaml``) and
prints, for each slab that is trained on, what its label has less than the prediction, meV per
atom; the mean is what joint.yaml adds. Slabs of the hold-out are shown, but do not count. Writes
``benchmarks/results/energy_zero.json``. Needs ``../shared``; one thread.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from accuracy import HERE, RECIPES, make

from mlpot.data.frame import Frame
from mlpot.data.section import load_sections
from mlpot.model.file import load_model
from mlpot.recipe import load_recipe
from mlpot.transfer.run import TransferRecipe


def deficits(model: Path, slabs: Sequence[Frame]) -> dict[str, float]:
    """Return prediction less label of slabs, meV per atom, by their description."""
    predictions = load_model(model).predict(slabs)
    return {
        slab.info["description"]: 1000 * (prediction.energy - slab.energy) / len(slab)
        for slab, prediction in zip(slabs, predictions, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The zero of the energies of germanium's surfaces.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--out", type=Path, default=HERE / "results" / "energy_zero.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    recipe = load_recipe(TransferRecipe, RECIPES / "sige" / "joint.yaml")
    sections = [section.model_copy(update={"energy_zeros": []}) for section in recipe.data]
    sets = load_sections(sections)
    sides = {
        side: [frame for frame in frames if frame.info["group"] == "Surface" and frame.symbols == {"Ge"}]
        for side, frames in (("train", sets.train), ("holdout", sets.validation))
    }
    seeds = {}
    for seed in options.seeds:
        model = make("unknown_zero", seed, options.runs)
        seeds[str(seed)] = {side: deficits(model, slabs) for side, slabs in sides.items()}
    means = [statistics.mean(found["train"].values()) for found in seeds.values()]
    scatter = [statistics.stdev(found["train"].values()) for found in seeds.values()]
    result = {
        "unit": "meV/atom, prediction less label",
        "mean": statistics.mean(means),
        "means_of_seeds": means,
        "scatter_over_slabs": statistics.mean(scatter),
        "seeds": seeds,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for slab in [*seeds[str(options.seeds[0])]["train"], *seeds[str(options.seeds[0])]["holdout"]]:
        row = [{**found["train"], **found["holdout"]}[slab] for found in seeds.values()]
        print(f"{slab:50}" + "".join(f"{value:8.1f}" for value in row))
    print(f"mean over the slabs trained on: {result['mean']:.1f}, seeds {[round(m, 1) for m in means]}, "
          f"scatter over slabs {result['scatter_over_slabs']:.1f} meV/atom")  # fmt: skip


if __name__ == "__main__":
    main()
