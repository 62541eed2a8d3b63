"""One file over the network: whole, broken off, changed, wrong."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path

import pytest
from loopback import BODY, SHA256, left

from mlpot.data.download import Checksum, download, download_json
from mlpot.errors import DataError


@pytest.fixture
def get(server, tmp_path):
    def get(checksum=SHA256, **options):
        return download(server.url, tmp_path / "data.bin", checksum, pause=0.0, **options)

    return get


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
