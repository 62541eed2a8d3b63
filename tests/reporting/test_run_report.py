"""Pages of training runs, transfer runs and models: what is there, what is said to be missing."""

from __future__ import annotations

import base64
import re
import shutil

import pytest

from mlpot.errors import DataError
from mlpot.recipe import read_yaml
from mlpot.reporting import report
from mlpot.reporting.judged import validation_frames
from mlpot.training.errors import errors_by_group


def images(page):
    found = re.findall(r"<img [^>]*src='([^']+)'", page)
    assert all(src.startswith("data:image/png;base64,") for src in found)
    assert all(base64.b64decode(src.partition(",")[2]).startswith(b"\x89PNG") for src in found)
    return found


def refers_outside(page):
    return re.findall(r"(?:src|href|url|@import)\s*[=(]?\s*['\"]?\s*(?:https?:|//)", page)


def test_training_run_has_all_its_parts(runs):
    page, found = report([runs / "si"])
    (section,) = found["sections"]
    assert section["kind"] == "run" and section["title"] == "Training run: Silicon <tiny>"
    assert section["shown"] == [
        "What was trained on what", "Lineage and data", "Split", "Errors by group",
        "Predictions and labels", "Learning curves", "Model card", "How to repeat the run",
    ]  # fmt: skip
    judged = {f"{what} of {name}" for what in ("parity", "errors") for name in ("energy", "forces", "stress")}
    curves = {f"learning curve, {one}" for one in ("loss", "energy error", "force error", "stress error")}
    assert set(section["figures"]) == judged | curves
    assert set(section["missing"]) == {"speed"}
    assert len(images(page)) == 10 and not refers_outside(page)
    assert "Silicon &lt;tiny&gt;" in page and "<tiny>" not in page
    assert "unchanged" in page and "<td>calm</td>" in page and "<td>shaken</td>" in page
    assert f"mlpot train {runs / 'si' / 'recipe.yaml'} --out NEW" in page
    assert "<h3>Learning curves</h3>" in page and page.count("<h1>") == 1
    assert page.count("<table>") == page.count("<div class='wide'><table>")


def test_figures_are_of_the_frames_that_were_held_out(runs):
    from mlpot.reporting.judged import compare, load_as_written

    model = load_as_written(runs / "si" / "model.safetensors")
    frames = validation_frames(read_yaml(runs / "si" / "recipe.yaml"), {})
    compared, used = compare(model, frames, ["group"])
    assert used == 6 and [one.name for one in compared] == ["energy", "forces", "stress"]
    expected = errors_by_group(model, frames, ["group"])
    for one in compared:
        assert set(one.groups) == {"calm", "shaken"}
        assert sum(map(len, one.groups.values())) == len(one.label)
        errors = abs(one.scale * (one.predicted - one.label))
        assert errors.mean() == pytest.approx(getattr(expected["all"], f"{one.name}_mae"), rel=1e-4)
        calm = errors[one.groups["calm"]].mean()
        assert calm == pytest.approx(getattr(expected["calm"], f"{one.name}_mae"), rel=1e-4)


def test_transfer_run_has_its_report_and_lineage(runs):
    page, found = report([runs / "ge"])
    (section,) = found["sections"]
    assert section["title"] == "Transfer run: ge"
    assert "Transfer report" in section["shown"] and "Ge from Si" in page
    assert "zero-shot" in page and "fine-tuned" in page and "re-estimated" in page
    assert "1. train on Si" in page and "2. transfer on Ge" in page
    assert f"mlpot transfer {runs / 'ge' / 'recipe.yaml'} --out NEW" in page


def test_what_a_run_lacks_is_said(runs, tmp_path):
    whole = runs / "si"
    broken = tmp_path / "broken"
    shutil.copytree(whole, broken)
    for name in ("metrics.csv", "split.json", "recipe.yaml"):
        (broken / name).unlink()
    missing = report([broken])[1]["sections"][0]["missing"]
    assert set(missing) == {"recipe", "split", "learning curves", "speed"}
    (broken / "model.safetensors").write_bytes((whole / "model.safetensors").read_bytes()[:-100])
    page, found = report([broken])
    assert "model" in found["sections"][0]["missing"] and "Not shown" in page
    (broken / "model.safetensors").unlink()
    shutil.copy(whole / "recipe.yaml", broken)
    (broken / "metrics.csv").write_text("epoch,rate,train_loss\n")
    missing = report([broken])[1]["sections"][0]["missing"]
    assert "--resume" in missing["model"] and "no epoch" in missing["learning curves"]


def test_changed_and_absent_data_are_said(runs, tmp_path, monkeypatch):
    held = runs / "si.xyz"
    content = held.read_bytes()
    try:
        held.write_bytes(content + b"\n")
        page, found = report([runs / "si"])
        assert "changed since" in found["sections"][0]["missing"]["parity and distributions of errors"]
        assert "<td>changed since</td>" in page and len(images(page)) == 4
        held.unlink()
        page, found = report([runs / "si"])
        assert "not here" in found["sections"][0]["missing"]["parity and distributions of errors"]
    finally:
        held.write_bytes(content)


def test_model_by_file_and_by_name(runs):
    page, found = report([runs / "si" / "model.safetensors", "si"])
    first, second = found["sections"]
    assert first["kind"] == second["kind"] == "model"
    assert "Model card" in first["shown"] and "parity of forces" in first["figures"]
    assert "Model card" in second["shown"] and second["missing"]
    assert not refers_outside(page) and "example.org" in page
    assert page.count("<nav>") == 1 and page.index("section-1'>") < page.index("section-2'>")


def test_speed_is_measured_when_asked(runs, monkeypatch):
    from mlpot.doctor.speed import Speed

    calls = []

    def measured(calculator, symbols, spacing):
        calls.append(symbols)
        return [Speed(64, 5, 1.5, 23.4), Speed(512, 0, None, None, "would take long")]

    monkeypatch.setattr("mlpot.reporting.runs.measure_speed", measured)
    page, found = report([runs / "si" / "model.safetensors"], timed=True)
    assert calls == [["Si"]] and "23.4" in page and "would take long" in page
    assert "Speed" in found["sections"][0]["shown"] and "speed" not in found["sections"][0]["missing"]


def test_unknown_and_damaged_sources(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "cut.json").write_text('{"command": ')
    for name in ("empty", "notes.txt", "other.json"):
        with pytest.raises(DataError, match="not recognised; expected a training or transfer run"):
            report([tmp_path / name])
    with pytest.raises(DataError, match=r"no such file or folder.*a model file"):
        report([tmp_path / "nothing"])
    with pytest.raises(DataError, match=r"cut\.json: cannot be read as JSON"):
        report([tmp_path / "cut.json"])
    (tmp_path / "empty" / "stability.json").write_text("{}")
    with pytest.raises(DataError, match="not as mlpot writes them"):
        report([tmp_path / "empty"])
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "recipe.yaml").write_text("calculator: sw-si\nstages: []\n")
    with pytest.raises(DataError, match="not recognised"):
        report([tmp_path / "recipe"])
    (tmp_path / "recipe" / "recipe.yaml").write_text("arms: {}\nhamiltonian: {}\n")  # of lattice models
    (tmp_path / "recipe" / "results.json").write_text('{"arms": []}')
    (tmp_path / "recipe" / "report.html").write_text("")
    with pytest.raises(DataError, match=r"a page of its own: .*report\.html"):
        report([tmp_path / "recipe"])
