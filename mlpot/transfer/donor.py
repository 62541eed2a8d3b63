"""Give an element to a model: every tensor is copied, donated or re-estimated, and it is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from ase.data import atomic_numbers
from torch import Tensor

from mlpot.errors import ElementError, ModelFileError
from mlpot.model.potential import Potential


@dataclass(frozen=True)
class TensorRecord:
    """What became of one tensor: ``copied``, ``donated``, ``re-estimated``, ``adapted`` or ``frozen``."""

    tensor: str
    shape: tuple[int, ...]
    action: str
    detail: str = ""


@dataclass
class TransferReport:
    """Every tensor of a transferred model and what became of it."""

    donors: dict[str, str]
    records: dict[str, TensorRecord]
    notes: list[str] = field(default_factory=list)

    def mark(self, tensor: str, action: str, detail: str) -> None:
        """Change what is said of a tensor."""
        self.records[tensor] = replace(self.records[tensor], action=action, detail=detail)

    def asdict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "donors": self.donors,
            "tensors": [asdict(record) for record in self.records.values()],
            "notes": list(self.notes),
        }


def complete_donors(
    known: Sequence[str], targets: Sequence[str], donors: Mapping[str, str] | None
) -> dict[str, str]:
    """Return which element of the donor serves each target.

    An element the donor knows serves itself; a donor of one element serves all others.

    Parameters
    ----------
    known
        Chemical symbols that the donor knows.
    targets
        Those of the new potential.
    donors
        What was said.

    Raises
    ------
    ElementError
        If a target is no element, or its donor is not said or not known to the donor model.
    """
    chosen = dict(donors or {})
    for name in [*targets, *chosen]:
        if name not in atomic_numbers or name == "X":
            raise ElementError(f"'{name}' is no chemical element; give symbols such as Ge.")
    stray = sorted(set(chosen) - set(targets))
    if stray:
        raise ElementError(
            f"a donor is given for {', '.join(stray)}, which is not among the targets {list(targets)}."
        )
    for target in targets:
        if target not in chosen:
            if target not in known and len(known) > 1:
                raise ElementError(
                    f"{target} has no donor: the model knows {', '.join(known)}; say which one serves, "
                    f"e.g. --donor {target}={known[0]}."
                )
            chosen[target] = target if target in known else known[0]
        if chosen[target] not in known:
            raise ElementError(
                f"the donor of {target} is {chosen[target]}, but the model knows only {', '.join(known)}."
            )
    return {target: chosen[target] for target in targets}


def donate(
    donor: Potential, targets: Sequence[str], donors: Mapping[str, str] | None = None
) -> tuple[Potential, TransferReport]:
    """Return a potential of the target elements that computes what the donor computes.

    Body tensors are copied; in element tables each target receives the row of its donor, the
    reduced units and the offset included. The result reproduces the donor exactly wherever no
    pair is within the range of nuclear repulsion, which is the target's own.

    Raises
    ------
    ElementError
        See :func:`complete_donors`.
    ModelFileError
        If a tensor of one model has no counterpart in the other.
    """
    mapping = complete_donors(donor.symbols, targets, donors)
    model = Potential(targets, donor.config, donor.repulsion is not None)
    model.to(donor.dtype)
    rows = [donor.symbols.index(mapping[target]) for target in targets]
    source, goal = donor.state_dict(), model.state_dict()
    if source.keys() != goal.keys():
        unmatched = sorted(source.keys() ^ goal.keys())
        raise ModelFileError(
            f"tensors without a counterpart between donor and target: {', '.join(unmatched)}; "
            "the donor was made by another architecture, load it with the version of mlpot that wrote it."
        )
    tables = model.element_table_names()
    spelled = ", ".join(f"{target} from {mapping[target]}" for target in targets)
    state: dict[str, Tensor] = {}
    records: dict[str, TensorRecord] = {}
    for name, tensor in source.items():
        value = tensor[torch.tensor(rows)] if name in tables else tensor
        if value.shape != goal[name].shape:
            raise ModelFileError(
                f"tensor {name} has shape {tuple(value.shape)} in the donor, {tuple(goal[name].shape)} here; "
                "donor and target must share one architecture."
            )
        state[name] = value.clone()
        action, detail = ("donated", spelled) if name in tables else ("copied", "")
        records[name] = TensorRecord(name, tuple(value.shape), action, detail)
    model.load_state_dict(state)
    return model, TransferReport(mapping, records)
