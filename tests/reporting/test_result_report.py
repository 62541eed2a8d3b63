"""Pages of studies and test results; every kind on one page."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
from test_run_report import images, refers_outside
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.doctor.examination import read_examination
from mlpot.doctor.page import facts, texts
from mlpot.reporting import report
from mlpot.reporting.recognise import KINDS
from mlpot.reporting.section import scoped


def test_every_kind_is_a_section_in_the_order_given(
    runs, stability_folder, properties_folder, observables_folder, melting_folder, study_folder,
    doctor_file, evaluation_file,
):  # fmt: skip
    names = [
        study_folder, stability_folder, properties_folder, observables_folder, melting_folder,
        doctor_file, evaluation_file, runs / "si", runs / "ge" / "model.safetensors",
    ]  # fmt: skip
    page, found = report(names)
    sections = found["sections"]
    assert [section["path"] for section in sections] == [str(name) for name in names]
    assert {section["kind"] for section in sections} == set(KINDS)
    assert len(images(page)) == sum(len(section["figures"]) for section in sections) > 12
    assert not refers_outside(page) and page.count("<section") == len(names) == page.count("<li><a href='#")
    for section in sections:
        for command in section["figures"].values():
            assert command.startswith("mlpot ")
    headings = [int(level) for level in re.findall(r"<h([1-6])>", page)]
    assert headings.count(1) == 1 and headings.count(2) == len(names)


def test_stability(stability_folder):
    page, found = report([stability_folder])
    (section,) = found["sections"]
    names = {"survival at 300 K", "radial distribution at 300 K"}
    assert section["figures"] == dict.fromkeys(names, "mlpot stability M")
    assert "2 of 2" in page and set(section["missing"]) == {"crash tests"}


def test_crash_tests_of_a_folder(stability_folder, tmp_path):
    out = tmp_path / "s"
    shutil.copytree(stability_folder, out)
    test = {"name": "heat", "start": 300, "end": 3000, "unit": "K"}
    (out / "crash.json").write_text(json.dumps([test | {"runs": [{"survived": False, "reason": "too hot"}]}]))
    page, found = report([out])
    assert found["sections"][0]["missing"] == {} and "0 of 1" in page and "too hot" in page


def test_properties_have_values_and_say_what_is_not_drawn(properties_folder):
    page, found = report([properties_folder])
    (section,) = found["sections"]
    assert "5.431" in page and "(+0.0 %)" in page.replace("-0.0", "+0.0")
    assert "deviations" in section["figures"] and "figure phonons" in section["missing"]


def test_observables_and_melting(observables_folder, melting_folder, tmp_path):
    page, found = report([observables_folder, melting_folder])
    first, second = found["sections"]
    assert first["figures"] == {"rdf": "mlpot observe md.xyz --rdf"}
    assert first["missing"]["vdos"] == "no times" and "not asked for" in first["missing"]["adf"]
    assert second["figures"] == {"melting": "mlpot melt --calculator sw-si"} and "± " in page
    copy = tmp_path / "copy"
    shutil.copytree(observables_folder, copy)
    (copy / "rdf.png").unlink()
    assert "figure rdf" in report([copy])[1]["sections"][0]["missing"]


def test_study_is_the_body_of_its_own_page(study_folder):
    page, _ = report([study_folder])
    own = (study_folder / "report.html").read_text(encoding="utf-8")
    assert set(images(page)) == set(images(own))
    assert ".study .verdict{" in page and "<div class='verdict'>" in page


def test_unfinished_ones_say_so(study_folder, tmp_path):
    for name, content in (
        ("study/recipe.yaml", "arms: {}\ntarget: {}\n"),
        ("melting/stages/about.json", "{}"),
        ("properties/unfinished.json", "{}"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(content)
        folder = tmp_path / name.split("/")[0]
        ((section,),) = report([folder])[1].values()
        assert section["kind"] == folder.name
        assert "has not ended" in " ".join(section["missing"].values())


def test_folder_of_several_kinds(stability_folder, properties_folder, tmp_path):
    shutil.copytree(stability_folder, tmp_path / "both")
    shutil.copy(properties_folder / "properties.json", tmp_path / "both")
    kinds = [section["kind"] for section in report([tmp_path / "both"])[1]["sections"]]
    assert kinds == ["stability", "properties"]


def test_examination_is_read_as_it_was_written(examination, doctor_file):
    read = read_examination(json.loads(doctor_file.read_text()))
    assert read.asdict() == examination.asdict() and facts(read)[0] == facts(examination)[0]
    assert [texts(one) for one in read.results] == [texts(one) for one in examination.results]
    assert np.array_equal(read.diatomics[0].energies, examination.diatomics[0].energies)
    page, found = report([doctor_file])
    assert set(found["sections"][0]["figures"]) == {"pairs", "volumes"}
    assert "it raised &lt;an error&gt;" in page and "<td>FAIL</td>" in page and "23 µs/atom" in page


def test_evaluation_without_its_data(evaluation_file, tmp_path):
    found = json.loads(evaluation_file.read_text())
    _, shown = report([evaluation_file])
    assert "parity of energy" in shown["sections"][0]["figures"]
    path = tmp_path / "elsewhere.json"
    path.write_text(json.dumps(found | {"data": "gone.xyz"}))
    section = report([path])[1]["sections"][0]
    assert section["figures"] == {} and "gone.xyz is not here" in " ".join(section["missing"].values())
    found["errors"]["all"]["frames"] += 1
    path.write_text(json.dumps(found))
    assert "12 frames now and had 13" in " ".join(report([path])[1]["sections"][0]["missing"].values())


def test_rules_hold_in_their_section_only():
    assert scoped({"a": ".x td, p{color:red}\n.y{margin:0}"}) == ".a .x td,.a p{color:red}\n.a .y{margin:0}"


def test_command(properties_folder, doctor_file, tmp_path):
    out = tmp_path / "page.html"
    names = [str(doctor_file), str(properties_folder)]
    result = CliRunner().invoke(app, ["report", *names, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [section["path"] for section in found["sections"]] == names
    assert found["bytes"] == out.stat().st_size and out.read_text().startswith("<!doctype html>")
    result = CliRunner().invoke(app, ["report", *names, "--out", str(out)])
    assert "Physics of sw-si" in result.stdout and "missing" in result.stdout
    for wrong in (["report", str(tmp_path), "--out", str(out)], ["report", *names, "--out", "page.pdf"]):
        result = CliRunner().invoke(app, wrong)
        assert result.exit_code == 2 and result.stdout == ""
        assert result.stderr.startswith("mlpot: error: ") and len(result.stderr.splitlines()) == 1
