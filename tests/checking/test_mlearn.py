"""What is known to be wrong with mlearn is found unaided; Stillinger-Weber sets are not blamed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpot.checking import check
from mlpot.data.files import read_frames

ROOT = Path(__file__).resolve().parents[2]
MLEARN = ROOT.parent / "shared" / "data" / "mlearn"
needs_mlearn = pytest.mark.skipif(not MLEARN.is_dir(), reason=f"{MLEARN} is not there")


@pytest.fixture(scope="module")
def report():
    """Return a function from files to reports, each made once."""
    made = {}

    def get(name, against=None):
        if (name, against) not in made:
            other = None if against is None else read_frames(MLEARN / against)
            made[name, against] = check(
                read_frames(MLEARN / name), other, name=name, against_name=against or ""
            )
        return made[name, against]

    return get


def only(report, kind):
    (one,) = [finding for finding in report.findings if finding.check == kind]
    return one


def numbers(finding):
    return [int(source.rsplit("#")[-1]) for source in finding.frames]


@needs_mlearn
def test_the_three_leaked_shear_frames(report):
    leak = only(report("si_test.xyz", "si_train.xyz"), "leaks")
    assert leak.severity == "error" and numbers(leak) == [22, 23, 24]
    frames = read_frames(MLEARN / "si_test.xyz")
    assert {frames[i].info["strain"] for i in numbers(leak)} == {-0.06}
    assert report("si_test.xyz", "si_train.xyz").tally["error"] == 1


@needs_mlearn
@pytest.mark.parametrize("name", ["si_train.xyz", "ge_train.xyz"])
def test_55_strained_frames_are_15_structures(report, name):
    copies = only(report(name), "copies")
    frames = read_frames(MLEARN / name)
    assert {frames[i].info["group"] for i in numbers(copies)} == {"Elastic"}
    elastic = sum(frame.info["group"] == "Elastic" for frame in frames)
    assert elastic == 55 and elastic - copies.value == 15
    assert only(report(name), "labels of copies").value < 0.001  # meV/atom: they are computed alike


@needs_mlearn
@pytest.mark.parametrize("name", ["si_train.xyz", "ge_train.xyz"])
def test_temperature_labels_of_vacancies(report, name):
    labels = only(report(name), "temperature labels")
    frames = read_frames(MLEARN / name)
    lowest, highest = 300, max(f.info["temperature_K"] for f in frames if f.info["group"] == "Vacancy")
    wrong = {
        i
        for i, frame in enumerate(frames)
        if frame.info["group"] == "Vacancy"
        and (frame.info["temperature_K"], frame.info["state"]) in ((lowest, "liquid"), (highest, "solid"))
    }
    assert set(numbers(labels)) == wrong


@needs_mlearn
def test_zero_of_the_germanium_surfaces(report):
    zero = only(report("ge_train.xyz"), "energy zeros")
    frames = read_frames(MLEARN / "ge_train.xyz")
    assert numbers(zero) == [i for i, frame in enumerate(frames) if frame.info["group"] == "Surface"]
    assert -150 < zero.value < -100 and 1e3 * zero.details["standard_error_eV_per_atom"] < 20
    assert not [one for one in report("si_train.xyz").findings if one.check == "energy zeros"]


@needs_mlearn
@pytest.mark.parametrize("name", ["si_train.xyz", "ge_train.xyz"])
def test_nothing_else_is_said_of_mlearn(report, name):
    known = {"copies", "temperature labels", "energy zeros", "energy outliers"}
    assert {one.check for one in report(name).findings if one.severity != "note"} <= known
    assert report(name).tally["error"] == 0


@pytest.mark.parametrize("name", ["si", "ge"])
def test_stillinger_weber_sets_are_not_blamed(name):
    report = check(read_frames(ROOT / "data" / "sw" / f"{name}.xyz"))
    assert report.tally["error"] == report.tally["warning"] == 0, report.findings
