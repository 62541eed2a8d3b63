"""Run a study: its tasks in workers, each once, and the results and the report from their records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from mlpot.atomic import write_json
from mlpot.engine.guards import alone_in, interruptible
from mlpot.engine.settings import Engine, LocalEngine
from mlpot.engine.start import start_workers
from mlpot.engine.tasks import Tasks
from mlpot.errors import Interrupted, MLPotError
from mlpot.recipe import dump_recipe, recipe_text
from mlpot.studies.collect import collect_beyond
from mlpot.studies.plan import make_plan
from mlpot.studies.recipe import EVERYWHERE, FileDonor, StudyRecipe
from mlpot.studies.report import write_report
from mlpot.studies.tasks import DonorTask, Plan, Task, TrainingTask
from mlpot.studies.verdict import verdict
from mlpot.studies.work import Worker, best, record, starting_structure

Say = Callable[[str], None]


def run_study(
    recipe: StudyRecipe, out: str | Path, say: Say = lambda text: None, progress: bool = False
) -> dict[str, Any]:
    """Carry out a study; what an earlier call finished, of this recipe or another, is not done again.

    Parameters
    ----------
    recipe
        What to compare.
    out
        Folder of the study: ``runs/KEY/`` with models and records, ``recipe.yaml``, ``split.json``,
        ``results.json``, ``report.html``, ``figures/``. A changed recipe may be run in the same
        folder: only what the change concerns is computed.
    say
        Called with a line for every task that ends.
    progress
        With one local worker: show a progress bar for every fit.

    Returns
    -------
    dict
        The content of ``results.json``; see :func:`collect`.

    Raises
    ------
    Interrupted
        On Ctrl-C or SIGTERM; finished tasks and epochs are kept.
    MLPotError
        As :func:`~mlpot.studies.plan.make_plan`, before any computing; if a donor cannot be
        trained; if workers cannot be had.
    """
    started = time.monotonic()
    out = Path(out)
    plan = make_plan(recipe)
    if recipe.dynamics is not None:
        starting_structure(recipe.dynamics, recipe.target.elements)
    notes: list[str] = []
    with (
        alone_in(out, "mlpot study", "--out", notes),
        interruptible(f"{out}: interrupted; what is finished is kept there, the same command continues."),
    ):
        dump_recipe(recipe, out / "recipe.yaml")
        write_json(out / "split.json", plan.membership())
        failed = _carry_out(plan, out, recipe.engine, say, progress)
        results = collect(plan, out, failed)
        results["notes"] = notes
        results["seconds"] = time.monotonic() - started
        write_json(out / "results.json", results)
        say("report")
        write_report(out, results)
    return results


def _carry_out(plan: Plan, out: Path, engine: Engine, say: Say, progress: bool) -> dict[str, str]:
    """Do all tasks that are not done; return the reasons of those that could not be."""
    done = {key for key in plan.tasks if record(out, key) is not None}
    total, failed = len(plan.tasks), dict[str, str]()
    if done:
        say(f"{len(done)} of {total} tasks are done already")
    if len(done) == total:
        return failed
    # One worker needs no process of its own, and shows the progress of its fits.
    inline = isinstance(engine, LocalEngine) and engine.count() == 1
    ended = _inline(plan, out, done, progress) if inline else _spread(plan, out, done, engine)
    for key, outcome in ended:
        if isinstance(outcome, Exception):
            failed[key] = str(outcome)
            say(f"[{len(done) + len(failed)}/{total}] {key}: FAILED: {outcome}")
            if isinstance(plan.tasks[key], DonorTask):
                raise MLPotError(f"{key} cannot be trained, so there is nothing to compare: {outcome}")
        else:
            done.add(key)
            say(f"[{len(done) + len(failed)}/{total}] {key}{_told(plan.tasks[key], outcome)}")
    for key, task in plan.tasks.items():
        if key not in done and key not in failed:
            failed[key] = f"needs {', '.join(need for need in task.needs if need not in done)}"
    return failed


Ended = Iterator[tuple[str, dict[str, Any] | Exception]]


def _inline(plan: Plan, out: Path, done: set[str], progress: bool) -> Ended:
    """Do the tasks in this process, one after the other; ``done`` grows as the caller hears of them."""
    worker = Worker(plan, out, progress)
    for key, task in plan.tasks.items():
        if key not in done and done.issuperset(task.needs):
            try:
                outcome: dict[str, Any] | Exception = worker.do(key)
            except Interrupted:
                raise
            except MLPotError as error:
                outcome = error
            yield key, outcome


def _spread(plan: Plan, out: Path, done: set[str], engine: Engine) -> Ended:
    """Do the tasks in workers, each as soon as what it needs is done."""
    waiting = {key: task for key, task in plan.tasks.items() if key not in done}
    with closing(start_workers(engine, out)) as workers:
        tasks = Tasks(workers, engine.retries)

        def submit() -> None:
            for key in [key for key, task in waiting.items() if done.issuperset(task.needs)]:
                del waiting[key]
                tasks.submit(key, "mlpot.studies.work:carry_out", {"folder": str(out.resolve()), "key": key})

        submit()
        for key, outcome in tasks:
            yield key, outcome
            submit()


def _told(task: Task, outcome: dict[str, Any]) -> str:
    """Return what is worth saying of a finished task."""
    if not isinstance(task, DonorTask | TrainingTask):
        return f": {outcome['seconds']:.0f} s"
    errors = outcome["validation"] if isinstance(task, DonorTask) else (outcome["holdout"] or {}).get("all")
    where = "validation" if isinstance(task, DonorTask) else "hold-out"
    if not errors or errors["forces_mae"] is None:
        return f": {outcome['diverged']}" if outcome.get("diverged") else ""
    return f": {errors['forces_mae']:.1f} meV/Å on the {where}, {outcome['seconds']:.0f} s"


def collect(plan: Plan, out: Path, failed: dict[str, str]) -> dict[str, Any]:
    """Return the results of a study from the records of its tasks.

    ``runs`` has one entry for each arm, domain, size and seed: of the candidates of a search the
    one that is best on the selection frames. ``search`` has all candidates with what they took.
    ``failed``: what could not be done and why. The rest is in :func:`collect_beyond`.
    """
    recipe = plan.recipe
    donors = [
        _spent(done, recipe.watts)
        for key, task in plan.tasks.items()
        if isinstance(task, DonorTask) and (done := record(out, key))
    ]
    runs, search, reasons = [], [], [{"task": key, "reason": reason} for key, reason in failed.items()]
    for keys in plan.runs.values():
        finished = {key: done for key in keys if (done := record(out, key))}
        reasons += [{"task": k, "reason": r["diverged"]} for k, r in finished.items() if r.get("diverged")]
        chosen = None
        if len(finished) == len(keys) and any(not done.get("diverged") for done in finished.values()):
            chosen = best(out, keys)
            runs.append(_spent(finished[chosen], recipe.watts))
        if len(keys) > 1:
            search += [
                {name: done[name] for name in ("arm", "domain", "size", "seed", "rate_factor")}
                | {"forces_mae": (done.get("selection") or {}).get("forces_mae"), "chosen": key == chosen}
                | {name: _spent(done, recipe.watts)[name] for name in ("steps", *_SPENT)}
                for key, done in finished.items()
            ]
    results: dict[str, Any] = {
        "title": recipe.title,
        "elements": recipe.target.elements,
        "arms": list(recipe.arms),
        "donor_of": {name: arm.donor for name, arm in recipe.arms.items()},
        "chains": {
            name: [link for link in recipe.chain(name) if not isinstance(recipe.donors[link], FileDonor)]
            for name in recipe.donors
        },
        "baseline": recipe.baseline,
        "favourite": recipe.favourite,
        "sizes": sorted({run["size"] for run in runs}),
        "seeds": recipe.seeds,
        "domains": list(plan.frames.domains),
        "frames": {
            "pool": len(plan.frames.pool),
            "selection": len(plan.frames.selection),
            "holdout": len(plan.frames.holdout),
        },
        "donors": donors,
        "runs": runs,
        "search": search,
        "failed": reasons,
        "recipe": recipe_text(recipe),
    }
    beyond = collect_beyond(plan, out)
    sections = [one for one in (recipe.dynamics, recipe.properties, recipe.liquid) if one is not None]
    if beyond:
        # Errors are shown beside them, so of the same potentials.
        results |= beyond | {"reference_size": plan.frames.size(EVERYWHERE, sections[0].size)}
    results["verdict"] = verdict(results)
    return results


#: What a task takes.
_SPENT = ("seconds", "cpu_seconds", "joules")


def _spent(done: dict[str, Any], watts: float | None) -> dict[str, Any]:
    """Return a record with the energy it took, and without what a reader of results does not need."""
    energy = None if watts is None else watts * done["cpu_seconds"]
    return {name: value for name, value in done.items() if name != "report"} | {"joules": energy}
