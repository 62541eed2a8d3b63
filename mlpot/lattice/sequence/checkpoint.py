"""The state of a training between two steps, in one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mlpot.atomic import replacing
from mlpot.errors import ModelFileError

_KEY = "mlpot-lattice-checkpoint"


def save_checkpoint(file: Path, tensors: dict[str, dict[str, Tensor]], facts: dict[str, Any]) -> None:
    """Write named groups of tensors, and plain JSON beside them, whole or not at all."""
    flat = {
        f"{group}/{name}": value.detach().clone().contiguous()
        for group, members in tensors.items()
        for name, value in members.items()
    }
    with replacing(file) as partial:
        save_file(flat, partial, metadata={_KEY: json.dumps(facts)})


def load_checkpoint(file: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return what :func:`save_checkpoint` wrote.

    Raises
    ------
    ModelFileError
        If the file is damaged or no such checkpoint.
    """
    tensors: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(str(file), "pt") as content:
            facts = json.loads(content.metadata()[_KEY])
            for name in content.keys():  # noqa: SIM118
                group, _, member = name.partition("/")
                tensors.setdefault(group, {})[member] = content.get_tensor(name)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{file}: not a readable checkpoint ({error}); delete the run's folder and train anew."
        ) from None
    return tensors, facts


def optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Return the state of optimizers as named tensors."""
    named = {}
    for i, optimizer in enumerate(optimizers):
        for parameter, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                named[f"{i}.{parameter}.{name}"] = torch.as_tensor(value)
    return named


def restore_optimizers(optimizers: list[torch.optim.Optimizer], named: dict[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` returned."""
    for i, optimizer in enumerate(optimizers):
        document = optimizer.state_dict()
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in named.items():
            number, parameter, name = key.split(".", 2)
            if int(number) == i:
                state.setdefault(int(parameter), {})[name] = value
        document["state"] = state
        optimizer.load_state_dict(document)
