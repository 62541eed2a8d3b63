"""Fit a potential to frames: a run directory that can be interrupted and resumed exactly.

A run directory holds ``model.safetensors`` (the best model by validation, or the last: see
``keep``), ``metrics.csv`` (a row per epoch), ``log.txt`` and ``checkpoints/`` (``last`` to resume
from, ``best`` for the one kept).
Checkpoints are written at the end of epochs: an interruption costs the epoch under way, and
the resumed run repeats it with the same order of batches.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging

from mlpot.data.files import count_labels
from mlpot.data.frame import LABELS, Frame
from mlpot.data.store import StoredFrames
from mlpot.engine.guards import interruptible
from mlpot.errors import DataError, RecipeError
from mlpot.model.file import save_model
from mlpot.model.potential import Potential
from mlpot.training.checkpoint import SafeCheckpointIO
from mlpot.training.hardware import Hardware
from mlpot.training.loaders import EpochShuffle, Graphs, batches
from mlpot.training.module import FitModule
from mlpot.training.optimizer import rate_factors
from mlpot.training.score import NoisyGraphs, ScoreSettings, check_snapshots, force_loss
from mlpot.training.settings import FitSettings
from mlpot.training.weights import merge


@dataclass(frozen=True)
class FitResult:
    """How a fit ended.

    Epochs done and gradient steps taken, those before a resume included; seconds this call took;
    validation errors of the model kept.
    """

    epochs: int
    steps: int
    seconds: float
    validation: dict[str, float]


class _Record(Callback):
    """Rows of ``metrics.csv`` and lines of ``log.txt``, in step with the checkpoints."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.rows = directory, []  # type: tuple[Path, list[dict[str, Any]]]
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write the row of this epoch."""
        metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if " " not in k}
        row = {
            "epoch": trainer.current_epoch + 1,
            "rate": trainer.optimizers[-1].param_groups[-1]["lr"],
            **metrics,
        }
        self.rows.append(row)
        if not trainer.is_global_zero:
            return
        with (self.directory / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(k for r in self.rows for k in r)), restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        text = "  ".join(f"{name} {value:.5g}" for name, value in row.items() if name != "epoch")
        with (self.directory / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"epoch {row['epoch']}  {time.monotonic() - self.started:.1f} s  {text}\n")

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, so that a resumed run continues the same table."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows up from a checkpoint."""
        self.rows = list(state_dict["rows"])


class _Checkpoints(ModelCheckpoint):
    """Checkpoints of a run whose directory may be moved between stop and resume."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the scores under the paths of today; Lightning forgets the best model otherwise."""
        here = Path(self.dirpath or "")

        def moved(path: str) -> str:
            return str(here / Path(path).name) if path else path

        paths = {name: moved(value) for name, value in state_dict.items() if name.endswith("_path")}
        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": best, "dirpath": str(here)})


class _Order(Callback):
    """Tells the order of frames at which epoch a resumed run goes on.

    Lightning does too, but only after the workers have been given their first batches.
    """

    def __init__(self, order: EpochShuffle) -> None:
        self.order = order

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Choose the epoch after the last finished one."""
        self.order.set_epoch(checkpoint["epoch"] + 1)


def _average(decay: float) -> WeightAveraging:
    """Return an exponential moving average of the weights that leaves frozen ones as they are, to the bit."""

    def advance(average: torch.Tensor, current: torch.Tensor, count: Any) -> torch.Tensor:
        return torch.lerp(average, current, 1.0 - decay)

    return WeightAveraging(use_buffers=False, avg_fn=advance)


def check_run(run: str | Path, resume: bool) -> bool:
    """Refuse to start where a run is already; return whether there is one to resume.

    Raises
    ------
    RecipeError
        If ``run`` holds a run and ``resume`` is false.
    """
    last = Path(run) / "checkpoints" / "last.ckpt"
    if not resume and (last.exists() or (Path(run) / "model.safetensors").exists()):
        raise RecipeError(f"{run}: holds a run already; continue it with --resume or choose another --out.")
    return last.exists()


def _fingerprint(
    potential: Potential,
    train: Sequence[Frame],
    validation: Sequence[Frame],
    settings: FitSettings,
    score: ScoreSettings | None,
) -> str:
    """Return a hash of everything a fit depends on, to refuse resuming another one."""
    digest = hashlib.sha256(settings.model_dump_json().encode())
    if score is not None:
        digest.update(score.model_dump_json().encode())
    digest.update(json.dumps(potential.config.asdict(), sort_keys=True).encode())
    trained = [name for name, parameter in potential.named_parameters() if parameter.requires_grad]
    digest.update(json.dumps(trained).encode())
    for name, tensor in sorted(potential.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    for frames in (train, validation):
        if isinstance(frames, StoredFrames):
            digest.update(frames.identity.encode())
        else:
            for frame in frames:
                digest.update(frame.content_hash.encode())
    return digest.hexdigest()


def fit(
    potential: Potential,
    train: Sequence[Frame],
    validation: Sequence[Frame],
    settings: FitSettings,
    run: str | Path,
    resume: bool = False,
    progress: bool = False,
    callbacks: Sequence[Callback] = (),
    hardware: Hardware | None = None,
    score: ScoreSettings | None = None,
) -> FitResult:
    """Fit ``potential`` in place and leave the model that ``settings.keep`` names in it and on disk.

    Parameters
    ----------
    potential
        As :func:`~mlpot.training.initialise.new_potential` or a transfer made it, adapters
        included; they are merged at the end. A resumed run is given the same starting point
        again, to which ``settings.pull`` refers.
    train, validation
        Frames; without validation frames the last averaged model is kept.
    settings
        See :class:`FitSettings`.
    run
        Run directory.
    resume
        Continue the run in ``run`` from its last finished epoch.
    progress
        Show a progress bar.
    callbacks
        Further Lightning callbacks.
    hardware
        Devices, nodes and workers; by default one device. With several, every process calls
        this function alike, and the first writes the files.
    score
        Learn from positions alone, with the loss that :func:`~mlpot.training.score.force_loss`
        makes of ``settings.loss``.

    Raises
    ------
    Interrupted
        On Ctrl-C.
    RecipeError
        If ``run`` holds a run and ``resume`` is false, or holds another run than this one; if
        the hardware cannot be used, see :meth:`Hardware.check`; if ``settings.rate_factors`` do
        not fit the weights, see :func:`~mlpot.training.optimizer.rate_factors`.
    DataError
        If there is nothing to train on, or no label to judge by.
    Diverged
        When the loss is no longer finite.
    """
    run = Path(run)
    if score is not None:
        settings = settings.model_copy(update={"loss": force_loss(settings.loss)})
    hardware = hardware or Hardware()
    hardware.check(settings.batch_size)
    last, best = run / "checkpoints" / "last.ckpt", run / "checkpoints" / "best.ckpt"
    if not train:
        raise DataError("there are no training frames; check the data and the split.")
    rate_factors(potential, settings.rate_factors)
    check_run(run, resume)
    run.mkdir(parents=True, exist_ok=True)
    potential.to(torch.float64 if settings.precision == "float64" else torch.float32)
    potential.head_deviations = None  # an uncertainty is that of the weights which change now
    fingerprint = _fingerprint(potential, train, validation, settings, score)
    identity = run / "checkpoints" / "fit.json"
    if last.exists() and (
        not identity.exists() or json.loads(identity.read_text())["fingerprint"] != fingerprint
    ):
        raise RecipeError(
            f"{run}: the run there was started from other data, settings, weights or threads; resume it with "
            "the same ones, or choose another --out."
        )
    used = [name for name in LABELS if getattr(settings.loss, name).weight > 0.0]
    for what, frames in (("training", train), ("validation", validation)):
        if score is not None:
            check_snapshots(frames, score)
        elif frames and not any(count_labels(frames)[name] for name in used):
            raise DataError(
                f"no {what} frame has any of the labels in the loss ({', '.join(used) or 'none'})."
            )
    identity.parent.mkdir(exist_ok=True)
    if not last.exists() and hardware.leads():
        identity.write_text(json.dumps({"fingerprint": fingerprint}))

    started = time.monotonic()
    steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    module = FitModule(potential, settings, steps, score is not None)
    monitor: dict[str, Any] = {"monitor": "loss"} if validation and settings.keep == "best" else {}
    checkpoints = _Checkpoints(
        best.parent, "best", save_last=True, save_top_k=1, save_on_train_epoch_end=True,
        enable_version_counter=False, **monitor,
    )  # fmt: skip
    record = _Record(run)
    shuffle = EpochShuffle(len(train), settings.seed)
    hooks: list[Callback] = [record, _Order(shuffle), _average(settings.average)]
    if settings.patience is not None:
        if not validation:
            raise RecipeError("patience: early stopping needs validation frames; hold some out.")
        hooks.append(EarlyStopping("loss", patience=settings.patience, check_on_train_epoch_end=True))
    checkpoint_io = SafeCheckpointIO()
    with warnings.catch_warnings():
        # Lightning's advice on data loading does not apply: graphs are built once and kept.
        advice = "num_workers|log_every_n_steps|not empty|LeafSpec|no `val_dataloader`|sync_dist|Grad strides"
        warnings.filterwarnings("ignore", message=f".*({advice}).*")
        trainer = lightning.Trainer(
            accelerator=hardware.accelerator, devices=hardware.devices, num_nodes=hardware.nodes,
            strategy=hardware.lightning_strategy(), use_distributed_sampler=False,
            max_epochs=settings.epochs, logger=False,
            callbacks=[*hooks, *callbacks, checkpoints], plugins=[checkpoint_io],
            gradient_clip_val=settings.gradient_clip, num_sanity_val_steps=0, inference_mode=False,
            enable_progress_bar=progress, enable_model_summary=False,
        )  # fmt: skip
        if settings.epochs:
            sharing = (settings.batch_size, trainer.global_rank, trainer.world_size, hardware.workers)
            if score is None:
                graphs = [Graphs(frames, potential.cutoff) for frames in (train, validation)]
            else:
                noise = (potential.cutoff, score, settings.seed)
                graphs = [NoisyGraphs(train, *noise, lambda: shuffle.epoch), NoisyGraphs(validation, *noise)]
            training = batches(graphs[0], shuffle, *sharing)
            held_out = batches(graphs[1], range(len(validation)), *sharing)
            with (
                potential.natively(hardware.native, trainer.strategy.root_device),
                interruptible(f"{run}: interrupted; all finished epochs are kept, continue with --resume."),
            ):
                trainer.fit(
                    module,
                    training,
                    held_out if validation else None,
                    ckpt_path=last if last.exists() else None,
                )
    scores: dict[str, float] = {}
    if best.exists():
        kept = checkpoint_io.load_checkpoint(best)
        module.load_state_dict(kept["state_dict"])
        rows = kept["callbacks"][record.state_key]["rows"]
        scores = {k: v for k, v in rows[-1].items() if k not in ("rate", "train_loss")}
    potential.eval().cpu()
    merge(potential)
    if hardware.leads():
        save_model(potential, run / "model.safetensors")
    return FitResult(trainer.current_epoch, trainer.global_step, time.monotonic() - started, scores)
