"""Learn Stillinger-Weber silicon from snapshots without labels, and carry what was learned.

    python benchmarks/score_matching.py [--run runs/score] [--only sigmas sizes transfers] [--seeds 0 1 2]

Writes ``benchmarks/results/score_matching.json``. The snapshots are those of
``recipes/score/snapshots.yaml``, the judges' frames those of ``recipes/score/judge.yaml``; both are
generated if they are not there. Every training is a run directory, so that a killed benchmark
continues. A few minutes of one core for each seed; three for the snapshots with LAMMPS, an hour without.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "score_matching.json"
RECIPES = ROOT / "recipes" / "score"
TEMPERATURES = (300, 1000, 1500)
SEEDS = (0, 1, 2)
#: Epochs by number of snapshots.
EPOCHS = {40: 24, 160: 10, 640: 5}
#: Noise in Å, in pairs and in independent draws.
SWEEP = {True: (0.003, 0.01, 0.03, 0.1), False: (0.01,)}
FEW = (3, 10)
#: Where germanium starts from, and where the scales come from.
STARTS = {
    "scratch": "from scratch",
    "score": "silicon from snapshots",
    "score, properties": "silicon from snapshots, `scales: properties`",
    "forces": "silicon from forces",
    "forces, properties": "silicon from forces, `scales: properties`",
}
#: Gradient steps of a transfer, and frames in each.
STEPS, BATCH = 300, 2


def frames_of(run: Path, name: str) -> list[Any]:
    """Return generated frames, labelled."""
    from mlpot.data.files import read_frames

    path = run / f"{name}.xyz"
    if not path.exists():
        command = [sys.executable, "-m", "mlpot.cli.main", "generate", str(RECIPES / f"{name}.yaml")]
        subprocess.run([*command, "--out", str(path)], check=True)
    return read_frames(path)


def trained(run: Path, name: str, changes: dict[str, Any]) -> Path:
    """Train by the shipped recipe with changes, unless it was done; return the model."""
    from mlpot.recipe import parse_recipe, read_yaml
    from mlpot.training.run import TrainRecipe, train

    raw = read_yaml(RECIPES / "sw_si.yaml")
    raw["data"] |= {"train": str(run / "snapshots.xyz")}
    for key, value in changes.items():
        if value is None:
            raw.pop(key, None)
        else:
            raw[key] = raw[key] | value if isinstance(value, dict) and key in raw else value
    model = run / name / "model.safetensors"
    if not model.exists():
        train(parse_recipe(TrainRecipe, raw, name), run / name, resume=True)
    return model


def judged(model: Path, frames: Sequence[Any]) -> dict[str, Any]:
    """Return errors by temperature: forces, energies up to a constant, and the mean pressure."""
    import numpy as np

    from mlpot.conventions import GPA
    from mlpot.model.file import load_model

    potential, outcome = load_model(model), {}
    for temperature in TEMPERATURES:
        own = [frame for frame in frames if frame.info["temperature_K"] == temperature]
        predicted = potential.predict(own)
        forces = [p.forces - f.forces for p, f in zip(predicted, own, strict=True)]
        energies = [(p.energy - f.energy) / len(f) for p, f in zip(predicted, own, strict=True)]
        pressures = [-np.trace(p.stress) / 3 / GPA for p in predicted]
        outcome[str(temperature)] = {
            "forces_rmse": 1e3 * float(np.sqrt(np.mean(np.square(forces)))),
            "energy_spread": 1e3 * float(np.std(energies)),
            "pressure": float(np.mean(pressures)),
        }
    return outcome


def truth(frames: Sequence[Any]) -> dict[str, Any]:
    """Return what a model without forces is off by, the spread of energies, and the mean pressure."""
    import numpy as np

    from mlpot.conventions import GPA

    outcome = {}
    for temperature in TEMPERATURES:
        own = [frame for frame in frames if frame.info["temperature_K"] == temperature]
        outcome[str(temperature)] = {
            "forces_rmse": 1e3 * float(np.sqrt(np.mean([frame.forces**2 for frame in own]))),
            "energy_spread": 1e3 * float(np.std([frame.energy / len(frame) for frame in own])),
            "pressure": float(np.mean([-np.trace(frame.stress) / 3 / GPA for frame in own])),
        }
    return outcome


def springs(snapshots: Sequence[Any], frames: Sequence[Any], temperature: float) -> dict[str, Any]:
    r"""Return the force errors of the harmonic crystal with the covariance of the snapshots.

    Its force constants are :math:`k_B T_0 C^+`, with the covariance of displacements averaged over
    the lattice translations of the cell: the oldest way from positions to forces.
    """
    import numpy as np
    from ase.build import bulk

    from mlpot.conventions import KB

    cell = snapshots[0].cell
    sites = bulk("Si", "diamond", a=cell[0, 0] / 2, cubic=True).repeat(2).positions
    inverse = np.linalg.inv(cell)

    def displacements(frame: Any) -> np.ndarray:
        scaled = (frame.positions - sites) @ inverse
        scaled -= scaled[0]  # the crystal as a whole drifts, by several Å
        moved = (scaled - np.round(scaled)) @ cell
        return moved - moved.mean(axis=0)

    def place(positions: np.ndarray) -> np.ndarray:
        scaled = (positions[:, None] - sites[None]) @ inverse
        distances = np.linalg.norm((scaled - np.round(scaled)) @ cell, axis=2)
        return distances.argmin(axis=1)

    u = np.array([displacements(frame) for frame in snapshots])
    # Atoms 0 and 1 of diamond are of different sublattices; each translation takes site 0 to one of its own.
    vectors = [site - sites[0] for site in sites]
    orders = [place(sites + vector) for vector in vectors]
    orders = [
        order
        for order, vector in zip(orders, vectors, strict=True)
        if np.allclose(np.sort(order), np.arange(len(sites))) and _is_translation(sites, vector, order, cell)
    ]
    flat = np.concatenate([u[:, order].reshape(len(u), -1) for order in orders])
    constants = KB * temperature * np.linalg.pinv(flat.T @ flat / len(flat), rcond=1e-6, hermitian=True)
    outcome = {}
    for own in TEMPERATURES:
        errors = [
            -(constants @ displacements(frame).ravel()).reshape(-1, 3) - frame.forces
            for frame in frames
            if frame.info["temperature_K"] == own
        ]
        outcome[str(own)] = {"forces_rmse": 1e3 * float(np.sqrt(np.mean(np.square(errors))))}
    return outcome


def _is_translation(sites: Any, vector: Any, order: Any, cell: Any) -> bool:
    import numpy as np

    scaled = (sites + vector - sites[order]) @ np.linalg.inv(cell)
    return bool(np.abs(scaled - np.round(scaled)).max() < 1e-6)


def sigmas(run: Path, judges: Sequence[Any], seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield what each amount of noise teaches, in pairs and in independent draws of the same cost."""
    for pairs, amounts in SWEEP.items():
        for sigma in amounts:
            score = {"sigma": sigma, "antithetic": pairs, "draws": 1 if pairs else 2}
            name = f"sigma_{sigma:g}_{'pairs' if pairs else 'single'}"
            if pairs and sigma == 0.003:
                name = "score_160_0"  # it is that of the shipped recipe
            changes = {"score": score, "data": {"frames": 160}, "fit": {"epochs": EPOCHS[160]}}
            errors = judged(trained(run, name, changes), judges)
            yield {"part": "sigmas", "sigma": sigma, "pairs": pairs, "errors": errors}


def sizes(run: Path, judges: Sequence[Any], seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield what numbers of snapshots teach by the score, by their labels, and by their covariance."""
    snapshots = frames_of(run, "snapshots")
    labelled = {
        "loss": None,
        "score": None,
        "offsets": {"Si": 0.0},
        "data": {"labels": {"energy": None, "stress": None}},
    }
    squared = {"kind": "squared", **{name: {"weight": 0.0, "unit": 1.0} for name in ("energy", "stress")}}
    for seed in seeds:
        for number, epochs in EPOCHS.items():
            data, fit = {"frames": number, "seed": seed}, {"epochs": epochs, "seed": seed}
            forces = {**labelled, "data": labelled["data"] | data, "fit": fit | {"loss": squared}}
            some = snapshots[seed * 40 : seed * 40 + number]
            outcomes = {
                "score": judged(trained(run, f"score_{number}_{seed}", {"data": data, "fit": fit}), judges),
                "forces": judged(trained(run, f"forces_{number}_{seed}", forces), judges),
                "covariance": springs(some, judges, 1000.0),
            }
            for way, errors in outcomes.items():
                yield {"part": "sizes", "way": way, "frames": number, "seed": seed, "errors": errors}


def transfers(run: Path, judges: Sequence[Any], seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield what few labelled frames of germanium teach from scratch and from what silicon taught."""
    from mlpot.data.files import read_frames, write_frames
    from mlpot.data.split import split_frames
    from mlpot.model.file import load_model
    from mlpot.recipe import parse_recipe
    from mlpot.training.errors import summarise
    from mlpot.training.run import TrainRecipe, train
    from mlpot.transfer.run import TransferRecipe, transfer

    frames = read_frames(ROOT / "data" / "sw" / "ge.xyz")
    split = split_frames(frames, 0.25, 0, ["block"], None, ["group"])
    held_out, pool = [frames[i] for i in split.holdout], run / "ge_pool.xyz"
    crystal = [frame for frame in held_out if frame.info["config_type"] == "md-solid"]
    if not pool.exists():
        write_frames(pool, [frames[i] for i in split.train])
    for seed in seeds:
        for number in FEW:
            drawn = {"train": str(pool), "frames": number, "stratify": ["group"], "seed": seed}
            data, batches = {**drawn, "validation": None}, -(-number // BATCH)
            fit = {"epochs": STEPS // batches, "batch_size": BATCH, "seed": seed}
            for way in STARTS:
                errors = {}
                source, _, scales = way.partition(", ")
                before = {} if way == "scratch" else {"zero-shot": {"epochs": 0}}
                stages: dict[str, dict[str, Any]] = {**before, "fine-tuned": fit}
                for stage, own in stages.items():
                    out = run / f"ge_{way.replace(', ', '_')}_{number}_{seed}_{stage}"
                    model = out / "model.safetensors"
                    raw: dict[str, Any] = {"data": data, "fit": own}
                    if not model.exists() and way == "scratch":
                        raw["model"] = trained_shape()
                        train(parse_recipe(TrainRecipe, raw, str(out)), out, resume=True)
                    elif not model.exists():
                        donor = run / f"{source}_{max(EPOCHS)}_{seed}" / "model.safetensors"
                        raw |= {"model": str(donor), "targets": "Ge", "scales": scales or "fit"}
                        transfer(parse_recipe(TransferRecipe, raw, str(out)), out, resume=True)
                    potential = load_model(model)
                    errors[stage] = {
                        "all": summarise(held_out, potential.predict(held_out)).asdict(),
                        "crystal": summarise(crystal, potential.predict(crystal)).asdict(),
                    }
                yield {"part": "transfers", "way": way, "frames": number, "seed": seed, "errors": errors}


def trained_shape() -> dict[str, Any]:
    """Return the shape of the network in the shipped recipe."""
    from mlpot.recipe import read_yaml

    return read_yaml(RECIPES / "sw_si.yaml")["model"]


PARTS = {"sizes": sizes, "transfers": transfers, "sigmas": sigmas}


def page() -> str:
    """Return the section of docs/score.md."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    by_part = {part: [entry for entry in result["entries"] if entry["part"] == part] for part in PARTS}
    return "\n".join(
        [
            "`python benchmarks/score_matching.py`: 64 atoms at constant volume, judged on other",
            "trajectories; mean ± standard deviation over seeds, which draw snapshots, weights and noise.",
            "",
            *_sizes(by_part["sizes"], result["zero"]),
            "",
            *_sigmas(by_part["sigmas"], result["zero"]),
            "",
            *_transfers(by_part["transfers"]),
        ]
    )


_WAYS = {
    "score": "`loss: score`, no labels",
    "forces": "forces of the same number of frames",
    "covariance": "covariance of the displacements, no labels",
}


def _told(values: Sequence[float], digits: int = 0) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def _sizes(entries: Sequence[dict[str, Any]], zero: dict[str, Any]) -> list[str]:
    """Return the table over numbers of snapshots."""
    heads = [f"forces at {T} K" for T in TEMPERATURES]
    lines = [
        "Force errors (RMSE, meV/Å), and at 1000 K the spread of the energy error (meV/atom) and the mean "
        "pressure (GPa):",
        "",
        f"| learned from | snapshots | seeds | {' | '.join(heads)} | energy | pressure |",
        "|---|---|---|" + "---|" * (len(heads) + 2),
    ]
    numbers = sorted({entry["frames"] for entry in entries})
    for way in ("score", "forces", "covariance"):
        for number in numbers:
            own = [e["errors"] for e in entries if (e["way"], e["frames"]) == (way, number)]
            cells = [_told([one[str(T)]["forces_rmse"] for one in own]) for T in TEMPERATURES]
            for key, digits in (("energy_spread", 1), ("pressure", 1)):
                known = way != "covariance"
                cells.append(_told([one["1000"][key] for one in own], digits) if known else "–")
            lines.append(f"| {_WAYS[way]} | {number} | {len(own)} | {' | '.join(cells)} |")
    cells = [f"{zero[str(T)]['forces_rmse']:.0f}" for T in TEMPERATURES]
    spread, pressure = zero["1000"]["energy_spread"], zero["1000"]["pressure"]
    cells += [f"{spread:.1f}", f"{pressure:.1f}"]
    lines.append(f"| no forces at all; the true pressure | – | – | {' | '.join(cells)} |")
    return lines


def _sigmas(entries: Sequence[dict[str, Any]], zero: dict[str, Any]) -> list[str]:
    """Return the table over amounts of noise."""
    from ase.units import kB

    # By equipartition: the mean force constant is <F^2> / kT, so the amplitude kT / F.
    amplitude = kB * 1000.0 / (1e-3 * zero["1000"]["forces_rmse"])
    lines = [
        "The noise, 160 snapshots, one seed, the same number of force calls (force RMSE at 1000 K, meV/Å); "
        f"the thermal amplitude √(k_BT₀/k) is {amplitude:.3f} Å:",
        "",
        "| σ (Å) | σ²k/k_BT₀ | pairs ±ε | independent draws |",
        "|---|---|---|---|",
    ]
    for sigma in sorted({entry["sigma"] for entry in entries}):
        found = {e["pairs"]: e["errors"]["1000"]["forces_rmse"] for e in entries if e["sigma"] == sigma}
        cells = [f"{found[pairs]:.0f}" if pairs in found else "–" for pairs in (True, False)]
        lines.append(f"| {sigma:g} | {(sigma / amplitude) ** 2:.2g} | {' | '.join(cells)} |")
    return lines


def _transfers(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table of transfers to germanium."""
    lines = [
        "Germanium (`data/sw/ge.xyz`: crystal, liquid, strained, shaken) from few labelled frames, "
        f"{STEPS} gradient steps each, by `mlpot transfer` from the potential of {max(EPOCHS)} snapshots of "
        "that seed. RMSE on held-out frames: forces, meV/Å, before any step and after; energies, meV/atom.",
        "",
        "| start | labelled frames | seeds | crystal, before | all, before | crystal | all | energies, all |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number in sorted({entry["frames"] for entry in entries}):
        for way, start in STARTS.items():
            own = [e["errors"] for e in entries if (e["way"], e["frames"]) == (way, number)]
            if not own:
                continue
            cells = []
            for stage in ("zero-shot", "fine-tuned"):
                for group in ("crystal", "all"):
                    known = stage in own[0]
                    cells.append(_told([e[stage][group]["forces_rmse"] for e in own]) if known else "–")
            cells.append(_told([e["fine-tuned"]["all"]["energy_rmse"] for e in own], 1))
            lines.append(f"| {start} | {number} | {len(own)} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Do every part, write after each training."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "score")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    arguments.run.mkdir(parents=True, exist_ok=True)
    frames_of(arguments.run, "snapshots")
    judges = frames_of(arguments.run, "judge")
    before = json.loads(RESULT.read_text(encoding="utf-8"))["entries"] if RESULT.exists() else []
    entries = [entry for entry in before if entry["part"] not in arguments.only]
    for part in arguments.only:
        for entry in PARTS[part](arguments.run, judges, arguments.seeds):
            entries.append(entry)
            document = {"zero": truth(judges), "epochs": EPOCHS, "steps": STEPS, "entries": entries}
            RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            print(json.dumps(entry), flush=True)


if __name__ == "__main__":
    main()
