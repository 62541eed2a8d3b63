"""Model files that are damaged, altered, foreign, too new, or do not compute what they did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mlpot
from mlpot.errors import ModelFileError
from mlpot.model.environment import Bonds
from mlpot.model.file import load_model, read_header, save_model
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential

ALTERED = "was altered or damaged; download or train it again"


def header_text(path: Path) -> str:
    """Return the header as the file has it."""
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["mlpot"]


def rewrite(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edit the header of a file as someone with an editor would, and leave its checksum."""
    header = json.loads(header_text(path))
    edit(header)
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    save_file(load_file(path), path, metadata={"mlpot": text})


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_truncated_file(saved: Path, keep: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    for read in (load_model, read_header):
        with pytest.raises(ModelFileError, match=r"model\.safetensors: not a safetensors file, or cut off"):
            read(saved)


def test_one_flipped_bit_anywhere(saved: Path) -> None:
    data = saved.read_bytes()
    for place in {*range(0, len(data), len(data) // 150), 8, len(data) - 1}:
        flipped = bytearray(data)
        flipped[place] ^= 1
        saved.write_bytes(flipped)
        with pytest.raises(ModelFileError):
            read_header(saved)


def test_tampered_tensor(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-3] ^= 16
    saved.write_bytes(data)
    with pytest.raises(ModelFileError, match=f"model.safetensors: the file {ALTERED}"):
        load_model(saved)


@pytest.mark.parametrize("change", ["renamed", "reshaped"])
def test_tensors_of_another_name_or_shape(saved: Path, change: str) -> None:
    """The bytes are the same, in the same order; what they mean is not."""
    tensors = load_file(saved)
    if change == "renamed":
        tensors["offsetz"] = tensors.pop("offsets")
    else:
        tensors["offsets"] = tensors["offsets"][None]
    save_file(tensors, saved, metadata={"mlpot": header_text(saved)})
    with pytest.raises(ModelFileError, match=ALTERED):
        load_model(saved)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("elements", ["Si", "C"]),
        ("provenance", {"recipe": "another"}),
        ("offsets", [0.0, 0.0]),
        ("checksum", "0" * 64),
    ],
)
def test_edited_header(saved: Path, key: str, value: object) -> None:
    rewrite(saved, lambda header: header.update({key: value}))
    for read in (load_model, read_header):
        with pytest.raises(ModelFileError, match=ALTERED):
            read(saved)


def test_reformatted_header(saved: Path) -> None:
    text = json.dumps(json.loads(header_text(saved)), indent=1)
    save_file(load_file(saved), saved, metadata={"mlpot": text})
    with pytest.raises(ModelFileError, match=ALTERED):
        load_model(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"x"'])
def test_header_that_is_none(saved: Path, text: str) -> None:
    save_file(load_file(saved), saved, metadata={"mlpot": text})
    with pytest.raises(ModelFileError, match=ALTERED):
        load_model(saved)


def test_safetensors_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "bert.safetensors"
    for metadata in (None, {"format": "pt"}):
        save_file({"weight": torch.zeros(2)}, path, metadata=metadata)
        with pytest.raises(ModelFileError, match="a safetensors file, but not a model of mlpot"):
            load_model(path)


def test_another_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(ModelFileError, match=r"model\.pt: not a safetensors file"):
        load_model(path)


def test_tensors_that_do_not_fit(make_potential: Callable[..., Potential], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    potential = make_potential()
    potential.register_buffer("extra", torch.zeros(2))
    save_model(potential, path)
    with pytest.raises(ModelFileError, match=r"do not fit the architecture .*\(unexpected: extra\)"):
        load_model(path)
    potential = make_potential()
    potential.config = NetworkConfig(channels=8, hidden=9, layers=3)
    save_model(potential, path)
    with pytest.raises(
        ModelFileError, match=r"missing: network.layers.1.*of another shape or precision: network"
    ):
        load_model(path)


def compute_otherwise(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Multiply all energies but the offsets, and their slopes."""
    original = Potential.local_energies_and_slopes

    def other(self: Potential, bonds: Bonds) -> tuple[torch.Tensor, torch.Tensor]:
        energies, slopes = original(self, bonds)
        offsets = self.offsets[bonds.species]
        return offsets + factor * (energies - offsets), factor * slopes

    monkeypatch.setattr(Potential, "local_energies_and_slopes", other)


def test_self_test_failure(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another installation that computes something else."""
    compute_otherwise(monkeypatch, 1.01)
    with pytest.raises(
        ModelFileError, match=r"self-test failed: energy of structure 0 \(Si8\) deviate by .* eV"
    ) as caught:
        load_model(saved)
    assert f"mlpot {mlpot.__version__}, torch {torch.__version__}; loaded with ase" in str(caught.value)


def test_self_test_sees_the_repulsion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    save_model(Potential(["Si"], NetworkConfig(channels=4, hidden=4)), path)
    monkeypatch.setattr("mlpot.model.repulsion.COULOMB", 14.0)
    with pytest.raises(ModelFileError, match=r"self-test failed: energy of structure 1 \(Si5\)"):
        load_model(path)


@pytest.mark.parametrize(("dtype", "small"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_self_test_forgives_rounding(
    make_potential: Callable[..., Potential],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
    small: float,
) -> None:
    path = tmp_path / "model.safetensors"
    save_model(make_potential(dtype=dtype), path)
    compute_otherwise(monkeypatch, 1.0 + small)
    load_model(path, dtype=dtype)


def test_newer_format(saved: Path) -> None:
    rewrite(saved, lambda header: header.update(format_version=3))
    for read in (load_model, read_header):
        with pytest.raises(ModelFileError, match=r"format 3 needs a newer mlpot .*pip install -U mlpot"):
            read(saved)
