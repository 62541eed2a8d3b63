"""From a calculator to records: each property in turn, failures with their reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from mlpot.errors import Interrupted, MLPotError
from mlpot.properties.record import Found, Outcome, Record
from mlpot.properties.registry import Level, Property, find, of_set
from mlpot.properties.subject import CalculatorOrFactory, PropertySettings, Subject

#: Called with the records so far, the fraction of properties done, and the name of the one that begins.
Progress = Callable[[list[Record], float, str], None]


def compute(
    calculator: CalculatorOrFactory,
    element: str,
    names: Sequence[str] | Level = "standard",
    settings: PropertySettings | None = None,
    progress: Progress | None = None,
    known: Sequence[Record] = (),
) -> list[Record]:
    """Return what an element's crystal is like under a calculator.

    Parameters
    ----------
    calculator
        Any ASE calculator with energies and forces, or a function that returns one. Where it has
        no stress, that is had from energies, and the records say so.
    element
        Chemical symbol.
    names
        A set (``quick``, ``standard``, ``full``), or a list of names or patterns such as
        ``["lattice", "phase_*"]``; see :data:`~mlpot.properties.registry.PROPERTIES`.
    settings
        How they are computed.
    progress
        Called before each property with the records so far, the fraction done and its name.
    known
        Records of an earlier run with the same calculator, element and settings: the properties
        they are of are not computed again.

    Returns
    -------
    list of Record
        One for every quantity of every property asked for. Where one could not be computed, its
        value is None and its reason says why; the others go on.

    Raises
    ------
    Interrupted
        On Ctrl-C or SIGTERM, where a run turns them into one.
    RecipeError
        For an unknown name or set; if the calculator cannot evaluate diamond of the element.
    ElementError
        If the element is none, or unknown to the calculator.
    """
    chosen = find(of_set(names) if isinstance(names, str) else names)  # type: ignore[arg-type]
    subject = Subject(element, calculator, settings)
    records: list[Record] = []
    for number, one in enumerate(chosen):
        if progress is not None:
            progress(records, number / len(chosen), one.name)
        taken = [record for record in known if record.property == one.name]
        records += taken or _records(one, subject)
    return records


def _records(one: Property, subject: Subject) -> list[Record]:
    started = time.perf_counter()
    outcome: Outcome
    try:
        outcome = one.compute(subject)
    except Interrupted:
        raise
    except MLPotError as error:
        outcome = {quantity.name: str(error) for quantity in one.quantities}
    except Exception as error:  # whatever other people's calculators raise; the others go on
        reason = f"{type(error).__name__}: {error}"
        outcome = {quantity.name: reason for quantity in one.quantities}
    seconds = time.perf_counter() - started
    records = []
    for quantity in one.quantities:
        found = outcome[quantity.name]
        if isinstance(found, Found) and not np.isfinite(found.value):
            found = "the value is not finite."
        value = found if isinstance(found, Found) else None
        records.append(
            Record(
                name=quantity.name,
                property=one.name,
                unit=quantity.unit,
                meaning=quantity.meaning,
                value=value.value if value else None,
                reason=None if isinstance(found, Found) else found,
                settings=value.settings if value else {},
                seconds=seconds,
                notes=value.notes if value else [],
                data=value.data if value else {},
            )
        )
    return records
