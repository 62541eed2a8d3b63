"""Public sets by name, from a server on the loopback: whole, broken off, changed, wrong."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase.build import bulk
from typer.testing import CliRunner

from mlpot.cli.main import app
from mlpot.data.download import Checksum, download, download_json
from mlpot.data.fetch import PublicSet, catalogue, choose, fetch
from mlpot.data.files import read_frames, read_provenance, write_frames
from mlpot.data.frame import LabelKeys
from mlpot.data.public import frames_sha256, mlearn_frames, pyxtal_frames, xyz_frames
from mlpot.errors import DataError, RecipeError

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
MLEARN = DATA / "mlearn"
needs_mlearn = pytest.mark.skipif(not MLEARN.is_dir(), reason=f"reference data not found in {MLEARN}")
BODY = np.random.default_rng(0).bytes(300_000)
SHA256 = Checksum.parse(f"sha256:{hashlib.sha256(BODY).hexdigest()}")


class Server(ThreadingHTTPServer):
    """Serves ``body`` with an ETag.

    ``script`` holds faults, one per request: a status, bytes after which it hangs up (1000 and more),
    or what to do first.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body, self.tag, self.type, self.ranges = BODY, '"1"', "application/octet-stream", True
        self.files: dict[str, bytes] = {}
        self.script: list[object] = []
        self.requests: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/data.bin"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.requests.append(dict(self.headers))
        fault = server.script.pop(0) if server.script else None
        if callable(fault):
            fault = fault(server)
        if isinstance(fault, int) and fault < 1000:
            self.send_response(fault)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.files.get(self.path, server.body)
        begin = 0
        asked = self.headers.get("Range")
        if server.ranges and asked and self.headers.get("If-Range") in (None, server.tag):
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        if asked and begin >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        if server.tag:
            self.send_header("ETag", server.tag)
        self.send_header("Content-Type", server.type)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        end = begin + fault if isinstance(fault, int) else len(body)
        self.wfile.write(body[begin:end])  # what follows never comes: the connection is closed

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def get(server, tmp_path):
    def get(checksum=SHA256, **options):
        return download(server.url, tmp_path / "data.bin", checksum, pause=0.0, **options)

    return get


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- one file over the network --------------------------------------------------------------


def test_whole_file_and_no_second_download(server, get, tmp_path):
    seen = []
    assert get(size=len(BODY), update=lambda have, total: seen.append((have, total)))
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert left(tmp_path) == {"data.bin"}
    assert seen[0] == (0, len(BODY)) and seen[-1] == (len(BODY), len(BODY))
    assert not get() and len(server.requests) == 1
    assert server.requests[0]["User-Agent"].startswith("mlpot/")


def test_broken_connection_is_resumed(server, get, tmp_path):
    server.script = [100_000, 50_000]
    get()
    assert (tmp_path / "data.bin").read_bytes() == BODY
    ranges = [(headers.get("Range"), headers.get("If-Range")) for headers in server.requests]
    assert ranges == [(None, None), ("bytes=100000-", '"1"'), ("bytes=150000-", '"1"')]


def test_next_call_resumes(server, get, tmp_path):
    server.script = [100_000, 404]
    with pytest.raises(DataError, match="answers 404"):
        get()
    assert left(tmp_path) == {"data.bin.part", "data.bin.part.json"}
    get()
    assert server.requests[-1]["Range"] == "bytes=100000-"
    assert (tmp_path / "data.bin").read_bytes() == BODY


def test_server_without_ranges_starts_again(server, get, tmp_path):
    server.ranges = False
    server.script = [100_000]
    get()
    assert (tmp_path / "data.bin").read_bytes() == BODY and len(server.requests) == 2


def test_server_without_a_validator_is_not_asked_for_the_rest(server, get, tmp_path):
    server.tag = ""
    server.script = [100_000]
    get()
    assert (tmp_path / "data.bin").read_bytes() == BODY and "Range" not in server.requests[1]


def test_file_changed_between_attempts(server, get, tmp_path):
    def change(server):
        server.tag, server.body = '"2"', BODY[::-1]

    server.script = [100_000, change]
    get(Checksum.parse(f"sha256:{hashlib.sha256(BODY[::-1]).hexdigest()}"))
    assert (tmp_path / "data.bin").read_bytes() == BODY[::-1]
    assert server.requests[1]["If-Range"] == '"1"'


def test_wrong_range_and_part_that_is_too_long(server, get, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(BODY + b"more")
    (tmp_path / "data.bin.part.json").write_text(json.dumps({"url": server.url, "validator": '"1"'}))
    get()
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert "Range" in server.requests[0] and "Range" not in server.requests[1]


@pytest.mark.parametrize("size", [None, len(BODY) + 1])
def test_wrong_file_is_refused_and_removed(server, get, tmp_path, size):
    wrong = Checksum.parse("sha256:" + "0" * 64) if size is None else SHA256
    with pytest.raises(DataError, match=r"where the catalogue says.*it was removed. Run the command again"):
        get(wrong, size=size)
    assert left(tmp_path) == set()


def test_another_file_of_that_name_is_kept(get, tmp_path, server):
    (tmp_path / "data.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"is there already, but has the checksum .* remove it"):
        get()
    assert (tmp_path / "data.bin").read_bytes() == b"mine" and not server.requests


@pytest.mark.parametrize("status", [500, 503, 429])
def test_passing_fault_of_the_server(server, get, tmp_path, status):
    server.script = [status, status]
    get()
    assert len(server.requests) == 3 and (tmp_path / "data.bin").exists()


def test_lasting_fault_of_the_server(server, get, tmp_path):
    server.script = [500] * 9
    with pytest.raises(DataError, match=r"answers 500 .*; tried 5 times. Check the network .* again\.$"):
        get()
    assert len(server.requests) == 5 and left(tmp_path) == set()


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(404, "no longer there"), (403, "limit"), (407, "HTTPS_PROXY"), (418, "update mlpot")],
)
def test_refusal_is_not_tried_again(server, get, status, remedy):
    server.script = [status]
    with pytest.raises(DataError, match=rf"answers {status} .*{remedy}"):
        get()
    assert len(server.requests) == 1


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_web_page_in_place_of_data(server, get, tmp_path, kind):
    server.type, server.body = kind, b"\n<!DOCTYPE html><html>log in"
    with pytest.raises(DataError, match="a web page came in place of the data"):
        get()
    assert not (tmp_path / "data.bin").exists() and len(server.requests) == 1


def test_no_network(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(
        DataError, match=rf"no connection to 127.0.0.1:{port} .*; tried 5 times. Check the net"
    ):
        download(f"http://127.0.0.1:{port}/x", tmp_path / "x", SHA256, pause=0.0)


def test_interrupted_by_the_user(server, get, tmp_path):
    def interrupt(have, total):
        if have >= 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(update=interrupt)
    kept = (tmp_path / "data.bin.part").stat().st_size
    assert 100_000 <= kept < len(BODY) and not (tmp_path / "data.bin").exists()
    get()
    assert server.requests[1]["Range"] == f"bytes={kept}-"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full: no device that is always full")
def test_full_disk(server, get, tmp_path, monkeypatch):
    monkeypatch.setattr("mlpot.data.download._Part.begin", lambda self, *_: self.path.symlink_to("/dev/full"))
    with pytest.raises(DataError, match=r"data.bin.part: the disk is full.*free some space"):
        get()
    assert not (tmp_path / "data.bin").exists()


def test_checksums(server, tmp_path):
    git = hashlib.sha1(b"blob %d\0" % len(BODY) + BODY).hexdigest()
    for i, text in enumerate((f"git-blob:{git}", str(SHA256)[:19], str(SHA256))):
        download(server.url, tmp_path / str(i), Checksum.parse(text), pause=0.0)
    for text in ("md5:" + "0" * 32, "sha256:123", "git-blob:" + "0" * 39, "sha256:" + "G" * 64, "0" * 64):
        with pytest.raises(ValueError, match="is not understood; expected sha256"):
            Checksum.parse(text)


def test_json_that_is_none(server):
    server.body = b"[1]"
    assert download_json(server.url, pause=0.0) == [1]
    server.body = b"<html>"
    with pytest.raises(DataError, match="expected JSON"):
        download_json(server.url, pause=0.0)


# --- layouts --------------------------------------------------------------------------------


@needs_mlearn
def test_mlearn_layout_is_that_of_the_reference():
    ours, theirs = mlearn_frames(MLEARN / "Si_test.json", "test"), read_frames(MLEARN / "si_test.xyz")
    assert [frame.info for frame in ours] == [frame.info for frame in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert np.abs(one.positions - other.positions).max() < 1e-8
        assert np.abs(one.forces - other.forces).max() < 1e-8
        assert np.abs(one.stress - other.stress).max() < 1e-8
        assert np.array_equal(one.cell, other.cell) and one.energy == other.energy
    assert frames_sha256(ours) == frames_sha256(theirs)


@needs_mlearn
@pytest.mark.parametrize("name", ["si_train", "si_test", "ge_train"])
def test_catalogue_holds_the_checksums_of_the_reference(name, tmp_path):
    (file,) = [file for file in catalogue()["mlearn"].files if file.name == f"{name}.xyz"]
    frames = read_frames(MLEARN / f"{name}.xyz")
    assert (len(frames), sum(map(len, frames))) == (file.frames, file.atoms)
    assert frames_sha256(frames) == file.frames_sha256
    as_published = [_as_mlearn(frame) for frame in frames]
    (tmp_path / "x.json").write_text(json.dumps(as_published))
    again = mlearn_frames(tmp_path / "x.json", file.split)
    assert [frame.info for frame in again] == [frame.info for frame in frames]
    if name == "si_test":
        (source,) = file.sources
        assert Checksum.parse(source.checksum).of(MLEARN / "Si_test.json") == Checksum.parse(source.checksum)
        assert (MLEARN / "Si_test.json").stat().st_size == source.size


@pytest.mark.skipif(not (DATA / "si_pyxtal_pbe.xyz").exists(), reason=f"reference data not found in {DATA}")
def test_pyxtal_layout_is_that_of_the_reference(tmp_path):
    # The end of the published Si6.json.
    record = {
        "formula": "Si3",
        "coords": {"data": [[0.5, 0.5, 0.7577710102176383], [0.5, 0.5, 0.2422289897823617], [0.0, 0.0, 0.0]]},
        "lattice": {
            "data": [
                [2.447158127805488, 0.0, 1e-16],
                [4e-16, 2.447158127805488, 1e-16],
                [0.0, 0.0, 10.4525277512025],
            ]
        },
        "elements": ["Si"] * 3,
        "energy": -14.33483982,
        "force": [[0.0, 0.0, 0.03322282], [-0.0, 0.0, -0.03322282], [0.0, -0.0, 0.0]],
    }
    path = tmp_path / "Si6.json"
    path.write_text(json.dumps([record, record | {"energy": -11.9}]))
    (ours,) = pyxtal_frames([path], below=-4.0)
    reference = read_frames(DATA / "si_pyxtal_pbe.xyz")
    (theirs,) = [frame for frame in reference if frame.energy == record["energy"]]
    assert ours.info == theirs.info and frames_sha256([ours]) == frames_sha256([theirs])
    (file,) = catalogue()["pyxtal-si"].files
    assert (file.frames, file.atoms) == (len(reference), sum(map(len, reference)))
    assert file.frames_sha256 == frames_sha256(reference)


def test_damaged_layouts(tmp_path):
    path = tmp_path / "Si4.json"
    for text, complaint in (
        ('[{"lattice": []}]', "Si4.json#0: not the layout of PyXtal_FF"),
        ("{", "not a JSON file"),
        ("{}", "expected a list"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=complaint):
            pyxtal_frames([path])
    other = _mlearn_records(1, "Al")
    path.write_text(json.dumps(other))
    with pytest.raises(DataError, match="energies of Si and Ge only, this frame is of Al"):
        mlearn_frames(path, "train")
    del other[0]["group"]
    path.write_text(json.dumps(other))
    with pytest.raises(DataError, match="has no group and description"):
        mlearn_frames(path, "train")


def test_xyz_in_an_archive(tmp_path):
    atoms = bulk("Si")
    atoms.info["dft_energy"], atoms.arrays["dft_forces"] = -1.5, np.full((2, 3), 0.25)
    ase.io.write(tmp_path / "a.xyz", atoms)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.xyz", "database/a.xyz")
    keys = LabelKeys(energy="dft_energy", forces="dft_forces", stress=None)
    (frame,) = xyz_frames(tmp_path / "a.zip", keys, "database/a.xyz")
    assert frame.energy == -1.5 and (frame.forces == 0.25).all()
    assert frame.source.endswith("a.zip!database/a.xyz#0")
    assert frames_sha256(xyz_frames(tmp_path / "a.xyz", keys)) == frames_sha256([frame])
    with pytest.raises(DataError, match=r"other.xyz cannot be unpacked"):
        xyz_frames(tmp_path / "a.zip", keys, "other.xyz")


# --- sets by name ---------------------------------------------------------------------------


def _as_mlearn(frame) -> dict:
    """Return a frame in the layout of mlearn."""
    kbar = -1602.1766208 * frame.stress if frame.stress is not None else np.zeros((3, 3))
    return {
        "structure": {
            "lattice": {"matrix": frame.cell.tolist()},
            "sites": [
                {"species": [{"element": next(iter(frame.symbols)), "occu": 1}], "xyz": xyz}
                for xyz in frame.positions.tolist()
            ],
        },
        "group": frame.info["group"],
        "description": frame.info["description"],
        "outputs": {
            "energy": frame.energy,
            "forces": frame.forces.tolist(),
            "virial_stress": kbar[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]].tolist(),
        },
    }


def _mlearn_records(count: int, element: str = "Si") -> list[dict]:
    rng = np.random.default_rng(1)
    texts = ("Snapshot 7 of 32 of Vacancy AIMD NVT simulation at 300 K", "cell, mode 2, strain -0.06")
    return [
        {
            "structure": {
                "lattice": {"matrix": np.diag([4.0, 4.0, 4.0]).tolist()},
                "sites": [
                    {"species": [{"element": element, "occu": 1}], "xyz": rng.uniform(0, 4, 3).tolist()}
                ],
            },
            "group": ("Vacancy", "Elastic")[i % 2],
            "description": texts[i % 2],
            "outputs": {"energy": -4.0 - i, "forces": [[0.1, 0.2, 0.3]], "virial_stress": [1, 2, 3, 4, 5, 6]},
        }
        for i in range(count)
    ]


@pytest.fixture
def sets(server, tmp_path):
    """Return a catalogue of the server on the loopback, as plain values."""
    train, test = json.dumps(_mlearn_records(4)).encode(), json.dumps(_mlearn_records(2)).encode()
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
