"""Reading and writing frames: formats, names of labels, gaps, and what can be wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect

from mlpot.conventions import KBAR
from mlpot.data.files import count_labels, read_frames, read_provenance, write_frames
from mlpot.data.frame import Frame, LabelKeys
from mlpot.errors import DataError

MLEARN = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "mlearn"
needs_mlearn = pytest.mark.skipif(not MLEARN.is_dir(), reason=f"reference data not found in {MLEARN}")

INFO = {
    "group": "md-300K-solid",
    "temperature_K": 300.0,
    "number": 7,
    "flag": False,
    "digits": "300",
    "sentence": 'it\'s a "quoted" \\ line\nand another, Å',
    "vector": np.array([0.5, 1.0, 2.0]),
    "matrix": [[1.0, 2.0], [3.0, 4.0]],
    "nested": {"a": [1, "x"], "b": None},
    "one": [5],
    "nothing": None,
    "words": ["a", "T"],
    "small": 1e-300,
}


def _frame(seed: int = 0, info: dict | None = None, stress: bool = True) -> Frame:
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", cubic=True)
    sigma = rng.normal(size=(3, 3))
    return Frame(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions + rng.normal(0, 0.1, (8, 3)),
        cell=np.array(atoms.cell) + rng.normal(0, 0.1, (3, 3)),
        pbc=np.array([True, True, False]),
        energy=float(rng.normal()),
        forces=rng.normal(size=(8, 3)),
        stress=sigma + sigma.T if stress else None,
        info=info or {},
    )


def _equal(a, b) -> bool:
    if isinstance(a, np.ndarray | list | tuple) and not isinstance(a, str):
        return np.shape(a) == np.shape(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b if isinstance(a, str | dict | None | bool) else a == b


@pytest.mark.parametrize(("suffix", "atol"), [(".xyz", 6e-9), (".extxyz", 6e-9), (".db", 0.0)])
def test_round_trip(tmp_path, suffix, atol):
    path = tmp_path / f"frames{suffix}"
    frames = [_frame(0, INFO), _frame(1)]
    write_frames(path, frames)
    again = read_frames(path)
    assert [frame.source for frame in again] == [f"{path}#0", f"{path}#1"]
    for old, new in zip(frames, again, strict=True):
        assert new.energy == old.energy
        np.testing.assert_allclose(new.positions, old.positions, rtol=0, atol=atol)
        np.testing.assert_allclose(new.forces, old.forces, rtol=0, atol=atol)
        for name in ("cell", "stress", "pbc", "numbers"):
            np.testing.assert_array_equal(getattr(new, name), getattr(old, name))
        assert set(new.info) == set(old.info)
        for key, value in old.info.items():
            assert _equal(value, new.info[key]), (key, value, new.info[key])
    assert list(tmp_path.iterdir()) == [path]


def test_renamed_labels_and_three_atoms_in_database(tmp_path):
    # Three atoms: forces and stress have one shape, and the database tells no arrays from other data.
    frame = Frame(
        numbers=np.array([14, 14, 32]), positions=np.array([[0, 0, 0], [2.4, 0, 0], [0, 2.4, 0.0]]),
        cell=np.eye(3) * 9, pbc=np.array([True] * 3), energy=-1.5,
        forces=np.arange(9.0).reshape(3, 3), stress=np.diag([1.0, 2.0, 3.0]),
    )  # fmt: skip
    keys = LabelKeys("dft_energy", "dft_forces", "dft_stress")
    for name in ("a.db", "a.xyz"):
        write_frames(tmp_path / name, [frame], keys)
        (again,) = read_frames(tmp_path / name, keys)
        assert again.energy == -1.5 and not again.info
        np.testing.assert_array_equal(again.forces, frame.forces)
        np.testing.assert_array_equal(again.stress, frame.stress)
        (bare,) = read_frames(tmp_path / name, labels=None)
        assert count_labels([bare]) == {"energy": 0, "forces": 0, "stress": 0}
        with pytest.raises(
            DataError, match=r"#0: no energy label named 'REF_energy'.*dft_energy.*missing: allow"
        ):
            read_frames(tmp_path / name)


@pytest.mark.parametrize("suffix", [".xyz", ".db"])
def test_calculator_results_are_labels_only_when_asked(tmp_path, suffix):
    path = tmp_path / f"left{suffix}"
    atoms = bulk("Si", cubic=True)
    atoms.set_constraint(FixAtoms([0, 1]))
    forces = np.arange(24.0).reshape(8, 3)
    stress = np.array([1.0, 2, 3, 4, 5, 6])
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0, forces=forces, stress=stress)
    ase.io.write(path, atoms)
    with pytest.raises(DataError, match="left by a calculator: energy, forces, stress"):
        read_frames(path)
    assert count_labels(read_frames(path, LabelKeys(missing="allow"))) == {
        "energy": 0,
        "forces": 0,
        "stress": 0,
    }
    (frame,) = read_frames(path, LabelKeys("energy", "forces", "stress"))
    assert frame.energy == -3.0
    np.testing.assert_array_equal(frame.forces, forces)  # fixed atoms keep theirs
    np.testing.assert_array_equal(frame.stress, [[1, 6, 5], [6, 2, 4], [5, 4, 3]])
    write_frames(path, [frame], LabelKeys("energy", "forces", "stress"))
    assert read_frames(path, LabelKeys("energy", "forces", "stress"))[0].content_hash == frame.content_hash


def test_constraints_do_not_alter_named_forces(tmp_path):
    atoms = bulk("Si", cubic=True)
    atoms.set_constraint(FixAtoms([0]))
    atoms.arrays["REF_forces"] = np.ones((8, 3))
    ase.io.write(tmp_path / "fixed.xyz", atoms)
    assert "move_mask" in (tmp_path / "fixed.xyz").read_text()
    (frame,) = read_frames(tmp_path / "fixed.xyz", LabelKeys(energy=None))
    np.testing.assert_array_equal(frame.forces, 1.0)


def test_gaps(tmp_path):
    path = tmp_path / "gaps.xyz"
    write_frames(path, [_frame(0, stress=False), _frame(1, stress=False)])
    assert count_labels(read_frames(path)) == {"energy": 2, "forces": 2, "stress": 0}
    write_frames(path, [_frame(0), _frame(1, stress=False), _frame(2)])
    with pytest.raises(
        DataError, match=r"gaps.xyz#1: no stress label named 'REF_stress' \(missing in 1 of 3"
    ):
        read_frames(path)
    assert count_labels(read_frames(path, LabelKeys(missing="allow"))) == {
        "energy": 3,
        "forces": 3,
        "stress": 2,
    }


def test_index(tmp_path):
    for name in ("many.xyz", "many.db"):
        path = tmp_path / name
        write_frames(path, [_frame(i) for i in range(6)])
        assert [frame.source for frame in read_frames(path, index="1::2")] == [
            f"{path}#{i}" for i in (1, 3, 5)
        ]
        assert read_frames(path, index="-1")[0].energy == _frame(5).energy
        with pytest.raises(DataError, match="there is no frame 6; the file holds 6 frames"):
            read_frames(path, index="6")
        with pytest.raises(DataError, match="no frames at index '9:'"):
            read_frames(path, index="9:")
        for index in ("first", "::0", "1:b"):
            with pytest.raises(DataError, match=f"index '{index}' is not understood"):
                read_frames(path, index=index)


def _text(tmp_path, text: str) -> Path:
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    return path


GOOD = 'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy=-1.0'
ROW = "Si 0 0 0 0 0 0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "no frames"),
        (f"1\n{GOOD}\n{ROW}\n2\n{GOOD}\n{ROW}\n", r"bad.xyz#1: the file breaks off.*1 of 2 atoms"),
        (f"1\n{GOOD}\n{ROW}\n{ROW}\n", r"bad.xyz#1: line 4 should be the number of atoms"),
        (f"1\n{GOOD}\n{ROW}\n\n1\n{GOOD}\n{ROW}\n", r"bad.xyz#1: line 4 is empty"),
        (f"1\n{GOOD}\n{ROW}\n1\n{GOOD}\nSi 0 0 0 0\n", r"bad.xyz#1: this frame \(lines 4 to 6\) is no ext"),
        (f"1\n{GOOD}\n{ROW}\n1\n{GOOD}\nXx 0 0 0 0 0 0\n", r"bad.xyz#1: this frame"),
        (f"1\n{GOOD}\n{ROW}\n1\n{GOOD.replace('-1.0', 'nan')}\n{ROW}\n", r"bad.xyz#1: energy holds NaN"),
        (f"1\n{GOOD}\nSi 0 0 0 0 nan 0\n", r"bad.xyz#0: forces holds NaN or infinity \(first at \[0, 1\]\)"),
        (f"1\n{GOOD.replace('-1.0', 'unknown')}\n{ROW}\n", r"bad.xyz#0: energy is 'unknown', expected"),
        (f'1\n{GOOD} REF_stress="1 2 3 4 5"\n{ROW}\n', r"bad.xyz#0: stress has 5 numbers.*expected 6"),
        (f"0\n{GOOD}\n", r"bad.xyz#0: the frame has no atoms"),
        (f"1\n{GOOD.replace(':R:3 REF', ':R:1 REF')}\nSi 0 0 0 0\n", r"bad.xyz#0: forces has shape \(1,\)"),
        (f"1\n{GOOD.replace('forces:R:3', 'forces:S:3')}\nSi 0 0 0 a b c\n", r"#0: a label is not made of"),
    ],
)  # fmt: skip
def test_damaged_xyz(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_frames(_text(tmp_path, text))


def test_wrong_files(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_frames(tmp_path / "none.xyz")
    with pytest.raises(DataError, match=r"unknown suffix '.cif'; expected extended XYZ"):
        read_frames(tmp_path / "a.cif")
    for name in ("text.db", "text.json"):
        (tmp_path / name).write_text("no such thing")
    with pytest.raises(DataError, match="not an ASE database"):
        read_frames(tmp_path / "text.db")
    with pytest.raises(DataError, match="not a JSON file"):
        read_frames(tmp_path / "text.json")
    (tmp_path / "binary.xyz").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a text file"):
        read_frames(tmp_path / "binary.xyz")


def test_refused_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "kept.xyz"
    write_frames(path, [_frame()])
    before = path.read_bytes()
    for info, message in (
        ({"stress": 1}, "info key 'stress' cannot be written to extended XYZ"),
        ({"thing": object()}, "cannot be written to extended XYZ and read back"),
        ({"REF_energy": 1.0}, "is also a label's name"),
    ):
        with pytest.raises(DataError, match=message):
            write_frames(path, [_frame(0), _frame(1, info)])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match="info cannot be written to an ASE database"):
        write_frames(tmp_path / "new.db", [_frame(0, {"thing": object()})])
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match="mlearn JSON layout is only read"):
        write_frames(tmp_path / "a.json", [_frame()])
    with pytest.raises(DataError, match="no frames to write"):
        write_frames(path, [])


@pytest.mark.parametrize("name", ["p.xyz", "p.db"])
def test_provenance(tmp_path, name):
    path = tmp_path / name
    write_frames(path, [_frame()], provenance={"recipe": {"seed": 1}})
    assert read_provenance(path) == {"recipe": {"seed": 1}}
    write_frames(path, [_frame()])
    assert read_provenance(path) is None
    assert list(tmp_path.iterdir()) == [path]


def test_provenance_of_a_changed_file(tmp_path):
    path = tmp_path / "p.xyz"
    write_frames(path, [_frame()], provenance={"seed": 1})
    path.write_text(path.read_text().replace("Si", "Ge"))
    with pytest.raises(DataError, match=r"changed since p.xyz.provenance.json was written"):
        read_provenance(path)


def test_foreign_database(tmp_path):
    # As another program writes it: the energy searchable, forces among the data.
    atoms = Atoms("Si2", positions=[[0, 0, 0], [2.3, 0, 0]])
    with connect(tmp_path / "foreign.db") as database:
        database.write(
            atoms, REF_energy=-2.0, group="dimer", data={"REF_forces": np.ones((2, 3)), "note": [1]}
        )
    (frame,) = read_frames(tmp_path / "foreign.db")
    assert frame.energy == -2.0 and frame.info == {"group": "dimer", "note": [1]} and frame.stress is None
    np.testing.assert_array_equal(frame.forces, 1.0)


@needs_mlearn
def test_mlearn_json_equals_xyz():
    from_json = read_frames(MLEARN / "Si_test.json")
    from_xyz = read_frames(MLEARN / "si_test.xyz")
    assert len(from_json) == len(from_xyz) == 25
    assert count_labels(from_json) == {"energy": 25, "forces": 25, "stress": 25}
    for a, b in zip(from_json, from_xyz, strict=True):
        assert a.energy == b.energy and a.info["group"] == b.info["group"]
        assert a.info["description"] == b.info["description"]
        np.testing.assert_array_equal(a.numbers, b.numbers)
        for name, atol in (("positions", 6e-9), ("cell", 1e-12), ("forces", 6e-9), ("stress", 1e-12)):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=0, atol=atol)


def _mlearn(tmp_path, **changes) -> Path:
    site = {"species": [{"element": "Ge", "occu": 1}], "xyz": [0, 0, 0]}
    record = {
        "structure": {"lattice": {"matrix": (4 * np.eye(3)).tolist()}, "sites": [site]},
        "outputs": {"energy": -1, "forces": [[0, 0, 0]], "virial_stress": [1, 2, 3, 4, 5, 6]},
        "num_atoms": 1,
    }
    path = tmp_path / "set.json"
    path.write_text(json.dumps([record, record | changes]))
    return path


def test_mlearn_layout(tmp_path):
    frame = read_frames(_mlearn(tmp_path))[0]
    # xx yy zz xy yz zx, kBar, compressive positive
    np.testing.assert_allclose(frame.stress, -KBAR * np.array([[1, 4, 6], [4, 2, 5], [6, 5, 3]]))
    assert frame.pbc.all() and frame.symbols == {"Ge"}
    mixed = {"species": [{"element": "Ge", "occu": 0.5}, {"element": "Si", "occu": 0.5}], "xyz": [0, 0, 0]}
    for changes, message in (
        ({"num_atoms": 2}, r"set.json#1: num_atoms is 2 but the structure has 1 sites"),
        ({"outputs": {"virial_stress": [1, 2]}}, r"set.json#1: virial_stress has shape \(2,\)"),
        ({"outputs": {}}, r"set.json#1: no energy label"),
        ({"structure": {}}, r"set.json#1: not the mlearn layout.*sites"),
        ({"structure": {"lattice": {}, "sites": [mixed]}}, r"set.json#1: site 0 is partially occupied"),
    ):
        with pytest.raises(DataError, match=message):
            read_frames(_mlearn(tmp_path, **changes))


def test_stress_label_of_a_frame_without_volume(tmp_path: Path) -> None:
    path = tmp_path / "molecule.xyz"
    path.write_text(
        '1\nREF_energy=-1.0 REF_stress="0 0 0 0 0 0 0 0 0" pbc="F F F" '
        "Properties=species:S:1:pos:R:3:REF_forces:R:3\nSi 0 0 0 0 0 0\n"
    )
    with pytest.raises(DataError, match=r"molecule\.xyz#0: has a stress label, but its cell has no volume"):
        read_frames(path)
