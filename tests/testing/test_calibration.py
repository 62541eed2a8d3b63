"""The measures of calibration, on Gaussian errors whose deviations are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mlpot.data.frame import Frame
from mlpot.model.base import Prediction
from mlpot.testing.calibration import calibrate_labels, calibration


@pytest.fixture
def gaussian() -> tuple[np.ndarray, np.ndarray]:
    """Twenty thousand errors with deviations from 0.1 to 10."""
    rng = np.random.default_rng(0)
    deviations = 10.0 ** rng.uniform(-1.0, 1.0, size=20_000)
    return rng.normal(scale=deviations), deviations


def test_right_deviations(gaussian):
    found = calibration(*gaussian)
    assert found.mean_z2 == pytest.approx(1.0, abs=0.03)
    assert found.count == 20_000 and found.fixed == 0 and found.fixed_error is None
    assert [part.count for part in found.bins] == [2000] * 10
    for part in found.bins:
        assert part.observed == pytest.approx(part.predicted, rel=0.06)
    assert found.bins[0].predicted < 0.15 and found.bins[-1].predicted > 7.0
    # Mean of ln(sigma) is zero here: what is left is the entropy of a unit Gaussian.
    assert found.nll == pytest.approx(0.5 + 0.5 * np.log(2 * np.pi), abs=0.03)
    assert 0.6 < found.correlation < 0.9


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_wrong_deviations(gaussian, factor):
    errors, deviations = gaussian
    found, right = calibration(errors, factor * deviations), calibration(errors, deviations)
    assert found.mean_z2 == pytest.approx(right.mean_z2 / factor**2)
    assert found.nll > right.nll
    assert found.correlation == pytest.approx(right.correlation)


def test_telling_errors_apart_is_rewarded(gaussian):
    errors, deviations = gaussian
    rng = np.random.default_rng(1)
    for useless in (np.full_like(errors, np.sqrt(np.mean(errors**2))), rng.permutation(deviations)):
        assert calibration(errors, useless).nll > calibration(errors, deviations).nll + 0.2
    assert calibration(errors, np.ones_like(errors)).correlation is None
    assert abs(calibration(errors, rng.permutation(deviations)).correlation) < 0.03


def test_what_symmetry_fixes_is_counted_apart(gaussian):
    errors, deviations = gaussian
    zeros = np.array([0.0, 1e-9, -1e-9])
    found = calibration(np.append(errors, 3.0 + zeros), np.append(deviations, np.abs(zeros)))
    assert found.fixed == 3 and found.fixed_error == pytest.approx(3.0)
    assert found.mean_z2 == pytest.approx(calibration(errors, deviations).mean_z2)
    with pytest.raises(ValueError, match="no predicted deviation"):
        calibration(np.ones(3), np.zeros(3))
    with pytest.raises(ValueError, match="2 errors, but 3"):
        calibration(np.ones(2), np.ones(3))


def test_labels_of_frames():
    positions = np.zeros((2, 3))
    frame = Frame(np.array([14, 14]), positions, np.eye(3), np.zeros(3, bool), 1.0, positions)
    rng = np.random.default_rng(0)
    prediction = Prediction(
        1.2, np.zeros(2), np.full((2, 3), 0.03), np.eye(3), 0.4, rng.uniform(0.1, 1, (2, 3))
    )
    found = calibrate_labels([frame, replace(frame, energy=None)], [prediction] * 2)
    assert (found["energy"].observed, found["energy"].predicted) == pytest.approx((100.0, 200.0))
    assert found["forces"].count == 12 and found["forces"].observed == pytest.approx(30.0)
    assert found["forces"].asdict()["bins"][0]["observed"] == pytest.approx(30.0)
    bare = replace(frame, energy=None, forces=None)
    assert calibrate_labels([bare], [prediction]) == {"energy": None, "forces": None}
