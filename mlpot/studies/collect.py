"""What judged the potentials of a study beyond errors, from the records of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpot.properties.references import references
from mlpot.studies.beyond import Properties
from mlpot.studies.tasks import DynamicsTask, LiquidTask, Plan, PropertiesTask
from mlpot.studies.work import record

#: References whose size is below this are none: deviations are relative.
_ZERO = 1e-6


def collect_beyond(plan: Plan, out: Path) -> dict[str, Any]:
    """Return what there is of dynamics, the liquid and properties, for ``results.json``.

    Returns
    -------
    dict
        ``dynamics`` and ``liquid``: stability records by arm and seed. ``structure``: the
        temperature of the liquid, the labelled frames that tell its structure, and what their
        ``noise`` makes of the error of a perfect potential. ``properties``: ``element``,
        ``quantities`` (name, unit, meaning), ``references`` by quantity (value, kind, source,
        uncertainty), and ``arms``: value, reason and notes by arm, seed and quantity.
    """
    found: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {}
    truth: dict[str, Any] | None = None
    for key, task in plan.tasks.items():
        if not isinstance(task, DynamicsTask | LiquidTask | PropertiesTask):
            continue
        done = record(out, key)
        if done is None:
            continue
        if isinstance(task, PropertiesTask):
            if task.arm is None:
                truth = done
            else:
                own.setdefault(task.arm, {})[str(task.seed)] = _values(plan, done)
        elif task.arm is not None:
            name = "dynamics" if isinstance(task, DynamicsTask) else "liquid"
            found.setdefault(name, {}).setdefault(task.arm, {})[str(task.seed)] = done["stability"]
            if isinstance(task, LiquidTask):
                assert plan.recipe.liquid is not None
                found["structure"] = done["structure"] | {"temperature_K": plan.recipe.liquid.temperature}
    if own:
        section = plan.recipe.properties
        assert section is not None
        element = section.of(plan.recipe.target.elements)
        found["properties"] = {
            "element": element,
            "quantities": [
                {"name": one.name, "unit": one.unit, "meaning": one.meaning} for one in section.chosen()
            ],
            "references": reference_values(section, element, truth),
            "arms": own,
        }
    return found


def _values(plan: Plan, done: Mapping[str, Any]) -> dict[str, Any]:
    """Return value, reason and notes of each quantity that is looked at."""
    assert plan.recipe.properties is not None
    known = {one["name"]: one for one in done["records"]}
    none = {"value": None, "reason": done["unusable"], "notes": []}
    return {
        quantity.name: {name: known.get(quantity.name, none)[name] for name in none}
        for quantity in plan.recipe.properties.chosen()
    }


def reference_values(
    section: Properties, element: str, truth: Mapping[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """Return what quantities are compared with, those that have something.

    Parameters
    ----------
    section
        Of the recipe.
    element
        Of the crystal.
    truth
        Record of the reference's own properties, if there is one.
    """
    found: dict[str, dict[str, Any]] = {}
    known = references(element)
    computed = {one["name"]: one["value"] for one in truth["records"]} if truth else {}
    for name in [quantity.name for quantity in section.chosen()]:
        if name in section.values:
            mine = section.values[name]
            found[name] = {"value": mine.value, "kind": "the recipe", "source": mine.source}
        elif computed.get(name) is not None:
            source = f"computed alike with {section.reference}"
            found[name] = {"value": computed[name], "kind": section.reference, "source": source}
        else:
            for kind in section.references:
                one = known[kind].get(name)
                if one is not None and one.temperature is None:
                    beside = {"kind": kind, "source": one.source, "uncertainty": one.uncertainty}
                    found[name] = {"value": one.value} | beside
                    break
    return {name: {"uncertainty": None} | one for name, one in found.items() if abs(one["value"]) > _ZERO}
