"""Active learning: train, run dynamics, choose, label, and again, until there is nothing left to learn."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mlpot.active.choose import choose
from mlpot.active.plan import Plan, make_plan
from mlpot.active.recipe import ActiveRecipe
from mlpot.active.work import (
    LABELLED,
    RANDOM_CHOICE,
    Worker,
    labelled_in,
    model_files,
    round_folder,
    write_json,
)
from mlpot.atomic import read_json, replacing
from mlpot.data.files import write_frames
from mlpot.data.frame import Frame
from mlpot.engine.guards import alone_in, interruptible
from mlpot.engine.settings import LocalEngine
from mlpot.engine.start import start_workers
from mlpot.engine.tasks import Tasks
from mlpot.errors import MLPotError, RecipeError
from mlpot.labelling.run import label
from mlpot.model.features import frame_features
from mlpot.model.file import load_model
from mlpot.recipe import dump_recipe, recipe_text
from mlpot.training.errors import summarise

Say = Callable[[str], None]

IDENTITY = "identity.json"


def run_active(
    recipe: ActiveRecipe, out: str | Path, say: Say = lambda text: None, progress: bool = False
) -> dict[str, Any]:
    """Carry out active learning; what an earlier call finished is not done again.

    Parameters
    ----------
    recipe
        What to do. In a folder that was begun it may differ from the recipe there in when to stop
        (``rounds``, ``max_labels``), in ``title``, and in the engines.
    out
        Folder of the run (:mod:`mlpot.active.work` has its layout); at the end also
        ``results.json`` and ``labelled.xyz``, all labelled frames.
    say
        Called with a line for every step that ends.
    progress
        With one worker: show a progress bar for every fit.

    Returns
    -------
    dict
        The content of ``results.json``: ``rounds``, one entry for each, as :func:`_entry` makes
        it; ``stopped``, why there are no more; ``models``, those of the last round.

    Raises
    ------
    Interrupted
        On Ctrl-C or SIGTERM; what is finished is kept.
    RecipeError
        If the folder holds a run of another recipe.
    MLPotError
        As :func:`~mlpot.active.plan.make_plan`, before any computing; if a potential cannot be
        trained; if none of the chosen frames can be labelled.
    """
    started = time.monotonic()
    out = Path(out)
    plan = make_plan(recipe)
    notes = list(plan.notes)
    stopped = f"{out}: interrupted; what is finished is kept there, the same command continues."
    with alone_in(out, "mlpot active", "--out", notes):
        _check_identity(out, plan)
        with interruptible(stopped):
            results = _rounds(plan, out, say, progress)
        everything = [
            *plan.first,
            *plan.validation,
            *(f for r in results["rounds"] for f in labelled_in(out, r["round"])),
        ]
        write_frames(
            out / LABELLED,
            everything,
            provenance={"kind": "active", "recipe": recipe.model_dump(mode="json")},
        )
        results |= {"notes": notes, "seconds": time.monotonic() - started}
        write_json(out / "results.json", results)
    return results


def _check_identity(out: Path, plan: Plan) -> None:
    """Refuse to continue the run of another recipe; note whose run this is."""
    own, known = plan.identity(), read_json(out / IDENTITY)
    if known is None:
        write_json(out / IDENTITY, own)
    elif known != own:
        names = [name for name in own | known if own.get(name) != known.get(name)]
        raise RecipeError(
            f"{out}: holds a run that differs in {', '.join(names)}; choose another --out, or take back the "
            "change (rounds, max_labels, title and engines may be changed)."
        )
    with replacing(out / "recipe.yaml") as partial:
        dump_recipe(plan.recipe, partial)


def _rounds(plan: Plan, out: Path, say: Say, progress: bool) -> dict[str, Any]:
    """Do round after round; return what came of them."""
    recipe, worker = plan.recipe, Worker(plan, out, progress)
    entries: list[dict[str, Any]] = []
    stopped = None
    while stopped is None:
        number = len(entries)
        frames = worker.labelled(number)
        used = len(frames) + len(plan.validation)
        say(f"round {number}: {used} labelled frames")
        _carry_out(worker, "member", number, recipe.members, say)
        test = _judged(worker, number)
        if test is not None:
            say(f"round {number}: {test['forces_mae']:.1f} meV/Å on the test frames")
        _carry_out(worker, "trajectory", number, len(plan.starts), say)
        entry = _entry(worker, number, used, test)
        entries.append(entry)
        stopped = _reason_to_stop(recipe, entry)
        if stopped is None:
            limit = recipe.max_labels
            count = recipe.selection.frames if limit is None else min(recipe.selection.frames, limit - used)
            entry["chosen"] = _chosen(worker, number, count, frames)
            if not entry["chosen"]["frames"]:
                stopped = "no candidate is left to label: all are dropped, too certain, or near-duplicates"
            else:
                entry |= _labels(worker, number, say)
    say(f"stopped: {stopped}")
    return {
        "title": recipe.title,
        "elements": recipe.elements,
        "choose": recipe.selection.choose,
        "seed": recipe.seed,
        "rounds": entries,
        "stopped": stopped,
        "labels": entries[-1]["labels"],
        "models": [str(path) for path in model_files(out, recipe, len(entries) - 1)],
        "recipe": recipe_text(recipe),
    }


def _reason_to_stop(recipe: ActiveRecipe, entry: dict[str, Any]) -> str | None:
    dynamics, limit = entry["dynamics"], recipe.selection.threshold
    certain = limit is not None and dynamics["largest_forces_std"] is not None
    if (
        certain
        and dynamics["completed"] == dynamics["trajectories"]
        and dynamics["largest_forces_std"] < limit
    ):
        return f"the uncertainty stayed below {limit:g} eV/Å in all dynamics"
    if recipe.max_labels is not None and entry["labels"] >= recipe.max_labels:
        return f"max_labels: {recipe.max_labels} frames are labelled"
    if entry["round"] >= recipe.rounds:
        return f"rounds: frames were labelled {recipe.rounds} times"
    return None


def _carry_out(worker: Worker, kind: str, number: int, count: int, say: Say) -> None:
    """Do the tasks of a kind that are not done, here or in workers."""
    engine = worker.plan.recipe.engine
    todo = [index for index in range(count) if worker.record(kind, number, index) is None]
    ended = count - len(todo)
    if not todo:
        return
    # One worker needs no process of its own, and shows the progress of its fits.
    inline = isinstance(engine, LocalEngine) and engine.count() == 1
    for index, record in (
        _inline(worker, kind, number, todo) if inline else _spread(worker, kind, number, todo)
    ):
        ended += 1
        if kind == "member":
            text = f"{record['steps']} steps, {record['seconds']:.0f} s"
        else:
            text = f"{record['temperature']:g} K, {record['survived_ps']:.2f} ps, {record['ended']}"
        say(f"round {number}: {kind} {index} [{ended}/{count}]: {text}")


def _inline(
    worker: Worker, kind: str, number: int, todo: Sequence[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    for index in todo:
        yield index, worker.do(kind, number, index)


def _spread(
    worker: Worker, kind: str, number: int, todo: Sequence[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    engine, folder = worker.plan.recipe.engine, worker.out.resolve()
    with closing(start_workers(engine, worker.out)) as workers:
        tasks = Tasks(workers, engine.retries)
        for index in todo:
            arguments = {"folder": str(folder), "kind": kind, "number": number, "index": index}
            tasks.submit(str(index), "mlpot.active.work:carry_out", arguments)
        for key, outcome in tasks:
            if isinstance(outcome, Exception):
                raise MLPotError(f"round {number}, {kind} {key}: {outcome}") from outcome
            yield int(key), outcome


def _judged(worker: Worker, number: int) -> dict[str, Any] | None:
    """Return the errors of the mean potential of a round on the test frames."""
    if not worker.plan.test:
        return None
    path = round_folder(worker.out, number) / "test.json"
    errors = read_json(path)
    if errors is None:
        model = worker.calculator(number).model
        errors = summarise(worker.plan.test, model.predict(worker.plan.test)).asdict()
        write_json(path, errors)
    return errors


def _entry(worker: Worker, number: int, used: int, test: dict[str, Any] | None) -> dict[str, Any]:
    """Return the record of a round before anything of it is labelled.

    ``labels``: frames labelled before it, those held out included. ``members``, ``trajectories``:
    records of the tasks.
    ``test``: errors of the mean potential (:class:`~mlpot.training.errors.ErrorSummary`).
    ``dynamics``: trajectories, how many of them were ``completed``, ended ``uncertain`` or
    ``failed``, the time they survived together (ps) and the whole time asked for; number of
    candidates, frames ``dropped`` by reason; median and largest uncertainty of the candidates (eV/Å).
    """
    plan = worker.plan
    members = [worker.record("member", number, index) for index in range(plan.recipe.members)]
    runs = [worker.do("trajectory", number, index) for index in range(len(plan.starts))]
    deviations = [float(frame.info["max_forces_std"]) for frame in worker.candidates(number)]
    ended = Counter(run["ended"] for run in runs)
    return {
        "round": number,
        "labels": used,
        "members": members,
        "test": test,
        "trajectories": runs,
        "dynamics": {
            "trajectories": len(runs),
            **{name: ended[name] for name in ("completed", "uncertain", "failed")},
            "survived_ps": sum(run["survived_ps"] for run in runs),
            "time_ps": len(runs) * plan.recipe.dynamics.time_ps,
            "candidates": len(deviations),
            "dropped": dict(sum((Counter(run["dropped"]) for run in runs), Counter())),
            "median_forces_std": float(np.median(deviations)) if deviations else None,
            "largest_forces_std": max(deviations, default=None),
        },
    }


def _chosen(worker: Worker, number: int, count: int, frames: list[Frame]) -> dict[str, Any]:
    """Return which candidates of a round are labelled.

    ``frames``: their indices among the candidates, in the order of choice, with uncertainty (eV/Å)
    and distance; ``eligible``, ``near_duplicates``: see :class:`~mlpot.active.choose.Choice`.
    """
    path = round_folder(worker.out, number) / "chosen.json"
    chosen = read_json(path)
    if chosen is not None:
        return chosen
    recipe, candidates = worker.plan.recipe, worker.candidates(number)
    # What could not be labelled counts as known, or it would be asked for again and again.
    known = [*frames, *_unlabelled(worker, number)]
    model = load_model(model_files(worker.out, recipe, number)[0])
    features = frame_features(model, [*candidates, *known])
    deviations = np.array([float(frame.info["max_forces_std"]) for frame in candidates])
    choice = choose(
        recipe.selection, count, deviations, features[: len(candidates)], features[len(candidates) :],
        np.random.default_rng([recipe.seed, RANDOM_CHOICE, number]),
    )  # fmt: skip
    chosen = {
        "frames": [
            {"index": index, "forces_std": float(deviations[index]), "distance": distance}
            for index, distance in zip(choice.indices, choice.distances, strict=True)
        ],
        "eligible": choice.eligible,
        "near_duplicates": choice.near_duplicates,
    }
    write_json(path, chosen)
    return chosen


def _unlabelled(worker: Worker, number: int) -> list[Frame]:
    """Return the frames of earlier rounds that could not be labelled."""
    found = []
    for earlier in range(number):
        folder = round_folder(worker.out, earlier)
        candidates, chosen = worker.candidates(earlier), read_json(folder / "chosen.json")
        for entry in read_json(folder / "labels.json")["unlabelled"]:
            found.append(candidates[chosen["frames"][entry["index"]]["index"]])
    return found


def _labels(worker: Worker, number: int, say: Say) -> dict[str, Any]:
    """Label what was chosen in a round.

    Returns
    -------
    dict
        ``labelled``: how many. ``unlabelled``: the others, each with its index among the chosen and
        the reason. ``before``: errors on the labelled frames of the potential that had not learned
        them yet.

    Raises
    ------
    MLPotError
        If there are labels for none of them.
    """
    folder = round_folder(worker.out, number)
    path = folder / "labels.json"
    known = read_json(path)
    if known is not None:
        return known
    candidates = worker.candidates(number)
    frames = [candidates[entry["index"]] for entry in read_json(folder / "chosen.json")["frames"]]
    run = worker.out / "labels"

    def show(labelled: int, failed: int, left: int) -> None:
        say(f"round {number}: {labelled} labelled, {failed} failed, {left} to do")

    result = label(worker.plan.recipe.label, frames, run, progress=show)
    unlabelled = [asdict(entry) for entry in result.unlabelled]
    if not result.frames:
        raise MLPotError(
            f"round {number}: none of the {len(frames)} chosen frames could be labelled; the first: "
            f"{unlabelled[0]['reason']} (in {unlabelled[0]['folder']}). Remove the cause and "
            "run the same command again."
        )
    say(f"round {number}: {len(result.frames)} of {len(frames)} chosen frames labelled")
    write_frames(folder / LABELLED, result.frames, provenance=result.provenance)
    model = worker.calculator(number).model
    labels = {
        "labelled": len(result.frames),
        "unlabelled": unlabelled,
        "before": summarise(result.frames, model.predict(result.frames)).asdict(),
    }
    write_json(path, labels)
    return labels
