"""The page of a study: complete in itself, and true to the results."""

from __future__ import annotations

import base64
import html
import re

import pytest
from synthetic import LAWS, synthetic_results

from mlpot.studies.report import cost_table, dynamics_table, error_table, signs_table, write_report
from mlpot.studies.verdict import verdict


@pytest.fixture(scope="module")
def results():
    results = synthetic_results(sizes=[1, 10, 100])
    return results | {"verdict": verdict(results)}


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_report(folder, results)
    return folder, (folder / "report.html").read_text(encoding="utf-8")


def test_page_holds_its_figures_which_are_files_too(written):
    folder, page = written
    images = re.findall(r"src='data:image/png;base64,([^']+)'", page)
    names = {"learning", "arms", "equivalence", "signs", "domains", "survival", "radial", "cost"}
    assert {path.stem for path in (folder / "figures").glob("*.png")} == names
    assert len(images) == len(names)
    assert all(base64.b64decode(image).startswith(b"\x89PNG") for image in images)
    assert not re.search(r"(src|href)=['\"]?http", page)


def test_page_tells_the_verdict_and_the_recipe_escaped(written, results):
    _, page = written
    assert len(results["verdict"]) > 5
    for sentence in results["verdict"]:
        assert f"<p>{html.escape(sentence)}</p>" in page
    assert "Silicon &lt;to&gt; germanium" in page
    assert "<to>" not in page
    assert f"<pre>{results['recipe']}</pre>" in page


def test_harms_and_gains_are_marked_alike(written):
    _, page = written
    assert "<tr class='worse'><td>−</td><td>energy of liquid (meV/atom)</td><td>worse</td>" in page
    assert "<tr class='better'><td>+</td><td>stress (GPa)</td><td>better</td>" in page
    rules = re.findall(r"\.(better|worse) td(:first-child)?\{(border-left:6px solid|background:)", page)
    assert len(rules) == 4


def test_every_table_scrolls_by_itself_and_the_page_fits_a_phone(written):
    _, page = written
    assert page.count("<table>") == page.count("<div class='wide'><table>") >= 8
    assert ".wide{overflow-x:auto}" in page
    assert "width=device-width" in page


def test_tables_have_every_arm_and_size(results):
    header, rows = error_table(results)
    assert header == ["arm", "n = 1", "n = 10", "n = 100"]
    assert [row[0] for row in rows] == list(LAWS)
    assert re.fullmatch(r"\d+ \[\d+, \d+\]", rows[0][1])
    missing = results | {"runs": [r for r in results["runs"] if (r["arm"], r["size"]) != ("plain", 10)]}
    assert error_table(missing)[1][1][2] == "–"
    header, rows = cost_table(results)
    assert all(len(row) == len(header) for row in rows)
    assert [row[-4:] for row in rows] == [["0"] * 4] * len(rows)
    header, rows = dynamics_table(results)
    assert len(rows) == 6
    assert all(len(row) == len(header) for row in rows)
    header, rows, classes = signs_table(results)
    assert all(len(row) == len(header) for row in rows)
    assert len(classes) == len(rows)


def test_smallest_study_has_a_page(tmp_path):
    results = synthetic_results(["scratch", "transfer"], [10], seeds=1, dynamics=False)
    for run in results["runs"]:
        for errors in run["holdout"].values():
            errors |= {"stress_mae": None, "stress_rmse": None}
        run |= {"cpu_seconds": None, "joules": None}
    results["donors"] = [{"donor": "file", "seed": 0, "steps": None, "validation": None, "test": None}]
    write_report(tmp_path, results)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "One seed: nothing can be said about significance" in page
    assert "Stress on the hold-out" not in page
    assert "Molecular dynamics" not in page


def test_study_of_which_nothing_was_finished_has_a_page_that_says_so(results, tmp_path):
    failed = [{"task": "scratch-0", "reason": "out of <memory>"}]
    write_report(tmp_path, results | {"runs": [], "failed": failed, "verdict": None})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No run was finished" in page
    assert "scratch-0: out of &lt;memory&gt;" in page


def test_candidates_that_were_not_chosen_are_in_the_costs(results):
    took = {"steps": 1000, "seconds": 50.0, "cpu_seconds": 90.0, "joules": None}
    cell = {"arm": "transfer", "domain": "all", "size": 10, "seed": 0}
    search = [cell | took | {"rate_factor": rate, "chosen": rate == 1.0} for rate in (0.3, 1.0, 3.0)]
    rows = {row[0]: row for row in cost_table(results | {"search": search})[1]}
    assert rows["transfer"][-4:] == ["2", "100", "180", "–"]
    assert rows["scratch"][-4:] == ["0"] * 4
