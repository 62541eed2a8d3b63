"""``mlpot observe``: everything of a trajectory, chosen parts of it, and mistakes in one line."""

from __future__ import annotations

import csv
import json

import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.observables.survey import OBSERVABLES


def invoke(*arguments, status=0):
    result = CliRunner().invoke(app, ["observe", *map(str, arguments)])
    if result.exit_code != status and result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def frames(count=80, symbols="SiGe", seed=0, shift=0.0):
    """Zincblende whose atoms vibrate at 10 THz each by itself, every 10 fs."""
    rng = np.random.default_rng(seed)
    ideal = bulk(symbols, "zincblende", a=5.5 + shift, cubic=True).repeat(2)
    phases = rng.uniform(0, 2 * np.pi, (64, 3))
    omega, made = 2 * np.pi * 10.0, []
    for number in range(count):
        atoms = ideal.copy()
        angle = omega * 0.01 * number + phases
        atoms.positions += 0.1 * np.sin(angle)
        atoms.set_velocities(0.1 * omega * np.cos(angle) / (1000 * units.fs))
        atoms.wrap()
        atoms.info["time_ps"] = 0.01 * number
        made.append(atoms)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("observe")
    ase.io.write(made / "t.xyz", frames())
    ase.io.write(made / "t.traj", frames())
    ase.io.write(made / "wide.xyz", frames(20, shift=0.1))
    return made


def table(path):
    with path.open(encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    return {name: np.array(values, dtype=float) for name, *values in zip(*rows, strict=True)}


def test_everything(folder, tmp_path):
    document = json.loads(invoke(folder / "t.xyz", "--out", tmp_path, "--json").stdout)
    found = document["observables"]
    assert list(found) == list(OBSERVABLES) and document["missing"] == {}
    assert json.loads((tmp_path / "observables.json").read_text()) == document
    for name in OBSERVABLES:
        assert (tmp_path / f"{name}.png").stat().st_size > 3000
    radial = table(tmp_path / "rdf.csv")
    assert set(radial) == {"r_angstrom", "g", "g_error", "g_Ge_Ge", "g_Ge_Si", "g_Si_Si"}
    assert found["rdf"]["highest_peak"] in (pytest.approx(2.38, abs=0.1), pytest.approx(3.89, abs=0.1))
    assert found["rdf"]["r_max"] == pytest.approx(5.5)
    assert found["coordination"]["mean"] == pytest.approx(4.0)
    assert found["coordination"]["mean_Ge_around_Si"] == pytest.approx(4.0)
    assert found["adf"]["mean_angle"] == pytest.approx(109.3, abs=0.7)
    assert found["steinhardt"]["q6"]["mean"] == pytest.approx(0.62, abs=0.02)
    spectrum = table(tmp_path / "vdos.csv")
    assert spectrum["frequency_THz"][spectrum["states_Si"].argmax()] == pytest.approx(10.0, abs=1.0)
    assert found["vdos"]["integral"] == pytest.approx(3.0)
    displacement = table(tmp_path / "msd.csv")
    # 2 A² sin²: after half a period (5 frames) 6 A², after a whole one nothing.
    assert displacement["msd_angstrom2"][[5, 10]] == pytest.approx([6 * 0.1**2, 0.0], abs=0.002)
    assert "no diffusion" in found["msd"]["notes"][0]
    assert table(tmp_path / "vacf.csv")["normalised"][5] == pytest.approx(-1.0, abs=0.02)
    assert table(tmp_path / "sq.csv")["s"].max() > 20


def test_chosen_ones_for_people(folder, tmp_path):
    text = invoke(
        folder / "t.traj", "--rdf", "--msd", "--frames", "20:", "--fit", 0.02, 0.1, "--out", tmp_path
    )
    assert "frames:      60 of" in text.stdout and "highest_peak" in text.stdout and " ± " in text.stdout
    assert {path.name for path in tmp_path.iterdir()} == {
        "observables.json", "rdf.csv", "rdf.png", "msd.csv", "msd.png",
    }  # fmt: skip


def test_distance_from_a_reference(folder, tmp_path):
    base = [folder / "t.xyz", "--rdf", "--adf", "--out", tmp_path, "--json"]
    same = json.loads(invoke(*base, "--reference", folder / "t.xyz").stdout)["observables"]
    assert same["rdf"]["wasserstein_angstrom"] == 0.0 and same["adf"]["absolute_difference"] == 0.0
    other = json.loads(invoke(*base, "--reference", folder / "wide.xyz").stdout)["observables"]
    # Distances are 1.8 % longer.
    assert 0.01 < other["rdf"]["wasserstein_angstrom"] < 0.1
    assert "g_reference" in table(tmp_path / "rdf.csv")


def test_vibrations_beside_those_of_a_reference(folder, tmp_path):
    base = [folder / "t.xyz", "--vdos", "--out", tmp_path, "--json", "--reference"]
    same = json.loads(invoke(*base, folder / "t.xyz").stdout)["observables"]["vdos"]
    assert same["absolute_difference"] == 0.0 and "states_reference" in table(tmp_path / "vdos.csv")
    still = frames(6)
    for atoms in still:
        del atoms.info["time_ps"]
    ase.io.write(tmp_path / "still.xyz", still)
    noted = json.loads(invoke(*base, tmp_path / "still.xyz").stdout)["observables"]["vdos"]
    assert "absolute_difference" not in noted and "reference: frame 0 has no time" in " ".join(noted["notes"])


def test_what_is_missing_is_said(folder, tmp_path):
    apart = frames(6, symbols="SiSi")
    for atoms in apart:
        del atoms.info["time_ps"]
    ase.io.write(tmp_path / "few.xyz", apart)
    text = invoke(tmp_path / "few.xyz", "--out", tmp_path / "r").stdout
    assert text.count("missing:") == 3 and "msd: frame 0 has no time (info value time_ps)" in text
    document = json.loads(
        invoke(tmp_path / "few.xyz", "--interval", 10, "--out", tmp_path / "r", "--json").stdout
    )
    assert set(document["missing"]) == {"msd", "vacf", "vdos"}
    assert "too few" in document["missing"]["msd"]


def test_other_formats(folder, tmp_path):
    ase.io.write(tmp_path / "XDATCAR", frames(12), format="vasp-xdatcar")
    found = json.loads(
        invoke(tmp_path / "XDATCAR", "--vacf", "--interval", 10, "--out", tmp_path / "r", "--json").stdout
    )
    assert "differences of positions" in found["observables"]["vacf"]["notes"][0]


def test_mistakes(folder, tmp_path):
    def complaint(*arguments):
        (line,) = invoke(*arguments, "--out", tmp_path / "r", status=2).stderr.strip().splitlines()
        return line

    good = folder / "t.xyz"
    assert "rdf: r_max is 8 Å, more than half of the smallest height" in complaint(
        good, "--rdf", "--r-max", 8
    )
    assert "no such" in complaint(tmp_path / "none.xyz")
    assert "expected START:STOP:STEP" in complaint(good, "--frames", "5")
    assert "expected START:STOP:STEP" in complaint(good, "--frames", "a:b")
    assert "msd: a fit of the displacement from 0.02 to 5 ps" in complaint(good, "--msd", "--fit", 0.02, 5)
    assert "rising window" in complaint(good, "--msd", "--fit", 2, 1)
    assert "vdos: a spectrum with a resolution of 0.1 THz needs" in complaint(
        good, "--vdos", "--resolution", 0.1
    )
    assert "cutoff" in complaint(good, "--adf", "--cutoff", -1)
    uneven = frames(30)
    del uneven[10:13]
    ase.io.write(tmp_path / "uneven.xyz", uneven)
    assert "msd: frames are not at equal times" in complaint(tmp_path / "uneven.xyz", "--msd")
    slab = frames(4)
    for atoms in slab:
        atoms.pbc = [True, True, False]
    ase.io.write(tmp_path / "slab.xyz", slab)
    assert "periodic boundaries in all directions" in complaint(tmp_path / "slab.xyz", "--rdf")
    text = good.read_text()
    (tmp_path / "cut.xyz").write_text(text[: len(text) // 2])
    assert "cut.xyz" in complaint(tmp_path / "cut.xyz", "--rdf")
    assert not (tmp_path / "r").exists()
