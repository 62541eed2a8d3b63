"""Public sets by name: terms, files, verification, the command."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from published import mlearn_records
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.data.fetch import PublicSet, catalogue, choose, fetch
from mlpot.data.files import read_frames, read_provenance, write_frames
from mlpot.data.public import frames_sha256, mlearn_frames
from mlpot.errors import DataError, RecipeError

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
MLEARN = DATA / "mlearn"
needs_mlearn = pytest.mark.skipif(not MLEARN.is_dir(), reason=f"reference data not found in {MLEARN}")


@pytest.fixture
def sets(server, tmp_path):
    """Return a catalogue of the server on the loopback, as plain values."""
    train, test = json.dumps(mlearn_records(4)).encode(), json.dumps(mlearn_records(2)).encode()
    (tmp_path / "x.json").write_bytes(train)
    listed = hashlib.sha1(b"blob %d\0" % len(test) + test).hexdigest()
    host = server.url.rsplit("/", 1)[0]
    listing = [{"name": "test.json", "sha": listed}, {"name": "other.json", "sha": "0" * 40}]
    server.files = {"/train.json": train, "/test.json": test, "/list": json.dumps(listing).encode()}
    return {
        "sets": {
            "little": {
                "title": "A little set",
                "home": host,
                "licence": "MIT",
                "citation": "A. Nobody, 2026",
                "traps": ["It is little."],
                "files": [
                    {
                        "name": "train.xyz",
                        "elements": ["Si"],
                        "split": "train",
                        "layout": "mlearn",
                        "frames": 4,
                        "frames_sha256": frames_sha256(mlearn_frames(tmp_path / "x.json", "train")),
                        "sources": [{"name": "train.json", "url": f"{host}/train.json"}],
                    },
                    {
                        "name": "test.xyz",
                        "elements": ["Si"],
                        "split": "test",
                        "layout": "mlearn",
                        "on_request": "held back",
                        "sources": [
                            {"name": "test.json", "url": f"{host}/test.json", "listing": f"{host}/list"}
                        ],
                    },
                ],
            }
        }
    }


@pytest.fixture
def run(sets, tmp_path):
    """Run `mlpot fetch` on that catalogue; returns its result."""

    def run(*arguments, status=0):
        (tmp_path / "sources.yaml").write_text(yaml.safe_dump(sets))
        options = ["fetch", *map(str, arguments), "--sources", str(tmp_path / "sources.yaml")]
        result = CliRunner().invoke(app, options)
        assert result.exit_code == status, result.output
        return result

    return run


def test_fetch_by_command(run, server, tmp_path):
    result = run("little", "--out", tmp_path / "set", "--json")
    assert "licence:     MIT" in result.stderr and "cite:        A. Nobody, 2026" in result.stderr
    told = json.loads(result.stdout)
    assert told["licence"] == "MIT" and told["citation"] == "A. Nobody, 2026" and told["traps"]
    assert told["left_out"] == {"test.xyz": "held back"}
    (file,) = told["files"]
    assert file["frames"] == 4 and file["labels"] == {"energy": 4, "forces": 4, "stress": 4}
    (source,) = file["sources"]
    assert source["downloaded"] and source["verified_by"].startswith("frames_sha256:")
    assert source["sha256"] == hashlib.sha256(server.files["/train.json"]).hexdigest()
    assert all("test.json" not in str(path) for path in (tmp_path / "set").rglob("*"))

    frames = read_frames(tmp_path / "set" / "train.xyz")
    assert frames[0].info == {
        "group": "Vacancy",
        "mlearn_split": "train",
        "description": "Snapshot 7 of 32 of Vacancy AIMD NVT simulation at 300 K",
        "mlearn_index": 0,
        "temperature_K": 300,
        "snapshot": 7,
        "config_type": "Vacancy_300K",
        "state": "liquid",
    }
    assert (frames[1].info["strain_mode"], frames[1].info["strain"]) == (2, -0.06)
    assert frames[1].info["state"] == "solid"
    note = read_provenance(tmp_path / "set" / "train.xyz")
    assert note["licence"] == "MIT" and note["sources"][0]["sha256"] == source["sha256"]

    again = run("little", "--out", tmp_path / "set")
    assert "train.json was there" in again.stdout and len(server.requests) == 1
    for text in ("beware:      It is little.", "left out:    test.xyz: held back", "cite:"):
        assert text in again.stdout


def test_held_back_file_comes_when_named(run, server, tmp_path):
    told = json.loads(run("little", "--split", "test", "--out", tmp_path / "set", "--json").stdout)
    (file,) = told["files"]
    assert file["sources"][0]["verified_by"].startswith("git-blob:") and not told["left_out"]
    assert (tmp_path / "set" / "test.xyz").is_file()

    server.files["/list"] = json.dumps([{"name": "test.json", "sha": "0" * 40}]).encode()
    result = run("little", "--split", "test", "--out", tmp_path / "other", status=2)
    assert "the catalogue says git-blob:0000" in result.stderr
    assert list((tmp_path / "other" / "source").iterdir()) == []
    server.files["/list"] = b"[]"
    result = run("little", "--split", "test", "--out", tmp_path / "other", status=2)
    assert "does not list test.json with its checksum" in result.stderr


def test_wrong_frames_leave_nothing(run, sets, server, tmp_path):
    right = server.files["/train.json"]
    server.files["/train.json"] = right.replace(b"0.2, 0.3", b"0.2, 0.4", 1)
    result = run("little", "--out", tmp_path / "set", status=2)
    assert "frames_sha256 is" in result.stderr and "was removed" in result.stderr
    server.files["/train.json"] = right[:-300]
    assert "not a JSON file" in run("little", "--out", tmp_path / "set", status=2).stderr
    server.files["/train.json"] = right
    sets["sets"]["little"]["files"][0]["frames"] = 5
    assert "frames is 4 where the catalogue says 5" in run(
        "little", "--out", tmp_path / "set", status=2
    ).stderr.replace("\n", " ")
    assert [path.name for path in (tmp_path / "set").rglob("*")] == ["source"]


def test_list(run):
    text = run("--list").stdout
    for part in ("name:        little", "licence:     MIT", "train.xyz: Si, 4 frames", "held back"):
        assert part in text
    assert list(json.loads(run("--list", "--json").stdout)["sets"]) == ["little"]
    assert "one of them" in run(status=2).stderr and "one of them" in run("little", "--list", status=2).stderr


def test_own_catalogue_is_whole():
    sets = catalogue()
    assert {"mlearn", "pyxtal-si"} <= set(sets)
    for about in sets.values():
        assert isinstance(about, PublicSet) and about.licence and about.citation
        for file in about.files:
            for source in file.sources:
                assert source.url.startswith("https://")
                assert "/master/" not in source.url and "/main/" not in source.url
    chosen, held = choose("mlearn", sets, ["Ge"])
    assert [file.name for file in chosen] == ["ge_train.xyz"]
    assert [file.name for file in held] == ["ge_test.xyz"]
    chosen, held = choose("mlearn", sets, ["Si"], ["test"])
    assert [file.name for file in chosen] == ["si_test.xyz"] and not held


def test_mistakes(run, sets, tmp_path):
    with pytest.raises(DataError, match="no public set 'mlern'; did you mean 'mlearn'"):
        choose("mlern", catalogue())
    with pytest.raises(DataError, match=r"there are: mlearn"):
        choose("zzz", catalogue())
    with pytest.raises(DataError, match=r"has no file for C; it has si_train.xyz \(Si, train\)"):
        choose("mlearn", catalogue(), ["C"])
    (source,) = sets["sets"]["little"]["files"][1]["sources"]
    del source["listing"]
    assert "test.json has no checksum, no listing and no frames_sha256" in run("--list", status=2).stderr
    source["checksum"] = "md5:1"
    assert "checksum 'md5:1' is not understood" in run("--list", status=2).stderr
    with pytest.raises(RecipeError, match=r"nowhere\.yaml"):
        catalogue(tmp_path / "nowhere.yaml")


def test_full_disk_while_writing_frames(run, sets, tmp_path, monkeypatch):
    import errno

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mlpot.data.fetch.write_frames", full)
    assert "train.xyz: the disk is full" in run("little", "--out", tmp_path / "set", status=2).stderr


@needs_mlearn
def test_fetch_of_the_real_test_split_of_silicon(server, tmp_path):
    """The published file itself, from the loopback: the frames are those of the reference."""
    server.body = (MLEARN / "Si_test.json").read_bytes()
    about = catalogue()["mlearn"]
    (file,) = [file for file in about.files if file.name == "si_test.xyz"]
    (source,) = file.sources
    local = file.model_copy(update={"sources": [source.model_copy(update={"url": server.url})]})
    made = fetch("mlearn", about, local, tmp_path, pause=0.0)
    assert (made.frames, made.atoms) == (25, 1525)
    assert frames_sha256(read_frames(made.path)) == file.frames_sha256
    write_frames(tmp_path / "reference.xyz", read_frames(MLEARN / "si_test.xyz"))
    assert (tmp_path / "reference.xyz").read_text() == made.path.read_text()
