"""Scratch against transfer on the same few frames, several seeds, one hold-out nobody saw.

For every seed: a donor is trained on its own element; ``n`` frames of the target are drawn;
from these same frames come the arms

``scratch``
    a new potential, at each of several learning rates; the rate kept is the best on the rest of
    the target's frames, which are neither trained on nor held out. Nobody with ``n`` labels has
    those, so this favours scratch.
``plain``
    the donor as it is, only the offsets re-estimated.
``reduced``
    the donor in reduced units: two scalars fitted to the forces of the ``n`` frames.
``transfer``
    all weights fine-tuned from ``reduced``.

Every arm is judged once, on the hold-out. Results are kept per arm and seed in the run
directory, and a study that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpot.atomic import replacing
from mlpot.data.frame import Frame
from mlpot.data.split import draw_frames
from mlpot.model.file import load_model, save_model
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential
from mlpot.training.errors import errors_by_group
from mlpot.training.fit import fit
from mlpot.training.initialise import new_potential
from mlpot.training.scales import Scales
from mlpot.training.settings import FitSettings
from mlpot.transfer.carry import carry

#: The arms, in the order they are reported.
ARMS = ("scratch", "plain", "reduced", "transfer")


@dataclass(frozen=True)
class TargetFrames:
    """Frames of the target: a pool to draw from and a hold-out that no arm ever sees."""

    pool: Sequence[Frame]
    holdout: Sequence[Frame]
    stratify: tuple[str, ...] = ()

    def draw(self, n: int, seed: int) -> tuple[list[Frame], list[Frame]]:
        """Return ``n`` frames to train on and the rest of the pool."""
        chosen = draw_frames(self.pool, n, seed, self.stratify).tolist()
        rest = set(range(len(self.pool))) - set(chosen)
        return [self.pool[i] for i in chosen], [self.pool[i] for i in sorted(rest)]


class Stage:
    """Pieces of work under one directory, each with a model and a record; each done once.

    Parameters
    ----------
    directory
        Of all pieces; each has a folder of its name in it.
    say
        Called with a line when a piece begins.
    provenance
        Noted in every model file.
    progress
        Show a progress bar for every fit.
    """

    def __init__(
        self,
        directory: Path,
        say: Callable[[str], None],
        provenance: dict[str, Any] | None = None,
        progress: bool = False,
    ) -> None:
        self.directory, self.say, self.progress = directory, say, progress
        self.provenance = provenance or {}

    def __call__(self, name: str, work: Callable[[Path], tuple[Potential, dict[str, Any]]]) -> dict[str, Any]:
        """Return the record of a stage, computing it if it is not there yet."""
        directory = self.directory / name
        record = directory / "record.json"
        if not record.exists():
            self.say(f"{self.directory.name}: {name}")
            directory.mkdir(parents=True, exist_ok=True)
            model, result = work(directory)
            model.provenance = {**model.provenance, **self.provenance, "arm": name}
            save_model(model, directory / "model.safetensors")
            with replacing(record) as partial:
                partial.write_text(json.dumps(result, indent=1))
            errors = (result.get("holdout") or result.get("validation") or {}).get("all")
            if errors and errors["forces_mae"] is not None:
                where = "hold-out" if "holdout" in result else "validation"
                self.say(f"{self.directory.name}: {name}: {errors['forces_mae']:.1f} meV/Å on the {where}")
        return json.loads(record.read_text())

    def model(self, name: str) -> Potential:
        """Return the model of a finished stage."""
        return load_model(self.directory / name / "model.safetensors")


def judge(model: Potential, frames: Sequence[Frame], key: str | None = None) -> dict[str, Any]:
    """Return error summaries as plain values, over all frames and by an info key."""
    return {name: summary.asdict() for name, summary in errors_by_group(model, frames, key).items()}


def train_donor(
    stage: Stage,
    train: Sequence[Frame],
    validation: Sequence[Frame],
    test: Sequence[Frame],
    elements: Sequence[str],
    config: NetworkConfig,
    settings: FitSettings,
) -> dict[str, Any]:
    """Train the donor of one seed; its record holds errors on validation and test frames."""

    def work(directory: Path) -> tuple[Potential, dict[str, Any]]:
        model = new_potential(train, elements, config, seed=settings.seed)
        result = fit(
            model, train, validation, settings, directory / "fit", resume=True, progress=stage.progress
        )
        record: dict[str, Any] = {"seconds": result.seconds, "frames": len(train)}
        if validation:
            record["validation"] = judge(model, validation)
        if test:
            record["test"] = judge(model, test, "group")
        return model, record

    return stage("donor", work)


def scratch_arm(
    stage: Stage,
    train: Sequence[Frame],
    rest: Sequence[Frame],
    holdout: Sequence[Frame],
    element: str,
    config: NetworkConfig,
    settings: FitSettings,
    rates: Sequence[tuple[float, float]],
) -> dict[str, Any]:
    """Train from scratch at every pair of rates (Adam, Muon); keep the best on ``rest``."""

    def work(directory: Path) -> tuple[Potential, dict[str, Any]]:
        tried: list[dict[str, float]] = []
        best: Potential | None = None
        for rate, matrix_rate in rates:
            model = new_potential(train, [element], config, seed=settings.seed)
            chosen = settings.model_copy(update={"rate": rate, "matrix_rate": matrix_rate})
            result = fit(
                model,
                train,
                [],
                chosen,
                directory / f"rate-{rate:g}-{matrix_rate:g}",
                resume=True,
                progress=stage.progress,
            )
            error = judge(model, rest)["all"]["forces_mae"]
            if best is None or error < min(entry["forces_mae"] for entry in tried):
                best = model
            tried.append(
                {"rate": rate, "matrix_rate": matrix_rate, "forces_mae": error, "seconds": result.seconds}
            )
        assert best is not None
        return best, {"rates": tried, "holdout": judge(best, holdout, "group")}

    return stage("scratch", work)


def transfer_arms(
    stage: Stage,
    train: Sequence[Frame],
    holdout: Sequence[Frame],
    element: str,
    settings: FitSettings,
) -> dict[str, dict[str, Any]]:
    """Carry the donor of this seed: as it is, in reduced units, and fine-tuned."""
    donor = stage.model("donor")

    def plain(directory: Path) -> tuple[Potential, dict[str, Any]]:
        carried = carry(donor, [element], train, scales=Scales(1.0, 1.0, "none"))
        return carried.model, {"holdout": judge(carried.model, holdout, "group")}

    def reduced(directory: Path) -> tuple[Potential, dict[str, Any]]:
        carried = carry(donor, [element], train)
        record = {"scales": carried.scales[element].asdict(), "report": carried.report.asdict()}
        return carried.model, record | {"holdout": judge(carried.model, holdout, "group")}

    def transfer(directory: Path) -> tuple[Potential, dict[str, Any]]:
        model = stage.model("reduced")
        result = fit(model, train, [], settings, directory / "fit", resume=True, progress=stage.progress)
        return model, {"seconds": result.seconds, "holdout": judge(model, holdout, "group")}

    return {
        "plain": stage("plain", plain),
        "reduced": stage("reduced", reduced),
        "transfer": stage("transfer", transfer),
    }
