"""Each fault that is put into a clean set is found; the clean set is not blamed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from mlpot.checking import check
from mlpot.checking.units import check_units_by_model
from mlpot.checking.zeros import check_zeros_by_model
from mlpot.conventions import GPA, KBAR
from mlpot.data.frame import Frame
from mlpot.errors import DataError
from mlpot.model.base import Prediction


def alter(frames, which, change):
    return [change(frame) if which(i, frame) else frame for i, frame in enumerate(frames)]


def everywhere(i, frame):
    return True


def test_clean_set_is_not_blamed(clean):
    report = check(clean)
    assert report.tally["error"] == report.tally["warning"] == 0, report.findings
    units = {one.check: one for one in report.findings if one.check.endswith("units")}
    assert units["forces units"].value == pytest.approx(1.0, abs=0.1)
    assert units["stress units"].value == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1 / KBAR, "stresses are in kBar"),
        (1 / GPA, "stresses are in GPa"),
        (-1.0, "stresses are of the wrong sign"),
        (-1 / KBAR, "stresses are in kBar and of the wrong sign"),
    ],
)
def test_units_and_sign_of_stress(clean, found, factor, words):
    bad = alter(clean, everywhere, lambda f: replace(f, stress=factor * f.stress))
    messages = [one.message for one in found(bad, "stress units")]
    assert any(message.startswith(words + ":") for message in messages), messages


def test_stress_of_one_group_is_enough(clean, found):
    bad = alter(clean, lambda i, f: f.info["config_type"] == "strain", lambda f: replace(f, stress=-f.stress))
    (one,) = found(bad, "stress units")
    assert set(one.frames) == {f"set.xyz#{i}" for i in range(12)} and one.value == pytest.approx(-1, abs=0.05)


def test_stress_in_the_order_of_vasp(clean, found):
    def reorder(frame):
        (xx, xy, xz), (_, yy, yz), (_, _, zz) = frame.stress
        # xx yy zz xy yz zx, read as xx yy zz yz xz xy
        return replace(frame, stress=np.array([[xx, xz, yz], [xz, yy, xy], [yz, xy, zz]]))

    shears = [frame for frame in clean[8:12]] + [f for f in clean if f.info["config_type"] == "rattle"]
    (one,) = found(alter(shears, everywhere, reorder), "stress units")
    assert "order xx, yy, zz, xy, yz, xz" in one.message


@pytest.mark.parametrize(
    ("factor", "words"),
    [(-1.0, "forces are of the wrong sign"), (1 / 51.42208, "forces are in Hartree/Bohr")],
)
def test_units_and_sign_of_forces(clean, found, factor, words):
    bad = alter(clean, everywhere, lambda f: replace(f, forces=factor * f.forces))
    assert any(one.message.startswith(words) for one in found(bad, "forces units"))


def test_energies_per_atom(clean, found):
    bad = alter(clean, everywhere, lambda f: replace(f, energy=f.energy / len(f)))
    findings = found(bad, "energy units")
    assert any("do not grow with the number of atoms" in one.message for one in findings)
    assert any("energies are per atom" in one.message and one.value < 0.2 for one in findings)


def test_energies_per_atom_of_one_size(clean, found):
    same = [frame for frame in clean if len(frame) == 8]
    bad = alter(same, everywhere, lambda f: replace(f, energy=f.energy / 8))
    assert [one.value for one in found(bad, "energy units")] == [pytest.approx(1 / 8, rel=0.1)]


def test_one_wrong_energy(clean, found):
    bad = alter(clean, lambda i, f: i == 20, lambda f: replace(f, energy=f.energy + 0.6))
    (one,) = found(bad, "energy of single frames")
    assert one.frames == ("set.xyz#20",) and one.value == pytest.approx(75, abs=10)


@pytest.mark.parametrize(
    ("which", "factor", "words"),
    [
        ("forces", -1.0, "wrong sign"),
        ("stress", 1 / KBAR, "in kBar"),
        ("stress", -1 / GPA, "in GPa and of the wrong"),
    ],
)
def test_units_by_a_model(clean, which, factor, words):
    rng = np.random.default_rng(1)
    # A model with errors of a tenth, on frames that are no neighbours of each other.
    predictions = {
        i: Prediction(
            frame.energy,
            np.zeros(len(frame)),
            frame.forces * (1 + 0.1 * rng.normal(size=frame.forces.shape)),
            frame.stress * (1 + 0.1 * rng.normal()),
        )
        for i, frame in enumerate(clean)
    }
    assert check_units_by_model(clean, predictions) == []
    bad = [replace(frame, **{which: factor * getattr(frame, which)}) for frame in clean]
    (one,) = check_units_by_model(bad, predictions)
    assert one.check == f"{which} units" and words in one.message


def test_energy_zero_by_a_model(clean):
    groups = {}
    for i, frame in enumerate(clean):
        groups.setdefault(frame.info["config_type"], []).append(i)
    rng = np.random.default_rng(2)
    # The model's own zero is 1.5 eV per atom away, which says nothing.
    energies = {i: f.energy + len(f) * (1.5 + 0.005 * rng.normal()) for i, f in enumerate(clean)}
    assert check_zeros_by_model(clean, energies, groups) == []
    bad = [
        replace(f, energy=f.energy + 0.1 * len(f)) if i in groups["hot"] else f for i, f in enumerate(clean)
    ]
    (one,) = check_zeros_by_model(bad, energies, groups)
    assert one.details["group"] == "hot" and one.value == pytest.approx(100, abs=10)


def test_outliers(clean, found):
    bad = alter(clean, lambda i, f: i == 30, lambda f: replace(f, energy=f.energy - 20.0))
    (one,) = found(bad, "energy outliers")
    assert one.frames == ("set.xyz#30",)
    kick = np.zeros((16, 3))
    kick[0, 0], kick[1, 0] = 40.0, -40.0
    bad = alter(clean, lambda i, f: i == 30, lambda f: replace(f, forces=f.forces + kick))
    (one,) = found(bad, "force outliers")
    assert one.frames == ("set.xyz#30",)


def test_net_force_and_zero_forces(clean, found):
    bad = alter(clean, lambda i, f: i == 15, lambda f: replace(f, forces=f.forces + np.array([0.05, 0, 0])))
    (one,) = found(bad, "net force")
    assert one.frames == ("set.xyz#15",) and one.value == pytest.approx(50, rel=0.01)
    bad = alter(clean, lambda i, f: i == 16, lambda f: replace(f, forces=np.zeros((8, 3))))
    (one,) = found(bad, "zero forces")
    assert one.frames == ("set.xyz#16",) and one.severity == "error"


def test_missing_labels(clean, found):
    bad = alter(clean, lambda i, f: i in (3, 4), lambda f: replace(f, energy=None))
    (one,) = found(bad, "missing labels")
    assert one.frames == ("set.xyz#3", "set.xyz#4") and "2 in strain" in one.message
    bad = alter(clean, everywhere, lambda f: replace(f, energy=None, info={**f.info, "dft": 1.0}))
    (one,) = found(bad, "missing labels")
    assert one.severity == "error" and "dft" in one.message


def test_short_distance_by_what_forces_say(clean, label, found):
    frame = clean[14]
    positions = frame.positions.copy()
    positions[1] = positions[0] + [1.2, 0.0, 0.0]
    unaware = replace(frame, positions=positions, source="set.xyz#bad")
    (one,) = found([*clean, unaware], "short distances")
    assert one.severity == "error" and one.frames == ("set.xyz#bad",) and "1.200 Å" in one.message
    pushed = label(
        replace(unaware, forces=None, energy=None, stress=None).to_atoms(), "sw-si", "set.xyz#wall"
    )
    (one,) = found([*clean, pushed], "short distances", ("error", "warning", "note"))
    assert one.severity == "note"


def test_overlap(clean, found):
    positions = clean[14].positions.copy()
    positions[1] = positions[0]
    (one,) = found([*clean, replace(clean[14], positions=positions, source="x#9")], "overlaps")
    assert one.frames == ("x#9",)


def test_lonely_and_isolated_atoms(clean, found):
    atoms = bulk("Si", "diamond", a=5.431, cubic=True)
    atoms.set_cell([30, 30, 30])
    atoms.positions[3] += 12.0
    flown = Frame.from_atoms(atoms, source="far#0")
    single = replace(flown, numbers=flown.numbers[:1], positions=flown.positions[:1], source="one#0")
    options = {"severities": ("error", "warning", "note")}
    (one,) = found([*clean, flown, single], "lonely atoms", **options)
    assert one.frames == ("far#0",) and one.value == 1
    (one,) = found([*clean, flown, single], "isolated atoms", **options)
    assert one.frames == ("one#0",) and one.severity == "note"


def test_boundary_conditions_cells_and_constraints(clean, found):
    bad = alter(clean, lambda i, f: i == 13, lambda f: replace(f, pbc=np.array([True, True, False])))
    (one,) = found(bad, "boundary conditions")
    assert one.frames == ("set.xyz#13",) and "TTF" in one.message
    mirrored = replace(clean[13], cell=clean[13].cell[[1, 0, 2]])
    skewed = replace(clean[12], cell=np.array([[1, 0, 0], [4, 1, 0], [0, 4, 1]]) @ clean[12].cell)
    notes = [*clean[:12], skewed, mirrored, *clean[14:]]
    assert found(notes, "left-handed cells", ("note",))[0].frames == ("set.xyz#13",)
    assert found(notes, "skewed cells", ("note",))[0].frames == ("set.xyz#12",)
    assert not found(notes, "copies") and check(notes).tally["error"] == 0
    (one,) = found(clean, "constraints", constrained={7: 2})
    assert one.frames == ("set.xyz#7",)


def test_energy_zero_of_a_group(clean, found):
    bad = alter(
        clean,
        lambda i, f: f.info["config_type"] == "large",
        lambda f: replace(f, energy=f.energy - 0.12 * len(f)),
    )
    (one,) = found(bad, "energy zeros")
    assert set(one.frames) == {frame.source for frame in clean if len(frame) == 16}
    assert one.value == pytest.approx(-120, abs=5)
    assert "config_type: large" in one.action and "Si: 0.1" in one.action


def test_energy_zero_of_a_set(clean, found):
    half = clean[::2]
    shifted = [replace(frame, energy=frame.energy + 0.2 * len(frame)) for frame in clean[1::2]]
    findings = found(shifted, "energy zeros", against=half, name="mine", against_name="theirs")
    assert [one.details["group"] for one in findings] == ["mine"]
    assert findings[0].value == pytest.approx(200, abs=10)


def label_temperatures(clean, cold, hot):
    kelvin = {"rattle": cold, "hot": hot}
    return [
        replace(f, info={**f.info, "temperature_K": kelvin[f.info["config_type"]]})
        if f.info["config_type"] in kelvin
        else f
        for f in clean
    ]


def test_temperature_labels(clean, found):
    assert not found(label_temperatures(clean, 60, 1600), "temperature labels")
    (one,) = found(label_temperatures(clean, 1600, 60), "temperature labels")
    assert {f"set.xyz#{i}" for i in range(40, 52)} <= set(one.frames)
    assert "12 of 12 at 60 K too hot" in one.message and "from 60 to 1600 K the median energy" in one.message


def test_no_frames_and_unknown_key(clean):
    with pytest.raises(DataError, match="no frames"):
        check([])
    with pytest.raises(DataError, match="no frame has the info key 'phase'; there are: config_type"):
        check(clean, group_by="phase")


def test_several_elements(clean, sw_frames, found):
    ge = [replace(f, source=f"ge.xyz#{i}", info={"config_type": f.info["group"]})
          for i, f in enumerate(sw_frames("Ge", 24, seed=3))]  # fmt: skip
    numbers = np.where(np.arange(8) % 3, 14, 32)
    alloys = [replace(f, numbers=numbers, energy=None, forces=None, stress=None) for f in ge[:6]]
    report = check([*clean, *ge, *alloys], against=[*clean[::2], *alloys[:1]])
    blamed = {one.check: one for one in report.findings if one.severity != "note"}
    assert set(blamed) == {"missing labels", "leaks", "coverage"}
    assert "an element it does not hold" not in blamed["coverage"].message  # Ge is in the alloy
    (counts, _) = report.counts.values()
    assert "Si: strain" in counts["groups"] and "Si-Ge: calm" in counts["groups"]
    calm = [replace(f, energy=f.energy + 8 * 0.2) if f.info["config_type"] == "calm" else f for f in ge]
    (one,) = found([*clean, *calm, *ge[1::2]], "energy zeros")
    assert one.details["group"] == "Ge: calm" and one.value == pytest.approx(200, abs=20)
