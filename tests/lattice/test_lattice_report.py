"""The page of a lattice study: complete in itself, true to the results, and there when parts are missing."""

from __future__ import annotations

import base64
import html
import re

import pytest
from lattice_laws import LAWS, lattice_results

from mlpot.lattice.report import (
    deviation_table,
    score_table,
    sequence_table,
    tables,
    total_energy_table,
    write_report,
)
from mlpot.lattice.verdict import verdict


@pytest.fixture(scope="module")
def results():
    return lattice_results(lengths=(8, 16))


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    path = write_report(tmp_path_factory.mktemp("lattice"), results)
    return path, path.read_text(encoding="utf-8")


def test_page_holds_its_figures_which_are_files_too(written):
    path, page = written
    assert path.name == "report.html"
    sizes = ("8x8", "16x16")
    names = {"learning", "binder"} | {f"{kind}_{n}" for n in sizes for kind in ("curves", "deviations")}
    assert {own.stem for own in (path.parent / "figures").glob("*.png")} == names
    images = re.findall(r"src='data:image/png;base64,([^']+)'", page)
    assert len(images) == len(names)
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    assert not re.search(r"(src|href)=['\"]?(http|//)", page)


def test_page_tells_the_verdict_first_and_everything_escaped(written, results):
    _, page = written
    said = [f"<p>{html.escape(sentence)}</p>" for sentence in verdict(results)]
    assert len(said) > 10
    assert "".join(said) in page
    assert page.index(said[0]) < page.index("<figure>")
    assert "Ising &lt;8x8&gt;" in page and "<8x8>" not in page


def test_page_has_every_table_and_the_citation(written, results):
    _, page = written
    for title in tables(results):
        assert f"<h2>{html.escape(title)}</h2>" in page
    assert len(tables(results)) == 13
    assert "Sprague et al." in page
    assert "<td>decorrelated</td><td>3</td><td>energy 0.71</td><td>energy 0.50</td>" in page
    assert "joint seed 7" in page and "training diverged." in page
    assert page.count("<table>") == page.count("<div class='wide'><table>")


def test_scores_stand_beside_the_original(results):
    header, rows = score_table(results)
    assert len(rows) == len(LAWS) * 4
    row = dict(zip(header[:4], rows[0][:4], strict=True))
    assert row == {"T0": "4", "samples": "10,000", "arm": "two_stage", "seeds": "3"}
    assert "1.231" in rows[0] and "≤ 0.4 J" in rows[0] and "4.95" in rows[0]
    assert rows[0][4].startswith("1.7") and "[" in rows[0][4]


def test_errors_of_curves_are_those_put_in(results):
    header, rows = deviation_table(results)
    first = dict(zip(header, rows[0], strict=True))
    assert first["size"] == "8x8" and first["arm"] == "joint" and first["seeds"] == "3"
    assert first["|M|: largest, mean"] == "0.010, 0.010"
    assert first["C: largest, mean"] == "0, 0"
    assert first["F at T_c"] == "0.0020"
    _, (energy, _) = total_energy_table(results)
    assert energy[3].startswith("0.13")
    assert sequence_table(results)[1][0][4:] == ["42.0000", "41.5000", "0.5000", "2.0000"]


@pytest.mark.parametrize("part", ["truth", "extrapolation", "learned"])
def test_page_without_a_part(part, tmp_path):
    results = lattice_results({"joint": 1.0}, lengths=(8,)) | {part: [], "autocorrelation": [], "failed": []}
    page = write_report(tmp_path, results).read_text(encoding="utf-8")
    said = {
        "truth": "there is no truth to hold the curves against",
        "extrapolation": "nothing was extrapolated to other temperatures",
        "learned": "Nothing was learned: nothing can be said.",
    }
    assert said[part] in page
    assert "Not done" not in page and "<h2>Samples</h2>" not in page
    assert "<h2>How to read this</h2>" in page


def test_page_of_samples_of_an_unknown_model(tmp_path):
    results = lattice_results({"direct": 1.0}) | {
        "model": None,
        "truth": [],
        "extrapolation": [],
        "failed": [],
    }
    for one in results["learned"]:
        one |= {"scores": {}, "recovery": None}
    page = write_report(tmp_path, results).read_text(encoding="utf-8")
    assert "no learned energy has a score" in page
    assert "Cost of learning" in page
    assert "<figure>" not in page
