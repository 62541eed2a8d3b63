"""Run a lattice study: learn, extrapolate, each task once, and collect the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mlpot.atomic import read_json, write_json
from mlpot.engine.guards import alone_in, interruptible
from mlpot.engine.settings import LocalEngine
from mlpot.engine.start import start_workers
from mlpot.engine.tasks import Tasks
from mlpot.errors import Interrupted, MLPotError, RecipeError
from mlpot.lattice.recipe import LatticeRecipe
from mlpot.lattice.study.collect import collect
from mlpot.lattice.study.learning import Update
from mlpot.lattice.study.plan import ExtrapolationTask, Plan, ScoreTask, SequenceTask, Task, make_plan
from mlpot.lattice.study.work import Worker, record
from mlpot.recipe import dump_recipe, load_recipe

RESULTS = "results.json"

Say = Callable[[str], None]


def _silent(text: str) -> None:
    pass


def _still(part: float, text: str) -> None:
    pass


def learn_arms(
    recipe: LatticeRecipe, out: str | Path, say: Say = _silent, update: Update = _still
) -> dict[str, Any]:
    """Learn every arm of a recipe; what an earlier call finished, of this recipe or another, is kept.

    Parameters
    ----------
    recipe
        What to learn from what.
    out
        Folder: ``runs/KEY/`` with samples, models and records, ``recipe.yaml``, ``results.json``.
    say
        Called with a line for every task that ends.
    update
        With one worker: called with the fraction of a task done and what is going on.

    Returns
    -------
    dict
        The content of ``results.json``; see :func:`~mlpot.lattice.study.collect.collect`.

    Raises
    ------
    Interrupted
        On Ctrl-C or SIGTERM; finished tasks, and checkpoints of sequence models, are kept.
    MLPotError
        As :func:`~mlpot.lattice.study.plan.make_plan`, before any computing; if no arm can be learned.
    """
    plan = make_plan(recipe)
    out = Path(out)
    with _guarded(out, "mlpot lattice learn", "--out"):
        dump_recipe(recipe, out / "recipe.yaml")
        results = _run(plan, out, plan.learning, say, update)
    if not results["learned"]:
        reasons = "; ".join(f"{entry['task']}: {entry['reason']}" for entry in results["failed"][:3])
        raise MLPotError(f"{out}: nothing could be learned: {reasons}")
    return results


def extrapolate_arms(
    out: str | Path, say: Say = _silent, update: Update = _still, workers: int | None = None
) -> dict[str, Any]:
    """Run Monte Carlo with the learned energies of a folder, as its recipe asks, beside the truth.

    Parameters
    ----------
    out
        Folder of :func:`learn_arms`.
    say, update
        See there.
    workers
        Processes side by side, instead of the recipe's engine.

    Raises
    ------
    RecipeError
        If nothing was learned there, or its recipe has no extrapolation.
    Interrupted
        On Ctrl-C or SIGTERM; finished tasks are kept.
    """
    out = Path(out)
    read_results(out)
    recipe = load_recipe(LatticeRecipe, out / "recipe.yaml")
    if workers is not None:
        recipe = recipe.model_copy(update={"engine": LocalEngine(workers=workers)})
    plan = make_plan(recipe)
    if not plan.recipe.extrapolation:
        raise RecipeError(f"{out}/recipe.yaml: has no extrapolation; say which shapes and temperatures.")
    with _guarded(out, "mlpot lattice extrapolate", "RUN"):
        return _run(plan, out, plan.extrapolation, say, update)


def read_results(out: Path) -> dict[str, Any]:
    """Return the results in a folder; :class:`RecipeError` if nothing was learned there."""
    results: dict[str, Any] | None = read_json(out / RESULTS)
    if results is None:
        raise RecipeError(f"{out}: nothing was learned here; `mlpot lattice learn RECIPE --out {out}` first.")
    return results


@contextmanager
def _guarded(out: Path, command: str, option: str) -> Iterator[None]:
    """Have the folder to itself, and end in good order."""
    notes: list[str] = []
    message = f"{out}: interrupted; what is finished is kept there, the same command continues."
    with alone_in(out, command, option, notes), interruptible(message):
        yield


def _run(plan: Plan, out: Path, tasks: dict[str, Task], say: Say, update: Update) -> dict[str, Any]:
    begin = time.monotonic()
    before = read_json(out / RESULTS) or {}
    failed = _carry_out(plan, out, tasks, say, update)
    results = collect(plan, out, failed)
    results["seconds"] = before.get("seconds", 0.0) + time.monotonic() - begin
    write_json(out / RESULTS, results, allow_nan=False)
    return results


def _carry_out(plan: Plan, out: Path, tasks: dict[str, Task], say: Say, update: Update) -> dict[str, str]:
    """Do all tasks that are not done; return the reasons of those that could not be."""
    known = {key for key in plan.tasks if record(out, key) is not None}
    missing = {key: task for key, task in tasks.items() if key not in known}
    total, failed = len(tasks), dict[str, str]()
    if len(missing) < total:
        say(f"{total - len(missing)} of {total} tasks are done already")
    if not missing:
        return failed
    engine = plan.recipe.engine
    inline = isinstance(engine, LocalEngine) and engine.count() == 1
    ended = _inline(plan, out, missing, known, update) if inline else _spread(plan, out, missing, known)
    number = total - len(missing)
    for key, outcome in ended:
        number += 1
        if isinstance(outcome, Exception):
            failed[key] = str(outcome)
            say(f"[{number}/{total}] {key}: FAILED: {outcome}")
        else:
            known.add(key)
            say(f"[{number}/{total}] {key}: {_line(tasks[key], outcome)}")
    for key, task in missing.items():
        if key not in known and key not in failed:
            failed[key] = f"needs {', '.join(need for need in task.needs if need not in known)}"
    return failed


Ended = Iterator[tuple[str, dict[str, Any] | Exception]]


def _inline(plan: Plan, out: Path, tasks: dict[str, Task], done: set[str], update: Update) -> Ended:
    """Do the tasks in this process, one after the other; ``done`` grows as the caller hears of them."""
    worker = Worker(plan, out, update)
    for key, task in tasks.items():
        if done.issuperset(task.needs):
            try:
                outcome: dict[str, Any] | Exception = worker.do(key)
            except Interrupted:
                raise
            except MLPotError as error:
                outcome = error
            yield key, outcome


def _spread(plan: Plan, out: Path, tasks: dict[str, Task], done: set[str]) -> Ended:
    """Do the tasks in workers, each as soon as what it needs is done."""
    waiting = dict(tasks)
    engine = plan.recipe.engine
    with closing(start_workers(engine, out)) as workers:
        queue = Tasks(workers, engine.retries)

        def submit() -> None:
            for key in [key for key, task in waiting.items() if done.issuperset(task.needs)]:
                del waiting[key]
                arguments = {"folder": str(out.resolve()), "key": key}
                queue.submit(key, "mlpot.lattice.study.work:carry_out", arguments)

        submit()
        for key, outcome in queue:
            yield key, outcome
            submit()


def _line(task: Task, outcome: dict[str, Any]) -> str:
    """Return what is worth saying of a finished task."""
    told = f"{outcome['seconds']:.0f} s"
    if isinstance(task, ScoreTask) and outcome["scores"]:
        scores = ", ".join(f"{value:.3f} J on {shape}" for shape, value in outcome["scores"].items())
        return f"RMSE {scores}; {told}"
    if isinstance(task, SequenceTask):
        return f"{outcome['sequence']['nll']:.3f} nats; {told}"
    if isinstance(task, ExtrapolationTask) and outcome["missing"]:
        return f"{len(outcome['missing'])} temperatures without errors; {told}"
    return told
