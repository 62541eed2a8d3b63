"""Farthest points: against brute force, and that frames chosen by a potential are diverse."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk

import mlpot
from mlpot.data.frame import Frame
from mlpot.errors import RecipeError
from mlpot.model.features import atomic_features, frame_features
from mlpot.sampling.select import Selection, farthest_points


def test_each_point_is_the_farthest_from_all_before():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(60, 4))
    chosen = farthest_points(points, 25, start=7)
    assert chosen[0] == 7 and len(set(chosen)) == 25
    for count in range(1, 25):
        gaps = [min(np.linalg.norm(point - points[i]) for i in chosen[:count]) for point in points]
        assert gaps[chosen[count]] == pytest.approx(max(gaps))
    assert farthest_points(points, 10, start=7) == chosen[:10]
    assert sorted(farthest_points(points, 60)) == list(range(60))


def test_equal_points_are_taken_in_order():
    assert farthest_points(np.array([[0.0], [1.0], [1.0], [0.0]]), 4) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("features", "n", "start", "message"),
    [
        (np.zeros((3, 2)), 4, 0, "cannot select 4 of 3 points"),
        (np.zeros((3, 2)), 0, 0, "cannot select 0"),
        (np.zeros((3, 2)), 2, 3, "points 0 to 2"),
        (np.zeros(3), 1, 0, "shape"),
        (np.array([[0.0], [np.nan]]), 1, 0, "features of point 1 are not finite"),
    ],
)
def test_what_cannot_be_selected_is_refused(features, n, start, message):
    with pytest.raises(RecipeError, match=message):
        farthest_points(features, n, start)


def _frames():
    """Thirty slightly rattled crystals, and among them one of another phase and one very hot."""
    rng = np.random.default_rng(0)
    crystal = bulk("Si", "diamond", a=5.43, cubic=True)
    frames = []
    for number in range(32):
        atoms = crystal.copy()
        atoms.positions += rng.normal(0, 0.4 if number == 20 else 0.01, (8, 3))
        if number == 11:
            atoms = bulk("Si", "bcc", a=3.1, cubic=True)
        frames.append(Frame.from_atoms(atoms))
    return frames


def test_potential_tells_the_odd_frames():
    frames = _frames()
    chosen = Selection(frames=3, model="si").choose(frames)
    assert chosen == [0, 11, 20] == Selection(frames=3, model="si").choose(frames)
    assert Selection(frames=40, model="si").choose(frames) == list(range(32))


def test_features_are_those_of_the_environment():
    model = mlpot.load("sige")
    atoms = _frames()[20].to_atoms()
    features = atomic_features(model, Frame.from_atoms(atoms))
    assert features.shape == (8, model.config.layers * model.config.channels)
    scale = np.abs(features).max()
    turned = atoms.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    turned = turned[[3, 1, 0, 2, 7, 6, 5, 4]]
    np.testing.assert_allclose(
        atomic_features(model, Frame.from_atoms(turned)),
        features[[3, 1, 0, 2, 7, 6, 5, 4]],
        atol=1e-4 * scale,
    )
    # Mean and deviation of each element; none of germanium.
    (row,) = frame_features(model, [Frame.from_atoms(atoms)])
    blocks = dict(zip(model.symbols, row.reshape(2, 2, -1), strict=True))
    np.testing.assert_allclose(blocks["Si"], [features.mean(0), features.std(0)])
    assert not blocks["Ge"].any()
