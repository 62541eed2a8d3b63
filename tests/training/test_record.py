"""What a model file says of its worth."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk, molecule

import mlpot
from mlpot.data.frame import Frame
from mlpot.errors import ModelFileError
from mlpot.model.file import load_model, read_header, save_model
from mlpot.model.potential import Potential
from mlpot.training.errors import summarise
from mlpot.training.record import domain, error_record, record_errors, relation


def frame(atoms, source="a.xyz#0", **info):
    atoms.info = info
    return Frame.from_atoms(atoms, source=source)


def test_domain_by_hand():
    silicon = [frame(bulk("Si", "diamond", a=a), kind=kind) for a, kind in [(5.2, "tight"), (5.6, "loose")]]
    covered = domain([*silicon, frame(molecule("H2"))], ["kind"])
    assert list(covered) == ["all", "Si", "Si: tight", "Si: loose", "H", "H: (none)"]
    assert covered["Si"]["volume_per_atom"] == pytest.approx([5.2**3 / 8, 5.6**3 / 8])
    assert covered["Si: loose"]["shortest_distance"] == pytest.approx(np.sqrt(3) / 4 * 5.6)
    assert (covered["all"]["frames"], covered["all"]["atoms"]) == (3, 6)
    assert covered["H"]["volume_per_atom"] is None
    assert covered["all"]["shortest_distance"] == pytest.approx(0.737, abs=0.01)


def test_atoms_too_far_apart_to_matter():
    assert domain([frame(bulk("Si", "sc", a=9.0))])["all"]["shortest_distance"] is None


@pytest.fixture
def model(tiny, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(Potential(["Si"], tiny, provenance={"kind": "test"}), path)
    return path


def test_errors_are_kept_with_their_file_and_nothing_else_changes(model):
    frames = [frame(bulk("Si"), "sub/a.xyz#3"), frame(bulk("Si"), "sub/a.xyz#7")]
    before, header = load_model(model).state_dict(), read_header(model)
    summary = summarise(frames, load_model(model).predict(frames))
    record = error_record(
        "test", "kept apart", frames, {"./sub/a.xyz": "12", "b.xyz": "34"}, [], {"all": summary}
    )
    record_errors(model, record)
    amended = read_header(model)
    (kept,) = amended["provenance"]["errors"]
    assert kept["files"] == {"./sub/a.xyz": "12"}
    assert (kept["name"], kept["use"], kept["mlpot"]) == ("test", "kept apart", mlpot.__version__)
    assert kept["errors"]["all"]["frames"] == 2 and kept["errors"]["all"]["energy_mae"] is None
    changed = {key for key in header if amended[key] != header[key]}
    assert changed == {"provenance", "checksum"}
    assert amended["provenance"]["kind"] == "test"
    after = load_model(model)
    assert all(np.array_equal(value, before[name]) for name, value in after.state_dict().items())
    record_errors(model, {**record, "name": "other"})
    record_errors(model, {**record, "use": "again"})
    names = [(entry["name"], entry["use"]) for entry in read_header(model)["provenance"]["errors"]]
    assert names == [("other", "kept apart"), ("test", "again")]


def test_what_cannot_be_kept_leaves_the_file_alone(model):
    before = model.read_bytes()
    with pytest.raises(ModelFileError, match="not amended, the entries are not plain JSON"):
        record_errors(model, {"name": "bad", "errors": float("nan")})
    assert model.read_bytes() == before


def test_a_file_of_any_earlier_stage_had_a_part_in_training():
    provenance = {"data": {"ge.xyz": "2"}, "parent": {"provenance": {"data": {"si.xyz": "1"}}}}
    for digest in ("1", "2"):
        assert "trained on" in relation(provenance, digest)
    assert relation(provenance, "3") == "a file that had no part in training"
    assert relation({}, "3") == "a file that had no part in training"
