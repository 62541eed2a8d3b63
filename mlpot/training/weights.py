"""Weights by their names, whether they are plain tensors or stand on others (adapters)."""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn.utils import parametrize

from mlpot.errors import RecipeError

_PARAMETRISED = re.compile(r"parametrizations\.(\w+)\..*")


def weight_name(parameter: str) -> str:
    """Return the name of the weight that a parameter is, or that it is a part of.

    ``network.layers.0.update.parametrizations.weight.original`` is a part of
    ``network.layers.0.update.weight``.
    """
    return _PARAMETRISED.sub(r"\1", parameter)


def weights(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Return the parameters of every weight: itself, or those it is computed from."""
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        found.setdefault(weight_name(name), []).append(parameter)
    return found


def matching(names: Collection[str], pattern: str, setting: str) -> list[str]:
    """Return the names of weights that match a shell pattern such as ``network.layers.0.*``.

    Raises
    ------
    RecipeError
        If there are none; the message names ``setting`` and lists the weights.
    """
    matched = [name for name in names if fnmatchcase(name, pattern)]
    if not matched:
        raise RecipeError(f"{setting}: '{pattern}' matches no weight; there are {', '.join(names)}.")
    return matched


@torch.no_grad()
def merge(model: nn.Module) -> None:
    """Make every channel matrix that is computed from others a plain tensor of that value, in place.

    Names and their order are those of a model that never had a parametrisation, predictions are
    the same to the bit. A model without any stays as it is.
    """
    for module in [module for module in model.modules() if parametrize.is_parametrized(module)]:
        names = module.matrices
        assert isinstance(names, tuple)
        values = {name: getattr(module, name) for name in names}
        # Not torch's remove_parametrizations: it changes the class, which copies of the model share.
        module.__class__ = type(module).__bases__[0]
        del module.parametrizations
        for name, value in values.items():
            module._parameters.pop(name, None)
            module.register_parameter(name, value if isinstance(value, nn.Parameter) else nn.Parameter(value))
