"""Splits keep groups together, find symmetry copies, and draw reproducibly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlpot.data.files import read_frames
from mlpot.data.frame import Frame
from mlpot.data.split import draw_frames, group_ids, split_frames, symmetry_copies
from mlpot.errors import DataError

MLEARN = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "mlearn"
needs_mlearn = pytest.mark.skipif(not MLEARN.is_dir(), reason=f"reference data not found in {MLEARN}")


def _dimers(infos: list[dict]) -> list[Frame]:
    """Frames that are no copies of each other: dimers of growing length."""
    return [
        Frame.from_atoms(Atoms("Si2", [[0, 0, 0], [2 + 0.01 * i, 0, 0]], info=info))
        for i, info in enumerate(infos)
    ]


def _random_crystal(seed: int, strain: np.ndarray) -> Atoms:
    atoms = bulk("Si", cubic=True) * (1, 1, 2)
    atoms.rattle(0.1, seed=seed)
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    return atoms


def test_symmetry_copies_of_a_random_crystal():
    shear = np.zeros((3, 3))
    shear[0, 1] = shear[1, 0] = 0.03
    atoms = _random_crystal(1, shear)
    moved = atoms.copy()
    moved.positions += [0.3, 5.0, -1.0]
    moved.wrap()
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    mirrored = atoms.copy()
    mirrored.set_cell(atoms.cell * [-1, 1, 1], scale_atoms=True)
    relabelled = atoms[np.random.default_rng(0).permutation(len(atoms))]
    nearly = atoms.copy()
    nearly.positions[0, 0] += 0.01
    germanium = atoms.copy()
    germanium.symbols[:] = "Ge"
    others = [_random_crystal(2, shear), nearly, germanium, atoms * (1, 1, 2)]
    every = [others[0], atoms, moved, others[1], turned, others[2], mirrored, relabelled, others[3]]
    assert symmetry_copies([Frame.from_atoms(a) for a in every]) == [[1, 2, 4, 6, 7]]


def test_opposite_shears_of_diamond_are_copies_opposite_stretches_are_not():
    crystals = []
    for i, j, size in ((0, 1, 0.04), (0, 1, -0.04), (1, 2, 0.04), (0, 0, 0.04), (0, 0, -0.04), (2, 2, 0.04)):
        strain = np.zeros((3, 3))
        strain[i, j] = strain[j, i] = size
        atoms = bulk("Si", cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
        crystals.append(Frame.from_atoms(atoms))
    assert symmetry_copies(crystals) == [[0, 1, 2], [3, 5]]


def test_copies_with_a_shell_at_the_cutoff():
    # Cubic cell whose nearest images lie at 6 Å: one frame just inside, one just outside.
    frames = [
        Frame.from_atoms(Atoms("Si", cell=np.eye(3) * a, pbc=True)) for a in (5.9999, 6.0001, 6.5, 5.99)
    ]
    assert symmetry_copies(frames) == [[0, 1, 2]]  # beyond 6 Å everything is alike, by definition
    assert symmetry_copies(frames[:1]) == [] and symmetry_copies([]) == []


@needs_mlearn
def test_copies_in_mlearn():
    train = read_frames(MLEARN / "si_train.xyz")
    test = read_frames(MLEARN / "si_test.xyz")
    copied = [
        (index - len(train))
        for group in symmetry_copies(train + test)
        if min(group) < len(train)
        for index in group
        if index >= len(train)
    ]
    # README of the data: three of the 25 test frames (shear strain -0.06) are copies of training frames.
    assert sorted((test[i].info["strain_mode"], test[i].info["strain"]) for i in copied) == [
        (3, -0.06), (4, -0.06), (5, -0.06),
    ]  # fmt: skip
    elastic = [frame for frame in train if frame.info["group"] == "Elastic"]
    assert len(elastic) == 55
    # Nine stretches, three axes alike; five shears, three axes and both signs alike; the ground state.
    assert len(np.unique(group_ids(elastic))) == 15


def test_groups_by_keys_and_blocks():
    frames = _dimers([{"run": run, "T": 300.0} for run in "aabbbaab"])
    np.testing.assert_array_equal(group_ids(frames), np.arange(8))
    np.testing.assert_array_equal(group_ids(frames, block=3), [0, 0, 0, 1, 1, 1, 2, 2])
    np.testing.assert_array_equal(group_ids(frames, keys=["run"]), [0, 0, 1, 1, 1, 0, 0, 1])
    np.testing.assert_array_equal(group_ids(frames, keys=["run", "T"], block=2), [0, 0, 1, 1, 2, 3, 3, 2])
    frames[1].info.pop("run")
    frames[3].info.pop("run")
    np.testing.assert_array_equal(group_ids(frames, keys=["run"]), [0, 1, 2, 1, 2, 0, 0, 2])
    with pytest.raises(DataError, match=r"no frame has the info key 'config'.*keys that exist: T, run"):
        group_ids(frames, keys=["config"])
    with pytest.raises(DataError, match="block is 0"):
        group_ids(frames, block=0)


def test_copies_join_groups():
    atoms = _random_crystal(3, np.zeros((3, 3)))
    frames = _dimers([{"run": 0}, {"run": 0}]) + [
        Frame.from_atoms(a, source="x") for a in (atoms, _random_crystal(4, np.zeros((3, 3))), atoms)
    ]
    for frame, run in zip(frames[2:], (0, 1, 1), strict=True):
        frame.info["run"] = run
    np.testing.assert_array_equal(group_ids(frames, ["run"], symmetry_copies=False), [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(group_ids(frames, ["run"]), [0, 0, 0, 0, 0])
    np.testing.assert_array_equal(group_ids(frames), [0, 1, 2, 3, 2])


def test_split_keeps_groups_whole_and_meets_the_fraction():
    rng = np.random.default_rng(0)
    infos = [{"run": int(run), "phase": "liquid" if run % 3 else "solid"} for run in rng.integers(0, 40, 400)]
    frames = _dimers(infos)
    splits = [split_frames(frames, 0.2, seed, keys=["run"], stratify=["phase"]) for seed in (1, 1, 2)]
    for split in splits:
        np.testing.assert_array_equal(np.sort(np.concatenate([split.train, split.holdout])), np.arange(400))
        runs = [{infos[i]["run"] for i in side} for side in (split.train, split.holdout)]
        assert not runs[0] & runs[1]
        for phase in ("solid", "liquid"):
            total = sum(info["phase"] == phase for info in infos)
            held = sum(infos[i]["phase"] == phase for i in split.holdout)
            assert abs(held - 0.2 * total) <= 0.5  # so many groups of some ten frames reach any sum
    np.testing.assert_array_equal(splits[0].holdout, splits[1].holdout)
    assert not np.array_equal(splits[0].holdout, splits[2].holdout)


def test_split_of_single_frames_draws_all_alike():
    frames = _dimers([{}] * 20)
    drawn = np.concatenate([split_frames(frames, 0.25, seed).holdout for seed in range(400)])
    counts = np.bincount(drawn, minlength=20)
    assert counts.sum() == 400 * 5
    assert counts.min() > 60 and counts.max() < 145  # 100 expected, binomial deviation 8.7


def test_split_refuses_what_cannot_be_done():
    frames = _dimers([{"run": 0}] * 5)
    with pytest.raises(DataError, match=r"holdout is 1.5, expected a fraction"):
        split_frames(frames, 1.5, 0)
    with pytest.raises(DataError, match="5 frames in 1 groups and 1 strata leaves nothing to hold out"):
        split_frames(frames, 0.2, 0, keys=["run"])
    with pytest.raises(DataError, match="leaves nothing to train on"):
        split_frames(frames, 0.9, 0, keys=["run"])


def test_drawing_is_nested_and_in_proportion():
    frames = _dimers([{"phase": "solid"}] * 60 + [{"phase": "liquid"}] * 30 + [{"phase": "surface"}] * 10)
    for seed in range(20):
        order = draw_frames(frames, 100, seed, stratify=["phase"])
        assert sorted(order) == list(range(100))
        for n in (1, 5, 10, 20, 50):
            first = draw_frames(frames, n, seed, stratify=["phase"])
            np.testing.assert_array_equal(first, order[:n])
            for low, high in ((0, 60), (60, 90), (90, 100)):
                share = ((first >= low) & (first < high)).sum()
                assert abs(share - n * (high - low) / 100) < 2
    assert not np.array_equal(draw_frames(frames, 100, 0), draw_frames(frames, 100, 1))


def test_drawing_from_a_part():
    frames = _dimers([{}] * 30)
    among = np.arange(10, 25)
    assert sorted(draw_frames(frames, 15, 3, among=among)) == among.tolist()
    for n in (0, 16):
        with pytest.raises(DataError, match=f"cannot draw {n} frames from 15; ask for 1 to 15"):
            draw_frames(frames, n, 3, among=among)
    with pytest.raises(DataError, match="no frame has the info key 'phase'"):
        draw_frames(frames, 3, 0, stratify=["phase"])
