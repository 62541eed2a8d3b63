"""Sampling plans: all of their keys are documented, and the shipped ones make what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from mlpot.recipe import load_recipe
from mlpot.sampling.plan import AnyStage, SamplingPlan
from mlpot.sampling.prototypes import Phase
from mlpot.sampling.select import Selection
from mlpot.sampling.structures import AnyStructure

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
PARTS = [SamplingPlan, Selection, *get_args(get_args(AnyStage)[0]), *get_args(get_args(AnyStructure)[0])]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_key_is_documented(part):
    text = (RECIPES / "README.md").read_text()
    section = text[text.index("## `mlpot generate") :]
    section = section[: section.index("\n## ", 3)]
    kinds = get_args(part.model_fields["kind"].annotation) if "kind" in part.model_fields else ()
    for key in {*part.model_fields, *kinds} - {"kind"}:
        assert f"`{key}`" in section, f"{key} of {part.__name__}"
    # ... where it is defined as well: in the docstrings of the class and of those it extends.
    docs = "\n".join(base.__doc__ or "" for base in part.__mro__)
    for key in set(part.model_fields) - {"kind"}:
        assert re.search(rf"\b{key}\b", docs), f"{key} of {part.__name__}"


def test_every_phase_is_documented():
    text = (RECIPES / "README.md").read_text()
    assert all(f"`{phase}`" in text for phase in get_args(Phase))


PLANS = ["data/sw_si", "data/tersoff_si", "pbe/si_structures", "sige/teacher_si"]


@pytest.mark.parametrize("name", PLANS)
def test_resolved_plans_are_the_same_plans(name):
    plan = load_recipe(SamplingPlan, RECIPES / f"{name}.yaml")
    assert SamplingPlan.model_validate(plan.model_dump(mode="json")) == plan


@pytest.mark.parametrize("element", ["si", "ge"])
def test_structures_for_dft_are_small_and_many(element):
    plan = load_recipe(SamplingPlan, RECIPES / f"pbe/{element}_structures.yaml")
    assert plan.labels is False and plan.supercell == (1, 1, 1)
