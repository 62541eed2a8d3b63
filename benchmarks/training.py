"""How fast mlpot and its peers learn silicon: seconds per epoch, and epochs and time to an error.

    python benchmarks/training.py mace [--epochs 100]      # a long run each, kept in benchmarks/.runs,
    python benchmarks/training.py nequip-2-1 [--epochs 100]    # resumed when called again
    python benchmarks/training.py mlpot [--epochs 40] [--recipe FILE]
    python benchmarks/training.py turns [--rounds 3]       # seconds per epoch, in turns, in one run
    python benchmarks/training.py table                    # what there is, also from runs not yet ended

Each part ends with the table and writes ``benchmarks/results/training.json``. One thread, float32.
Everyone is trained by its own trainer on the same 193 frames of mlearn's ``si_train``, with the same
21 for validation; errors on ``si_test`` are written down after every epoch, with the averaged
weights, for this report alone: nothing is selected by them. mace-torch (32x0e+32x1o, two layers,
l = 3, correlation 3) has the defaults of ``mace_run_train`` but for batches of 5 (with its 10
it learns less per epoch on so few frames), its averaging and its second stage (``--ema --swa``).
nequip-L-D has L layers of degree D, 32 features, and Adam at 0.01 falling on plateaus.

``turns`` lets mlpot, the same with gradients by PyTorch's autograd, and mace-torch train whole
epochs on some of the frames, one after the other; the seconds per epoch are those of a turn times
atoms to train on over atoms of a turn. Time to an error is the first epoch at or below it times
these seconds; validation and start are not counted. mlpot's rate follows a cosine over the whole
run: ``--epochs`` is its budget, and runs of different length stand side by side.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Any

import ase.io
from contestants import (
    ALLOCATORS,
    RESULTS,
    RUNS,
    Contestant,
    Worker,
    environment,
    interpreter,
    machine,
    middle,
)

from mlpot.data.section import DataSection, HoldoutSection

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "mlearn"
RECIPE = HERE.parent / "recipes" / "mlearn_si_to_ge" / "train_si.yaml"
#: As in the recipe, so that everyone is trained on the same frames.
HOLDOUT = HoldoutSection(fraction=0.1, keys=["config_type", "strain"], block=3, stratify=["group"], seed=0)
TARGETS = (70.0, 50.0)
MACE = """
    --model MACE --hidden_irreps 32x0e+32x1o --num_interactions 2 --max_ell 3 --correlation 3 --r_max 5.0
    --energy_key REF_energy --forces_key REF_forces --stress_key REF_stress --E0s average
    --default_dtype float32 --device cpu --seed 0 --ema --swa --save_all_checkpoints --keep_checkpoints
    --restart_latest --plot False
"""
RESULT = RESULTS / "training.json"


def frames() -> dict[str, Path]:
    """Write the frames to train on, those for validation, and a part of the former for the turns."""
    source = DATA / "si_train.xyz"
    everything = ase.io.read(source, ":")
    sets = DataSection(train=[str(source)], validation=HOLDOUT).load()
    chosen = {
        side: [everything[int(frame.source.split("#")[1])] for frame in getattr(sets, side)]
        for side in ("train", "validation")
    }
    chosen["turns"] = chosen["train"][::8]
    chosen["one"] = chosen["validation"][:1]
    folder = RUNS / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    for name, atoms in chosen.items():
        ase.io.write(folder / f"{name}.xyz", atoms, format="extxyz")
    return {name: folder / f"{name}.xyz" for name in chosen} | {"test": DATA / "si_test.xyz"}


def mace_arguments(run: str, train: Path, validation: Path, epochs: int, batch_size: int) -> list[str]:
    """Return the arguments of mace-torch's trainer."""
    files = ["--train_file", str(train), "--valid_file", str(validation)]
    rest = ["--max_num_epochs", str(epochs), "--batch_size", str(batch_size)]
    return ["--name", "mace", "--work_dir", run, *MACE.split(), *files, *rest]


def learn(part: str, options: argparse.Namespace) -> None:
    """Train one of them, or go on with it; its lines end up in ``.runs/LABEL/errors.jsonl``."""
    files, batch = frames(), options.batch_size
    label = part if part != "mlpot" else options.label or f"mlpot-{options.epochs}"
    run = RUNS / label
    run.mkdir(exist_ok=True)
    watch = {"threads": 1, "device": "cpu", "test": str(files["test"]), "lines": str(run / "errors.jsonl")}
    about: dict[str, Any] = {"epochs": options.epochs, "batch_size": batch}
    arguments: list[str] = []
    if part == "mace":
        arguments = mace_arguments(str(run), files["train"], files["validation"], options.epochs, batch)
        about["arguments"] = " ".join(MACE.split())
    elif part == "mlpot":
        watch |= {
            "recipe": str(options.recipe.resolve()),
            "change": {"fit": {"epochs": options.epochs}},
            "run": str(run),
        }
        about = {"epochs": options.epochs, "recipe": options.recipe.name}
    else:
        _, layers, degree = part.split("-")
        watch |= {name: str(path) for name, path in files.items()}
        watch |= {"layers": int(layers), "degree": int(degree), **about, "run": str(run)}
    (run / "about.json").write_text(json.dumps(about))
    name = part.split("-")[0]
    script = HERE / "peers" / f"{name}_train.py"
    with (run / "train.log").open("a") as log:
        subprocess.run(
            [interpreter(name), "-W", "ignore", script, json.dumps(watch), *arguments], check=True,
            cwd=HERE.parent, stdout=log, stderr=log, env=environment(1, options.allocator),
        )  # fmt: skip


def turns(options: argparse.Namespace) -> dict[str, Any]:
    """Let mlpot and mace-torch train epochs in turns; return seconds per epoch of all frames."""
    origin = machine(1, "cpu", options.allocator)
    files = frames()
    atoms = {name: sum(len(a) for a in ase.io.read(files[name], ":")) for name in ("train", "turns")}
    scale = atoms["train"] / atoms["turns"]
    scratch = RUNS / f"turns-{options.rounds}"
    shutil.rmtree(scratch, ignore_errors=True)
    change = {
        "data": {"train": str(files["turns"]), "validation": None},
        "fit": {"epochs": options.rounds + 1},
    }
    ours = {
        "turns": True,
        "recipe": str(options.recipe.resolve()),
        "change": change,
        "run": str(scratch / "mlpot"),
    }
    arguments = mace_arguments(
        str(scratch / "mace"), files["turns"], files["one"], options.rounds + 1, options.batch_size
    )
    slower = ours | {"change": {**change, "hardware": {"native": False}}, "run": str(scratch / "autograd")}
    workers = {
        "mlpot": Worker(Contestant("mlpot", "mlpot", "mlpot_train.py", ours), allocator=options.allocator),
        "mlpot, autograd": Worker(
            Contestant("mlpot, autograd", "mlpot", "mlpot_train.py", slower), allocator=options.allocator
        ),
        "mace-torch": Worker(
            Contestant("mace-torch", "mace", "mace_train.py", {"turns": True}),
            allocator=options.allocator,
            arguments=tuple(arguments),
        ),
    }
    for worker in workers.values():
        worker.ask()
    rounds = [
        {label: scale * worker.ask()["seconds"] for label, worker in workers.items()}
        for _ in range(options.rounds)
    ]
    for worker in workers.values():
        worker.close()
    return {
        **origin,
        "frames_of_a_turn": len(ase.io.read(files["turns"], ":")),
        "rounds": options.rounds,
        "recipe": options.recipe.name,
        "seconds": {label: middle([row[label] for row in rounds]) for label in workers},
        "ratio": middle([row["mace-torch"] / row["mlpot"] for row in rounds]),
        "ratio_autograd": middle([row["mlpot, autograd"] / row["mlpot"] for row in rounds]),
    }


def curve(run: Path) -> dict[str, Any]:
    """Return the errors along a run, and the epochs it needed; an epoch run twice counts once."""
    rows = {row["epoch"]: row for row in map(json.loads, (run / "errors.jsonl").read_text().splitlines())}
    ordered = [rows[epoch] for epoch in sorted(rows)]
    reached = {
        f"{target:g}": next((row["epoch"] for row in ordered if row["forces_mae"] <= target), None)
        for target in TARGETS
    }
    return {
        **json.loads((run / "about.json").read_text()),
        "done": ordered[-1]["epoch"],
        "last": ordered[-1],
        "cpu_seconds_per_epoch": statistics.median(
            after["cpu"] - before["cpu"]
            for before, after in zip([{"cpu": 0.0}, *ordered], ordered, strict=False)
        ),
        "reached": reached,
        "forces_mae": [row["forces_mae"] for row in ordered],
        "energy_mae": [row["energy_mae"] for row in ordered],
    }


def collect(result: dict[str, Any]) -> dict[str, Any]:
    """Put together what there is; ``minutes`` to an error where seconds per epoch were taken in turns."""
    for run in sorted(path.parent for path in RUNS.glob("*/errors.jsonl")):
        result["curves"][run.name] = curve(run)
    seconds = result.get("turns", {}).get("seconds", {})
    for label, own in result["curves"].items():
        taken = seconds.get("mace-torch" if label == "mace" else "mlpot" if label.startswith("mlpot") else "")
        if taken:
            own["minutes"] = {
                target: epochs and epochs * taken["median"] / 60 for target, epochs in own["reached"].items()
            }
    return result


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    heads = "".join(f"{f'to {target:g}':>9} {'minutes':>8}" for target in TARGETS)
    print("si_test, meV/Å and meV/atom; epochs and minutes to a force MAE")
    print(f"{'':14} {'epochs':>6} {'force MAE':>9} {'RMSE':>6} {'energy':>7} {heads}")
    for label, own in result["curves"].items():
        last, cells = own["last"], ""
        for target in map("{:g}".format, TARGETS):
            epochs, minutes = own["reached"][target], own.get("minutes", {}).get(target)
            cells += f"{epochs or '-':>9} {f'{minutes:.1f}' if minutes else '-':>8}"
        errors = f"{last['forces_mae']:>9.1f} {last['forces_rmse']:>6.1f} {last['energy_mae']:>7.2f}"
        print(f"{label:14} {own['done']:>6} {errors} {cells}")
    if "turns" in result:
        for label, taken in result["turns"]["seconds"].items():
            print(f"{label}: {taken['median']:.1f} s per epoch ({taken['min']:.1f} to {taken['max']:.1f})")
        ratio = result["turns"]["ratio"]
        spread = f"{ratio['min']:.1f} to {ratio['max']:.1f}"
        print(f"an epoch of mlpot is {ratio['median']:.1f} times faster ({spread})")


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast mlpot and its peers learn silicon.")
    peers = ["mace", "nequip-2-1", "nequip-3-1", "nequip-3-2"]
    parser.add_argument("part", choices=["mlpot", *peers, "turns", "table"])
    parser.add_argument("--epochs", type=int, help="default: 40 for mlpot, 100 for the peers")
    parser.add_argument("--batch-size", type=int, default=5, help="of the peers")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="of mlpot")
    parser.add_argument("--label", help="name of a run of mlpot (default: mlpot-EPOCHS)")
    parser.add_argument("--rounds", type=int, default=3, help="of turns")
    parser.add_argument("--allocator", choices=list(ALLOCATORS), default="kept")
    options = parser.parse_args()
    options.epochs = options.epochs or (40 if options.part == "mlpot" else 100)
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"curves": {}}
    if options.part == "turns":
        result["turns"] = turns(options)
    elif options.part != "table":
        learn(options.part, options)
    result = collect(result)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(result)
    print(RESULT)


if __name__ == "__main__":
    main()
