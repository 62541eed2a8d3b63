"""Sequence models from settings, and their files: tensors in safetensors, the rest in its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mlpot.atomic import replacing
from mlpot.errors import ModelFileError, RecipeError
from mlpot.lattice.sequence.convolution import Convolution
from mlpot.lattice.sequence.dense import Dense
from mlpot.lattice.sequence.model import Autoregressive, SequenceModel
from mlpot.lattice.sequence.paths import path, visited_window
from mlpot.lattice.sequence.recurrent import Recurrent
from mlpot.lattice.sequence.recurrent2d import LatticeRecurrent
from mlpot.lattice.sequence.settings import (
    ConvolutionSettings,
    DenseSettings,
    LatticeRecurrentSettings,
    NetworkSettings,
    RecurrentSettings,
    SequenceSettings,
)
from mlpot.lattice.sequence.symmetry import Averaged
from mlpot.lattice.sequence.transformer import Transformer
from mlpot.recipe import parse_recipe

_KEY = "mlpot-lattice-sequence"
_FORMAT = 1


def build_sequence(
    shape: tuple[int, ...],
    q: int,
    settings: SequenceSettings | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> SequenceModel:
    """Return an untrained sequence model; it begins as the uniform distribution.

    Parameters
    ----------
    shape, q
        Sides of the lattice, one to three; states of a site, at least two.
    settings
        Architecture and averaging; the defaults are those that did best on the Ising model.
    seed
        Of the weights.
    dtype
        Of the weights.

    Raises
    ------
    RecipeError
        If lattice, alphabet and settings do not fit together.
    """
    settings = settings or SequenceSettings()
    if not 1 <= len(shape) <= 3 or min(shape) < 1 or q < 2:
        raise RecipeError(
            f"no sequence model of a lattice {tuple(shape)} with {q} states per site: give one to three "
            "sides of at least 1, and at least 2 states."
        )
    shape = tuple(int(length) for length in shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inner = _network(shape, q, settings.network).to(dtype)
    model = inner if settings.average.trivial else Averaged(inner, settings.average)
    model.settings = settings
    return model


def _network(shape: tuple[int, ...], q: int, settings: NetworkSettings) -> Autoregressive:
    order = path(shape, settings.path)
    sites = len(order)
    coupled = None
    if settings.couplings == "all":
        coupled = np.ones((sites, sites), dtype=bool)
    elif settings.couplings == "neighbours":
        coupled = np.zeros((sites, sites + 1), dtype=bool)
        np.put_along_axis(coupled, visited_window(shape, order, 1, diamond=True), True, axis=1)
        coupled = coupled[:, :sites]
    common = (shape, q, order, coupled)
    if isinstance(settings, DenseSettings):
        return Dense(*common, settings.width, settings.layers)
    if isinstance(settings, RecurrentSettings):
        return Recurrent(*common, settings.architecture, settings.width, settings.layers)
    if isinstance(settings, LatticeRecurrentSettings):
        return LatticeRecurrent(*common, settings.width)
    if isinstance(settings, ConvolutionSettings):
        return Convolution(*common, settings.channels, settings.layers, settings.reach)
    return Transformer(*common, settings.width, settings.heads, settings.layers)


def save_sequence(model: SequenceModel, file: str | Path, facts: dict[str, Any] | None = None) -> None:
    """Write a model, whole or not at all.

    Parameters
    ----------
    model
        To write, as :func:`build_sequence` made it.
    file
        Ends in ``.safetensors``; an existing file is replaced.
    facts
        Plain JSON to keep with it: the temperature of the samples, the held-out cross-entropy.
    """
    header = {
        "format": _FORMAT,
        "shape": model.shape,
        "q": model.q,
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "settings": model.settings.model_dump(mode="json"),
        "facts": facts or {},
    }
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(file) as partial:
        save_file(tensors, partial, metadata={_KEY: json.dumps(header)})


def load_sequence(
    file: str | Path, shape: tuple[int, ...] | None = None, q: int | None = None
) -> tuple[SequenceModel, dict[str, Any]]:
    """Return the model in a file, and the facts kept with it.

    Parameters
    ----------
    file
        Written by :func:`save_sequence`.
    shape, q
        What the model must be of, if given.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, not a sequence model, of a newer format, or of another
        lattice or alphabet than asked for.
    """
    if not Path(file).is_file():
        raise ModelFileError(f"{file}: no such file; check the path of the sequence model.")
    try:
        with safe_open(str(file), "pt") as content:
            metadata = content.metadata() or {}
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"{file}: not a safetensors file, or cut off ({error}); copy it again or train it anew."
        ) from None
    if _KEY not in metadata:
        raise ModelFileError(f"{file}: a safetensors file, but not a sequence model of mlpot lattice.")
    header = json.loads(metadata[_KEY])
    if header["format"] != _FORMAT:
        raise ModelFileError(
            f"{file}: format {header['format']} of sequence models, this mlpot reads {_FORMAT}; update mlpot."
        )
    if shape is not None and tuple(header["shape"]) != tuple(shape):
        raise ModelFileError(
            f"{file}: a model of the lattice {tuple(header['shape'])}, asked for {tuple(shape)}; a sequence "
            "model holds for its own lattice only (the energy learned from it goes to others)."
        )
    if q is not None and header["q"] != q:
        raise ModelFileError(
            f"{file}: a model of {header['q']} states per site, asked for {q}; "
            "use samples and model of one alphabet."
        )
    settings = parse_recipe(SequenceSettings, header["settings"], str(file))
    model = build_sequence(
        tuple(header["shape"]), header["q"], settings, dtype=getattr(torch, header["dtype"])
    )
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelFileError(
            f"{file}: its tensors do not fit its settings ({error}); train it anew."
        ) from None
    return model, header["facts"]
