"""A frame is found again by what it is, and what is kept of it is whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from moody import make_frames

from mlpot.errors import DataError
from mlpot.labelling.store import Store, label_key, method_hash, structure_of


@pytest.fixture
def frame():
    return make_frames(1)[0]


def key(frame, method="m"):
    return label_key(structure_of(frame), method)


def test_the_key_depends_on_structure_and_method_at_full_precision(frame):
    same = replace(frame, info={"other": 1}, source="elsewhere", energy=1.0)
    assert key(same) == key(frame)
    moved = frame.positions.copy()
    moved[1, 2] = np.nextafter(moved[1, 2], 9.0)
    others = [
        replace(frame, positions=moved),
        replace(frame, numbers=np.array([14, 32])),
        replace(frame, cell=4.1 * np.eye(3)),
        replace(frame, pbc=np.array([True, True, False])),
    ]
    assert len({key(frame), key(frame, "n"), *map(key, others)}) == 6


def test_the_sign_of_zero_does_not_matter(frame):
    assert frame.positions[0, 0] == 0.0
    negative = frame.positions.copy()
    negative[0, 0] = -0.0
    assert key(replace(frame, positions=negative)) == key(frame)


def test_the_identity_does_not_depend_on_the_order_of_its_keys():
    assert method_hash({"a": 1, "b": [2.5]}) == method_hash({"b": [2.5], "a": 1}) != method_hash({"a": 1})


def test_labels_come_back_exactly(tmp_path, frame):
    rng = np.random.default_rng(0)
    stress = rng.normal(size=(3, 3))
    labelled = replace(frame, energy=1 / 3, forces=rng.normal(size=(2, 3)), stress=stress + stress.T)
    store = Store(tmp_path)
    assert not store.has_result(key(frame))
    store.put_result(key(frame), labelled, {"seconds": 1.0})
    read = store.labelled(key(frame), frame)
    assert read.content_hash == labelled.content_hash and read.info == frame.info


@pytest.mark.parametrize(
    "text", ["", '{"labels"', '{"labels": {"energy": 1.0, "forces": [[0, 0, 0]], "stress": null}}']
)
def test_a_damaged_result_is_named_with_its_remedy(tmp_path, frame, text):
    path = Store(tmp_path).folder(key(frame)) / "result.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(
        DataError, match=r"result\.json: damaged .* remove this file and run the same command"
    ):
        Store(tmp_path).labelled(key(frame), frame)


def test_attempts_never_share_a_folder(tmp_path):
    store = Store(tmp_path)
    (store.folder("abcd") / "attempt-2").mkdir(parents=True)  # by a process that is further on
    assert store.new_attempt("abcd")[0] == 3
    assert store.new_attempt("abcd")[1].name == "attempt-4"
    assert store.attempts("abcd") == 3


def test_failures_are_kept_in_order(tmp_path):
    store = Store(tmp_path)
    assert store.failures("abcd") == []
    store.add_failure("abcd", "lost", "gone", None)
    store.add_failure("abcd", "failed", "wrong", 2)
    assert [(entry.kind, entry.attempt) for entry in store.failures("abcd")] == [
        ("lost", None),
        ("failed", 2),
    ]
    (store.folder("abcd") / "failures.json").write_text("[")
    with pytest.raises(DataError, match=r"failures\.json: damaged"):
        store.failures("abcd")
