"""The results of a lattice study, from the records of its tasks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mlpot.lattice.study.plan import (
    ArmTask,
    ExtrapolationTask,
    Plan,
    SamplesTask,
    ScoreTask,
    SequenceTask,
    TruthTask,
)
from mlpot.lattice.study.work import record, told_of_file
from mlpot.recipe import recipe_text

#: Of a description of a Hamiltonian: what grows with the lattice.
_BIG = ("neighbours", "couplings", "field", "kernel")


#: Of what was learned, before it is judged.
_NOT_JUDGED: dict[str, Any] = {"scores": {}, "details": {}, "recovery": None, "deviation": None}


def collect(plan: Plan, out: Path, failed: dict[str, str]) -> dict[str, Any]:
    """Return the results of what is done so far, as plain JSON.

    ``learned``: an entry for each arm, temperature, number of samples and seed, whose times
    include those of the sequence model that the arm starts from; errors of total energies in
    units of J. ``sequences``: the sequence models themselves. ``extrapolation`` and ``truth``:
    curves, per site, ``[value, standard error]``, ``None`` for what is not known; energies and free
    energies are counted as the true Hamiltonian counts them (if it is unknown: the mean over
    random states is zero). ``missing`` of a curve: why it has no point at a temperature. ``failed``:
    tasks that could not be done, and why.
    """
    recipe = plan.recipe
    learned: dict[str, dict[str, Any]] = {}
    sequences, curves, truths, facts = [], [], [], []
    reasons = [{"task": key, "reason": reason} for key, reason in failed.items()]
    if plan.samples is not None:
        facts.append(told_of_file(plan.samples))
    for key, task in plan.tasks.items():
        done = record(out, key)
        if done is None:
            continue
        match task:
            case SamplesTask():
                facts.append(done)
            case SequenceTask():
                sequences.append(done)
            case ArmTask():
                learned[key] = _NOT_JUDGED | _with_sequence(done, out, task.sequence)
            case ScoreTask() if task.learned in learned:
                learned[task.learned] |= {name: done[name] for name in _NOT_JUDGED}
                if learned[task.learned]["sequence"] is not None:
                    learned[task.learned]["sequence"]["rmse"] = done["sequence_rmse"]
            case ExtrapolationTask():
                curves.append(done)
            case TruthTask():
                spent = {name: done[name] for name in ("seconds", "cpu_seconds")}
                truths += [{"shape": done["shape"]} | entry | spent for entry in done["curves"]]
    model = None
    if plan.model is not None:
        model = {name: value for name, value in plan.model.to_dict().items() if name not in _BIG}
    return {
        "title": recipe.title,
        "model": model,
        "q": plan.q,
        "shape": list(plan.shape),
        "sites": math.prod(plan.shape),
        "arms": list(recipe.arms),
        "kinds": {name: arm.kind for name, arm in recipe.arms.items()},
        "temperatures": recipe.temperatures,
        "counts": recipe.counts,
        "seeds": recipe.seeds,
        "learned": list(learned.values()),
        "sequences": sequences,
        "extrapolation": curves,
        "truth": truths,
        "autocorrelation": facts,
        "failed": reasons,
        "recipe": recipe_text(recipe),
    }


def _with_sequence(done: dict[str, Any], out: Path, sequence: str | None) -> dict[str, Any]:
    """Return the record of an arm with the times of its sequence model added."""
    if sequence is None or (before := record(out, sequence)) is None:
        return done
    return done | {name: done[name] + before[name] for name in ("seconds", "cpu_seconds")}
