"""What the shipped silicon and germanium are worth beyond their force errors.

    python benchmarks/shipped_models.py [--models si ge] [--runs runs/shipped]

Of each model, by the commands a user has: all properties beside PBE and experiment, the survival of
64 atoms for 100 ps (5 seeds, 5 temperatures), the drift of the energy at constant energy near 300 K
with steps of 1 fs, and the radial distribution of the liquid beside that of the AIMD frames of mlearn.
Commands that are done are not run again. Writes ``benchmarks/results/shipped_models.json`` and the
pages ``docs/reports/MODEL.html``. Needs ``../shared`` and two to three hours of one core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase.build import bulk

from mlpot.data.files import read_frames
from mlpot.observables.radial import radial_distance, radial_distribution
from mlpot.properties.report import value_table

HERE = Path(__file__).resolve().parent
MLEARN = HERE.parents[1] / "shared" / "data" / "mlearn"
#: Element, equilibrium lattice constant of the labels (Å), and the liquid group of mlearn.
MODELS = {"si": ("Si", 5.4687, "AIMD-NVT_2530K", 2530), "ge": ("Ge", 5.783, "AIMD-NVT_1816K", 1816)}
TEMPERATURES = (300, 600, 900, 1200, 1500)


def mlpot(*words: object, done: Path, record: Path | None = None) -> None:
    """Run a command unless what it makes is there; keep its JSON in ``record``."""
    if done.exists():
        return
    command = [str(Path(sys.executable).with_name("mlpot")), *map(str, words)]
    print("mlpot", *words, flush=True)
    if record is None:
        subprocess.run(command, check=True)
        return
    output = subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout
    record.write_text(output, encoding="utf-8")


def run(model: str, folder: Path) -> None:
    """Run all commands for one model."""
    element, constant, _, temperature = MODELS[model]
    folder.mkdir(parents=True, exist_ok=True)
    crystal, aimd, liquid = folder / "diamond.xyz", folder / "aimd.xyz", folder / "liquid.xyz"
    ase.io.write(crystal, bulk(element, "diamond", a=constant, cubic=True).repeat(2))
    ase.io.write(aimd, aimd_frames(model))
    properties = folder / "properties"
    mlpot(
        "properties", model, "--element", element, "--set", "full", "--out", properties,
        done=properties / "properties.json",
    )  # fmt: skip
    # From the perfect crystal half of the kinetic energy becomes potential energy.
    nve = folder / "nve.json"
    mlpot(
        "md", model, "--structure", crystal, "--ensemble", "nve", "--temperature", 600, "--time", 50,
        "--timestep", 1, "--interval", 50, "--out", folder / "nve.xyz", done=nve, record=nve,
    )  # fmt: skip
    moved = folder / "liquid.json"
    mlpot(
        "md", model, "--structure", f"{aimd}@0", "--temperature", temperature, "--time", 30,
        "--timestep", 2, "--interval", 25, "--out", liquid, done=moved, record=moved,
    )  # fmt: skip
    observed = folder / "liquid"
    mlpot(
        "observe", liquid, "--rdf", "--adf", "--coordination", "--frames", "100:", "--reference", aimd,
        "--r-max", reach(model), "--bins", 80, "--out", observed, done=observed / "observables.json",
    )  # fmt: skip
    stable = folder / "stability"
    mlpot(
        "stability", model, "--structure", crystal, "--temperatures", *TEMPERATURES, "--seeds", 5,
        "--time", 100, "--timestep", 2, "--batched", "--out", stable, done=stable / "stability.json",
    )  # fmt: skip
    page = HERE.parent / "docs" / "reports" / f"{model}.html"
    page.parent.mkdir(exist_ok=True)
    mlpot(
        "report", model, properties, stable, observed, "--time", "--out", page,
        done=folder / "never", record=folder / "report.json",
    )  # fmt: skip


def aimd_frames(model: str) -> list[ase.Atoms]:
    """Return the liquid frames of mlearn that the model is compared with."""
    element, _, group, _ = MODELS[model]
    frames = read_frames(MLEARN / f"{element.lower()}_train.xyz")
    return [frame.to_atoms() for frame in frames if frame.info["config_type"] == group]


def reach(model: str) -> float:
    """Return half of the cell of the AIMD frames, Å, rounded down to 0.1."""
    return float(np.floor(5.0 * aimd_frames(model)[0].cell.lengths().min()) / 10.0)


def summary(model: str, folder: Path) -> dict[str, Any]:
    """Return what the tables show."""
    properties = read(folder / "properties" / "properties.json")
    stability = read(folder / "stability" / "stability.json")
    nve, rdf = read(folder / "nve.json"), read(folder / "liquid" / "observables.json")["observables"]["rdf"]
    head, rows, _ = value_table(properties)
    frames = aimd_frames(model)
    (r, first), (_, second) = (
        radial_distribution(part, reach(model), 80) for part in (frames[::2], frames[1::2])
    )
    return {
        "element": MODELS[model][0],
        "properties": {"head": head, "rows": rows},
        "without_value": [
            f"{record['name']}: {record['reason']}" for record in properties["records"] if record["reason"]
        ],
        "stability": [
            {
                "temperature_K": one["temperature_K"],
                "survived": sum(run["censored"] for run in one["runs"]),
                "runs": len(one["runs"]),
                "survival": one["survival"],
                "survival_95": one["survival_95"],
                "reasons": [run["reason"] for run in one["runs"] if run["reason"] is not None],
            }
            for one in stability["temperatures"]
        ],
        "nve": {
            key: nve[key] for key in ("conserved_drift_meV_per_atom_per_ps", "mean_temperature_K", "time_ps")
        },
        "liquid": {
            "group": MODELS[model][2],
            "frames": len(frames),
            "wasserstein": rdf["wasserstein_angstrom"],
            "between_halves_of_the_frames": radial_distance(r, first, second),
        },
    }


def read(path: Path) -> Any:
    """Return a JSON document."""
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description="The shipped models beyond their force errors.")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--runs", type=Path, default=Path("runs/shipped"))
    options = parser.parse_args()
    target = HERE / "results" / "shipped_models.json"
    result = read(target) if target.exists() else {}
    for model in options.models:
        run(model, options.runs / model)
        result[model] = summary(model, options.runs / model)
        target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(
        json.dumps(
            {model: {"nve": result[model]["nve"], "liquid": result[model]["liquid"]} for model in result}
        )
    )


if __name__ == "__main__":
    main()
