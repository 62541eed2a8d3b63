"""Checkpoints without pickle: tensors in safetensors, everything else in its JSON header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mlpot.atomic import replacing
from mlpot.errors import ModelFileError


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"map": [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_pack(item, tensors) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__}: {value!r}")


def _unpack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        if "tuple" in value:
            return tuple(_unpack(item, tensors) for item in value["tuple"])
        return {_unpack(k, tensors): _unpack(v, tensors) for k, v in value["map"]}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value


class SafeCheckpointIO(CheckpointIO):
    """Lightning's checkpoints as ``.safetensors`` files, written atomically."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; a reader sees the old file or the new one, never a part."""
        tensors: dict[str, torch.Tensor] = {}
        header = json.dumps(_pack(checkpoint, tensors))
        with replacing(path) as partial:
            save_file(tensors, partial, metadata={"checkpoint": header})

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: Any = None
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Raises
        ------
        ModelFileError
            If the file is missing or damaged.
        """
        try:
            with safe_open(str(path), "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                header = json.loads(file.metadata()["checkpoint"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{path}: not a readable checkpoint ({error}); resume from another one or train anew."
            ) from None
        return _unpack(header, tensors)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)
