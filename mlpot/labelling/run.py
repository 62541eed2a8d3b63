"""Label frames: each once, whatever is killed on the way, and nothing but complete labels."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from mlpot.atomic import is_disk_full, write_json
from mlpot.data.files import DEFAULT_LABELS, write_frames
from mlpot.data.frame import LABELS, Frame
from mlpot.engine.guards import alone_in, interruptible
from mlpot.engine.settings import Engine
from mlpot.engine.start import start_workers
from mlpot.engine.tasks import Tasks
from mlpot.engine.workers import EngineError, TaskError, WorkerLost
from mlpot.errors import DataError
from mlpot.labelling.recipe import LabelRecipe
from mlpot.labelling.store import Store, Structure, label_key, method_hash, now, structure_of
from mlpot.recipe import dump_recipe

#: Called with the numbers of structures labelled and failed so far, and of those still to be computed.
Progress = Callable[[int, int, int], None]

_PACKAGES = ("mlpot", "ase", "numpy", "scipy", "torch")


@dataclass(frozen=True)
class Unlabelled:
    """A frame without labels.

    Attributes
    ----------
    index
        Of the frame in the input, from 0.
    source
        ``file#index``.
    kind
        ``"failed"``, ``"not_converged"``, ``"lost"`` (its worker or node), or ``"waiting"``
        (not computed yet).
    reason
        For people.
    attempts
        How many were begun, in this run and before.
    folder
        Where inputs and outputs are.
    """

    index: int
    source: str
    kind: Literal["failed", "not_converged", "lost", "waiting"]
    reason: str
    attempts: int
    folder: str


@dataclass(frozen=True)
class Labelling:
    """What came of labelling frames.

    Attributes
    ----------
    frames
        Labelled frames, in the order of the input.
    unlabelled
        The others, in the order of the input.
    structures
        Number of different structures in the input.
    reused
        How many of them were labelled by an earlier run.
    notes
        What a reader of the result must know.
    provenance
        Identity of the method, engine, versions, times.
    """

    frames: list[Frame]
    unlabelled: list[Unlabelled]
    structures: int
    reused: int
    notes: list[str]
    provenance: dict[str, Any]


def label(
    recipe: LabelRecipe,
    frames: Sequence[Frame],
    run: str | Path,
    retry: bool = False,
    partial: bool = False,
    progress: Progress = lambda labelled, failed, left: None,
) -> Labelling:
    """Label frames in worker processes; what is finished stays in the run directory and is used again.

    Parameters
    ----------
    recipe
        Method and engine.
    frames
        Structures; labels they have are ignored. Equal structures are computed once.
    run
        Run directory (:mod:`mlpot.labelling.store`). May hold an earlier or interrupted run, of
        any frames and methods: a frame counts as labelled if the same structure was labelled
        with the same settings.
    retry
        Try again what did not converge before. What failed otherwise is always tried again, once
        per run; after the loss of a worker or node, up to ``engine.retries`` times in the same run.
    partial
        Compute nothing, collect what is finished.
    progress
        See :data:`Progress`.

    Raises
    ------
    Interrupted
        On Ctrl-C or SIGTERM; everything finished is kept.
    DataError
        For no frames, or damaged files in the run directory.
    RecipeError
        If another process is at work in the run directory.
    EngineError
        If workers cannot be had, or the disk is full.
    MLPotError
        If the method cannot work; see :meth:`~mlpot.labelling.method.Method.check`.
    """
    if not frames:
        raise DataError("there are no frames to label.")
    started = now()
    run = Path(run)
    recipe.method.check(set().union(*(frame.symbols for frame in frames)))
    identity = recipe.method.identity()
    method = method_hash(identity)
    frames, notes = _without_labels(frames)
    structures = [structure_of(frame) for frame in frames]
    keys = [label_key(structure, method) for structure in structures]
    todo = dict(zip(keys, structures, strict=True))
    store = Store(run)
    with _disk_full(run), alone_in(run, "mlpot label", "--run", notes):
        settings = recipe.method.model_dump(mode="json")
        write_json(store.method_file(method), {"settings": settings, "identity": identity})
        dump_recipe(recipe, run / "recipe.yaml")
        write_json(run / "index.json", [str(store.folder(key)) for key in keys])
        reused = {key for key in todo if store.has_result(key)}
        given_up = {key for key in todo if key not in reused and not retry and _is_hopeless(store, key)}
        waiting = {key: structure for key, structure in todo.items() if key not in reused | given_up}
        if waiting and not partial:
            counts = (len(reused), len(given_up))
            _carry_out(store, method, waiting, recipe.engine, counts, progress)
        labelled, unlabelled = _collect(store, keys, frames)
        write_json(run / "failed.json", [asdict(entry) for entry in unlabelled])
    if given_up:
        notes.append(
            f"{len(given_up)} structures did not converge before and were not tried again; --retry does so."
        )
    without = sum(frame.stress is None for frame in labelled)
    if 0 < without < len(labelled):
        notes.append(
            f"{without} of {len(labelled)} labelled frames have no stress (no volume); "
            "read the file with `missing: allow`."
        )
    provenance = {
        "kind": "label",
        "method": identity,
        "engine": recipe.engine.model_dump(mode="json"),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "started": started,
        "finished": now(),
    }
    return Labelling(labelled, unlabelled, len(todo), len(reused), notes, provenance)


def write_labelled(path: str | Path, result: Labelling, run: str | Path, source: str | Path) -> None:
    """Write labelled frames with their provenance, whole or not at all.

    Parameters
    ----------
    path
        Extended XYZ, ASE database or indexed file; labels are ``REF_energy`` (eV),
        ``REF_forces`` (eV/Å) and ``REF_stress`` (eV/Å³).
    result
        As :func:`label` returned it, with at least one labelled frame.
    run
        Its run directory, for the message.
    source
        File of the structures; its name and SHA-256 become part of the provenance.

    Raises
    ------
    DataError
        If the format cannot hold a frame, or the disk is full.
    """
    with Path(source).open("rb") as file:
        origin = {str(source): hashlib.file_digest(file, "sha256").hexdigest()}
    counts = {"labelled": len(result.frames), "unlabelled": len(result.unlabelled)}
    with _disk_full(Path(path).parent, f"the labels are kept in {run}"):
        write_frames(path, result.frames, provenance=result.provenance | {"input": origin, "frames": counts})


def _without_labels(frames: Sequence[Frame]) -> tuple[list[Frame], list[str]]:
    """Return the structures alone with their info, and a note on labels that they had."""
    names = {name for label in LABELS if (name := DEFAULT_LABELS.name(label))}
    had = sum(not names.isdisjoint(frame.info) or frame.energy is not None for frame in frames)
    plain = [
        replace(
            frame, energy=None, forces=None, stress=None,
            info={name: value for name, value in frame.info.items() if name not in names},
        )
        for frame in frames
    ]  # fmt: skip
    return plain, [f"{had} frames of the input have labels, which are ignored."] if had else []


def _is_hopeless(store: Store, key: str) -> bool:
    """Return whether the last attempt ended as another with the same settings would."""
    failures = store.failures(key)
    return bool(failures) and failures[-1].kind == "not_converged"


def _carry_out(
    store: Store,
    method: str,
    structures: dict[str, Structure],
    engine: Engine,
    counts: tuple[int, int],
    progress: Progress,
) -> None:
    """Attempt each structure until it is labelled or given up; ``counts``: labelled and failed before."""
    labelled, failed = counts

    def note(key: str, loss: WorkerLost) -> None:
        store.add_failure(key, "lost", str(loss), None)

    stopped = (
        f"{store.run}: interrupted; all finished labels are kept there, the same command continues. "
        "What is finished is written with --partial."
    )
    with interruptible(stopped), closing(start_workers(engine, store.run)) as workers:
        tasks = Tasks(workers, engine.retries, note)
        for key, structure in structures.items():
            arguments = {"run": str(store.run), "method": method, "structure": structure}
            tasks.submit(key, "mlpot.labelling.work:attempt", arguments)
        progress(labelled, failed, len(tasks))
        for key, outcome in tasks:
            if isinstance(outcome, TaskError):  # beside the method: in the run directory, say
                store.add_failure(key, "failed", str(outcome), None)
            if isinstance(outcome, Exception):
                failed += 1
            elif outcome["status"] == "hopeless":
                raise EngineError(
                    f"{outcome['reason']}; {labelled} structures are labelled and kept. "
                    "Remove the cause (free space on a full disk) and run the same command again."
                )
            else:
                labelled += outcome["status"] == "labelled"
                failed += outcome["status"] != "labelled"
            if len(tasks):
                progress(labelled, failed, len(tasks))


def _collect(store: Store, keys: list[str], frames: list[Frame]) -> tuple[list[Frame], list[Unlabelled]]:
    """Return the labelled frames, and what is known of the others."""
    labelled, unlabelled = [], []
    for index, (key, frame) in enumerate(zip(keys, frames, strict=True)):
        if store.has_result(key):
            labelled.append(store.labelled(key, frame))
            continue
        failures = store.failures(key)
        about = (store.attempts(key), str(store.folder(key)))
        if failures:
            last = failures[-1]
            unlabelled.append(Unlabelled(index, frame.source, last.kind, last.reason, *about))
        else:
            unlabelled.append(Unlabelled(index, frame.source, "waiting", "not computed yet", *about))
    return labelled, unlabelled


@contextmanager
def _disk_full(folder: Path, kept: str = "finished labels are kept") -> Iterator[None]:
    """Say what to do when there is no space left."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DataError(
            f"{folder}: {error.strerror}; {kept}. Free space and run the same command again."
        ) from error
