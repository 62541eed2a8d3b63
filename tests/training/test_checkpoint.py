"""Checkpoints: any nesting of plain values and tensors, no pickle, whole or not at all."""

from __future__ import annotations

import collections
import json
import math
import struct

import numpy as np
import pytest
import torch
from safetensors import safe_open

from mlpot.errors import ModelFileError
from mlpot.training.checkpoint import SafeCheckpointIO

CONTENT = {
    "epoch": 3,
    "nothing": None,
    "flag": True,
    "text": "é ∑",
    "nested": {"list": [1, [2.5, ("a", None)]], 7: {"deep": torch.arange(4)}, (1, 2): "tuple key"},
    "state": {0: {"step": 5, "mean": torch.ones(2, 3)}, 1: {}},
    "tensor": "a key of the packing itself",
    "map": [{"tuple": 1}],
    "empty": ([], (), {}, torch.zeros(0)),
    "scalar": torch.tensor(2.0, dtype=torch.float64),
    "slice": torch.arange(12).reshape(3, 4).T,
    "numbers": [0.1, -1e-300, math.inf],
}


def same(a, b):
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "deep" / "last.ckpt"
    SafeCheckpointIO().save_checkpoint(CONTENT, path)
    return path


def test_round_trip(saved):
    assert same(SafeCheckpointIO().load_checkpoint(saved), CONTENT)


def test_tensors_that_share_memory_are_each_kept(tmp_path):
    tensor = torch.randn(3, 3, requires_grad=True)
    SafeCheckpointIO().save_checkpoint({"a": tensor, "b": tensor, "row": tensor[1]}, tmp_path / "c")
    back = SafeCheckpointIO().load_checkpoint(tmp_path / "c")
    assert torch.equal(back["a"], tensor)
    assert torch.equal(back["b"], tensor)
    assert torch.equal(back["row"], tensor[1])


def test_file_is_safetensors_with_a_json_header(saved):
    data = saved.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert json.loads(header["__metadata__"]["checkpoint"])["map"][0] == ["epoch", 3]
    with safe_open(saved, "pt") as file:
        assert len(list(file.keys())) == 5


def test_nothing_is_left_beside_it(saved):
    assert [path.name for path in saved.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", 1j, torch.nn.Linear(1, 1), np.ones(2), np.float32(1.0)]
)
def test_unsupported_type_is_refused_and_the_old_file_stays(saved, value):
    before = saved.read_bytes()
    with pytest.raises(TypeError, match=f"cannot hold {type(value).__name__}"):
        SafeCheckpointIO().save_checkpoint({"x": [value]}, saved)
    assert saved.read_bytes() == before


def test_ordered_dictionaries_come_back_as_dictionaries(tmp_path):
    content = {"state": collections.OrderedDict(b=1, a=2)}
    SafeCheckpointIO().save_checkpoint(content, tmp_path / "c")
    assert list(SafeCheckpointIO().load_checkpoint(tmp_path / "c")["state"]) == ["b", "a"]


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_file(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(ModelFileError, match=r"last\.ckpt: not a readable checkpoint"):
        SafeCheckpointIO().load_checkpoint(saved)


def test_missing_file(tmp_path):
    with pytest.raises(ModelFileError, match=r"none\.ckpt: not a readable checkpoint"):
        SafeCheckpointIO().load_checkpoint(tmp_path / "none.ckpt")


def test_pickle_is_not_read(tmp_path):
    torch.save({"epoch": 1}, tmp_path / "torch.ckpt")
    with pytest.raises(ModelFileError, match="not a readable checkpoint"):
        SafeCheckpointIO().load_checkpoint(tmp_path / "torch.ckpt")


def test_safetensors_of_another_kind(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "plain.ckpt")
    with pytest.raises(ModelFileError, match="not a readable checkpoint"):
        SafeCheckpointIO().load_checkpoint(tmp_path / "plain.ckpt")


def test_removing_twice_is_no_error(saved):
    SafeCheckpointIO().remove_checkpoint(saved)
    SafeCheckpointIO().remove_checkpoint(saved)
    assert not saved.exists()
