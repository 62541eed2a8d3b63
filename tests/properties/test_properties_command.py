"""``mlpot properties``: documents, pages, and mistakes in one line."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.properties import PROPERTIES


def invoke(*arguments, status=0):
    result = CliRunner().invoke(app, ["properties", *map(str, arguments)])
    if result.exit_code != status and result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def complaint(*arguments):
    (line,) = invoke(*arguments, status=2).stderr.strip().splitlines()
    return line


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    out = tmp_path_factory.mktemp("properties") / "si"
    result = invoke("--calculator", "sw-si", "--element", "Si", "--only", "lattice", "--only", "C11",
                    "--only", "equation_of_state", "--only", "phonons", "--only", "phase_fcc",
                    "--setting", "mesh=9", "--out", out, "--json")  # fmt: skip
    return out, json.loads(result.stdout)


def test_document(quick):
    out, document = quick
    assert json.loads((out / "properties.json").read_text())["records"] == document["records"]
    records = {record["name"]: record for record in document["records"]}
    assert records["C11"]["value"] == pytest.approx(151.4, rel=5e-3) and records["C11"]["unit"] == "GPa"
    assert document["without_value"] == []
    assert document["settings"]["mesh"] == 9 and document["calculator"]["name"] == "sw-si"
    assert any(row["kind"] == "experiment" and row["name"] == "C11" for row in document["comparison"])


def test_page_is_one_file_with_its_figures(quick):
    out, document = quick
    text = (out / "properties.html").read_text()
    assert text.count("data:image/png;base64") == 3 and "Jaccodine" not in text
    assert "McSkimin" in text and document["command"] in text
    assert not re.search(r"(src|href)='?https?:", text)
    assert {Path(file).name for file in document["files"]} == {
        "properties.json", "properties.html", "deviations.png", "energy_volume.png", "phonons.png",
    }  # fmt: skip


def test_table_for_people(tmp_path):
    result = invoke("--calculator", "sw-si", "--element", "Si", "--only", "lattice", "--out", tmp_path / "r")
    assert "lattice_constant" in result.stdout and "5.431" in result.stdout and "exp." in result.stdout


def test_mistakes(quick, tmp_path):
    out, _ = quick
    base = ["--calculator", "sw-si", "--element", "Si", "--out", tmp_path / "r"]
    assert "holds properties already" in complaint("--calculator", "sw-si", "--element", "Si", "--out", out)
    assert "did you mean 'phonons'" in complaint(*base, "--only", "phonon")
    assert "unknown set 'fast'" in complaint(*base, "--set", "fast")
    assert "unknown key 'fmx'; did you mean 'fmax'" in complaint(*base, "--setting", "fmx=1")
    assert "expected KEY=VALUE" in complaint(*base, "--setting", "fmax")
    assert "give either a MODEL or --calculator" in complaint("si", *base)
    assert "give either a MODEL or --calculator" in complaint("--element", "Si", "--out", tmp_path / "r")
    ge = ["--element", "Ge", "--out", tmp_path / "r"]
    assert "sw-si knows Si, not Ge" in complaint("--calculator", "sw-si", *ge)
    assert "si knows Si, not Ge" in complaint("si", *ge)
    assert "no chemical element" in complaint("si", "--element", "si", "--out", tmp_path / "r")
    assert "did you mean 'sw-si'" in complaint("--calculator", "sw_si_", "--element", "Si", "--out", "r")
    assert not (tmp_path / "r").exists()


def test_killed_run_goes_on(tmp_path, monkeypatch):
    """What was complete is taken over as it was; another run in its place is refused."""
    base = ["--calculator", "sw-si", "--element", "Si", "--out", tmp_path / "r"]
    only = ["--only", "lattice", "--only", "cohesion"]

    def killed(subject):
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setitem(PROPERTIES, "cohesion", replace(PROPERTIES["cohesion"], compute=killed))
        assert invoke(*base, *only, status=130).stderr.strip().endswith("interrupted.")
    (left,) = (tmp_path / "r").iterdir()
    first = json.loads(left.read_text())["records"][0]
    assert first["name"] == "lattice_constant"
    assert "of another potential, element or settings" in complaint(*base, *only, "--setting", "seed=1")
    document = json.loads(invoke(*base, *only, "--json").stdout)
    assert document["records"][0] == first  # its time, too
    assert document["records"][-1]["value"] == pytest.approx(4.3366, rel=1e-4)
    assert not left.exists()


def test_potential_of_mlpot(tmp_path):
    result = invoke("si", "--element", "Si", "--only", "elastic_constants", "--out", tmp_path / "r", "--json")
    records = {record["name"]: record["value"] for record in json.loads(result.stdout)["records"]}
    assert records["C11"] > records["C44"] > 0


def test_every_property_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "properties.md").read_text()
    for one in PROPERTIES.values():
        for quantity in one.quantities:
            assert f"`{quantity.name}`" in text, quantity.name
