"""What the arms of a study cost: steps, time and energy, those of donors and of the search apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlpot.studies.curves import main_domain, reference_size


@dataclass(frozen=True)
class Spent:
    """Steps of the optimizer, seconds, processor seconds and joules; ``None`` where not measured."""

    steps: float | None
    seconds: float | None
    cpu_seconds: float | None
    joules: float | None

    def __add__(self, other: Spent) -> Spent:
        def add(a: float | None, b: float | None) -> float | None:
            return None if a is None or b is None else a + b

        return Spent(
            add(self.steps, other.steps),
            add(self.seconds, other.seconds),
            add(self.cpu_seconds, other.cpu_seconds),
            add(self.joules, other.joules),
        )


@dataclass(frozen=True)
class Cost:
    """What an arm costs.

    Attributes
    ----------
    arm : str
        Which.
    run : Spent or None
        Mean over the seeds of a run at the reference size; ``None`` if there is no such run.
    donors : Spent or None
        Of one of each of the donors the arm needs, those they started from included (mean over
        seeds); zero for an arm without a donor, ``None`` for one that was not trained here (a file).
    total : Spent
        Sum over all runs of the arm, donors not included.
    runs : int
        Their number.
    search : Spent
        Sum over the candidates of all searches that were not chosen; they are in no other number.
    passed_over : int or None
        Their number; ``None`` where results do not even tell the steps of the runs.
    """

    arm: str
    run: Spent | None
    donors: Spent | None
    total: Spent
    runs: int
    search: Spent
    passed_over: int | None


def cost(results: Mapping[str, Any], size: int | None = None) -> list[Cost]:
    """Return what each arm costs, its donors apart.

    Parameters
    ----------
    results
        ``results.json``; ``donor_of`` names the donor of each arm (or ``None``), ``chains`` the
        donors trained for each donor, itself included, ``search`` all candidates with what they
        took, and which was ``chosen``.
    size
        Of the runs that are compared; the reference size by default.
    """
    size = reference_size(results) if size is None else size
    domain = main_domain(results)
    found = []
    for arm in results["arms"]:
        own = [run for run in results["runs"] if run["arm"] == arm]
        there = [run for run in own if (run["size"], run["domain"]) == (size, domain)]
        donor = results["donor_of"][arm]
        chain = [] if donor is None else results["chains"][donor]
        donors = None if donor is not None and donor not in chain else _one_of_each(results, chain)
        rivals = [one for one in results.get("search", []) if one["arm"] == arm and not one.get("chosen")]
        told = bool(rivals) or all(run["steps"] is not None for run in own)
        found.append(
            Cost(
                arm=arm,
                run=spent(there, mean=True) if there else None,
                donors=donors,
                total=spent(own),
                runs=len(own),
                search=_NOTHING if told and not rivals else spent(rivals),
                passed_over=len(rivals) if told else None,
            )
        )
    return found


_NOTHING = Spent(0.0, 0.0, 0.0, 0.0)


def _one_of_each(results: Mapping[str, Any], donors: Sequence[str]) -> Spent:
    total = _NOTHING
    for name in donors:
        total += spent([one for one in results["donors"] if one["donor"] == name], mean=True)
    return total


def spent(records: Sequence[Mapping[str, Any]], mean: bool = False) -> Spent:
    """Return sums over records, or means; ``None`` where one was not measured, or none is there."""

    def total(key: str) -> float | None:
        values = [record.get(key) for record in records]
        if not values or None in values:
            return None
        return sum(value for value in values if value is not None) / (len(values) if mean else 1)

    return Spent(total("steps"), total("seconds"), total("cpu_seconds"), total("joules"))
