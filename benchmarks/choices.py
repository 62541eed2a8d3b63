"""The measurements behind the defaults, one change at a time (docs/decisions.md).

    python benchmarks/choices.py architecture [--epochs 8]
    python benchmarks/choices.py fine-tuning [--study runs/mlearn_si_to_ge]

``architecture`` trains on a part of mlearn's ``si_train`` and judges on the other part;
``fine-tuning`` transfers to ten frames of ``ge_train`` and judges on frames outside the hold-out
of the study, which no choice ever sees. Neither touches ``si_test``. Needs ``../shared``; one
thread; a JSON file each in ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

from mlpot.data.frame import Frame
from mlpot.data.section import DataSection
from mlpot.data.split import draw_frames
from mlpot.model.file import load_model
from mlpot.model.network import NetworkConfig
from mlpot.model.radial import RadialBasis
from mlpot.studies.recipe import load_study
from mlpot.training.errors import errors_by_group
from mlpot.training.fit import fit
from mlpot.training.initialise import new_potential
from mlpot.training.optimizer import MuonAdam
from mlpot.training.settings import FitSettings, LossSettings
from mlpot.transfer.carry import FineTuning, carry

HERE = Path(__file__).resolve().parent
STUDY = load_study(HERE.parent / "recipes/studies/mlearn_si_to_ge.yaml")
#: Frames of germanium in the fine-tuning.
FEW = 10
BASE = FitSettings(epochs=8)
CONFIG = NetworkConfig()


def report(
    results: list[dict], name: str, what: str, model: torch.nn.Module, frames: Sequence[Frame]
) -> None:
    """Judge a model, print a line, and write all results so far."""
    errors = errors_by_group(model, frames)["all"].asdict()
    results.append({"choice": what, **errors})
    print(
        f"{what:42} forces {errors['forces_mae']:6.1f} meV/Å  energy {errors['energy_mae']:5.2f} meV/atom",
        flush=True,
    )
    path = HERE / "results" / f"choices_{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


def adam_for_all(model: torch.nn.Module, rate: float, *_: object) -> MuonAdam:
    """Return the optimiser with every weight in Adam's hands."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return MuonAdam([{"params": parameters, "lr": rate, "matrix": False}])


def scaled_like(power: float) -> object:
    """Return a replacement of ``RadialBasis.set_scale`` that brings function n to n^-power."""
    original = RadialBasis.set_scale

    def set_scale(self: RadialBasis, mean_squares: torch.Tensor) -> None:
        original(self, mean_squares)
        orders = torch.arange(1, self.size + 1, dtype=torch.float64)
        self.scale.mul_(orders ** (1.0 - power))

    return mock.patch.object(RadialBasis, "set_scale", set_scale)


def architecture(epochs: int) -> None:
    """Train variants on silicon."""
    section = STUDY.donors["si"].data.model_dump()
    section["validation"] |= {"fraction": 0.15, "seed": 1}
    sets = DataSection.model_validate(section).load()
    base = BASE.model_copy(update={"epochs": epochs})
    adam = mock.patch("mlpot.training.module.build_optimizer", adam_for_all)
    nothing = mock.MagicMock()
    variants: list[tuple[str, NetworkConfig, FitSettings, object]] = [
        ("default: 32 channels, Muon 0.02, Adam 5e-3", CONFIG, base, nothing),
        ("Adam for everything, 5e-3", CONFIG, base, adam),
        ("Adam for everything, 1e-2", CONFIG, base.model_copy(update={"rate": 1e-2}), adam),
        ("Adam for everything, 2e-3", CONFIG, base.model_copy(update={"rate": 2e-3}), adam),
        ("Muon 0.005", CONFIG, base.model_copy(update={"matrix_rate": 0.005}), nothing),
        ("Muon 0.05", CONFIG, base.model_copy(update={"matrix_rate": 0.05}), nothing),
        ("radial functions all of unit size", CONFIG, base, scaled_like(0.0)),
        ("radial functions of size 1/n²", CONFIG, base, scaled_like(2.0)),
        ("batches of 8", CONFIG, base.model_copy(update={"batch_size": 8}), nothing),
        ("batches of 2", CONFIG, base.model_copy(update={"batch_size": 2}), nothing),
        ("16 channels", replace(CONFIG, channels=16, hidden=16), base, nothing),
        ("64 channels", replace(CONFIG, channels=64, hidden=64), base, nothing),
        ("three layers", replace(CONFIG, layers=3), base, nothing),
    ]
    results: list[dict] = []
    for what, config, settings, patch in variants:
        with patch, tempfile.TemporaryDirectory() as run:  # type: ignore[attr-defined]
            model = new_potential(sets.train, ["Si"], config)
            fit(model, sets.train, [], settings, run)
        report(results, "architecture", f"{what}", model, sets.validation)


def fine_tuning(study: Path) -> None:
    """Fine-tune on ten frames of germanium, three seeds, in several ways."""
    pool = STUDY.target.data.load().train
    base = FineTuning()
    heavy = LossSettings()
    variants = {
        "default": base,
        "half the epochs": base.model_copy(update={"epochs": base.epochs // 2}),
        "twice the epochs": base.model_copy(update={"epochs": 2 * base.epochs}),
        "half the rates": base.model_copy(
            update={"rate": base.rate / 2, "matrix_rate": base.matrix_rate / 2}
        ),
        "twice the rates": base.model_copy(
            update={"rate": 2 * base.rate, "matrix_rate": 2 * base.matrix_rate}
        ),
        "energies as heavy as from scratch": base.model_copy(update={"loss": heavy}),
        "four times the epochs, energies heavy": base.model_copy(
            update={"epochs": 4 * base.epochs, "loss": heavy}
        ),
    }
    results: list[dict] = []
    for what, settings in variants.items():
        for seed in STUDY.seeds:
            few = draw_frames(pool, FEW, seed, STUDY.target.data.stratify).tolist()
            train, judges = [pool[i] for i in few], [f for i, f in enumerate(pool) if i not in set(few)]
            (path,) = (study / "runs").glob(f"donor-si-seed{seed}-*/model.safetensors")
            model = carry(load_model(path), STUDY.target.elements, train).model
            with tempfile.TemporaryDirectory() as run:
                fit(model, train, [], settings.model_copy(update={"seed": seed}), run)
            report(results, "fine_tuning", f"{what}, seed {seed}", model, judges)


def main() -> None:
    parser = argparse.ArgumentParser(description="The measurements behind the defaults.")
    parser.add_argument("part", choices=["architecture", "fine-tuning"])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument(
        "--study", type=Path, default=Path("runs/mlearn_si_to_ge"), help="where the donors are"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    if options.part == "architecture":
        architecture(options.epochs)
    else:
        fine_tuning(options.study)


if __name__ == "__main__":
    main()
