"""Weights by name: plain or computed from others, matched by patterns, made plain again."""

from __future__ import annotations

import pytest
from torch import nn
from torch.nn.utils import parametrize

from mlpot.errors import RecipeError
from mlpot.model.potential import Potential
from mlpot.training.weights import matching, merge, weight_name, weights


class Twice(nn.Module):
    def forward(self, weight):
        return 2.0 * weight


def test_parts_of_a_weight_have_its_name():
    assert weight_name("layers.0.update.parametrizations.weight.original") == "layers.0.update.weight"
    assert weight_name("layers.0.update.parametrizations.weight.0.a") == "layers.0.update.weight"
    assert weight_name("layers.0.centre_table") == "layers.0.centre_table"


def test_names_are_the_same_with_parametrisations(tiny):
    potential = Potential(["Si"], tiny)
    plain = weights(potential)
    parametrize.register_parametrization(potential.network.layers[0].update, "weight", Twice())
    assert (
        set(weights(potential))
        == set(plain)
        == {name for name, _ in Potential(["Si"], tiny).named_parameters()}
    )


def test_patterns():
    names = ["a.b", "a.c", "d"]
    assert matching(names, "a.*", "freeze") == ["a.b", "a.c"]
    with pytest.raises(RecipeError, match=r"freeze: 'A\.\*' matches no weight; there are a\.b, a\.c, d\."):
        matching(names, "A.*", "freeze")


def test_merging_a_plain_model_changes_nothing(tiny):
    potential = Potential(["Si"], tiny)
    before = list(potential.named_parameters())
    merge(potential)
    assert all(a is b and x == y for (x, a), (y, b) in zip(before, potential.named_parameters(), strict=True))
