"""Model files: what goes in comes out, and nothing else is accepted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor

from mlpot.errors import ModelFileError, RecipeError
from mlpot.model import file as model_file
from mlpot.model.file import find_model, load_model, read_header, save_model, shipped_models
from mlpot.model.network import NetworkConfig
from mlpot.model.potential import Potential

FIXTURES = Path(__file__).parent / "fixtures"


# --- round trips ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("repulsion", [True, False])
def test_round_trip_is_exact(
    make_potential: Callable[..., Potential],
    tmp_path: Path,
    cubic: Atoms,
    cluster: Atoms,
    dtype: torch.dtype,
    repulsion: bool,
) -> None:
    potential = make_potential(dtype=dtype, repulsion=repulsion)
    potential.offsets.fill_(-1.0 / 3.0)
    potential.provenance = {
        "recipe": {"epochs": 3, "seed": 0},
        "data": ["a1b2"],
        "date": "2025-01-02",
        "é": None,
    }
    path = tmp_path / "new" / "model.safetensors"
    save_model(potential, path)
    loaded = load_model(path, dtype=dtype)
    before, after = potential.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert torch.equal(after[name], tensor)
    assert loaded.offsets.dtype == torch.float64
    assert loaded.symbols == ("Si", "Ge")
    assert loaded.config == potential.config
    assert (loaded.repulsion is not None) == repulsion
    assert loaded.provenance == potential.provenance
    for old, new in zip(potential.predict([cubic, cluster]), loaded.predict([cubic, cluster]), strict=True):
        assert new.energy == old.energy
        assert np.array_equal(new.forces, old.forces)
        assert np.array_equal(new.stress, old.stress, equal_nan=True)
    again = tmp_path / "again.safetensors"
    save_model(loaded, again)
    assert again.read_bytes() == path.read_bytes()


def test_uncertainty_is_kept_and_needs_format_2(
    make_potential: Callable[..., Potential], tmp_path: Path, cubic: Atoms
) -> None:
    potential = make_potential(dtype=torch.float32)
    path, bare = tmp_path / "model.safetensors", tmp_path / "bare.safetensors"
    save_model(potential, bare)
    deviations = 0.01 * torch.randn(5, 34, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    potential.head_deviations = deviations
    save_model(potential, path)
    assert read_header(path)["format_version"] == 2
    loaded = load_model(path)
    assert loaded.head_deviations is not None and torch.equal(loaded.head_deviations, deviations)
    (old,), (new,) = potential.predict(cubic, uncertainty=True), loaded.predict(cubic, uncertainty=True)
    assert new.energy_std == old.energy_std and np.array_equal(new.forces_std, old.forces_std)
    loaded.head_deviations = None
    again = tmp_path / "again.safetensors"
    save_model(loaded, again)
    assert again.read_bytes() == bare.read_bytes()
    potential.head_deviations = deviations[:, 1:]
    save_model(potential, path)
    with pytest.raises(ModelFileError, match=r"head_deviations has shape \(5, 33\), the head has 34 numbers"):
        load_model(path)


def test_other_precision_on_loading(
    make_potential: Callable[..., Potential], tmp_path: Path, cubic: Atoms
) -> None:
    potential = make_potential(dtype=torch.float64)
    path = tmp_path / "model.safetensors"
    save_model(potential, path)
    single, double = load_model(path), load_model(path, dtype=torch.float64)
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert torch.equal(single.length_scales, potential.length_scales)
    (a,), (b,) = single.predict(cubic), double.predict(cubic)
    assert a.forces == pytest.approx(b.forces, abs=1e-5 * np.abs(b.forces).max())


def test_loading_and_saving_leave_random_numbers_alone(saved: Path) -> None:
    state = torch.random.get_rng_state()
    save_model(load_model(saved), saved)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_unknown_precision(saved: Path) -> None:
    with pytest.raises(RecipeError, match=r"float32 or torch\.float64, not in torch\.float16"):
        load_model(saved, dtype=torch.float16)


def test_header_tells_what_the_file_is(make_potential: Callable[..., Potential], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    potential = make_potential(dtype=torch.float32)
    potential.provenance = {"parent": "si"}
    save_model(potential, path)
    header = read_header(path)
    assert header["format_version"] == 1
    assert header["elements"] == ["Si", "Ge"]
    assert header["architecture"] == {"network": potential.config.asdict(), "repulsion": True}
    assert header["precision"] == "float32"
    assert header["provenance"] == {"parent": "si"}
    assert header["versions"]["torch"] == torch.__version__
    assert header["versions"].keys() == {"mlpot", "torch", "e3nn", "ase"}
    for name in ("offsets", "energy_scales", "length_scales", "energy_unit"):
        assert header[name] == getattr(potential, name).tolist()
    assert len(header["checksum"]) == 64


def test_self_test_covers_every_element(tmp_path: Path) -> None:
    elements = ["H", "C", "N", "O", "Si", "Ge", "Au"]
    path = tmp_path / "model.safetensors"
    save_model(Potential(elements, NetworkConfig(channels=4, hidden=4)), path)
    entries = read_header(path)["self_test"]
    crystal, *clusters = entries
    assert crystal["numbers"] == [1] * 8
    assert all(crystal["pbc"])
    assert crystal["stress"] is not None
    assert {z for entry in clusters for z in entry["numbers"]} == {1, 6, 7, 8, 14, 32, 79}
    assert all(entry["stress"] is None and not any(entry["pbc"]) for entry in clusters)
    assert load_model(path).symbols == tuple(elements)


def test_self_test_of_silicon(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(Potential(["Si"], NetworkConfig(channels=4, hidden=4)), path)
    crystal, cluster = read_header(path)["self_test"]
    atoms = Atoms(crystal["numbers"], positions=crystal["positions"], cell=crystal["cell"], pbc=True)
    nearest = np.sort(atoms.get_all_distances(mic=True) + 10 * np.eye(8), axis=1)[:, :4]
    assert nearest.mean() == pytest.approx(1.05 * 2.22, rel=0.05)
    assert np.abs(crystal["forces"]).max() > 1e-4
    assert cluster["numbers"] == [14] * 5


def test_own_self_test_structures(
    make_potential: Callable[..., Potential], tmp_path: Path, slab: Atoms
) -> None:
    path = tmp_path / "model.safetensors"
    potential = make_potential()
    save_model(potential, path, self_test=[slab])
    (entry,) = read_header(path)["self_test"]
    assert entry["pbc"] == [True, True, False]
    assert entry["energy"] == potential.predict(slab)[0].energy
    load_model(path)


# --- saving ---------------------------------------------------------------------------------


def test_a_failed_save_leaves_the_old_file(make_potential: Callable[..., Potential], saved: Path) -> None:
    before = saved.read_bytes()
    potential = make_potential(dtype=torch.float32)
    potential.provenance = {"when": object()}
    with pytest.raises(ModelFileError, match="was not saved, its provenance is not plain JSON"):
        save_model(potential, saved)
    potential.provenance = {"loss": float("nan")}
    with pytest.raises(ModelFileError, match="was not saved, its provenance is not plain JSON"):
        save_model(potential, saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_an_interrupted_save_leaves_the_old_file(
    make_potential: Callable[..., Potential], saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(make_potential(), saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_diverged_model_is_not_saved(make_potential: Callable[..., Potential], tmp_path: Path) -> None:
    potential = make_potential()
    with torch.no_grad():
        next(potential.parameters())[0] = torch.nan
    with pytest.raises(ModelFileError, match=r"was not saved, NaN or infinity in network\..*diverged"):
        save_model(potential, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_model_without_finite_energies_is_not_saved(
    make_potential: Callable[..., Potential], tmp_path: Path
) -> None:
    potential = make_potential()
    potential.energy_unit.fill_(1e308)
    potential.energy_scales.fill_(1e308)
    with pytest.raises(ModelFileError, match=r"energy or forces of self-test structure 0 .* are not finite"):
        save_model(potential, tmp_path / "model.safetensors")


def test_suffix(make_potential: Callable[..., Potential], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"ends in .safetensors; name it model.pt.safetensors"):
        save_model(make_potential(), tmp_path / "model.pt")


# --- versions -------------------------------------------------------------------------------


def test_older_format_is_upgraded(
    make_potential: Callable[..., Potential], tmp_path: Path, cubic: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in which the tensors had other names is read through a chain of upgrades."""
    path = tmp_path / "model.safetensors"
    potential = make_potential(dtype=torch.float32)
    current = potential.state_dict()
    old = {name.replace("network.", "net."): tensor for name, tensor in current.items()}
    monkeypatch.setattr(potential, "state_dict", lambda: old)
    save_model(potential, path)
    with pytest.raises(ModelFileError, match=r"missing: network\..*unexpected: net\."):
        load_model(path)

    Parts = tuple[dict[str, Any], dict[str, Tensor]]

    def first(header: dict[str, Any], tensors: dict[str, Tensor]) -> Parts:
        return {**header, "note": "seen"}, tensors

    def second(header: dict[str, Any], tensors: dict[str, Tensor]) -> Parts:
        assert header["note"] == "seen"
        return header, {name.replace("net.", "network."): tensor for name, tensor in tensors.items()}

    monkeypatch.setattr(model_file, "FORMAT_VERSION", 3)
    monkeypatch.setattr(model_file, "UPGRADES", {})
    with pytest.raises(ModelFileError, match="format 1 of model files is no longer read"):
        load_model(path)
    monkeypatch.setattr(model_file, "UPGRADES", {1: first, 2: second})
    loaded = load_model(path)
    assert all(torch.equal(tensor, current[name]) for name, tensor in loaded.state_dict().items())
    assert read_header(path)["format_version"] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_frozen_file_of_format_1(dtype: torch.dtype) -> None:
    frozen = json.loads((FIXTURES / "format1.json").read_text())
    atoms = Atoms(frozen["symbols"], positions=frozen["positions"], cell=frozen["cell"], pbc=True)
    potential = load_model(FIXTURES / "format1.safetensors", dtype=dtype)
    assert potential.symbols == ("Si", "Ge")
    assert potential.length_scales.tolist() == [1.02, 0.97]
    assert potential.provenance == {"recipe": "format1", "date": "2025"}
    (prediction,) = potential.predict(atoms)
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4
    assert prediction.energy == pytest.approx(frozen["energy"], abs=tolerance)
    assert prediction.forces == pytest.approx(np.array(frozen["forces"]), abs=tolerance)
    assert prediction.stress == pytest.approx(np.array(frozen["stress"]), abs=tolerance)


# --- paths and names ------------------------------------------------------------------------


@pytest.fixture
def shipped(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of shipped models with one model, ``si``, in it."""
    folder = tmp_path / "models"
    folder.mkdir()
    saved.rename(folder / "si.safetensors")
    monkeypatch.setattr(model_file, "_shipped_folder", lambda: folder)
    return folder


def test_name_of_a_shipped_model(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shipped_models() == ["si"]
    assert load_model("si").symbols == ("Si", "Ge")
    assert read_header("si")["elements"] == ["Si", "Ge"]
    assert find_model("si") == shipped / "si.safetensors"


def test_unknown_name(shipped: Path) -> None:
    with pytest.raises(ModelFileError, match=r"^ge: neither a file nor a shipped model \(.*with mlpot: si\)"):
        load_model("ge")


def test_unknown_name_where_nothing_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "_shipped_folder", lambda: tmp_path / "none")
    with pytest.raises(ModelFileError, match=r"models shipped with mlpot: none"):
        load_model("si")


def test_a_file_goes_before_a_name(
    shipped: Path, make_potential: Callable[..., Potential], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(make_potential(("Ge",)), tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").rename("si")
    assert load_model("si").symbols == ("Ge",)


@pytest.mark.parametrize("path", ["runs/none/model.safetensors", "nothing.safetensors", "runs/nothing"])
def test_missing_file(shipped: Path, path: str) -> None:
    with pytest.raises(
        ModelFileError, match=f"^{path}: there is no such file; check the path .*with mlpot: si"
    ):
        load_model(path)


def test_folder(shipped: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"this is a folder; say which file, e.g. .*model.safetensors"):
        load_model(tmp_path)
