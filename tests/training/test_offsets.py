"""Offsets with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from mlpot.data.frame import Frame
from mlpot.errors import DataError, RecipeError
from mlpot.training.offsets import composition, given_offsets, least_squares_offsets


def frame(silicon, germanium, energy):
    numbers = np.array([14] * silicon + [32] * germanium)
    positions = np.arange(3.0 * len(numbers)).reshape(-1, 3)
    return Frame(numbers, positions, np.zeros((3, 3)), np.zeros(3, dtype=bool), energy)


def test_composition_counts_in_the_order_of_the_elements():
    frames = [frame(2, 1, 0.0), frame(0, 3, 0.0)]
    assert composition(frames, [32, 14]).tolist() == [[1, 2], [3, 0]]


def test_one_element_takes_the_mean_energy_per_atom():
    frames = [frame(2, 0, -9.0), frame(4, 0, -16.0)]
    offsets, residual = least_squares_offsets(frames, [14])
    assert offsets == pytest.approx([-4.25])
    assert residual == pytest.approx(0.25)


def test_two_elements_are_told_apart_exactly():
    frames = [frame(n, m, -5.0 * n - 3.5 * m) for n, m in [(2, 0), (1, 1), (3, 5), (1, 3)]]
    offsets, residual = least_squares_offsets(frames, [14, 32])
    assert offsets == pytest.approx([-5.0, -3.5])
    assert residual == pytest.approx(0.0, abs=1e-12)
    assert least_squares_offsets(frames, [32, 14])[0] == pytest.approx([-3.5, -5.0])


def test_elements_in_fixed_proportion_share_evenly():
    offsets, residual = least_squares_offsets([frame(1, 1, -8.0), frame(2, 2, -16.0)], [14, 32])
    assert offsets == pytest.approx([-4.0, -4.0])
    assert residual == pytest.approx(0.0, abs=1e-12)


def test_interaction_is_taken_off_first_and_frames_without_energy_do_not_count():
    frames = [frame(2, 0, -9.0), frame(3, 0, None), frame(4, 0, -16.0)]
    offsets, residual = least_squares_offsets(frames, [14], np.array([-1.0, 99.0, 0.0]))
    assert offsets == pytest.approx([-4.0])
    assert residual == pytest.approx(0.0, abs=1e-12)


def test_no_energies():
    with pytest.raises(DataError, match=r"no frame has an energy.*give them in the recipe"):
        least_squares_offsets([frame(1, 1, None)], [14, 32])


def test_element_without_an_energy():
    with pytest.raises(DataError, match="no frame with an energy contains Ge"):
        least_squares_offsets([frame(2, 0, -9.0), frame(0, 1, None)], [14, 32])


def test_given_offsets_come_in_the_order_of_the_elements():
    assert given_offsets({"Si": -1.0, "Ge": -2.0}, [32, 14]).tolist() == [-2.0, -1.0]


def test_given_offsets_must_cover_the_elements():
    with pytest.raises(RecipeError, match=r"for each of Si, Ge; no value for Ge\."):
        given_offsets({"Si": -1.0}, [14, 32])


def test_given_offsets_must_be_of_elements():
    with pytest.raises(RecipeError, match=r"Sil is no element"):
        given_offsets({"Si": -1.0, "Sil": -2.0}, [14])
