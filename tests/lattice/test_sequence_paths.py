"""Paths visit every site once, in the order their names say."""

import numpy as np
import pytest

from mlpot.errors import RecipeError
from mlpot.lattice.sequence.paths import path, visited_window


@pytest.mark.parametrize("kind", ["row", "snake", "spiral"])
@pytest.mark.parametrize("shape", [(6,), (1,), (4, 4), (3, 5), (1, 4), (2, 1)])
def test_a_path_visits_every_site_once(shape, kind):
    assert sorted(path(shape, kind)) == list(range(np.prod(shape)))


@pytest.mark.parametrize("kind", ["snake", "spiral"])
@pytest.mark.parametrize("shape", [(7,), (4, 4), (3, 5), (5, 2)])
def test_snake_and_spiral_move_to_neighbours(shape, kind):
    places = np.stack(np.unravel_index(path(shape, kind), shape), axis=-1)
    assert (np.abs(np.diff(places, axis=0)).sum(1) == 1).all()


def test_a_snake_moves_to_neighbours_in_three_dimensions():
    places = np.stack(np.unravel_index(path((3, 3, 4), "snake"), (3, 3, 4)), axis=-1)
    assert (np.abs(np.diff(places, axis=0)).sum(1) == 1).all()


def test_a_spiral_goes_inwards():
    assert path((3, 3), "spiral").tolist() == [0, 1, 2, 5, 8, 7, 6, 3, 4]
    assert path((2, 3), "spiral").tolist() == [0, 1, 2, 5, 4, 3]


def test_a_spiral_in_three_dimensions_is_refused():
    with pytest.raises(RecipeError, match="snake"):
        path((2, 2, 2), "spiral")


def test_what_has_been_visited_around_a_site_is_periodic():
    order = path((3, 3), "row")
    near = visited_window((3, 3), order, 1, diamond=True)
    assert [sorted(steps[steps < 9].tolist()) for steps in near] == [
        [], [0], [0, 1], [0], [1, 3], [2, 3, 4], [0, 3], [1, 4, 6], [2, 5, 6, 7],
    ]  # fmt: skip
    assert visited_window((3, 3), order, 1).shape == (9, 8)
    assert visited_window((2, 2), path((2, 2), "row"), 5).shape == (4, 3)
    assert visited_window((4, 1), path((4, 1), "row"), 1).shape == (4, 2)
