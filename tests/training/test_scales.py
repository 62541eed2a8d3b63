"""Scales of corresponding states from numbers, properties and tables."""

from __future__ import annotations

import pytest

from mlpot.errors import RecipeError
from mlpot.recipe import parse_recipe
from mlpot.training.scales import (
    ElementScales,
    Scales,
    element_properties,
    given_scales,
    scales_from_properties,
    tabulated_scales,
)


def test_properties_give_the_scales():
    scales = scales_from_properties((5.43, 4.63), (5.66, 3.85), "handbook")
    assert scales.length == pytest.approx(5.43 / 5.66)
    assert scales.energy == pytest.approx(3.85 / 4.63)
    assert (scales.origin, scales.force_rmse) == ("handbook", None)
    assert scales.asdict()["origin"] == "handbook"


@pytest.mark.parametrize("bad", [(0.0, 4.6), (5.4, -4.6)])
def test_properties_must_be_positive(bad):
    with pytest.raises(RecipeError, match="must be positive"):
        scales_from_properties(bad, (5.66, 3.85))
    with pytest.raises(RecipeError, match="must be positive"):
        scales_from_properties((5.66, 3.85), bad)


def test_silicon_to_germanium_by_experiment():
    scales = tabulated_scales("Si", "Ge")
    assert scales.length == pytest.approx(0.9598, abs=1e-3)
    assert scales.energy == pytest.approx(0.8315, abs=1e-3)
    assert "diamond" in scales.origin
    back = tabulated_scales("Ge", "Si")
    assert back.length * scales.length == pytest.approx(1.0)
    assert element_properties("Si") == ("diamond", pytest.approx(5.43, abs=0.01), 4.63)


def test_structures_must_agree():
    with pytest.raises(
        RecipeError, match="Si is diamond and Al is fcc: their lattice constants do not compare"
    ):
        tabulated_scales("Si", "Al")


@pytest.mark.parametrize("symbol", ["As", "He", "Og", "Gee"])
def test_element_that_is_not_tabulated(symbol):
    with pytest.raises(RecipeError, match=f"no tabulated lattice constant and cohesive energy of {symbol}"):
        tabulated_scales("Si", symbol)


def test_scales_of_a_recipe_as_numbers_or_from_properties():
    section = {"properties": {"lattice_constants": [5.4, 6.0], "cohesive_energies": [4.0, 3.0]}}
    sections = {"Ge": ElementScales.model_validate(section), "C": ElementScales(length=1.5)}
    scales = given_scales(sections, ["Si", "Ge", "C"])
    assert list(scales) == ["Si", "Ge", "C"]
    assert (scales["Si"].length, scales["Si"].energy) == (1.0, 1.0)
    assert (scales["Ge"].length, scales["Ge"].energy) == pytest.approx((0.9, 0.75))
    assert scales["C"] == Scales(1.5, 1.0, "given")


def test_scales_of_an_element_that_is_not_there():
    with pytest.raises(RecipeError, match="scales: Sn is not among the elements Si, Ge"):
        given_scales({"Sn": ElementScales()}, ["Si", "Ge"])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"length": 0.0}, "length: .*greater than 0"),
        ({"lenght": 1.0}, "did you mean 'length'"),
        ({"properties": {"lattice_constants": [5.4, 6.0]}}, "properties.cohesive_energies: Field required"),
        (
            {"length": 1.0, "properties": {"lattice_constants": [5, 6], "cohesive_energies": [4, 3]}},
            "give length and energy, or properties, not both",
        ),
    ],
)
def test_scales_that_cannot_be(section, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(ElementScales, section, "x")
